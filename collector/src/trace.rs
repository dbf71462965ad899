//! Our own spans, by the ordinary OpenTelemetry SDK over OTLP into ourselves: one SERVER span per request to an API, one
//! INTERNAL span per flush and per merge.
//!
//! Requests that carry telemetry, and those that probes and Prometheus make, are not traced, nor is a flush or merge of
//! parts that hold nothing but our own telemetry: the work that Weir's own signals cause must not cause signals. An idle
//! collector would else flush the span of its last flush for ever.

use std::time::{Duration, SystemTime};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use weir_proto::names;
use weir_store::{PartEntry, Work, WorkKind};

/// Name of the instrumentation scope.
const SCOPE: &str = "weir";
/// How often spans leave.
const EXPORT_EVERY: Duration = Duration::from_secs(2);
/// How long the last ones may take at the end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Exports our spans to ourselves, until dropped by [`Spans::stop`].
pub(crate) struct Spans(SdkTracerProvider);

impl Spans {
    /// Exports to the OTLP/gRPC endpoint at `endpoint` as who `resource` says.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub(crate) fn start(
        endpoint: &str,
        resource: Vec<KeyValue>,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let config = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_EVERY).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(resource)
            .build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build();
        global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }

    /// Sends what is left. Blocks for [`SHUTDOWN`] at most.
    pub(crate) fn stop(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(SHUTDOWN) {
            tracing::debug!(%error, "our last spans were not sent");
        }
    }
}

/// Whether a request to `path` is somebody's question, not telemetry or a probe.
fn is_traced(path: &str) -> bool {
    path.starts_with("/api/") && !path.ends_with("/write")
}

/// A span of a flush or merge that was not only of our own telemetry.
pub(crate) fn note_work(work: &Work<'_>) {
    if work.outcome.is_ok_and(|parts| parts.iter().all(is_our_own)) {
        return;
    }
    let name = match work.kind {
        WorkKind::Flush => "flush",
        WorkKind::Compact => "compact",
    };
    let at = |ns: i64| SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    let tracer = global::tracer_provider().tracer(SCOPE);
    let mut attributes = vec![KeyValue::new("weir.signal", work.signal.as_str())];
    if work.kind == WorkKind::Compact {
        attributes.push(KeyValue::new("weir.parts_in", count(work.parts_in as u64)));
    }
    if let Ok(parts) = work.outcome {
        let sum = |of: fn(&PartEntry) -> u64| count(parts.iter().map(of).sum());
        attributes.extend([
            KeyValue::new("weir.parts", count(parts.len() as u64)),
            KeyValue::new("weir.rows", sum(|part| part.rows)),
            KeyValue::new("weir.bytes", sum(|part| part.bytes)),
            KeyValue::new("weir.level", i64::from(parts.iter().map(|part| part.level).max().unwrap_or(0))),
        ]);
    }
    let builder = tracer.span_builder(format!("{name} {}", work.signal.as_str()));
    let builder = builder.with_kind(SpanKind::Internal).with_start_time(at(work.time_ns.0));
    let mut span = builder.with_attributes(attributes).start(&tracer);
    if let Err(error) = work.outcome {
        span.set_attribute(KeyValue::new("error.type", format!("{:?}", error.kind()).to_lowercase()));
        span.set_status(Status::error(error.to_string()));
    }
    span.end_with_timestamp(at(work.time_ns.1));
}

fn is_our_own(part: &PartEntry) -> bool {
    let services = part.services.as_deref().unwrap_or_default();
    !services.is_empty() && services.iter().all(|service| names::OWN_SERVICES.contains(&service.as_str()))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Middleware: a span around each question.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    if !is_traced(request.uri().path()) {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let method = request.method().to_string();
    let tracer = global::tracer_provider().tracer(SCOPE);
    let attributes = [
        KeyValue::new("http.request.method", method.clone()),
        KeyValue::new("http.route", route.clone()),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ];
    let builder =
        tracer.span_builder(format!("{method} {route}")).with_kind(SpanKind::Server).with_attributes(attributes);
    let mut span = builder.start(&tracer);
    let response = next.run(request).await;
    let status = response.status();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(status.canonical_reason().unwrap_or_default()));
    }
    span.end();
    response
}
