//! What is sent: bodies encoded once, their times, values and ids patched for each request.
//!
//! The template is encoded with sentinels in the fixed-width fields; their offsets are found once. Six attributes on a
//! point and twelve on a span, as instrumented services send them.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use weir_proto::Batch;
use weir_proto::otlp::{MetricsReader, ReaderLimits, TracesReader};

use crate::{Args, Signal};

const START: u64 = 0x1a2b_3c4d_5e6f_7081;
const END: u64 = 0x1a2b_3c4d_5e6f_7182;
const VALUE: u64 = 0x4059_1a2b_3c4d_5e6f;
const TRACE: [u8; 16] = *b"\xa1weir-trace-id\xa1\xa1";
const SPAN: [u8; 8] = *b"\xa2w-span\xa2";
/// Spans of one trace.
const TRACE_SPANS: usize = 8;
/// A span takes this long.
const SPAN_NS: u64 = 12_000_000;

/// A sender's requests, one after the other.
pub(crate) struct Shape {
    templates: Vec<Template>,
    turn: usize,
    random: u64,
}

struct Template {
    body: Vec<u8>,
    starts: Vec<usize>,
    ends: Vec<usize>,
    values: Vec<usize>,
    traces: Vec<usize>,
    spans: Vec<usize>,
    batch: Batch,
}

impl Shape {
    /// The templates of sender `number`.
    pub(crate) fn new(args: &Args, number: usize) -> Self {
        let mine = (args.series / args.senders).max(args.batch);
        let requests = match args.signal {
            Signal::Points => mine.div_ceil(args.batch),
            Signal::Spans => 1,
        };
        let templates = (0..requests).map(|request| Template::new(args, number, request)).collect();
        Self { templates, turn: 0, random: 0x9e37_79b9_7f4a_7c15 ^ number as u64 }
    }

    /// The next request as OTLP protobuf.
    pub(crate) fn body(&mut self) -> Bytes {
        self.turn = (self.turn + 1) % self.templates.len();
        let template = &mut self.templates[self.turn];
        let now = now_ns();
        template.patch(now, &mut self.random);
        Bytes::copy_from_slice(&template.body)
    }

    /// The next request as a batch.
    pub(crate) fn batch(&mut self) -> &Batch {
        self.turn = (self.turn + 1) % self.templates.len();
        let batch = &mut self.templates[self.turn].batch;
        let now = i64::try_from(now_ns()).unwrap_or(i64::MAX);
        batch.metrics.numbers.time_ns.fill(now);
        for value in &mut batch.metrics.numbers.value {
            *value = next(&mut self.random) as f64 / 1e17;
        }
        batch.spans.start_ns.fill(now - i64::try_from(SPAN_NS).unwrap_or(0));
        for rows in batch.spans.trace_id.chunks_mut(TRACE_SPANS) {
            rows.fill(id(&mut self.random));
        }
        for span in &mut batch.spans.span_id {
            *span = next(&mut self.random).to_le_bytes();
        }
        &self.templates[self.turn].batch
    }
}

impl Template {
    fn new(args: &Args, number: usize, request: usize) -> Self {
        let mut batch = Batch::default();
        let limits = ReaderLimits::default();
        let body = match args.signal {
            Signal::Points => {
                let body = points(number, request, args.batch).encode_to_vec();
                MetricsReader::new(limits).read(&body, &mut batch.metrics).expect("our own request is valid");
                body
            }
            Signal::Spans => {
                let body = spans(number, args.batch).encode_to_vec();
                TracesReader::new(limits).read(&body, &mut batch.spans).expect("our own request is valid");
                body
            }
        };
        let find = |needle: &[u8]| memchr::memmem::find_iter(&body, needle).collect::<Vec<_>>();
        let (starts, ends) = (find(&START.to_le_bytes()), find(&END.to_le_bytes()));
        let (values, traces, spans) = (find(&VALUE.to_le_bytes()), find(&TRACE), find(&SPAN));
        Self { body, starts, ends, values, traces, spans, batch }
    }

    fn patch(&mut self, now: u64, random: &mut u64) {
        for &at in &self.starts {
            self.body[at..at + 8].copy_from_slice(&(now - SPAN_NS).to_le_bytes());
        }
        for &at in &self.ends {
            self.body[at..at + 8].copy_from_slice(&now.to_le_bytes());
        }
        for &at in &self.values {
            self.body[at..at + 8].copy_from_slice(&(next(random) as f64 / 1e17).to_le_bytes());
        }
        for spans in self.traces.chunks(TRACE_SPANS) {
            let trace = id(random);
            for &at in spans {
                self.body[at..at + 16].copy_from_slice(&trace);
            }
        }
        for &at in &self.spans {
            self.body[at..at + 8].copy_from_slice(&next(random).to_le_bytes());
        }
    }
}

fn points(number: usize, request: usize, batch: usize) -> ExportMetricsServiceRequest {
    let point = |at: usize| NumberDataPoint {
        attributes: vec![
            text("http.request.method", ["GET", "POST"][at % 2]),
            text("http.route", &format!("/api/v1/resource/{}", at / 2 % 50)),
            text("network.protocol.version", "1.1"),
            text("server.address", "shop.example.com"),
            text("shard", &format!("{request}-{}", at / 100)),
            int("http.response.status_code", [200, 404, 500][at % 3]),
        ],
        time_unix_nano: END,
        value: Some(number_data_point::Value::AsDouble(f64::from_bits(VALUE))),
        ..NumberDataPoint::default()
    };
    let metrics = (0..batch)
        .collect::<Vec<_>>()
        .chunks(100)
        .map(|rows| Metric {
            name: format!("load.requests.{}", rows[0] / 100 % 20),
            unit: "{request}".to_owned(),
            data: Some(metric::Data::Gauge(Gauge { data_points: rows.iter().map(|&row| point(row)).collect() })),
            ..Metric::default()
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource = ResourceMetrics { resource: Some(resource(number)), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn spans(number: usize, batch: usize) -> ExportTraceServiceRequest {
    let span = |at: usize| Span {
        trace_id: TRACE.to_vec(),
        span_id: SPAN.to_vec(),
        parent_span_id: if at.is_multiple_of(TRACE_SPANS) { Vec::new() } else { vec![7; 8] },
        name: format!("GET /api/v1/resource/{}", at % 50),
        kind: if at.is_multiple_of(2) { 2 } else { 3 },
        start_time_unix_nano: START,
        end_time_unix_nano: END,
        status: Some(Status { code: if at.is_multiple_of(50) { 2 } else { 0 }, ..Status::default() }),
        attributes: vec![
            text("http.request.method", "GET"),
            text("http.route", &format!("/api/v1/resource/{}", at % 50)),
            text("url.path", &format!("/api/v1/resource/{}/{at}", at % 50)),
            text("url.scheme", "http"),
            text("server.address", "shop.example.com"),
            int("server.port", 443),
            text("client.address", &format!("10.0.{}.{}", at / 250 % 250, at % 250)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            text("network.protocol.version", "1.1"),
            int("http.response.status_code", if at.is_multiple_of(50) { 500 } else { 200 }),
            text("session.id", &format!("session-{}", at / 4)),
            int("thread.id", i64::try_from(at % 8).unwrap_or(0)),
        ],
        ..Span::default()
    };
    let spans = (0..batch).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource = ResourceSpans { resource: Some(resource(number)), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

fn resource(number: usize) -> Resource {
    let attributes = vec![
        text("service.name", &format!("load-{number}")),
        text("service.version", "1.0.0"),
        text("service.instance.id", &format!("load-{number}")),
        text("deployment.environment.name", "bench"),
    ];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "weir-load".to_owned(), version: "1".to_owned(), ..InstrumentationScope::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn id(random: &mut u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&next(random).to_le_bytes());
    id[8..].copy_from_slice(&next(random).to_le_bytes());
    id
}

/// xorshift64*: enough to make ids differ.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
