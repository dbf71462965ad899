//! Names that OpenTelemetry's semantic conventions give, and the ones that Weir itself mints.
//! Source: OpenTelemetry semantic conventions 1.37 (attribute registry).

/// Scope of everything that RED and the service graph derive from spans. Its delta points add up.
pub const SCOPE_RED: &str = "weir.red";

/// RED from spans: one exponential histogram of durations in seconds per service and operation.
pub const RED_DURATION: &str = "traces.span.metrics.duration";
/// Service graph, seen by the client side: exponential histogram of seconds per edge.
pub const GRAPH_CLIENT: &str = "traces.service.graph.request.client";
/// Service graph, seen by the server side: exponential histogram of seconds per edge.
pub const GRAPH_SERVER: &str = "traces.service.graph.request.server";

/// `service.name`
pub const SERVICE_NAME: &str = "service.name";
/// `service.namespace`
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// `service.version`
pub const SERVICE_VERSION: &str = "service.version";
/// `service.instance.id`
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
