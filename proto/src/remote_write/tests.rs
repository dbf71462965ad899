//! What is read is what prost reads, and what is refused is refused alone.

use prost::Message as _;

use super::*;
use crate::batch::{HistogramLayout, HistogramMarks, ResetHint, STALE_NAN_BITS};
use crate::identity::{MetricKind, Temporality};
use crate::prometheus::{Promotion, translate};

/// The messages as prost writes them.
mod oracle {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
        #[prost(int64, tag = "3")]
        pub start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub value: f64,
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub offset: i32,
        #[prost(uint32, tag = "2")]
        pub length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub count_int: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub count_float: Option<f64>,
        #[prost(double, tag = "3")]
        pub sum: f64,
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        #[prost(double, tag = "5")]
        pub zero_threshold: f64,
        #[prost(uint64, optional, tag = "6")]
        pub zero_count_int: Option<u64>,
        #[prost(double, optional, tag = "7")]
        pub zero_count_float: Option<f64>,
        #[prost(message, repeated, tag = "8")]
        pub negative_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "9")]
        pub negative_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "10")]
        pub negative_counts: Vec<f64>,
        #[prost(message, repeated, tag = "11")]
        pub positive_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "12")]
        pub positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub custom_values: Vec<f64>,
        #[prost(int64, tag = "17")]
        pub start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<Series2>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Series2 {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar2>,
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
        #[prost(int64, tag = "6")]
        pub created_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar2 {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub value: f64,
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}

use oracle::{Histogram, Label, Request, Sample, Series2, TimeSeries, WriteRequest};

fn label(name: &str, value: &str) -> Label {
    Label { name: name.into(), value: value.into() }
}

fn sample(timestamp: i64, value: f64) -> Sample {
    Sample { value, timestamp, start_timestamp: 0 }
}

fn taken(message: Message, body: &[u8]) -> (MetricBatch, Outcome) {
    let mut batch = MetricBatch::default();
    let outcome = read(message, body, &mut batch).unwrap();
    (batch, outcome)
}

/// `name{labels}` as PromQL shows series `at`.
fn shown(batch: &MetricBatch, at: usize) -> String {
    let translated = translate(&batch.series[at], &Promotion::All);
    let labels: Vec<String> = translated.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}{{{}}}", translated.name, labels.join(","))
}

#[test]
fn labels_come_back_exactly_and_job_and_instance_name_the_sender() {
    let series = TimeSeries {
        labels: vec![
            label("__name__", "up:x"),
            label("instance", "h:1"),
            label("job", "a/b"),
            label("ü.x", "1"),
            label("empty", ""),
        ],
        samples: vec![sample(1_000, 1.5), sample(2_000, f64::from_bits(STALE_NAN_BITS))],
        exemplars: vec![oracle::Exemplar {
            labels: vec![label("trace_id", "0102030405060708090a0b0c0d0e0f10"), label("user", "7")],
            value: 3.0,
            timestamp: 1_000,
        }],
        histograms: vec![],
    };
    let body = WriteRequest { timeseries: vec![series.clone(), series] }.encode_to_vec();
    let (batch, outcome) = taken(Message::V1, &body);
    assert_eq!((outcome.samples, outcome.exemplars, outcome.refused.count), (4, 2, 0));
    assert_eq!(batch.series.len(), 1, "one label set is one series");
    assert_eq!(shown(&batch, 0), "up:x{instance=h:1,job=a/b,ü.x=1}");
    let resource = &batch.series[0].resource.attributes;
    assert_eq!(resource.find("service.name").unwrap().as_str(), Some("a/b"));
    assert_eq!(resource.find("service.instance.id").unwrap().as_str(), Some("h:1"));
    assert!(crate::prometheus::target_info(&batch.series[0].resource).is_none());
    assert_eq!(batch.numbers.time_ns[..2], [1_000_000_000, 2_000_000_000]);
    assert_eq!(batch.numbers.value[1].to_bits(), STALE_NAN_BITS);
    assert_eq!((batch.exemplars.trace_id[0][15], batch.exemplars.attributes.len()), (16, 2));
}

fn request(symbols: &[&str], timeseries: Vec<Series2>) -> Vec<u8> {
    Request { symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(), timeseries }.encode_to_vec()
}

#[test]
fn version_2_tells_type_unit_help_and_start() {
    let series = Series2 {
        labels_refs: vec![1, 2],
        samples: vec![Sample { value: 7.0, timestamp: 60_000, start_timestamp: -5 }, sample(120_000, 8.0)],
        metadata: Some(oracle::Metadata { r#type: 1, help_ref: 3, unit_ref: 4 }),
        created_timestamp: 30_000,
        ..Series2::default()
    };
    let (batch, outcome) =
        taken(Message::V2, &request(&["", "__name__", "x_total", "How many.", "bytes"], vec![series]));
    assert_eq!(outcome, Outcome { samples: 2, ..Outcome::default() });
    let identity = &batch.series[0];
    assert_eq!((identity.kind, identity.temporality), (MetricKind::Counter, Temporality::Cumulative));
    assert_eq!((identity.unit.as_ref(), shown(&batch, 0).as_str()), ("bytes", "x_total{}"));
    assert_eq!(identity.scope.attributes.find(HELP).unwrap().as_str(), Some("How many."));
    assert_eq!(batch.numbers.start_ns, [-5_000_000, 30_000_000_000]);
}

fn integer(timestamp: i64) -> Histogram {
    Histogram {
        count_int: Some(12),
        sum: 18.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(2),
        negative_spans: vec![oracle::Span { offset: 3, length: 1 }],
        negative_deltas: vec![4],
        positive_spans: vec![oracle::Span { offset: -1, length: 2 }, oracle::Span { offset: 2, length: 1 }],
        positive_deltas: vec![1, 1, 1],
        reset_hint: 2,
        timestamp,
        start_timestamp: 1,
        ..Histogram::default()
    }
}

#[test]
fn spans_and_deltas_become_dense_counts() {
    let labels = vec![label("__name__", "h")];
    let body = WriteRequest {
        timeseries: vec![TimeSeries { labels, histograms: vec![integer(5), integer(6)], ..TimeSeries::default() }],
    };
    let (batch, outcome) = taken(Message::V1, &body.encode_to_vec());
    assert_eq!((outcome.histograms, outcome.refused.count), (2, 0), "{:?}", outcome.refused);
    let points = &batch.histograms;
    let layout = HistogramLayout::Exponential {
        scale: 1,
        zero_threshold: 0.001,
        positive_offset: -2,
        positive_len: 5,
        negative_offset: 2,
    };
    assert_eq!(points.layouts, [layout]);
    assert_eq!(points.counts[..6], [1, 2, 0, 0, 3, 4]);
    assert_eq!(points.marks, [HistogramMarks::native(false, ResetHint::NotReset); 2]);
    assert_eq!((points.count[0], points.zero_count[0], points.start_ns[0]), (12, 2, 1_000_000));
    assert_eq!(batch.series[0].kind, MetricKind::ExponentialHistogram);
}

#[test]
fn float_and_custom_histograms_are_kept() {
    let float = Histogram {
        count_float: Some(1.5),
        zero_count_float: Some(0.0),
        schema: -53,
        positive_spans: vec![oracle::Span { offset: 1, length: 2 }],
        positive_counts: vec![0.5, 1.0],
        custom_values: vec![1.0, 2.0],
        reset_hint: 3,
        ..Histogram::default()
    };
    let (batch, outcome) = taken(
        Message::V2,
        &request(
            &["", "__name__", "h"],
            vec![Series2 { labels_refs: vec![1, 2], histograms: vec![float], ..Series2::default() }],
        ),
    );
    assert_eq!(outcome.histograms, 1, "{:?}", outcome.refused);
    let points = &batch.histograms;
    assert_eq!(points.layouts, [HistogramLayout::Explicit { bounds: [1.0, 2.0].into() }]);
    assert_eq!(points.counts, [0, 0.5_f64.to_bits(), 1.0_f64.to_bits()]);
    assert_eq!(points.marks, [HistogramMarks::native(true, ResetHint::Gauge)]);
}

#[test]
fn schemas_past_eight_are_halved_and_unknown_ones_refused() {
    let of = |schema, change: fn(&mut Histogram)| {
        let mut histogram = Histogram { schema, ..integer(1) };
        change(&mut histogram);
        let series = Series2 { labels_refs: vec![1, 2], histograms: vec![histogram], ..Series2::default() };
        taken(Message::V2, &request(&["", "__name__", "h"], vec![series]))
    };
    let (batch, _) = of(9, |_| ());
    // -1, 0, 3 of schema 9 are 0, 0, 2 of schema 8; OTLP's index is one lower.
    assert!(
        matches!(batch.histograms.layouts[0], HistogramLayout::Exponential { scale: 8, positive_offset: -1, .. }),
        "{:?}",
        batch.histograms.layouts
    );
    assert_eq!(batch.histograms.counts, [3, 0, 3, 4]);
    let reasons = |(_, outcome): (MetricBatch, Outcome)| outcome.refused.reasons;
    assert_eq!(reasons(of(-5, |_| ())), [("bad_schema", 1)]);
    assert_eq!(reasons(of(53, |_| ())), [("bad_schema", 1)]);
    assert_eq!(reasons(of(0, |h| h.count_int = Some(11))), [("count_mismatch", 1)]);
    assert_eq!(reasons(of(0, |h| h.positive_deltas = vec![1, -2, 2])), [("bad_native_buckets", 1)]);
    assert_eq!(reasons(of(0, |h| h.positive_deltas.truncate(2))), [("bad_native_buckets", 1)]);
    assert_eq!(reasons(of(0, |h| h.positive_spans[1].offset = -1)), [("bad_native_buckets", 1)]);
    assert_eq!(reasons(of(0, |h| h.positive_spans[1].offset = 1 << 20)), [("too_many_buckets", 1)]);
    assert_eq!(reasons(of(-53, |_| ())), [("bad_native_buckets", 1)]);
}

#[test]
fn one_bad_series_is_refused_alone() {
    let good =
        TimeSeries { labels: vec![label("__name__", "good")], samples: vec![sample(1, 1.0)], ..Default::default() };
    let bad = |labels: Vec<Label>| TimeSeries { labels, samples: vec![sample(1, 1.0), sample(2, 2.0)], ..good.clone() };
    let timeseries = vec![
        good.clone(),
        bad(vec![label("no_name", "x")]),
        bad(vec![label("__name__", "twice"), label("a", "1"), label("a", "2")]),
        bad(vec![label("__name__", "x"), label("", "2")]),
        TimeSeries { samples: vec![sample(i64::MAX, 1.0), sample(5, 2.0)], ..good.clone() },
    ];
    let (batch, outcome) = taken(Message::V1, &WriteRequest { timeseries }.encode_to_vec());
    assert_eq!((outcome.samples, outcome.refused.count), (2, 7));
    let reasons = [("empty_name", 2), ("duplicate_label", 2), ("empty_label_name", 2), ("time_out_of_range", 1)];
    assert_eq!(outcome.refused.reasons, reasons);
    assert!(outcome.refused.message.contains("no_name"), "{}", outcome.refused.message);
    assert_eq!(batch.numbers.value, [1.0, 2.0]);
}

#[test]
fn references_to_nothing_are_refused_and_broken_bytes_leave_nothing() {
    let series = |labels_refs| Series2 { labels_refs, samples: vec![sample(1, 1.0)], ..Series2::default() };
    let good = series(vec![1, 2]);
    let body = request(&["", "__name__", "x"], vec![good, series(vec![1, 3]), series(vec![1])]);
    let (batch, outcome) = taken(Message::V2, &body);
    assert_eq!((outcome.samples, outcome.refused.reasons), (1, vec![("bad_reference", 2)]));
    assert_eq!(batch.numbers.series.len(), 1);
    let mut batch = MetricBatch::default();
    for end in 1..body.len() {
        // Whatever is cut, nothing panics, and an error leaves the batch alone.
        if read(Message::V2, &body[..end], &mut batch).is_err() {
            assert_eq!((batch.series.len(), batch.points()), (0, 0));
        }
        batch = MetricBatch::default();
    }
    assert!(read(Message::V1, b"\xff\xff garbage", &mut batch).is_err());
}

#[test]
fn what_the_writer_writes_prost_and_we_read() {
    let mut writer = RequestWriter::new();
    writer.series([("__name__", "x"), ("job", "j")]);
    writer.metadata(2, "Help.", "s");
    writer.sample(5, 3, 1.5);
    writer.exemplar(4, 9.0, [("user", "7")]);
    writer.series([("__name__", "h"), ("job", "j")]);
    let histogram = NativeHistogram {
        schema: 1,
        zero_threshold: 0.001,
        sum: 18.5,
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 2, length: 1 }],
        negative_spans: vec![Span { offset: 3, length: 1 }],
        counts: Counts::Integer { count: 12, zero: 2, positive: vec![1, 2, 3], negative: vec![4] },
        custom_values: vec![],
        reset_hint: ResetHint::NotReset,
    };
    writer.histogram(6, 1, &histogram);
    let body = writer.finish();
    let request = Request::decode(body.as_slice()).unwrap();
    assert_eq!(request.symbols[0], "");
    assert_eq!(request.timeseries[0].samples, [Sample { value: 1.5, timestamp: 5, start_timestamp: 3 }]);
    assert_eq!(request.timeseries[1].histograms, [integer(6)]);
    let (batch, outcome) = taken(Message::V2, &body);
    assert_eq!((outcome.samples, outcome.histograms, outcome.exemplars, outcome.refused.count), (1, 1, 1, 0));
    assert_eq!((shown(&batch, 0), shown(&batch, 1)), ("x{job=j}".into(), "h{job=j}".into()));
}
