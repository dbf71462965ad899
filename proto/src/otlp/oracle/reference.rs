//! What a request says, written from prost's messages, in a form that a batch can be printed in too.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{self as c, any_value::Value as Wire};
use opentelemetry_proto::tonic::metrics::v1::{self as m, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1 as t;

use crate::attribute::{Attributes, KeyValue, Value};
use crate::batch::{HistogramLayout, MetricBatch, STALE_NAN_BITS, SpanBatch};
use crate::identity::{Fingerprint, MetricKind, Resource, Scope, SeriesIdentity, SeriesParts, Temporality};

/// Rows of a metric batch, each with the fingerprint of its series; floats by their bits.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    numbers: Vec<(Fingerprint, u64, u64, u64)>,
    histograms: Vec<String>,
    exemplars: Vec<String>,
}

impl Rows {
    pub(super) fn append(&mut self, mut other: Self) {
        self.numbers.append(&mut other.numbers);
        self.histograms.append(&mut other.histograms);
        self.exemplars.append(&mut other.exemplars);
    }
}

/// What is kept of a request, and how many points or spans are not.
#[derive(Debug, Default)]
pub(super) struct Expected<T> {
    pub(super) rows: T,
    pub(super) refused: u64,
}

fn value(wire: Option<&c::AnyValue>) -> Value {
    match wire.and_then(|wire| wire.value.as_ref()) {
        None | Some(Wire::StringValueStrindex(_)) => Value::Empty,
        Some(Wire::StringValue(text)) => Value::from(text.as_str()),
        Some(Wire::BoolValue(truth)) => Value::Bool(*truth),
        Some(Wire::IntValue(number)) => Value::Int(*number),
        Some(Wire::DoubleValue(number)) => Value::Double(*number),
        Some(Wire::BytesValue(bytes)) => Value::Bytes(bytes.as_slice().into()),
        Some(Wire::ArrayValue(array)) => Value::Array(array.values.iter().map(|inner| value(Some(inner))).collect()),
        Some(Wire::KvlistValue(map)) => Value::Map(pairs(&map.values).into()),
    }
}

fn pairs(wire: &[c::KeyValue]) -> Vec<KeyValue> {
    wire.iter().map(|pair| KeyValue::new(pair.key.as_str(), value(pair.value.as_ref()))).collect()
}

fn resource(wire: Option<&WireResource>) -> Resource {
    Resource { attributes: Attributes::new(wire.map(|wire| pairs(&wire.attributes)).unwrap_or_default()) }
}

fn scope(wire: Option<&c::InstrumentationScope>) -> Scope {
    wire.map_or_else(Scope::default, |wire| Scope {
        name: wire.name.as_str().into(),
        version: wire.version.as_str().into(),
        attributes: Attributes::new(pairs(&wire.attributes)),
    })
}

/// Everything of a series but its attributes.
struct Head<'a> {
    metric: &'a m::Metric,
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    kind: MetricKind,
    temporality: Temporality,
}

impl Head<'_> {
    fn fingerprint(&self, attributes: Vec<KeyValue>) -> Fingerprint {
        SeriesIdentity::new(SeriesParts {
            name: self.metric.name.as_str().into(),
            unit: self.metric.unit.as_str().into(),
            kind: self.kind,
            temporality: self.temporality,
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            attributes: Attributes::new(attributes),
        })
        .fingerprint
    }
}

/// Rows of a metrics request.
pub(super) fn metrics(request: &ExportMetricsServiceRequest) -> Expected<Rows> {
    let mut expected = Expected::default();
    for of_resource in &request.resource_metrics {
        let resource = Arc::new(resource(of_resource.resource.as_ref()));
        for of_scope in &of_resource.scope_metrics {
            let scope = Arc::new(scope(of_scope.scope.as_ref()));
            for metric in &of_scope.metrics {
                let head = Head {
                    metric,
                    resource: Arc::clone(&resource),
                    scope: Arc::clone(&scope),
                    kind: MetricKind::Gauge,
                    temporality: Temporality::Unspecified,
                };
                expected.metric(head);
            }
        }
    }
    expected
}

fn temporality(wire: i32) -> Option<Temporality> {
    match wire {
        1 => Some(Temporality::Delta),
        2 => Some(Temporality::Cumulative),
        _ => None,
    }
}

/// Whether a point can be kept at these times.
fn timely(start: u64, at: u64) -> bool {
    at != 0 && i64::try_from(start).is_ok() && i64::try_from(at).is_ok()
}

impl Expected<Rows> {
    fn metric(&mut self, mut head: Head<'_>) {
        let (wire_temporality, points) = match &head.metric.data {
            None => return,
            Some(Data::Gauge(gauge)) => (None, gauge.data_points.len()),
            Some(Data::Summary(summary)) => (None, summary.data_points.len()),
            Some(Data::Sum(sum)) => (Some(sum.aggregation_temporality), sum.data_points.len()),
            Some(Data::Histogram(data)) => (Some(data.aggregation_temporality), data.data_points.len()),
            Some(Data::ExponentialHistogram(data)) => (Some(data.aggregation_temporality), data.data_points.len()),
        };
        let known = wire_temporality.map_or(Some(Temporality::Unspecified), temporality);
        let Some(temporality) = known.filter(|_| !head.metric.name.is_empty()) else {
            self.refused += points as u64;
            return;
        };
        head.temporality = temporality;
        match &head.metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.iter().for_each(|point| self.number(&head, point)),
            Some(Data::Sum(sum)) => {
                head.kind = if sum.is_monotonic { MetricKind::Counter } else { MetricKind::UpDownCounter };
                sum.data_points.iter().for_each(|point| self.number(&head, point));
            }
            Some(Data::Histogram(data)) => {
                head.kind = MetricKind::Histogram;
                data.data_points.iter().for_each(|point| self.histogram(&head, point));
            }
            Some(Data::ExponentialHistogram(data)) => {
                head.kind = MetricKind::ExponentialHistogram;
                data.data_points.iter().for_each(|point| self.exponential(&head, point));
            }
            Some(Data::Summary(data)) => data.data_points.iter().for_each(|point| self.summary(&mut head, point)),
            None => {}
        }
    }

    fn number(&mut self, head: &Head<'_>, point: &m::NumberDataPoint) {
        let value = match point.value {
            _ if point.flags & 1 == 1 => f64::from_bits(STALE_NAN_BITS),
            Some(m::number_data_point::Value::AsDouble(value)) => value,
            Some(m::number_data_point::Value::AsInt(value)) => value as f64,
            None => {
                self.refused += 1;
                return;
            }
        };
        if !timely(point.start_time_unix_nano, point.time_unix_nano) {
            self.refused += 1;
            return;
        }
        let series = head.fingerprint(pairs(&point.attributes));
        let (start, at) = (point.start_time_unix_nano, point.time_unix_nano);
        self.rows.numbers.push((series, start, at, value.to_bits()));
        self.exemplars(series, &point.exemplars);
    }

    fn summary(&mut self, head: &mut Head<'_>, point: &m::SummaryDataPoint) {
        if !timely(point.start_time_unix_nano, point.time_unix_nano) {
            self.refused += 1;
            return;
        }
        let stale = (point.flags & 1 == 1).then_some(STALE_NAN_BITS);
        let (start, at) = (point.start_time_unix_nano, point.time_unix_nano);
        (head.kind, head.temporality) = (MetricKind::SummaryQuantile, Temporality::Unspecified);
        for quantile in &point.quantile_values {
            let mut attributes = vec![KeyValue::new("quantile", quantile.quantile.to_string())];
            attributes.extend(pairs(&point.attributes));
            let value = stale.unwrap_or(quantile.value.to_bits());
            self.rows.numbers.push((head.fingerprint(attributes), start, at, value));
        }
        head.temporality = Temporality::Cumulative;
        for (kind, value) in [(MetricKind::SummarySum, point.sum), (MetricKind::SummaryCount, point.count as f64)] {
            head.kind = kind;
            let series = head.fingerprint(pairs(&point.attributes));
            self.rows.numbers.push((series, start, at, stale.unwrap_or(value.to_bits())));
        }
    }

    fn histogram(&mut self, head: &Head<'_>, point: &m::HistogramDataPoint) {
        let (mut bounds, mut counts) = (point.explicit_bounds.clone(), point.bucket_counts.clone());
        let fits = counts.is_empty() || counts.len() == bounds.len() + 1;
        if bounds.last() == Some(&f64::INFINITY) {
            bounds.pop();
            if let Some(beyond) = counts.pop() {
                *counts.last_mut().unwrap() += beyond;
            }
        }
        let ascends = bounds.windows(2).all(|two| two[0] < two[1]) && !bounds.iter().any(|bound| bound.is_nan());
        let finite = !bounds.contains(&f64::INFINITY);
        if !fits || !ascends || !finite || !timely(point.start_time_unix_nano, point.time_unix_nano) {
            self.refused += 1;
            return;
        }
        let series = head.fingerprint(pairs(&point.attributes));
        let sum = if point.flags & 1 == 1 { Some(f64::from_bits(STALE_NAN_BITS)) } else { point.sum };
        let stats = [sum, point.min, point.max].map(|stat| stat.unwrap_or(f64::NAN).to_bits());
        self.rows.histograms.push(format!(
            "{series:?} {} {} {} {stats:?} 0 {:?} {counts:?}",
            point.start_time_unix_nano,
            point.time_unix_nano,
            point.count,
            HistogramLayout::Explicit { bounds: bounds.into() }
        ));
        self.exemplars(series, &point.exemplars);
    }

    fn exponential(&mut self, head: &Head<'_>, point: &m::ExponentialHistogramDataPoint) {
        let (positive, negative) =
            (point.positive.clone().unwrap_or_default(), point.negative.clone().unwrap_or_default());
        let fits = |side: &m::exponential_histogram_data_point::Buckets| {
            side.offset.checked_add(i32::try_from(side.bucket_counts.len()).unwrap()).is_some()
        };
        if !(-10..=20).contains(&point.scale)
            || point.zero_threshold.is_nan()
            || point.zero_threshold < 0.0
            || !fits(&positive)
            || !fits(&negative)
            || !timely(point.start_time_unix_nano, point.time_unix_nano)
        {
            self.refused += 1;
            return;
        }
        let series = head.fingerprint(pairs(&point.attributes));
        let sum = if point.flags & 1 == 1 { Some(f64::from_bits(STALE_NAN_BITS)) } else { point.sum };
        let stats = [sum, point.min, point.max].map(|stat| stat.unwrap_or(f64::NAN).to_bits());
        let layout = HistogramLayout::Exponential {
            scale: point.scale,
            zero_threshold: point.zero_threshold,
            positive_offset: positive.offset,
            positive_len: u32::try_from(positive.bucket_counts.len()).unwrap(),
            negative_offset: negative.offset,
        };
        let counts = [positive.bucket_counts, negative.bucket_counts].concat();
        self.rows.histograms.push(format!(
            "{series:?} {} {} {} {stats:?} {} {layout:?} {counts:?}",
            point.start_time_unix_nano, point.time_unix_nano, point.count, point.zero_count
        ));
        self.exemplars(series, &point.exemplars);
    }

    fn exemplars(&mut self, series: Fingerprint, exemplars: &[m::Exemplar]) {
        for exemplar in exemplars {
            let value = match exemplar.value {
                Some(m::exemplar::Value::AsDouble(value)) => value,
                Some(m::exemplar::Value::AsInt(value)) => value as f64,
                None => continue,
            };
            let (Some(trace), Some(span)) = (id::<16>(&exemplar.trace_id), id::<8>(&exemplar.span_id)) else {
                continue;
            };
            if i64::try_from(exemplar.time_unix_nano).is_err() {
                continue;
            }
            self.rows.exemplars.push(format!(
                "{series:?} {} {} {trace:?} {span:?} {:?}",
                exemplar.time_unix_nano,
                value.to_bits(),
                pairs(&exemplar.filtered_attributes)
            ));
        }
    }
}

fn id<const N: usize>(wire: &[u8]) -> Option<[u8; N]> {
    if wire.is_empty() { Some([0; N]) } else { wire.try_into().ok() }
}

/// A metric batch, printed as the reference prints a request.
pub(super) fn shown(batch: &MetricBatch) -> Rows {
    let mut rows = Rows::default();
    let series = |at: u32| batch.series[at as usize].fingerprint;
    let numbers = &batch.numbers;
    for row in 0..numbers.series.len() {
        let times = (numbers.start_ns[row].unsigned_abs(), numbers.time_ns[row].unsigned_abs());
        rows.numbers.push((series(numbers.series[row]), times.0, times.1, numbers.value[row].to_bits()));
    }
    let h = &batch.histograms;
    for row in 0..h.series.len() {
        let counts = &h.counts[h.counts_offsets[row] as usize..h.counts_offsets[row + 1] as usize];
        let stats = [h.sum[row], h.min[row], h.max[row]].map(f64::to_bits);
        rows.histograms.push(format!(
            "{:?} {} {} {} {stats:?} {} {:?} {counts:?}",
            series(h.series[row]),
            h.start_ns[row],
            h.time_ns[row],
            h.count[row],
            h.zero_count[row],
            h.layouts[h.layout[row] as usize]
        ));
    }
    let e = &batch.exemplars;
    for row in 0..e.series.len() {
        let attributes = &e.attributes[e.attribute_offsets[row] as usize..e.attribute_offsets[row + 1] as usize];
        rows.exemplars.push(format!(
            "{:?} {} {} {:?} {:?} {attributes:?}",
            series(e.series[row]),
            e.time_ns[row],
            e.value[row].to_bits(),
            e.trace_id[row],
            e.span_id[row]
        ));
    }
    rows
}

/// The spans of a traces request, one text each.
pub(super) fn spans(request: &ExportTraceServiceRequest) -> Expected<Vec<String>> {
    let mut expected: Expected<Vec<String>> = Expected::default();
    for of_resource in &request.resource_spans {
        let resource = resource(of_resource.resource.as_ref());
        for of_scope in &of_resource.scope_spans {
            let scope = scope(of_scope.scope.as_ref());
            for sent in &of_scope.spans {
                match span(sent) {
                    Some(text) => expected.rows.push(format!("{resource:?} {scope:?} {text}")),
                    None => expected.refused += 1,
                }
            }
        }
    }
    expected
}

fn span(sent: &t::Span) -> Option<String> {
    let nonzero = |id: &[u8]| id.iter().any(|byte| *byte != 0);
    let trace_id: [u8; 16] = sent.trace_id.as_slice().try_into().ok().filter(|id: &[u8; 16]| nonzero(id))?;
    let span_id: [u8; 8] = sent.span_id.as_slice().try_into().ok().filter(|id: &[u8; 8]| nonzero(id))?;
    let parent = id::<8>(&sent.parent_span_id)?;
    let start = i64::try_from(sent.start_time_unix_nano).ok().filter(|time| *time != 0)?;
    let end = i64::try_from(sent.end_time_unix_nano).ok().filter(|time| *time != 0)?;
    let status = sent.status.clone().unwrap_or_default();
    let code = if (0..=2).contains(&status.code) { status.code } else { 0 };
    let kind = if (0..=5).contains(&sent.kind) { sent.kind } else { 0 };
    let (mut events, mut links) = (Vec::new(), Vec::new());
    let (mut dropped_events, mut dropped_links) = (sent.dropped_events_count, sent.dropped_links_count);
    for event in &sent.events {
        if i64::try_from(event.time_unix_nano).is_err() {
            dropped_events += 1;
            continue;
        }
        let (at, dropped) = (event.time_unix_nano, event.dropped_attributes_count);
        events.push(format!("{at} {} {:?} {dropped}", event.name, pairs(&event.attributes)));
    }
    for link in &sent.links {
        let (Some(trace), Some(span)) = (id::<16>(&link.trace_id), id::<8>(&link.span_id)) else {
            dropped_links += 1;
            continue;
        };
        let (state, attributes) = (&link.trace_state, pairs(&link.attributes));
        let dropped = link.dropped_attributes_count;
        links.push(format!("{trace:?} {span:?} {state} {} {attributes:?} {dropped}", link.flags));
    }
    Some(format!(
        "{trace_id:?} {span_id:?} {parent:?} {start} {} {:?} {kind} {code} {:?} {:?} {} {:?} {} {dropped_events} \
         {dropped_links} {events:?} {links:?}",
        end - start,
        sent.name,
        status.message,
        sent.trace_state,
        sent.flags,
        pairs(&sent.attributes),
        sent.dropped_attributes_count
    ))
}

/// A span batch, printed as the reference prints a request.
pub(super) fn shown_spans(batch: &SpanBatch) -> Vec<String> {
    (0..batch.len()).map(|row| shown_span(batch, row)).collect()
}

fn shown_span(batch: &SpanBatch, row: usize) -> String {
    let text = |at: u32| &batch.strings[at as usize];
    let list = |indices: &[u32], offsets: &[u32], at: usize| -> Vec<KeyValue> {
        let indices = &indices[offsets[at] as usize..offsets[at + 1] as usize];
        indices.iter().map(|&index| batch.key_values[index as usize].clone()).collect()
    };
    let (e, l) = (&batch.events, &batch.links);
    let mut events = Vec::new();
    for at in batch.event_offsets[row] as usize..batch.event_offsets[row + 1] as usize {
        let attributes = list(&e.attributes, &e.attribute_offsets, at);
        events.push(format!("{} {} {attributes:?} {}", e.time_ns[at], text(e.name[at]), e.dropped_attributes[at]));
    }
    let mut links = Vec::new();
    for at in batch.link_offsets[row] as usize..batch.link_offsets[row + 1] as usize {
        let attributes = list(&l.attributes, &l.attribute_offsets, at);
        let (trace, span, state) = (l.trace_id[at], l.span_id[at], text(l.trace_state[at]));
        let (flags, dropped) = (l.flags[at], l.dropped_attributes[at]);
        links.push(format!("{trace:?} {span:?} {state} {flags} {attributes:?} {dropped}"));
    }
    let attributes: Vec<KeyValue> = batch.attributes_of(row).cloned().collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {} {} {:?} {} {} {:?} {:?} {} {attributes:?} {} {} {} {events:?} {links:?}",
        batch.resources[batch.resource[row] as usize],
        batch.scopes[batch.scope[row] as usize],
        batch.trace_id[row],
        batch.span_id[row],
        batch.parent_span_id[row],
        batch.start_ns[row],
        batch.duration_ns[row],
        text(batch.name[row]),
        batch.kind[row],
        batch.status[row],
        text(batch.status_message[row]),
        text(batch.trace_state[row]),
        batch.flags[row],
        batch.dropped_attributes[row],
        batch.dropped_events[row],
        batch.dropped_links[row],
    )
}

/// Checks what every batch promises: columns of one length, offsets that end where the pool ends, a series once.
pub(super) fn assert_sound(metrics: &MetricBatch, spans: &SpanBatch) {
    let mut fingerprints: Vec<_> = metrics.series.iter().map(|series| series.fingerprint).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), metrics.series.len());
    let (n, h, e) = (&metrics.numbers, &metrics.histograms, &metrics.exemplars);
    assert!([n.start_ns.len(), n.time_ns.len(), n.value.len()].iter().all(|len| *len == n.series.len()));
    let columns = [h.start_ns.len(), h.count.len(), h.sum.len(), h.zero_count.len(), h.layout.len(), h.max.len()];
    assert!(columns.iter().all(|len| *len == h.series.len()));
    assert_eq!(h.counts_offsets.len(), h.series.len() + 1);
    assert_eq!(h.counts_offsets.last().copied(), u32::try_from(h.counts.len()).ok());
    assert_eq!(e.attribute_offsets.len(), e.series.len() + 1);
    assert_eq!(e.attribute_offsets.last().copied(), u32::try_from(e.attributes.len()).ok());
    assert_eq!(spans.attribute_offsets.len(), spans.len() + 1);
    assert_eq!(spans.attribute_offsets.last().copied(), u32::try_from(spans.attributes.len()).ok());
    assert_eq!(spans.event_offsets.last().copied(), u32::try_from(spans.events.time_ns.len()).ok());
    assert_eq!(spans.link_offsets.last().copied(), u32::try_from(spans.links.trace_id.len()).ok());
    let (events, links) = (&spans.events, &spans.links);
    assert_eq!(events.attribute_offsets.last().copied(), u32::try_from(events.attributes.len()).ok());
    assert_eq!(links.attribute_offsets.last().copied(), u32::try_from(links.attributes.len()).ok());
}
