//! The service graph: who calls whom, how often, how long, how often in vain, from pairs of spans.
//!
//! ```text
//!  client or producer span ── (trace, span id) ───┐                      ┌─▶ GRAPH_CLIENT {client, server, …} its duration
//!                                                 ├─ Call ─ both sides ──┤
//!  server or consumer span ── (trace, parent id) ─┘                      └─▶ GRAPH_SERVER {client, server, …} its duration
//!             one side alone: after WAIT_NS, the other side named by convention (peer, database, queue) or `unknown`
//! ```
//! Points are additive delta histograms like RED's ([`weir_red`]), with empty resource, and attributes `client`,
//! `server`, `connection_type` (absent, `database`, `messaging_system`, `virtual_node`) and `failed` (either side has
//! status error). Each span is in exactly one point of its own side. What needs no partner is given at once: a call
//! of a database, a server span without parent (its client is `user`).
//!
//! **Nothing is counted twice.** A pair is given with the batch that completes it, and the caller stores both in one
//! append: a pair is in the log if and only if the span is that completed it, and replaying the log observes nothing.
//! Halves that wait live in memory alone; after a crash their partners find nobody and are shown unpaired. A batch
//! that was observed but then not stored (full, or a repeat of an earlier one) is taken back by
//! [`ServiceGraph::retract`]. A span that comes again within the wait is recognised by its id.
//!
//! Memory is bounded by bytes: past the bound the oldest halves are shown unpaired early, and counted. Names are
//! bounded as RED's labels are. No clock, no I/O.

mod edge;
mod peer;

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::prometheus::job;
use weir_proto::{MetricBatch, SpanBatch, Value, names, semconv};
use weir_red::labels::{Admission, Calendar, Room};
use weir_red::weight::{span_weight, threshold};
use weir_red::{HistogramSink, OVERFLOW};

use edge::{Connection, Edge, Edges, Side};
use peer::Peer;

/// The client of a server span without parent.
const USER: &str = "user";
/// The other side when nothing names it.
const UNKNOWN: &str = "unknown";
/// Bytes of a call with one half, map and queue slots included; names are shared.
const CALL_BYTES: usize = 320;
/// Bytes of each further half.
const HALF_BYTES: usize = 96;
/// Place of node names in the admission, and of edges.
const NODE: u8 = 0;
const EDGE: u8 = 1;

/// What bounds the graph.
#[derive(Clone, Debug)]
pub struct GraphLimits {
    /// How long a half waits for its partner. Longer finds partners that an agent was slow to send, and holds more
    /// memory: 10 s of 20 k calls a second are 64 MB.
    pub wait_ns: i64,
    /// Bytes of halves that wait, and of pairs remembered so that a span sent again is recognised.
    pub bytes_max: usize,
    /// Distinct names of services and peers per hour; beyond it a name is `__overflow__`.
    pub nodes_max: usize,
    /// Distinct (client, server) per hour; beyond it the server is `__overflow__`.
    pub edges_max: usize,
    /// Longest name in bytes.
    pub name_bytes_max: usize,
}

impl Default for GraphLimits {
    fn default() -> Self {
        Self { wait_ns: 10_000_000_000, bytes_max: 64 << 20, nodes_max: 2_000, edges_max: 10_000, name_bytes_max: 256 }
    }
}

/// What the graph has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphStats {
    /// Server spans that met their client's.
    pub paired: u64,
    /// Halves shown without a partner.
    pub unpaired: u64,
    /// Of these, shown before their wait was over, since memory was short.
    pub evicted: u64,
    /// Spans recognised as sent again.
    pub repeated: u64,
    /// Spans whose edge was named `__overflow__`.
    pub overflowed: u64,
}

/// A call: the client's span id within its trace.
type CallKey = ([u8; 16], [u8; 8]);

/// One call, as far as its spans have come.
#[derive(Debug, Default)]
struct Call {
    client: Option<Half>,
    /// A client may have several: a message consumed by many.
    servers: Vec<Half>,
}

/// One span of a call.
#[derive(Clone, Debug)]
struct Half {
    span_id: [u8; 8],
    service: Arc<str>,
    peer: Option<Peer>,
    duration_ns: i64,
    weight: u64,
    failed: bool,
    messaging: bool,
    /// The observation that gave its point.
    given_by: Option<u64>,
}

/// What one call of [`ServiceGraph::observe`] added, to be taken back should its batch not be stored.
#[derive(Debug, Default)]
pub struct Observed {
    number: u64,
    added: Vec<(CallKey, Side, [u8; 8])>,
    /// Halves of other observations that were given by this one.
    given: Vec<CallKey>,
}

/// The graph's state. One owner; see the module.
#[derive(Debug)]
pub struct ServiceGraph {
    limits: GraphLimits,
    calls: HashMap<CallKey, Call, FixedState>,
    /// Calls by age: when each was first seen.
    ages: VecDeque<(i64, CallKey)>,
    bytes: usize,
    observations: u64,
    names: Admission,
    calendar: Calendar,
    stats: GraphStats,
}

impl ServiceGraph {
    /// A graph that has seen nothing.
    #[must_use]
    pub fn new(limits: GraphLimits) -> Self {
        Self {
            limits,
            calls: HashMap::default(),
            ages: VecDeque::new(),
            bytes: 0,
            observations: 0,
            names: Admission::default(),
            calendar: Calendar::default(),
            stats: GraphStats::default(),
        }
    }

    /// Takes in the spans of one batch and appends to `into` the points of every pair that they complete.
    pub fn observe(&mut self, spans: &SpanBatch, now_ns: i64, into: &mut MetricBatch) -> Observed {
        if self.calendar.turns(now_ns) {
            self.names.turn();
        }
        self.observations += 1;
        let mut observed = Observed { number: self.observations, ..Observed::default() };
        let mut edges = Edges::default();
        let services: Vec<Arc<str>> = spans.resources.iter().map(|resource| self.service(resource)).collect();
        for row in 0..spans.len() {
            // Questions about what Weir has observed are no calls between the services observed.
            if names::OWN_SERVICES.contains(&services[spans.resource[row] as usize].as_ref()) {
                continue;
            }
            let side = match spans.kind[row] {
                semconv::SPAN_KIND_CLIENT | semconv::SPAN_KIND_PRODUCER => Side::Client,
                semconv::SPAN_KIND_SERVER | semconv::SPAN_KIND_CONSUMER => Side::Server,
                _ => continue,
            };
            let half = self.half(spans, row, Arc::clone(&services[spans.resource[row] as usize]));
            match call_key(spans, row, side) {
                Some(key) if !is_complete_alone(side, &half) => {
                    self.add((key, side), half, now_ns, &mut observed);
                    self.settle(key, &mut observed, &mut edges);
                }
                _ => self.give_alone(side, &half, &mut edges),
            }
        }
        for row in (0..spans.len()).filter(|&row| is_inside(spans.kind[row])) {
            self.drop_inner((spans.trace_id[row], spans.span_id[row]), &services[spans.resource[row] as usize]);
        }
        self.emit(edges, now_ns, into);
        self.shrink(now_ns, into);
        observed
    }

    /// A server span whose parent is inside the same service was called by nobody: a framework that nests one in
    /// another says so. The parent ends after it, so it comes with it or later; one that came before is not remembered.
    fn drop_inner(&mut self, parent: CallKey, service: &Arc<str>) {
        let Some(call) = self.calls.get_mut(&parent) else { return };
        let before = call.servers.len();
        call.servers.retain(|half| half.given_by.is_some() || half.service != *service);
        self.bytes = self.bytes.saturating_sub(HALF_BYTES * (before - call.servers.len()));
    }

    /// Takes back what `observed` added, since its batch was not stored: it will come again, or was there before.
    pub fn retract(&mut self, observed: Observed) {
        for key in &observed.given {
            let Some(call) = self.calls.get_mut(key) else { continue };
            for half in call.client.iter_mut().chain(&mut call.servers) {
                half.given_by.take_if(|by| *by == observed.number);
            }
        }
        for (key, side, span_id) in observed.added {
            let Some(call) = self.calls.get_mut(&key) else { continue };
            // What a later batch has given already is stored with that batch; it stays, so that it is not given again.
            match side {
                Side::Client => drop(call.client.take_if(|half| half.given_by.is_none())),
                Side::Server => {
                    let before = call.servers.len();
                    call.servers.retain(|half| half.span_id != span_id || half.given_by.is_some());
                    self.bytes -= HALF_BYTES * (before - call.servers.len());
                }
            }
        }
    }

    /// Appends the points of halves that have waited long enough.
    pub fn expire(&mut self, now_ns: i64, into: &mut MetricBatch) {
        let mut edges = Edges::default();
        while let Some((since_ns, _)) = self.ages.front()
            && since_ns.saturating_add(self.limits.wait_ns) <= now_ns
        {
            self.give_up_oldest(&mut edges);
        }
        self.emit(edges, now_ns, into);
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> GraphStats {
        self.stats
    }

    /// Bytes of the calls that are remembered, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn half(&mut self, spans: &SpanBatch, row: usize, service: Arc<str>) -> Half {
        let kind = spans.kind[row];
        let peer = Peer::of(spans, row).map(|peer| Peer { name: self.admit(peer.name), ..peer });
        let state = &spans.strings[spans.trace_state[row] as usize];
        let threshold = if state.is_empty() { None } else { threshold(state) };
        Half {
            span_id: spans.span_id[row],
            service,
            duration_ns: spans.duration_ns[row],
            weight: threshold.map_or(1, |threshold| span_weight(threshold, spans.span_id[row])),
            failed: spans.status[row] == semconv::STATUS_CODE_ERROR,
            messaging: matches!(kind, semconv::SPAN_KIND_PRODUCER | semconv::SPAN_KIND_CONSUMER),
            peer,
            given_by: None,
        }
    }

    /// A service is called what its `job` label is, `namespace/name`: two of one name in two namespaces are two nodes.
    fn service(&mut self, resource: &weir_proto::Resource) -> Arc<str> {
        let named =
            resource.attributes.find(semconv::SERVICE_NAME).and_then(Value::as_str).is_some_and(|n| !n.is_empty());
        let job = if named { job(&resource.attributes) } else { None };
        self.admit(job.unwrap_or_else(|| semconv::UNKNOWN_SERVICE.into()))
    }

    /// A node's name, or what stands for too many.
    fn admit(&mut self, name: Arc<str>) -> Arc<str> {
        let room = Room { bytes_max: self.limits.name_bytes_max, values_max: self.limits.nodes_max };
        let value = Value::String(name);
        let admitted = self.names.admits(0, NODE, &value, room);
        match value {
            Value::String(name) if admitted => name,
            _ => OVERFLOW.into(),
        }
    }

    fn add(&mut self, (key, side): (CallKey, Side), half: Half, now_ns: i64, observed: &mut Observed) {
        let call = self.calls.entry(key).or_insert_with(|| {
            self.ages.push_back((now_ns, key));
            self.bytes += CALL_BYTES;
            Call::default()
        });
        let known = match side {
            Side::Client => call.client.is_some(),
            Side::Server => call.servers.iter().any(|known| known.span_id == half.span_id),
        };
        if known {
            self.stats.repeated += 1;
            return;
        }
        observed.added.push((key, side, half.span_id));
        match side {
            Side::Client => call.client = Some(half),
            Side::Server => {
                self.bytes += HALF_BYTES;
                call.servers.push(half);
            }
        }
    }

    /// Gives the points of a call that has both sides, as far as they were not given before.
    fn settle(&mut self, key: CallKey, observed: &mut Observed, edges: &mut Edges) {
        let Some(Call { client: Some(client), servers }) = self.calls.get_mut(&key) else { return };
        for server in servers.iter_mut().filter(|server| server.given_by.is_none()) {
            let connection =
                if client.messaging || server.messaging { Connection::Messaging } else { Connection::Direct };
            let edge = |side| Edge {
                side,
                client: Arc::clone(&client.service),
                server: Arc::clone(&server.service),
                connection,
                failed: client.failed || server.failed,
            };
            edges.add(edge(Side::Server), server.duration_ns, server.weight);
            if client.given_by.is_none() {
                edges.add(edge(Side::Client), client.duration_ns, client.weight);
                client.given_by = Some(observed.number);
            }
            server.given_by = Some(observed.number);
            self.stats.paired += 1;
            observed.given.push(key);
        }
    }

    /// Gives the point of a half without its partner.
    fn give_alone(&mut self, side: Side, half: &Half, edges: &mut Edges) {
        let (name, connection) = match &half.peer {
            Some(peer) => (Arc::clone(&peer.name), peer.connection),
            None => (UNKNOWN.into(), Connection::Virtual),
        };
        let service = Arc::clone(&half.service);
        let (client, server) = if side == Side::Client { (service, name) } else { (name, service) };
        edges.add(Edge { side, client, server, connection, failed: half.failed }, half.duration_ns, half.weight);
    }

    /// Forgets the oldest call; its halves that met nobody are given alone.
    fn give_up_oldest(&mut self, edges: &mut Edges) -> u64 {
        let Some((_, key)) = self.ages.pop_front() else { return 0 };
        let Some(call) = self.calls.remove(&key) else { return 0 };
        self.bytes = self.bytes.saturating_sub(CALL_BYTES + HALF_BYTES * call.servers.len());
        let mut alone = 0;
        let halves = call.client.iter().map(|half| (Side::Client, half));
        for (side, half) in halves.chain(call.servers.iter().map(|half| (Side::Server, half))) {
            if half.given_by.is_none() {
                self.give_alone(side, half, edges);
                alone += 1;
            }
        }
        self.stats.unpaired += alone;
        alone
    }

    /// Keeps to the bytes: the oldest calls go first.
    fn shrink(&mut self, now_ns: i64, into: &mut MetricBatch) {
        let mut edges = Edges::default();
        while self.bytes > self.limits.bytes_max && !self.ages.is_empty() {
            self.stats.evicted += self.give_up_oldest(&mut edges);
        }
        self.emit(edges, now_ns, into);
    }

    fn emit(&mut self, mut edges: Edges, now_ns: i64, into: &mut MetricBatch) {
        if edges.is_empty() {
            return;
        }
        let room = Room { bytes_max: usize::MAX, values_max: self.limits.edges_max };
        let mut overflowed = 0;
        edges.rename(|edge, spans| {
            let pair = Value::from(format!("{}\0{}", edge.client, edge.server));
            if !self.names.admits(0, EDGE, &pair, room) {
                edge.server = OVERFLOW.into();
            }
            if [&edge.client, &edge.server].into_iter().any(|name| name.as_ref() == OVERFLOW) {
                overflowed += spans;
            }
        });
        self.stats.overflowed += overflowed;
        edges.write(&mut HistogramSink::new(into, now_ns));
    }
}

/// Whether a span of this kind neither calls nor is called.
fn is_inside(kind: u8) -> bool {
    kind == semconv::SPAN_KIND_INTERNAL
}

/// Whether a half waits for nobody: a database has no spans of its own.
fn is_complete_alone(side: Side, half: &Half) -> bool {
    side == Side::Client && half.peer.as_ref().is_some_and(|peer| peer.connection == Connection::Database)
}

/// The call that a span belongs to; `None` for a server span that nobody called. A consumer without parent is called by
/// the span that it links to.
fn call_key(spans: &SpanBatch, row: usize, side: Side) -> Option<CallKey> {
    let trace_id = spans.trace_id[row];
    if side == Side::Client {
        return Some((trace_id, spans.span_id[row]));
    }
    let parent = spans.parent_span_id[row];
    if parent != [0; 8] {
        return Some((trace_id, parent));
    }
    let links = spans.link_offsets[row] as usize..spans.link_offsets[row + 1] as usize;
    let link = links.into_iter().next().filter(|_| spans.kind[row] == semconv::SPAN_KIND_CONSUMER)?;
    Some((spans.links.trace_id[link], spans.links.span_id[link]))
}

#[cfg(test)]
mod tests;
