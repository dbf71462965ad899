//! Spans of a made-up shop: 42 services of 3 pods each, traces of about twenty spans over half an hour, 24 resource
//! attributes, URLs and statements with ids in them, stack traces on errors. Deterministic. Real spans have more odd
//! attributes and take 1.2 to 2 times the bytes; what the set is for is the comparison of forms.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use weir_benches::chance::Chance;

const SERVICES: usize = 42;
const PODS: usize = 3;
/// Agents, each with the pods of some services.
const AGENTS: usize = 12;
const REQUEST_SPANS: usize = 512;
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;
const LENGTH_NS: u64 = 1_800_000_000_000;
const DEPTH_MAX: u32 = 6;

/// The spans, as their agents send them.
pub(crate) struct Shop {
    /// Requests in order of time.
    pub(crate) requests: Vec<ExportTraceServiceRequest>,
    /// How many spans.
    pub(crate) spans: usize,
    /// Every trace.
    pub(crate) trace_ids: Vec<[u8; 16]>,
    /// Names of services.
    pub(crate) services: Vec<String>,
}

/// Where a trace has come to.
struct At {
    trace_id: [u8; 16],
    parent: Vec<u8>,
    service: usize,
    start: u64,
    depth: u32,
}

/// Spans with the pod that made them.
struct Traces {
    chance: Chance,
    spans: Vec<(usize, Span)>,
}

impl Shop {
    /// Makes `count` traces.
    pub(crate) fn generate(count: usize) -> Self {
        let mut traces = Traces { chance: Chance(7), spans: Vec::new() };
        let mut trace_ids = Vec::with_capacity(count);
        for trace in 0..count {
            let trace_id = (u128::from(traces.chance.next()) << 64 | u128::from(traces.chance.next())).to_be_bytes();
            trace_ids.push(trace_id);
            let start = BEGIN_NS + LENGTH_NS / count as u64 * trace as u64;
            let service = traces.chance.index(4);
            traces.serve(At { trace_id, parent: Vec::new(), service, start, depth: 0 });
        }
        let spans = traces.spans.len();
        let services = (0..SERVICES).map(service_name).collect();
        Self { requests: requests(traces.spans), spans, trace_ids, services }
    }
}

impl Traces {
    /// A server span and what it calls; gives its end.
    fn serve(&mut self, at: At) -> u64 {
        let At { trace_id, parent, service, start, depth } = at;
        let route = self.chance.index(9);
        let span_id = self.chance.next().to_be_bytes().to_vec();
        let mut end = start + duration(&mut self.chance, 400_000);
        let calls = if depth >= DEPTH_MAX { 0 } else { [1, 1, 2, 2, 2, 3][self.chance.index(6)] };
        for _ in 0..calls {
            end = self.call(At { trace_id, parent: span_id.clone(), service, start: end, depth })
                + duration(&mut self.chance, 50_000);
        }
        let failed = self.chance.index(60) == 0;
        let id = self.chance.index(100_000);
        let mut attributes = vec![
            text("http.request.method", ["GET", "GET", "POST"][route % 3]),
            text("http.route", format!("/api/{}/{{id}}/{route}", service_name(service))),
            text("url.path", format!("/api/{}/{id}/{route}", service_name(service))),
            text("url.scheme", "http"),
            number("http.response.status_code", if failed { 500 } else { 200 }),
            text("server.address", service_name(service)),
            number("server.port", 8080),
            text("client.address", format!("10.1.{}.{}", service % 8, id % 40)),
            text("user_agent.original", "python-requests/2.32.3"),
            text("network.protocol.version", "1.1"),
            number("thread.id", (id % 16) as i64),
        ];
        if depth == 0 {
            attributes.push(text("session.id", format!("{:016x}", self.chance.next())));
            attributes.push(text("enduser.id", format!("user-{id}")));
        }
        let name = format!("{} /api/{}/{{id}}/{route}", ["GET", "GET", "POST"][route % 3], service_name(service));
        let mut span =
            Span { kind: SpanKind::Server.into(), parent_span_id: parent, ..span(trace_id, name, start, end) };
        (span.span_id, span.attributes) = (span_id, attributes);
        if failed {
            fail(&mut span, id);
        }
        self.push(service, span);
        end
    }

    /// A client span to another service or a database; gives its end.
    fn call(&mut self, at: At) -> u64 {
        let At { trace_id, parent, service, start, depth } = at;
        let span_id = self.chance.next().to_be_bytes().to_vec();
        let id = self.chance.index(100_000);
        let (name, end, attributes) = if self.chance.index(5) < 2 {
            let table = ["orders", "users", "items", "stock"][id % 4];
            let end = start + duration(&mut self.chance, 900_000);
            let attributes = vec![
                text("db.system.name", "postgresql"),
                text("db.namespace", format!("{}_db", service_name(service))),
                text("db.operation.name", "SELECT"),
                text("db.collection.name", table),
                text(
                    "db.query.text",
                    format!(
                        "SELECT id, name, state FROM {table} WHERE owner = $1 AND state <> 'gone' LIMIT {}",
                        id % 50
                    ),
                ),
                text("server.address", format!("pg-{}", service % 5)),
                number("server.port", 5432),
            ];
            (format!("SELECT {table}"), end, attributes)
        } else {
            let other = (service * 5 + 1 + id % 6) % SERVICES;
            let called = start + duration(&mut self.chance, 80_000);
            let end =
                self.serve(At { trace_id, parent: span_id.clone(), service: other, start: called, depth: depth + 1 })
                    + duration(&mut self.chance, 80_000);
            let attributes = vec![
                text("http.request.method", "GET"),
                text("url.full", format!("http://{}:8080/api/{}/{id}", service_name(other), service_name(other))),
                text("server.address", service_name(other)),
                number("server.port", 8080),
                number("http.response.status_code", 200),
            ];
            ("GET".to_owned(), end, attributes)
        };
        let mut span =
            Span { kind: SpanKind::Client.into(), parent_span_id: parent, ..span(trace_id, name, start, end) };
        (span.span_id, span.attributes) = (span_id, attributes);
        self.push(service, span);
        end
    }

    fn push(&mut self, service: usize, span: Span) {
        let pod = service * PODS + usize::from(span.trace_id[0]) % PODS;
        self.spans.push((pod, span));
    }
}

/// Every agent's spans by their end, in requests.
fn requests(spans: Vec<(usize, Span)>) -> Vec<ExportTraceServiceRequest> {
    let mut agents: Vec<Vec<(usize, Span)>> = (0..AGENTS).map(|_| Vec::new()).collect();
    for (pod, span) in spans {
        agents[pod % AGENTS].push((pod, span));
    }
    let mut requests = Vec::new();
    for mut spans in agents {
        spans.sort_by_key(|(_, span)| span.end_time_unix_nano);
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(REQUEST_SPANS));
            let end = spans.last().map_or(0, |(_, span)| span.end_time_unix_nano);
            requests.push((end, request(std::mem::replace(&mut spans, rest))));
        }
    }
    requests.sort_by_key(|(end, _)| *end);
    requests.into_iter().map(|(_, request)| request).collect()
}

fn request(mut spans: Vec<(usize, Span)>) -> ExportTraceServiceRequest {
    spans.sort_by_key(|(pod, _)| *pod);
    let mut resource_spans: Vec<(usize, ResourceSpans)> = Vec::new();
    for (pod, span) in spans {
        if resource_spans.last().is_none_or(|(last, _)| *last != pod) {
            let scope = InstrumentationScope {
                name: "io.opentelemetry.http".to_owned(),
                version: "2.14.0".to_owned(),
                ..InstrumentationScope::default()
            };
            let scope_spans = vec![ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }];
            resource_spans
                .push((pod, ResourceSpans { resource: Some(resource(pod)), scope_spans, ..Default::default() }));
        }
        let last = resource_spans.last_mut().map(|(_, spans)| &mut spans.scope_spans[0].spans);
        last.into_iter().for_each(|spans| spans.push(span.clone()));
    }
    ExportTraceServiceRequest { resource_spans: resource_spans.into_iter().map(|(_, spans)| spans).collect() }
}

fn resource(pod: usize) -> Resource {
    let service = service_name(pod / PODS);
    let mut attributes = vec![
        text("service.name", service.clone()),
        text("service.namespace", "shop"),
        text("service.version", format!("1.{}.0", pod / PODS % 7)),
        text("service.instance.id", format!("{:032x}", pod * 0x9e37_79b9)),
        text("deployment.environment.name", "production"),
        text("k8s.cluster.name", "eu-1"),
        text("k8s.namespace.name", "shop"),
        text("k8s.deployment.name", service.clone()),
        text("k8s.pod.name", format!("{service}-7d9f8b6c5-{:05x}", pod * 7919)),
        text("k8s.pod.uid", format!("{:032x}", pod * 0x85eb_ca6b)),
        text("k8s.container.name", "app"),
        text("k8s.node.name", format!("node-{}", pod % AGENTS)),
        text("host.name", format!("node-{}", pod % AGENTS)),
        text("host.arch", "amd64"),
        text("os.type", "linux"),
        text("os.description", "Debian GNU/Linux 13 (trixie)"),
        number("process.pid", 1),
        text("process.runtime.name", "CPython"),
        text("process.runtime.version", "3.13.5"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", "python"),
        text("telemetry.sdk.version", "1.37.0"),
        text("cloud.region", "eu-central-1"),
    ];
    attributes.push(text("container.image.name", format!("registry.shop/{service}")));
    Resource { attributes, ..Resource::default() }
}

fn service_name(service: usize) -> String {
    const NAMES: [&str; 7] = ["cart", "catalog", "checkout", "payment", "search", "stock", "user"];
    const PARTS: [&str; 6] = ["api", "cache", "gateway", "index", "store", "worker"];
    format!("{}-{}", NAMES[service % 7], PARTS[service / 7])
}

fn span(trace_id: [u8; 16], name: String, start: u64, end: u64) -> Span {
    Span {
        trace_id: trace_id.to_vec(),
        name,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        flags: 0x101,
        ..Span::default()
    }
}

fn fail(span: &mut Span, id: usize) {
    let frames: Vec<String> = (0..9)
        .map(|frame| format!("  File \"/app/shop/layer_{frame}.py\", line {}, in handle_{frame}", 20 + frame * 13))
        .collect();
    let trace = format!("Traceback (most recent call last):\n{}\nTimeoutError: order {id}", frames.join("\n"));
    span.status = Some(Status { code: 2, message: format!("order {id} timed out") });
    span.attributes.push(text("error.type", "TimeoutError"));
    span.events.push(Event {
        time_unix_nano: span.end_time_unix_nano,
        name: "exception".to_owned(),
        attributes: vec![
            text("exception.type", "TimeoutError"),
            text("exception.message", format!("order {id}")),
            text("exception.stacktrace", trace),
        ],
        ..Event::default()
    });
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn number(key: &str, value: i64) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::IntValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Long-tailed, with this median in ns.
fn duration(chance: &mut Chance, median: u64) -> u64 {
    let unit = (chance.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let factor = (unit / (1.0 - unit).max(1e-6)).powf(0.7);
    (median as f64 * factor) as u64 + 1
}
