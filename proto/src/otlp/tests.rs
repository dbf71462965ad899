//! Scenarios of single bodies; the property tests against prost are in `oracle.rs`.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as t;
use prost::Message;

use super::*;
use crate::batch::{MetricBatch, STALE_NAN_BITS, SpanBatch};
use crate::identity::{MetricKind, Temporality};

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Wire::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn number(attributes: Vec<KeyValue>, time: u64, value: f64) -> m::NumberDataPoint {
    let value = Some(m::number_data_point::Value::AsDouble(value));
    m::NumberDataPoint { attributes, time_unix_nano: time, value, ..Default::default() }
}

fn request(metrics: Vec<m::Metric>) -> Vec<u8> {
    let resource = Resource { attributes: vec![text("service.name", "cart")], ..Default::default() };
    let scope_metrics = vec![m::ScopeMetrics { metrics, ..Default::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![m::ResourceMetrics { resource: Some(resource), scope_metrics, ..Default::default() }],
    }
    .encode_to_vec()
}

fn gauge(name: &str, data_points: Vec<m::NumberDataPoint>) -> m::Metric {
    let data = Some(m::metric::Data::Gauge(m::Gauge { data_points }));
    m::Metric { name: name.to_owned(), data, ..Default::default() }
}

fn sum(name: &str, temporality: i32, data_points: Vec<m::NumberDataPoint>) -> m::Metric {
    let sum = m::Sum { data_points, aggregation_temporality: temporality, is_monotonic: true };
    m::Metric { name: name.to_owned(), data: Some(m::metric::Data::Sum(sum)), ..Default::default() }
}

fn spans(spans: Vec<t::Span>) -> Vec<u8> {
    let scope_spans = vec![t::ScopeSpans { spans, ..Default::default() }];
    let resource = Resource { attributes: vec![text("service.name", "cart")], ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![t::ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }],
    }
    .encode_to_vec()
}

fn span(name: &str) -> t::Span {
    t::Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 3_000,
        ..Default::default()
    }
}

#[test]
fn a_bad_point_is_refused_alone_with_its_reason_and_place() {
    let body = request(vec![
        gauge("good", vec![number(vec![], 5, 1.0), number(vec![], u64::MAX, 2.0), number(vec![], 0, 3.0)]),
        gauge("", vec![number(vec![], 5, 4.0)]),
        sum("untold", 0, vec![number(vec![], 5, 5.0), number(vec![], 6, 5.0)]),
        sum("told", 1, vec![number(vec![text("a", "b")], 5, 6.0)]),
    ]);
    let mut batch = MetricBatch::default();
    let refused = MetricsReader::new(ReaderLimits::default()).read(&body, &mut batch).unwrap();
    assert_eq!(batch.numbers.value, [1.0, 6.0]);
    assert_eq!(batch.series[1].temporality, Temporality::Delta);
    assert_eq!(refused.count, 5);
    let reasons = [("time_out_of_range", 1), ("no_time", 1), ("empty_name", 1), ("unknown_temporality", 2)];
    assert_eq!(refused.reasons, reasons);
    assert!(refused.message.starts_with("metric \"good\" of service \"cart\": a time is past"), "{}", refused.message);
}

#[test]
fn a_broken_body_leaves_the_batch_as_it_was_and_the_reader_usable() {
    let body = request(vec![gauge("g", vec![number(vec![text("a", "b")], 5, 1.0), number(vec![], 6, 2.0)])]);
    let mut reader = MetricsReader::new(ReaderLimits::default());
    let mut batch = MetricBatch::default();
    let error = reader.read(&body[..body.len() - 3], &mut batch).unwrap_err();
    assert!(matches!(error, ReadError::NotProtobuf { .. }));
    let mut broken_late = body.clone();
    broken_late.extend_from_slice(&[0x0a, 0x7f]);
    assert_eq!(
        reader.read(&broken_late, &mut batch).unwrap_err().to_string(),
        format!(
            "body is not the protobuf message that was expected: a length that runs past the end at byte {}",
            body.len() + 2
        )
    );
    assert_eq!((batch.points(), batch.series.len()), (0, 0));
    reader.read(&body, &mut batch).unwrap();
    reader.read(&body, &mut batch).unwrap();
    assert_eq!((batch.points(), batch.series.len()), (4, 2));
    assert_eq!(batch.numbers.series, [0, 1, 0, 1]);
}

#[test]
fn attributes_in_another_order_are_the_same_series_and_the_first_of_a_key_wins() {
    let forms = [
        vec![text("a", "1"), text("b", "2")],
        vec![text("b", "2"), text("a", "1")],
        vec![text("b", "2"), text("a", "1"), text("b", "3")],
    ];
    let points = forms.into_iter().map(|attributes| number(attributes, 5, 1.0)).collect();
    let mut batch = MetricBatch::default();
    MetricsReader::new(ReaderLimits::default()).read(&request(vec![gauge("g", points)]), &mut batch).unwrap();
    assert_eq!(batch.series.len(), 1);
    assert_eq!(batch.numbers.series, [0, 0, 0]);
}

#[test]
fn no_recorded_value_is_a_stale_marker() {
    let stale = m::NumberDataPoint { time_unix_nano: 5, flags: 1, ..Default::default() };
    let histogram = m::HistogramDataPoint { time_unix_nano: 5, flags: 1, ..Default::default() };
    let histogram = m::Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
    let histogram =
        m::Metric { name: "h".into(), data: Some(m::metric::Data::Histogram(histogram)), ..Default::default() };
    let mut batch = MetricBatch::default();
    let body = request(vec![gauge("g", vec![stale]), histogram]);
    let refused = MetricsReader::new(ReaderLimits::default()).read(&body, &mut batch).unwrap();
    assert_eq!(refused, Refused::default());
    assert_eq!(batch.numbers.value[0].to_bits(), STALE_NAN_BITS);
    assert_eq!(batch.histograms.sum[0].to_bits(), STALE_NAN_BITS);
}

#[test]
fn a_summary_becomes_quantile_sum_and_count_series() {
    let quantile = |quantile, value| m::summary_data_point::ValueAtQuantile { quantile, value };
    let point = m::SummaryDataPoint {
        attributes: vec![text("quantile", "mine"), text("z", "z")],
        time_unix_nano: 5,
        count: 7,
        sum: 70.0,
        quantile_values: vec![quantile(0.5, 9.0), quantile(1.0, 11.0)],
        ..Default::default()
    };
    let summary = m::Summary { data_points: vec![point] };
    let metric = m::Metric { name: "s".into(), data: Some(m::metric::Data::Summary(summary)), ..Default::default() };
    let mut batch = MetricBatch::default();
    MetricsReader::new(ReaderLimits::default()).read(&request(vec![metric]), &mut batch).unwrap();
    let kinds: Vec<_> = batch.series.iter().map(|series| series.kind).collect();
    let quantile = MetricKind::SummaryQuantile;
    assert_eq!(kinds, [quantile, quantile, MetricKind::SummarySum, MetricKind::SummaryCount]);
    let labels: Vec<_> = batch.series.iter().map(|s| s.attributes.find("quantile").unwrap().as_str()).collect();
    assert_eq!(labels, [Some("0.5"), Some("1"), Some("mine"), Some("mine")]);
    assert_eq!(batch.numbers.value, [9.0, 11.0, 70.0, 7.0]);
}

#[test]
fn histogram_bounds_are_checked_and_infinity_is_folded() {
    let point = |counts: &[u64], bounds: &[f64]| m::HistogramDataPoint {
        time_unix_nano: 5,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..Default::default()
    };
    let data_points = vec![
        point(&[1, 2, 3], &[1.0, 2.0]),
        point(&[1, 2, 3], &[2.0, 1.0]),
        point(&[1, 2], &[1.0, 2.0]),
        point(&[1, 2, 3, 4], &[1.0, 2.0, f64::INFINITY]),
        point(&[], &[]),
    ];
    let histogram = m::Histogram { data_points, aggregation_temporality: 2 };
    let metric =
        m::Metric { name: "h".into(), data: Some(m::metric::Data::Histogram(histogram)), ..Default::default() };
    let mut batch = MetricBatch::default();
    let refused = MetricsReader::new(ReaderLimits::default()).read(&request(vec![metric]), &mut batch).unwrap();
    assert_eq!(refused.reasons, [("bad_buckets", 2)]);
    assert_eq!(batch.histograms.counts, [1, 2, 3, 1, 2, 7]);
    assert_eq!(batch.histograms.counts_offsets, [0, 3, 6, 6]);
    let layouts = &batch.histograms.layouts;
    assert_eq!(layouts[batch.histograms.layout[0] as usize], layouts[batch.histograms.layout[1] as usize]);
}

#[test]
fn a_bad_span_is_refused_alone_and_leaves_no_trace_in_the_columns() {
    let event = t::span::Event { time_unix_nano: 2_000, name: "e".into(), ..Default::default() };
    let mut first = span("first");
    first.attributes = vec![text("k", "v")];
    first.events = vec![event.clone(), t::span::Event { time_unix_nano: u64::MAX, ..event.clone() }];
    first.links = vec![t::span::Link { trace_id: vec![1; 3], ..Default::default() }];
    let mut bad = span("bad");
    bad.trace_id = vec![0; 16];
    bad.attributes = vec![text("k", "v"), text("k2", "v2")];
    bad.events = vec![event];
    let mut last = span("last");
    last.attributes = vec![text("k2", "v2"), text("k", "v")];
    last.end_time_unix_nano = 400;
    let mut batch = SpanBatch::default();
    let body = spans(vec![first, bad, last]);
    let refused = TracesReader::new(ReaderLimits::default()).read(&body, &mut batch).unwrap();
    assert_eq!((refused.count, batch.len()), (1, 2));
    assert_eq!(refused.reasons, [("event_time", 1), ("link_id", 1), ("bad_trace_id", 1)]);
    assert_eq!((&batch.dropped_events[..], &batch.dropped_links[..]), (&[1, 0][..], &[1, 0][..]));
    assert_eq!(batch.event_offsets, [0, 1, 1]);
    assert_eq!(batch.duration_ns, [2_000, -600]);
    let last: Vec<_> = batch.attributes_of(1).map(|pair| pair.key.to_string()).collect();
    assert_eq!(last, ["k2", "k"]);
    assert_eq!(batch.find(0, "k").unwrap().as_str(), Some("v"));
    assert_eq!(batch.resources.len(), 1);
}

#[test]
fn text_that_is_not_utf8_refuses_its_point_only() {
    let mut body = request(vec![gauge(
        "g",
        vec![number(vec![text("key", "aaaa")], 5, 1.0), number(vec![text("key", "bbbb")], 5, 2.0)],
    )]);
    let at = body.windows(4).position(|four| four == b"aaaa").unwrap();
    body[at] = 0xff;
    let mut batch = MetricBatch::default();
    let refused = MetricsReader::new(ReaderLimits::default()).read(&body, &mut batch).unwrap();
    assert_eq!(refused.reasons, [("bad_utf8", 1)]);
    assert_eq!(batch.numbers.value, [2.0]);
}

#[test]
fn limits_refuse_what_is_past_them_and_a_full_memory_is_emptied() {
    let limits =
        ReaderLimits { attributes_max: 2, value_bytes_max: 10, series_remembered_max: 3, ..Default::default() };
    let mut reader = MetricsReader::new(limits.clone());
    let pair = |number: usize| text(&format!("k{number}"), "v");
    let body = request(vec![gauge(
        "g",
        vec![
            number(vec![pair(1), pair(2)], 5, 1.0),
            number(vec![pair(1), pair(2), pair(3)], 5, 2.0),
            number(vec![text("k", "12345678901")], 5, 3.0),
        ],
    )]);
    let mut batch = MetricBatch::default();
    let refused = reader.read(&body, &mut batch).unwrap();
    assert_eq!(refused.reasons, [("too_many_attributes", 1), ("attribute_too_long", 1)]);
    for round in 0..10 {
        let points = (0..2).map(|number_of| number(vec![pair(round * 10 + number_of)], 5, 1.0)).collect();
        let mut batch = MetricBatch::default();
        reader.read(&request(vec![gauge("g", points)]), &mut batch).unwrap();
        assert_eq!(batch.numbers.series, [0, 1]);
        assert_eq!(batch.series[1].attributes.iter().next().unwrap().key.as_ref(), format!("k{}", round * 10 + 1));
    }
    let tiny = ReaderLimits { body_bytes_max: 3, ..limits };
    let error = TracesReader::new(tiny).read(&[0; 4], &mut SpanBatch::default()).unwrap_err();
    assert_eq!(error.kind(), crate::read::ErrorKind::Full);
}

#[test]
fn values_nested_without_end_are_refused_and_do_not_overflow_the_stack() {
    let mut value = AnyValue { value: Some(Wire::BoolValue(true)) };
    for _ in 0..40 {
        let values = vec![value];
        value =
            AnyValue { value: Some(Wire::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue { values })) };
    }
    let mut deep = span("deep");
    deep.attributes = vec![KeyValue { key: "k".into(), value: Some(value), ..Default::default() }];
    let mut batch = SpanBatch::default();
    let refused =
        TracesReader::new(ReaderLimits::default()).read(&spans(vec![deep, span("flat")]), &mut batch).unwrap();
    assert_eq!(refused.reasons, [("nested_too_deep", 1)]);
    assert_eq!(batch.len(), 1);
}
