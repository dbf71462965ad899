//! A trace as OTLP: rows of a [`SpanBatch`] grouped by resource and scope, as they were sent.

use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue as OtlpKeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span};
use weir_proto::{KeyValue, SpanBatch, Value};

/// The spans of a batch as OTLP, in the batch's order within each resource and scope.
#[must_use]
pub fn to_otlp(spans: &SpanBatch) -> TracesData {
    let mut resources: Vec<ResourceSpans> = Vec::new();
    let mut by_resource: HashMap<u32, usize> = HashMap::new();
    let mut by_scope: HashMap<(u32, u32), usize> = HashMap::new();
    for row in 0..spans.len() {
        let (resource, scope) = (spans.resource[row], spans.scope[row]);
        let at = *by_resource.entry(resource).or_insert_with(|| {
            resources.push(resource_of(spans, resource));
            resources.len() - 1
        });
        let scopes = &mut resources[at].scope_spans;
        let at = *by_scope.entry((resource, scope)).or_insert_with(|| {
            scopes.push(scope_of(spans, scope));
            scopes.len() - 1
        });
        scopes[at].spans.push(span_of(spans, row));
    }
    TracesData { resource_spans: resources }
}

fn resource_of(spans: &SpanBatch, at: u32) -> ResourceSpans {
    let attributes = spans.resources[at as usize].attributes.iter().map(key_value).collect();
    ResourceSpans { resource: Some(OtlpResource { attributes, ..OtlpResource::default() }), ..ResourceSpans::default() }
}

fn scope_of(spans: &SpanBatch, at: u32) -> ScopeSpans {
    let scope = &spans.scopes[at as usize];
    let scope = InstrumentationScope {
        name: scope.name.to_string(),
        version: scope.version.to_string(),
        attributes: scope.attributes.iter().map(key_value).collect(),
        dropped_attributes_count: 0,
    };
    ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }
}

fn span_of(spans: &SpanBatch, row: usize) -> Span {
    let text = |at: u32| spans.strings[at as usize].to_string();
    let parent = spans.parent_span_id[row];
    let start = spans.start_ns[row];
    Span {
        trace_id: spans.trace_id[row].to_vec(),
        span_id: spans.span_id[row].to_vec(),
        trace_state: text(spans.trace_state[row]),
        parent_span_id: if parent == [0; 8] { Vec::new() } else { parent.to_vec() },
        flags: spans.flags[row],
        name: text(spans.name[row]),
        kind: i32::from(spans.kind[row]),
        start_time_unix_nano: unsigned(start),
        end_time_unix_nano: unsigned(start.saturating_add(spans.duration_ns[row])),
        attributes: spans.attributes_of(row).map(key_value).collect(),
        dropped_attributes_count: spans.dropped_attributes[row],
        events: events_of(spans, row),
        dropped_events_count: spans.dropped_events[row],
        links: links_of(spans, row),
        dropped_links_count: spans.dropped_links[row],
        status: Some(Status { message: text(spans.status_message[row]), code: i32::from(spans.status[row]) }),
    }
}

fn events_of(spans: &SpanBatch, row: usize) -> Vec<span::Event> {
    let events = &spans.events;
    (spans.event_offsets[row] as usize..spans.event_offsets[row + 1] as usize)
        .map(|at| span::Event {
            time_unix_nano: unsigned(events.time_ns[at]),
            name: spans.strings[events.name[at] as usize].to_string(),
            attributes: referenced(spans, &events.attributes, &events.attribute_offsets, at).map(key_value).collect(),
            dropped_attributes_count: events.dropped_attributes[at],
        })
        .collect()
}

fn links_of(spans: &SpanBatch, row: usize) -> Vec<span::Link> {
    let links = &spans.links;
    (spans.link_offsets[row] as usize..spans.link_offsets[row + 1] as usize)
        .map(|at| span::Link {
            trace_id: links.trace_id[at].to_vec(),
            span_id: links.span_id[at].to_vec(),
            trace_state: spans.strings[links.trace_state[at] as usize].to_string(),
            attributes: referenced(spans, &links.attributes, &links.attribute_offsets, at).map(key_value).collect(),
            dropped_attributes_count: links.dropped_attributes[at],
            flags: links.flags[at],
        })
        .collect()
}

/// The attributes of event or link `at`.
pub(super) fn referenced<'a>(
    spans: &'a SpanBatch,
    attributes: &'a [u32],
    offsets: &[u32],
    at: usize,
) -> impl Iterator<Item = &'a KeyValue> {
    attributes[offsets[at] as usize..offsets[at + 1] as usize].iter().map(|&pair| &spans.key_values[pair as usize])
}

fn key_value(pair: &KeyValue) -> OtlpKeyValue {
    OtlpKeyValue { key: pair.key.to_string(), value: Some(any_value(&pair.value)), ..OtlpKeyValue::default() }
}

fn any_value(value: &Value) -> AnyValue {
    use any_value::Value as Any;
    let value = match value {
        Value::Empty => None,
        Value::String(text) => Some(Any::StringValue(text.to_string())),
        Value::Bool(truth) => Some(Any::BoolValue(*truth)),
        Value::Int(number) => Some(Any::IntValue(*number)),
        Value::Double(number) => Some(Any::DoubleValue(*number)),
        Value::Bytes(bytes) => Some(Any::BytesValue(bytes.to_vec())),
        Value::Array(values) => Some(Any::ArrayValue(ArrayValue { values: values.iter().map(any_value).collect() })),
        Value::Map(pairs) => Some(Any::KvlistValue(KeyValueList { values: pairs.iter().map(key_value).collect() })),
    };
    AnyValue { value }
}

fn unsigned(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}
