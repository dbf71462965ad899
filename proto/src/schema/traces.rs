//! Tables of the traces signal: `spans`, `resources`, `traces`; one of each per part.
//!
//! ```text
//! spans      one row per span, sorted by (service_name, start, trace_id, span_id)
//!            ids, times, name, kind, status │ scope │ resource columns │ attribute columns │ attrs_* │ events, links
//! resources  one row per distinct resource, sorted by resource_id; all attributes
//! traces     one row per trace with spans in the part, sorted by trace_id; rows of one trace add up over parts
//! ```
//! An attribute of the semantic conventions has a column of its own, named as the attribute with dots as
//! underscores, when it was sent with that column's type; every other attribute, and one of another type, stands in
//! the map of its type under its own name. An attribute that was sent under an old name stands in the column of
//! today's name, and `sent_as` lists the old name, so that nothing is lost. Old files stay readable: a column is
//! only ever added, nullable, and read as null where it is absent.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Whose data it is; constant within a compacted part.
pub const TENANT: &str = "tenant";
/// Name of the part (`L0-…`), so that a query over many files can join its tables. Constant.
pub const PART: &str = "part";
/// 16 bytes.
pub const TRACE_ID: &str = "trace_id";
/// 8 bytes.
pub const SPAN_ID: &str = "span_id";
/// 8 bytes; null for a root.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// When the span began, or the earliest span of a trace.
pub const START: &str = "start";
/// End minus start, ns; negative when the sender said so. Of a trace: latest end minus earliest start.
pub const DURATION_NS: &str = "duration_ns";
/// The operation.
pub const NAME: &str = "name";
/// OTLP SpanKind, 0 to 5: unspecified, internal, server, client, producer, consumer.
pub const KIND: &str = "kind";
/// OTLP StatusCode: 0 unset, 1 ok, 2 error.
pub const STATUS: &str = "status";
/// Null when empty.
pub const STATUS_MESSAGE: &str = "status_message";
/// W3C tracestate; null when empty.
pub const TRACE_STATE: &str = "trace_state";
/// W3C trace flags and OTLP's is-remote bits.
pub const FLAGS: &str = "flags";
/// Whether the span is a service's entry: SERVER, CONSUMER, or without parent.
pub const IS_ENTRY: &str = "is_entry";
/// Scope name; empty when none was sent.
pub const SCOPE_NAME: &str = "scope_name";
/// Scope version; empty when none was sent.
pub const SCOPE_VERSION: &str = "scope_version";
/// Scope attributes as one tagged JSON object (see the store's `traces/json`); null when there are none.
pub const SCOPE_ATTRIBUTES: &str = "scope_attributes";
/// xxh3-64 over the resource's canonical bytes: the key of `resources`.
pub const RESOURCE_ID: &str = "resource_id";
/// `service.name`, or `unknown_service`.
pub const SERVICE_NAME: &str = "service_name";
/// Old names under which this span's column attributes were sent, comma separated; null when none.
pub const SENT_AS: &str = "sent_as";
/// Text attributes without a column.
pub const ATTRS_STR: &str = "attrs_str";
/// Integer attributes without a column.
pub const ATTRS_INT: &str = "attrs_int";
/// Double attributes without a column.
pub const ATTRS_DBL: &str = "attrs_dbl";
/// Boolean attributes without a column.
pub const ATTRS_BOOL: &str = "attrs_bool";
/// Attributes of any other type as one tagged JSON object; null when there are none.
pub const ATTRS_OTHER: &str = "attrs_other";
/// How many attributes the sender dropped.
pub const DROPPED_ATTRIBUTES: &str = "dropped_attributes";
/// How many events the sender dropped.
pub const DROPPED_EVENTS: &str = "dropped_events";
/// How many links the sender dropped.
pub const DROPPED_LINKS: &str = "dropped_links";
/// Span events in the order sent.
pub const EVENTS: &str = "events";
/// Span links in the order sent.
pub const LINKS: &str = "links";
/// Of an event: ns since the span's start.
pub const OFFSET_NS: &str = "offset_ns";
/// Of an event or link: its text attributes.
pub const ATTRIBUTES: &str = "attributes";
/// Of an event or link: its other attributes as one tagged JSON object; null when there are none.
pub const ATTRIBUTES_OTHER: &str = "attributes_other";
/// Service of the root span; null while it has not been seen.
pub const ROOT_SERVICE: &str = "root_service";
/// Name of the root span; null while it has not been seen.
pub const ROOT_NAME: &str = "root_name";
/// Spans of the trace in this part.
pub const SPAN_COUNT: &str = "span_count";
/// Spans with status error.
pub const ERROR_COUNT: &str = "error_count";
/// Services with spans in the trace, sorted.
pub const SERVICES: &str = "services";

/// An attribute that has a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeColumn {
    /// The attribute, in today's name.
    pub attribute: &'static str,
    /// The column.
    pub column: &'static str,
    /// Type of the values that stand in the column.
    pub of: ColumnType,
}

/// Type of an attribute column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8.
    Text,
    /// i64.
    Number,
}

const fn text(attribute: &'static str, column: &'static str) -> AttributeColumn {
    AttributeColumn { attribute, column, of: ColumnType::Text }
}

const fn number(attribute: &'static str, column: &'static str) -> AttributeColumn {
    AttributeColumn { attribute, column, of: ColumnType::Number }
}

/// Resource attributes that are also columns of `spans`, beside `service_name`; text alone.
pub const RESOURCE_COLUMNS: [AttributeColumn; 10] = [
    text("service.namespace", "service_namespace"),
    text("service.version", "service_version"),
    text("service.instance.id", "service_instance_id"),
    text("deployment.environment.name", "deployment_environment_name"),
    text("k8s.cluster.name", "k8s_cluster_name"),
    text("k8s.namespace.name", "k8s_namespace_name"),
    text("k8s.deployment.name", "k8s_deployment_name"),
    text("k8s.pod.name", "k8s_pod_name"),
    text("k8s.node.name", "k8s_node_name"),
    text("host.name", "host_name"),
];

/// Span attributes that are columns of `spans`.
pub const SPAN_COLUMNS: [AttributeColumn; 30] = [
    text("http.request.method", "http_request_method"),
    text("http.route", "http_route"),
    number("http.response.status_code", "http_response_status_code"),
    text("url.path", "url_path"),
    text("url.query", "url_query"),
    text("url.full", "url_full"),
    text("url.scheme", "url_scheme"),
    text("server.address", "server_address"),
    number("server.port", "server_port"),
    text("client.address", "client_address"),
    text("network.peer.address", "network_peer_address"),
    text("network.protocol.version", "network_protocol_version"),
    text("user_agent.original", "user_agent_original"),
    text("peer.service", "peer_service"),
    text("db.system.name", "db_system_name"),
    text("db.namespace", "db_namespace"),
    text("db.operation.name", "db_operation_name"),
    text("db.collection.name", "db_collection_name"),
    text("db.query.text", "db_query_text"),
    text("rpc.system", "rpc_system"),
    text("rpc.service", "rpc_service"),
    text("rpc.method", "rpc_method"),
    number("rpc.grpc.status_code", "rpc_grpc_status_code"),
    text("messaging.system", "messaging_system"),
    text("messaging.destination.name", "messaging_destination_name"),
    text("messaging.operation.type", "messaging_operation_type"),
    text("exception.type", "exception_type"),
    text("error.type", "error_type"),
    text("enduser.id", "enduser_id"),
    text("session.id", "session_id"),
];

/// The type of [`START`].
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The field of one map entry, of a map from text to `values`.
#[must_use]
pub fn map_entry(values: DataType) -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", values, false)])
}

fn map(name: &str, values: DataType) -> Field {
    let entries = Field::new("entries", DataType::Struct(map_entry(values)), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

/// The fields of one event.
#[must_use]
pub fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new(OFFSET_NS, DataType::Int64, false),
        Field::new(NAME, DataType::Utf8, false),
        map(ATTRIBUTES, DataType::Utf8),
        Field::new(ATTRIBUTES_OTHER, DataType::Utf8, true),
        Field::new(DROPPED_ATTRIBUTES, DataType::UInt32, false),
    ])
}

/// The fields of one link.
#[must_use]
pub fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new(TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(SPAN_ID, DataType::FixedSizeBinary(8), false),
        Field::new(TRACE_STATE, DataType::Utf8, true),
        Field::new(FLAGS, DataType::UInt32, false),
        map(ATTRIBUTES, DataType::Utf8),
        Field::new(ATTRIBUTES_OTHER, DataType::Utf8, true),
        Field::new(DROPPED_ATTRIBUTES, DataType::UInt32, false),
    ])
}

fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("item", item, false))), true)
}

fn attribute_maps() -> Vec<Field> {
    vec![
        map(ATTRS_STR, DataType::Utf8),
        map(ATTRS_INT, DataType::Int64),
        map(ATTRS_DBL, DataType::Float64),
        map(ATTRS_BOOL, DataType::Boolean),
        Field::new(ATTRS_OTHER, DataType::Utf8, true),
    ]
}

fn attribute_column(column: &AttributeColumn) -> Field {
    let of = match column.of {
        ColumnType::Text => DataType::Utf8,
        ColumnType::Number => DataType::Int64,
    };
    Field::new(column.column, of, true)
}

static SPANS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = vec![
        Field::new(TENANT, DataType::Utf8, false),
        Field::new(PART, DataType::Utf8, false),
        Field::new(TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(SPAN_ID, DataType::FixedSizeBinary(8), false),
        Field::new(PARENT_SPAN_ID, DataType::FixedSizeBinary(8), true),
        Field::new(START, timestamp(), false),
        Field::new(DURATION_NS, DataType::Int64, false),
        Field::new(NAME, DataType::Utf8, false),
        Field::new(KIND, DataType::Int8, false),
        Field::new(STATUS, DataType::Int8, false),
        Field::new(STATUS_MESSAGE, DataType::Utf8, true),
        Field::new(TRACE_STATE, DataType::Utf8, true),
        Field::new(FLAGS, DataType::UInt32, false),
        Field::new(IS_ENTRY, DataType::Boolean, false),
        Field::new(SCOPE_NAME, DataType::Utf8, false),
        Field::new(SCOPE_VERSION, DataType::Utf8, false),
        Field::new(SCOPE_ATTRIBUTES, DataType::Utf8, true),
        Field::new(RESOURCE_ID, DataType::Int64, false),
        Field::new(SERVICE_NAME, DataType::Utf8, false),
    ];
    fields.extend(RESOURCE_COLUMNS.iter().map(attribute_column));
    fields.extend(SPAN_COLUMNS.iter().map(attribute_column));
    fields.push(Field::new(SENT_AS, DataType::Utf8, true));
    fields.extend(attribute_maps());
    fields.extend([DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS].map(|n| Field::new(n, DataType::UInt32, false)));
    fields.push(list(EVENTS, DataType::Struct(event_fields())));
    fields.push(list(LINKS, DataType::Struct(link_fields())));
    Arc::new(Schema::new(fields))
});

static RESOURCES: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = vec![
        Field::new(TENANT, DataType::Utf8, false),
        Field::new(PART, DataType::Utf8, false),
        Field::new(RESOURCE_ID, DataType::Int64, false),
    ];
    fields.extend(attribute_maps());
    Arc::new(Schema::new(fields))
});

static TRACES: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(TENANT, DataType::Utf8, false),
        Field::new(PART, DataType::Utf8, false),
        Field::new(TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(START, timestamp(), false),
        Field::new(DURATION_NS, DataType::Int64, false),
        Field::new(ROOT_SERVICE, DataType::Utf8, true),
        Field::new(ROOT_NAME, DataType::Utf8, true),
        Field::new(SPAN_COUNT, DataType::UInt32, false),
        Field::new(ERROR_COUNT, DataType::UInt32, false),
        list(SERVICES, DataType::Utf8),
    ]))
});

/// Schema of the table `spans`.
#[must_use]
pub fn spans() -> SchemaRef {
    Arc::clone(&SPANS)
}

/// Schema of the table `resources`.
#[must_use]
pub fn resources() -> SchemaRef {
    Arc::clone(&RESOURCES)
}

/// Schema of the table `traces`.
#[must_use]
pub fn traces() -> SchemaRef {
    Arc::clone(&TRACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_after_their_attributes_and_stand_once() {
        for column in RESOURCE_COLUMNS.iter().chain(&SPAN_COLUMNS) {
            assert_eq!(column.attribute.replace('.', "_"), column.column);
            assert!(crate::semconv::canonical_key(column.attribute).is_none(), "{} is an old name", column.attribute);
        }
        for schema in [spans(), resources(), traces()] {
            let mut names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), schema.fields().len());
        }
    }
}
