//! The lists of a service's traces, as the page shows them.

use serde::Serialize;
use weir_store::{ServiceSearch, ServiceTrace, Snapshot, StoreError, TraceOrder};

use super::waterfall::status_text;
use crate::text::hex;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// Newest first.
    Recent,
    /// Slowest first.
    Slow,
    /// Newest first, of those that failed.
    Failed,
}

/// One line of a list: a trace, seen from the service's entry span.
#[derive(Clone, Debug, Serialize)]
pub struct TraceCard {
    trace_id: String,
    span_id: String,
    name: String,
    start: String,
    duration_ns: String,
    status: &'static str,
    status_message: String,
    http_status: Option<i64>,
    root_service: String,
    root_name: String,
    span_count: u32,
    error_count: u32,
    services: Vec<String>,
    version: Option<String>,
}

/// The traces of `service` (`name` or `namespace/name`) whose entry span began within `from_ns..=to_ns`.
///
/// # Errors
/// When a part cannot be read.
pub fn list(
    snapshot: &Snapshot,
    service: &str,
    kind: TraceKind,
    (from_ns, to_ns): (i64, i64),
    limit: usize,
) -> Result<Vec<TraceCard>, StoreError> {
    let (namespace, name) = match service.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, service),
    };
    let order = match kind {
        TraceKind::Recent => TraceOrder::Recent,
        TraceKind::Slow => TraceOrder::Slow,
        TraceKind::Failed => TraceOrder::Failed,
    };
    let search = ServiceSearch { service: name.to_owned(), namespace, order, from_ns, to_ns, limit };
    Ok(snapshot.traces.of_service(&search)?.into_iter().map(card).collect())
}

fn card(found: ServiceTrace) -> TraceCard {
    let ServiceTrace { trace, span } = found;
    let (root_service, root_name) =
        trace.root.map_or_else(Default::default, |root| (root.service.to_string(), root.name.to_string()));
    TraceCard {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        name: span.name,
        start: span.start_ns.to_string(),
        duration_ns: span.duration_ns.to_string(),
        status: status_text(span.status),
        status_message: span.status_message,
        http_status: span.http_status,
        root_service,
        root_name,
        span_count: trace.span_count,
        error_count: trace.error_count,
        services: trace.services.iter().map(ToString::to_string).collect(),
        version: span.version,
    }
}

impl std::str::FromStr for TraceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "recent" => Ok(Self::Recent),
            "slow" => Ok(Self::Slow),
            "failed" => Ok(Self::Failed),
            other => Err(format!("kind is recent, slow or failed, not {other:?}")),
        }
    }
}
