//! What several tests of metrics build.

use std::sync::Arc;

use weir_proto::identity::SeriesParts;
use weir_proto::{
    Attributes, HistogramMarks, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality,
    semconv,
};

use super::chunk::HistogramPoint;

/// A scraped gauge with string attributes.
pub(crate) fn series(name: &str, attributes: &[(&str, &str)]) -> Arc<SeriesIdentity> {
    series_of(name, attributes, MetricKind::Gauge, Temporality::Unspecified)
}

/// A series of any kind with string attributes.
pub(crate) fn series_of(
    name: &str,
    attributes: &[(&str, &str)],
    kind: MetricKind,
    temporality: Temporality,
) -> Arc<SeriesIdentity> {
    let attributes: Attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, *value)).collect();
    Arc::new(SeriesIdentity::new(SeriesParts {
        name: name.into(),
        unit: "".into(),
        kind,
        temporality,
        resource: Arc::new(Resource::default()),
        scope: Arc::new(Scope::default()),
        attributes,
    }))
}

/// A delta series of RED, whose points add up.
pub(crate) fn red_series(name: &str) -> Arc<SeriesIdentity> {
    Arc::new(SeriesIdentity::new(SeriesParts {
        name: name.into(),
        unit: "s".into(),
        kind: MetricKind::Counter,
        temporality: Temporality::Delta,
        resource: Arc::new(Resource {
            attributes: [KeyValue::new("service.name", "shop"), KeyValue::new("replicas", 3)].into_iter().collect(),
        }),
        scope: Arc::new(Scope { name: semconv::SCOPE_RED.into(), ..Scope::default() }),
        attributes: Attributes::default(),
    }))
}

fn row_of(batch: &mut MetricBatch, identity: &Arc<SeriesIdentity>) -> u32 {
    let known = batch.series.iter().rposition(|known| known.fingerprint == identity.fingerprint);
    let at = known.unwrap_or_else(|| {
        batch.series.push(Arc::clone(identity));
        batch.series.len() - 1
    });
    u32::try_from(at).unwrap()
}

/// Adds a number point.
pub(crate) fn push_number(batch: &mut MetricBatch, identity: &Arc<SeriesIdentity>, start: i64, time: i64, value: f64) {
    let row = row_of(batch, identity);
    batch.numbers.series.push(row);
    batch.numbers.start_ns.push(start);
    batch.numbers.time_ns.push(time);
    batch.numbers.value.push(value);
}

/// Adds a histogram point.
pub(crate) fn push_histogram(
    batch: &mut MetricBatch,
    identity: &Arc<SeriesIdentity>,
    start: i64,
    time: i64,
    point: HistogramPoint,
) {
    let row = row_of(batch, identity);
    let rows = &mut batch.histograms;
    rows.marks.resize(rows.series.len(), HistogramMarks::default());
    rows.marks.push(point.marks);
    rows.series.push(row);
    rows.start_ns.push(start);
    rows.time_ns.push(time);
    rows.count.push(point.count);
    rows.sum.push(point.sum);
    rows.min.push(point.min);
    rows.max.push(point.max);
    rows.zero_count.push(point.zero_count);
    rows.layout.push(u32::try_from(rows.layouts.len()).unwrap());
    rows.layouts.push(point.layout);
    rows.counts.extend_from_slice(&point.counts);
    rows.counts_offsets.push(u32::try_from(rows.counts.len()).unwrap());
}

/// Adds an exemplar.
pub(crate) fn push_exemplar(
    batch: &mut MetricBatch,
    identity: &Arc<SeriesIdentity>,
    time: i64,
    attributes: Vec<KeyValue>,
) {
    let row = row_of(batch, identity);
    let rows = &mut batch.exemplars;
    rows.series.push(row);
    rows.time_ns.push(time);
    rows.value.push(0.5);
    rows.trace_id.push([7; 16]);
    rows.span_id.push([0; 8]);
    rows.attributes.extend(attributes);
    rows.attribute_offsets.push(u32::try_from(rows.attributes.len()).unwrap());
}
