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

/// The name that an attribute of an older convention has today; `None` when `key` is no old name. Values keep
/// their meaning, so the pair can be read under either name. What cannot be renamed one to one (`http.target`,
/// which holds path and query) is not here, nor what depends on the span's kind: see [`canonical_span_key`].
/// Source: OpenTelemetry schema files 1.20 to 1.37 (`rename_attributes`) and the HTTP, database, messaging, network
/// and deployment migration guides.
#[must_use]
pub fn canonical_key(key: &str) -> Option<&'static str> {
    RENAMED.binary_search_by(|(old, _)| (*old).cmp(key)).ok().map(|at| RENAMED[at].1)
}

/// As [`canonical_key`], for an attribute of a span of this OTLP SpanKind: the old `net.peer.*` names mean the
/// server on a client's span and the client on a server's, `net.host.*` the other way round.
#[must_use]
pub fn canonical_span_key(key: &str, kind: u8) -> Option<&'static str> {
    let is_client = matches!(kind, SPAN_KIND_CLIENT | SPAN_KIND_PRODUCER);
    match (key, is_client) {
        ("net.peer.name", true) | ("net.host.name", false) => Some("server.address"),
        ("net.peer.port", true) | ("net.host.port", false) => Some("server.port"),
        ("net.peer.name", false) | ("net.host.name", true) => Some("client.address"),
        ("net.peer.port", false) | ("net.host.port", true) => Some("client.port"),
        _ => canonical_key(key),
    }
}

/// The value of today's attribute `name` that an older convention spelt `text`; `None` when it is spelt alike.
/// Source: the database and messaging migration guides.
#[must_use]
pub fn canonical_value(name: &str, text: &str) -> Option<&'static str> {
    match (name, text) {
        ("db.system.name", "mssql") => Some("microsoft.sql_server"),
        ("db.system.name", "oracle") => Some("oracle.db"),
        ("db.system.name", "db2") => Some("ibm.db2"),
        ("db.system.name", "dynamodb") => Some("aws.dynamodb"),
        ("db.system.name", "redshift") => Some("aws.redshift"),
        ("db.system.name", "cosmosdb") => Some("azure.cosmosdb"),
        ("db.system.name", "spanner") => Some("gcp.spanner"),
        ("db.system.name", "firebird") => Some("firebirdsql"),
        ("db.system.name", "hanadb") => Some("sap.hana"),
        ("db.system.name", "maxdb") => Some("sap.maxdb"),
        ("messaging.operation.type", "publish") => Some("send"),
        ("messaging.operation.type", "deliver") => Some("process"),
        _ => None,
    }
}

/// Name that the specification gives to a service without one.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// OTLP SpanKind: neither calls nor is called.
pub const SPAN_KIND_INTERNAL: u8 = 1;
/// OTLP SpanKind SERVER.
pub const SPAN_KIND_SERVER: u8 = 2;
/// OTLP SpanKind CLIENT.
pub const SPAN_KIND_CLIENT: u8 = 3;
/// OTLP SpanKind PRODUCER.
pub const SPAN_KIND_PRODUCER: u8 = 4;
/// OTLP SpanKind CONSUMER.
pub const SPAN_KIND_CONSUMER: u8 = 5;
/// OTLP StatusCode ERROR.
pub const STATUS_CODE_ERROR: u8 = 2;

/// Old name, today's name; sorted by the old name.
const RENAMED: &[(&str, &str)] = &[
    ("code.filepath", "code.file.path"),
    ("code.function", "code.function.name"),
    ("code.lineno", "code.line.number"),
    ("db.cassandra.table", "db.collection.name"),
    ("db.cosmosdb.container", "db.collection.name"),
    ("db.mongodb.collection", "db.collection.name"),
    ("db.name", "db.namespace"),
    ("db.operation", "db.operation.name"),
    ("db.redis.database_index", "db.namespace"),
    ("db.sql.table", "db.collection.name"),
    ("db.statement", "db.query.text"),
    ("db.system", "db.system.name"),
    ("deployment.environment", "deployment.environment.name"),
    ("gen_ai.system", "gen_ai.provider.name"),
    ("http.client_ip", "client.address"),
    ("http.flavor", "network.protocol.version"),
    ("http.method", "http.request.method"),
    ("http.request_content_length", "http.request.body.size"),
    ("http.resend_count", "http.request.resend_count"),
    ("http.response_content_length", "http.response.body.size"),
    ("http.scheme", "url.scheme"),
    ("http.status_code", "http.response.status_code"),
    ("http.url", "url.full"),
    ("http.user_agent", "user_agent.original"),
    ("messaging.conversation_id", "messaging.message.conversation_id"),
    ("messaging.destination", "messaging.destination.name"),
    ("messaging.kafka.consumer.group", "messaging.consumer.group.name"),
    ("messaging.kafka.consumer_group", "messaging.consumer.group.name"),
    ("messaging.kafka.destination.partition", "messaging.destination.partition.id"),
    ("messaging.kafka.partition", "messaging.destination.partition.id"),
    ("messaging.message_id", "messaging.message.id"),
    ("messaging.message_payload_size_bytes", "messaging.message.body.size"),
    ("messaging.operation", "messaging.operation.type"),
    ("messaging.temp_destination", "messaging.destination.temporary"),
    ("net.app.protocol.name", "network.protocol.name"),
    ("net.app.protocol.version", "network.protocol.version"),
    ("net.host.ip", "network.local.address"),
    ("net.peer.ip", "network.peer.address"),
    ("net.protocol.name", "network.protocol.name"),
    ("net.protocol.version", "network.protocol.version"),
    ("net.sock.host.addr", "network.local.address"),
    ("net.sock.host.port", "network.local.port"),
    ("net.sock.peer.addr", "network.peer.address"),
    ("net.sock.peer.port", "network.peer.port"),
    ("otel.library.name", "otel.scope.name"),
    ("otel.library.version", "otel.scope.version"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_sorted_and_never_fold_twice() {
        assert!(RENAMED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(RENAMED.iter().all(|(_, new)| canonical_key(new).is_none()));
    }

    #[test]
    fn old_spellings_of_values_fold_and_never_twice() {
        let name = canonical_key("db.system").unwrap();
        let today = canonical_value(name, "mssql").unwrap();
        assert_eq!((today, canonical_value(name, today)), ("microsoft.sql_server", None));
        assert_eq!(canonical_value(name, "postgresql"), None);
        assert_eq!(canonical_value("http.request.method", "mssql"), None);
    }

    #[test]
    fn a_peer_is_the_server_of_a_client_and_the_client_of_a_server() {
        assert_eq!(canonical_span_key("net.peer.name", SPAN_KIND_CLIENT), Some("server.address"));
        assert_eq!(canonical_span_key("net.peer.name", SPAN_KIND_SERVER), Some("client.address"));
        assert_eq!(canonical_span_key("http.method", SPAN_KIND_SERVER), Some("http.request.method"));
        assert_eq!(canonical_span_key("http.request.method", SPAN_KIND_SERVER), None);
    }
}
