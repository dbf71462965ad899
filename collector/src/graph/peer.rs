//! The name of a call's other side, from the attributes of the span that is there.
//!
//! | span | name | connection |
//! |---|---|---|
//! | has `db.system.name` | `peer.service`, else system/namespace | database |
//! | producer, consumer, or has `messaging.system` | `peer.service`, else system/destination | messaging |
//! | other client | `peer.service`, `server.address` (with port when it is an IP address), `rpc.service` | virtual |
//! | server without parent | `user` | virtual |
//!
//! Old attribute names count as today's. Source: OpenTelemetry semantic conventions 1.37 and Grafana Tempo's rules
//! for virtual nodes, which consumers of these metrics know.

use std::net::IpAddr;
use std::sync::Arc;

use weir_proto::{SpanBatch, semconv};

use super::edge::Connection;
use super::{UNKNOWN, USER};

/// The other side of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: Arc<str>,
    pub(crate) connection: Connection,
}

/// Attributes that name a peer.
#[derive(Default)]
struct Named<'a> {
    peer_service: Option<&'a str>,
    db_system: Option<&'a str>,
    db_namespace: Option<&'a str>,
    messaging_system: Option<&'a str>,
    destination: Option<&'a str>,
    server_address: Option<&'a str>,
    server_port: Option<i64>,
    rpc_service: Option<&'a str>,
}

impl<'a> Named<'a> {
    fn of(spans: &'a SpanBatch, row: usize) -> Self {
        let kind = spans.kind[row];
        let mut named = Self::default();
        for pair in spans.attributes_of(row) {
            let key = semconv::canonical_span_key(&pair.key, kind).unwrap_or(&pair.key);
            let text = pair.value.as_str().filter(|text| !text.is_empty());
            match key {
                "peer.service" | "service.peer.name" => named.peer_service = named.peer_service.or(text),
                "db.system.name" => named.db_system = named.db_system.or(text),
                "db.namespace" => named.db_namespace = named.db_namespace.or(text),
                "messaging.system" => named.messaging_system = named.messaging_system.or(text),
                "messaging.destination.name" => named.destination = named.destination.or(text),
                "server.address" => named.server_address = named.server_address.or(text),
                "server.port" => named.server_port = named.server_port.or(pair.value.as_int()),
                "rpc.service" => named.rpc_service = named.rpc_service.or(text),
                _ => {}
            }
        }
        named
    }

    /// `server.address`, with the port when the address is a number and says nothing alone.
    fn server(&self) -> Option<Arc<str>> {
        let address = self.server_address?;
        match self.server_port {
            Some(port) if address.parse::<IpAddr>().is_ok() => Some(format!("{address}:{port}").into()),
            _ => Some(address.into()),
        }
    }
}

fn joined(system: &str, within: Option<&str>) -> Arc<str> {
    within.map_or_else(|| system.into(), |within| format!("{system}/{within}").into())
}

impl Peer {
    /// The other side as span `row` names it; `None` when it does not.
    pub(crate) fn of(spans: &SpanBatch, row: usize) -> Option<Self> {
        let kind = spans.kind[row];
        let named = Named::of(spans, row);
        let by_service = named.peer_service.map(Arc::from);
        let is_messaging = matches!(kind, semconv::SPAN_KIND_PRODUCER | semconv::SPAN_KIND_CONSUMER);
        if is_messaging || named.messaging_system.is_some() {
            let system = joined(named.messaging_system.unwrap_or(UNKNOWN), named.destination);
            return Some(Self { name: by_service.unwrap_or(system), connection: Connection::Messaging });
        }
        if kind == semconv::SPAN_KIND_SERVER {
            let is_root = spans.parent_span_id[row] == [0; 8];
            return is_root.then(|| Self { name: USER.into(), connection: Connection::Virtual });
        }
        if let Some(system) = named.db_system {
            let system = semconv::canonical_value("db.system.name", system).unwrap_or(system);
            let name = by_service.unwrap_or_else(|| joined(system, named.db_namespace));
            return Some(Self { name, connection: Connection::Database });
        }
        let name = by_service.or_else(|| named.server()).or_else(|| named.rpc_service.map(Arc::from))?;
        Some(Self { name, connection: Connection::Virtual })
    }
}
