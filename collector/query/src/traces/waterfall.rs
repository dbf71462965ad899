//! A trace as the page draws it: flat spans in time order, ids as text, 64-bit numbers as text.

use std::collections::BTreeSet;

use serde::Serialize;
use weir_proto::{KeyValue, SpanBatch, Value, semconv};

use super::otlp::referenced;
use crate::text::{hex, json_of};

/// A whole trace.
#[derive(Clone, Debug, Serialize)]
pub struct Waterfall {
    /// Its id.
    pub trace_id: String,
    /// Earliest start, ns.
    pub start: String,
    /// Latest end minus earliest start, ns.
    pub duration_ns: String,
    /// Service of the root; of the earliest span where no root was seen.
    pub root_service: String,
    /// Name of the root.
    pub root_name: String,
    /// Spans by start; a parent before its children where both begin at once.
    pub spans: Vec<WaterfallSpan>,
    /// Distinct parents that are referred to and not there: sampled away, late, or not instrumented.
    pub missing_parents: usize,
}

/// A span.
#[derive(Clone, Debug, Serialize)]
pub struct WaterfallSpan {
    span_id: String,
    parent_span_id: String,
    name: String,
    service: String,
    kind: &'static str,
    status: &'static str,
    status_message: String,
    start: String,
    duration_ns: String,
    attributes: Vec<Typed>,
    resource: Vec<Typed>,
    scope: String,
    events: Vec<WaterfallEvent>,
    links: Vec<WaterfallLink>,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
}

#[derive(Clone, Debug, Serialize)]
struct WaterfallEvent {
    time: String,
    name: String,
    attributes: Vec<Typed>,
}

#[derive(Clone, Debug, Serialize)]
struct WaterfallLink {
    trace_id: String,
    span_id: String,
    attributes: Vec<Typed>,
}

/// An attribute with its type; a 64-bit integer is text.
#[derive(Clone, Debug, Serialize)]
struct Typed {
    key: String,
    #[serde(rename = "type")]
    of: &'static str,
    value: serde_json::Value,
}

/// The trace of these spans, all of one trace id; `None` where there are none.
#[must_use]
pub fn waterfall(spans: &SpanBatch) -> Option<Waterfall> {
    let mut rows: Vec<usize> = (0..spans.len()).collect();
    rows.sort_by_key(|&row| (spans.start_ns[row], std::cmp::Reverse(spans.duration_ns[row]), spans.span_id[row]));
    let first = *rows.first()?;
    let start = spans.start_ns[first];
    let end = rows.iter().map(|&row| spans.start_ns[row].saturating_add(spans.duration_ns[row])).max()?;
    let known: BTreeSet<[u8; 8]> = spans.span_id.iter().copied().collect();
    let missing: BTreeSet<[u8; 8]> =
        spans.parent_span_id.iter().copied().filter(|parent| *parent != [0; 8] && !known.contains(parent)).collect();
    let root = rows.iter().copied().find(|&row| spans.parent_span_id[row] == [0; 8]).unwrap_or(first);
    Some(Waterfall {
        trace_id: hex(&spans.trace_id[first]),
        start: start.to_string(),
        duration_ns: end.saturating_sub(start).to_string(),
        root_service: service(spans, root),
        root_name: spans.strings[spans.name[root] as usize].to_string(),
        spans: rows.into_iter().map(|row| span(spans, row)).collect(),
        missing_parents: missing.len(),
    })
}

fn span(spans: &SpanBatch, row: usize) -> WaterfallSpan {
    let text = |at: u32| spans.strings[at as usize].to_string();
    let parent = spans.parent_span_id[row];
    let scope = &spans.scopes[spans.scope[row] as usize];
    WaterfallSpan {
        span_id: hex(&spans.span_id[row]),
        parent_span_id: if parent == [0; 8] { String::new() } else { hex(&parent) },
        name: text(spans.name[row]),
        service: service(spans, row),
        kind: kind_text(spans.kind[row]),
        status: status_text(spans.status[row]),
        status_message: text(spans.status_message[row]),
        start: spans.start_ns[row].to_string(),
        duration_ns: spans.duration_ns[row].to_string(),
        attributes: spans.attributes_of(row).map(typed).collect(),
        resource: spans.resources[spans.resource[row] as usize].attributes.iter().map(typed).collect(),
        scope: if scope.version.is_empty() {
            scope.name.to_string()
        } else {
            format!("{} {}", scope.name, scope.version)
        },
        events: events(spans, row),
        links: links(spans, row),
        dropped_attributes: spans.dropped_attributes[row],
        dropped_events: spans.dropped_events[row],
        dropped_links: spans.dropped_links[row],
    }
}

fn events(spans: &SpanBatch, row: usize) -> Vec<WaterfallEvent> {
    let events = &spans.events;
    let event = |at: usize| WaterfallEvent {
        time: events.time_ns[at].to_string(),
        name: spans.strings[events.name[at] as usize].to_string(),
        attributes: referenced(spans, &events.attributes, &events.attribute_offsets, at).map(typed).collect(),
    };
    (spans.event_offsets[row] as usize..spans.event_offsets[row + 1] as usize).map(event).collect()
}

fn links(spans: &SpanBatch, row: usize) -> Vec<WaterfallLink> {
    let links = &spans.links;
    let link = |at: usize| WaterfallLink {
        trace_id: hex(&links.trace_id[at]),
        span_id: hex(&links.span_id[at]),
        attributes: referenced(spans, &links.attributes, &links.attribute_offsets, at).map(typed).collect(),
    };
    (spans.link_offsets[row] as usize..spans.link_offsets[row + 1] as usize).map(link).collect()
}

/// `service.name`, as OpenTelemetry names a service without one where it is absent.
fn service(spans: &SpanBatch, row: usize) -> String {
    let resource = &spans.resources[spans.resource[row] as usize];
    let name = resource.attributes.find(semconv::SERVICE_NAME).and_then(Value::as_str);
    name.unwrap_or(semconv::UNKNOWN_SERVICE).to_owned()
}

fn typed(pair: &KeyValue) -> Typed {
    let (of, value) = match &pair.value {
        Value::Empty => ("empty", serde_json::Value::Null),
        Value::String(text) => ("string", text.to_string().into()),
        Value::Bool(truth) => ("bool", (*truth).into()),
        Value::Int(number) => ("int", number.to_string().into()),
        Value::Double(_) => ("double", json_of(&pair.value)),
        Value::Bytes(_) => ("bytes", json_of(&pair.value)),
        Value::Array(_) => ("array", json_of(&pair.value)),
        Value::Map(_) => ("map", json_of(&pair.value)),
    };
    Typed { key: pair.key.to_string(), of, value }
}

/// SpanKind in words.
#[must_use]
pub(crate) fn kind_text(kind: u8) -> &'static str {
    match kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    }
}

/// StatusCode in words.
#[must_use]
pub(crate) fn status_text(status: u8) -> &'static str {
    match status {
        1 => "ok",
        2 => "error",
        _ => "unset",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_proto::{Attributes, Resource, Scope};

    use super::super::otlp::to_otlp;
    use super::*;

    /// A root and a child whose parent is there, and an orphan.
    fn trace() -> SpanBatch {
        let attributes = Attributes::new(vec![KeyValue::new("service.name", "cart")]);
        let mut spans = SpanBatch {
            resources: vec![Arc::new(Resource { attributes })],
            scopes: vec![Arc::new(Scope::default())],
            key_values: vec![KeyValue::new("big", i64::MAX), KeyValue::new("ratio", 0.5)],
            ..SpanBatch::default()
        };
        spans.strings.push("GET /".into());
        for (id, parent, start) in [(2u8, 1u8, 150), (1, 0, 100), (3, 9, 160)] {
            spans.resource.push(0);
            spans.scope.push(0);
            spans.trace_id.push([7; 16]);
            spans.span_id.push([id; 8]);
            spans.parent_span_id.push([parent; 8]);
            spans.start_ns.push(start);
            spans.duration_ns.push(50);
            spans.name.push(1);
            spans.kind.push(2);
            spans.status.push(2);
            spans.status_message.push(0);
            spans.trace_state.push(0);
            spans.flags.push(0);
            spans.attributes.extend([0, 1]);
            spans.attribute_offsets.push(u32::try_from(spans.attributes.len()).unwrap());
            spans.dropped_attributes.push(0);
            spans.dropped_events.push(0);
            spans.dropped_links.push(0);
            spans.event_offsets.push(0);
            spans.link_offsets.push(0);
        }
        spans
    }

    #[test]
    fn a_waterfall_is_in_time_order_and_counts_missing_parents() {
        let all = waterfall(&trace()).unwrap();
        assert_eq!((all.start.as_str(), all.duration_ns.as_str(), all.missing_parents), ("100", "110", 1));
        assert_eq!((all.root_service.as_str(), all.root_name.as_str()), ("cart", "GET /"));
        assert_eq!(all.spans.iter().map(|span| &span.span_id[..2]).collect::<Vec<_>>(), ["01", "02", "03"]);
        let json = serde_json::to_value(&all.spans[0]).unwrap();
        assert_eq!(json["attributes"][0]["value"], "9223372036854775807");
        assert_eq!((json["kind"].as_str(), json["parent_span_id"].as_str()), (Some("server"), Some("")));
        assert!(waterfall(&SpanBatch::default()).is_none());
    }

    #[test]
    fn otlp_keeps_ids_types_and_grouping() {
        let otlp = to_otlp(&trace());
        assert_eq!(otlp.resource_spans.len(), 1);
        let spans = &otlp.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans.len(), 3);
        assert_eq!((spans[1].parent_span_id.len(), spans[0].parent_span_id.len()), (0, 8));
        assert_eq!((spans[0].start_time_unix_nano, spans[0].end_time_unix_nano), (150, 200));
        let json = serde_json::to_value(&otlp).unwrap();
        let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "07070707070707070707070707070707");
        assert_eq!(span["attributes"][0]["value"]["intValue"], "9223372036854775807");
    }
}
