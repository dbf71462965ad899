//! The ordinary OpenTelemetry SDK, as any service would set it up, and spans around calls with the context on the wire.

use std::time::{Duration, Instant};

use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

/// Name of the instrumentation scope.
const SCOPE: &str = "weir-demo";
/// How often the demo exports; shorter than the SDK's default so that a page fills while one looks.
const METRICS_EVERY: Duration = Duration::from_secs(5);
const SPANS_EVERY: Duration = Duration::from_secs(1);

/// The providers, to be shut down at the end.
pub(super) struct Telemetry {
    spans: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

/// Sets up traces and metrics over OTLP/gRPC.
pub(super) fn start(service: &str, version: &str, otlp: &str) -> anyhow::Result<Telemetry> {
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attributes([
            KeyValue::new("service.namespace", "shop"),
            KeyValue::new("service.version", version.to_owned()),
            KeyValue::new("service.instance.id", format!("{service}-{version}-{}", std::process::id())),
            KeyValue::new("deployment.environment.name", "demo"),
        ])
        .build();
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(otlp).build()?;
    let config = BatchConfigBuilder::default().with_scheduled_delay(SPANS_EVERY).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let spans = SdkTracerProvider::builder().with_resource(resource.clone()).with_span_processor(processor).build();
    let exporter = MetricExporter::builder().with_tonic().with_endpoint(otlp).build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(METRICS_EVERY).build();
    let metrics = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(spans.clone());
    global::set_meter_provider(metrics.clone());
    Ok(Telemetry { spans, metrics })
}

impl Telemetry {
    /// Sends what is left. A collector that is gone already is not waited for.
    pub(super) fn stop(&self) {
        let brief = Duration::from_secs(1);
        let _collector_may_be_gone = self.spans.shutdown_with_timeout(brief);
        let _collector_may_be_gone = self.metrics.shutdown_with_timeout(brief);
    }
}

/// The duration histogram that the semantic conventions name, with their bounds.
pub(super) fn duration_histogram(name: &'static str) -> Histogram<f64> {
    let bounds = vec![0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
    global::meter(SCOPE).f64_histogram(name).with_unit("s").with_boundaries(bounds).build()
}

/// A span around one call, in or out.
pub(super) struct Call {
    context: Context,
    since: Instant,
}

impl Call {
    /// Begins a span under `parent`.
    pub(super) fn begin(kind: SpanKind, name: String, attributes: Vec<KeyValue>, parent: &Context) -> Self {
        let tracer = global::tracer(SCOPE);
        let span =
            tracer.span_builder(name).with_kind(kind).with_attributes(attributes).start_with_context(&tracer, parent);
        Self { context: parent.with_span(span), since: Instant::now() }
    }

    /// The context with this span, for calls below and for the wire.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn set(&self, attribute: KeyValue) {
        self.context.span().set_attribute(attribute);
    }

    /// Marks it failed, with an exception event as SDKs write it.
    pub(super) fn fail(&self, kind: &str, message: &str) {
        let span = self.context.span();
        let exception = vec![
            KeyValue::new("exception.type", kind.to_owned()),
            KeyValue::new("exception.message", message.to_owned()),
        ];
        span.add_event("exception", exception);
        span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
        span.set_status(Status::error(message.to_owned()));
    }

    /// Ends it and tells how long it took, in seconds.
    pub(super) fn end(self) -> f64 {
        self.context.span().end();
        self.since.elapsed().as_secs_f64()
    }
}
