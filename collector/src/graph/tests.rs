//! What the graph guarantees: pairs, peers, bounds, and every stored span counted once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_proto::{KeyValue, Resource};

use super::*;

const NOW_NS: i64 = 1_700_000_003_000_000_000;
const CLIENT: u8 = semconv::SPAN_KIND_CLIENT;
const SERVER: u8 = semconv::SPAN_KIND_SERVER;
const PRODUCER: u8 = semconv::SPAN_KIND_PRODUCER;
const CONSUMER: u8 = semconv::SPAN_KIND_CONSUMER;

#[derive(Clone, Debug)]
struct Sent {
    service: &'static str,
    trace: u64,
    span: u64,
    parent: u64,
    kind: u8,
    duration_ms: i64,
    failed: bool,
    attributes: Vec<(&'static str, Value)>,
    link: Option<(u64, u64)>,
}

fn sent(service: &'static str, kind: u8, span: u64, parent: u64) -> Sent {
    let (attributes, link) = (Vec::new(), None);
    Sent { service, trace: 1, span, parent, kind, duration_ms: 1, failed: false, attributes, link }
}

fn end(position: usize) -> u32 {
    u32::try_from(position).unwrap()
}

fn batch(sent: &[Sent]) -> SpanBatch {
    let mut batch = SpanBatch::default();
    for span in sent {
        let (namespace, name) = span.service.split_once('/').unwrap_or(("", span.service));
        let names = [KeyValue::new("service.name", name), KeyValue::new("service.namespace", namespace)];
        batch.resource.push(end(batch.resources.len()));
        batch.resources.push(Arc::new(Resource { attributes: names.into_iter().collect() }));
        batch.scope.push(0);
        batch.trace_id.push(u128::from(span.trace).to_be_bytes());
        batch.span_id.push(span.span.to_be_bytes());
        batch.parent_span_id.push(span.parent.to_be_bytes());
        batch.start_ns.push(NOW_NS);
        batch.duration_ns.push(span.duration_ms * 1_000_000);
        batch.name.push(0);
        batch.kind.push(span.kind);
        batch.status.push(if span.failed { 2 } else { 0 });
        batch.status_message.push(0);
        batch.trace_state.push(0);
        for (key, value) in &span.attributes {
            batch.attributes.push(end(batch.key_values.len()));
            batch.key_values.push(KeyValue::new(*key, value.clone()));
        }
        batch.attribute_offsets.push(end(batch.attributes.len()));
        if let Some((trace, span)) = span.link {
            batch.links.trace_id.push(u128::from(trace).to_be_bytes());
            batch.links.span_id.push(span.to_be_bytes());
        }
        batch.link_offsets.push(end(batch.links.span_id.len()));
    }
    batch
}

/// (side, client, server, connection, failed) to (count, sum in ms).
type Counts = BTreeMap<(char, String, String, String, String), (u64, f64)>;

fn add(counts: &mut Counts, batch: &MetricBatch) {
    for (row, &at) in batch.histograms.series.iter().enumerate() {
        let series = &batch.series[at as usize];
        assert!(series.is_additive() && series.is_histogram() && series.resource.attributes.is_empty());
        assert_eq!(batch.histograms.time_ns[row] - batch.histograms.start_ns[row], weir_red::SLOT_NS);
        let label = |key| series.attributes.find(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let side = match series.name.as_ref() {
            semconv::GRAPH_CLIENT => 'c',
            semconv::GRAPH_SERVER => 's',
            other => panic!("a metric called {other}"),
        };
        let key = (side, label("client"), label("server"), label("connection_type"), label("failed"));
        let entry = counts.entry(key).or_default();
        *entry = (entry.0 + batch.histograms.count[row], entry.1 + batch.histograms.sum[row] * 1e3);
    }
}

fn observe(graph: &mut ServiceGraph, sent: &[Sent]) -> Counts {
    let mut into = MetricBatch::default();
    graph.observe(&batch(sent), NOW_NS, &mut into);
    let mut counts = Counts::default();
    add(&mut counts, &into);
    counts
}

fn expire(graph: &mut ServiceGraph, after_ns: i64) -> Counts {
    let mut into = MetricBatch::default();
    graph.expire(NOW_NS + after_ns, &mut into);
    let mut counts = Counts::default();
    add(&mut counts, &into);
    counts
}

fn lines(counts: &Counts) -> Vec<String> {
    let line = |((side, client, server, kind, failed), (count, ms)): (&(char, _, _, _, _), &(u64, f64))| -> String {
        let (client, server, kind, failed): (&String, &String, &String, &String) = (client, server, kind, failed);
        format!("{side} {client}>{server} {kind} {failed} {count} {ms:.0}ms")
    };
    counts.iter().map(line).collect()
}

const WAIT_NS: i64 = 10_000_000_000;

#[test]
fn a_pair_is_given_from_both_sides_in_whatever_order_it_comes() {
    let client = Sent { duration_ms: 7, ..sent("shop", CLIENT, 2, 1) };
    let server = Sent { duration_ms: 5, failed: true, ..sent("cart", SERVER, 3, 2) };
    let expected = ["c shop>cart - true 1 7ms", "s shop>cart - true 1 5ms"];
    let mut together = ServiceGraph::new(GraphLimits::default());
    assert_eq!(lines(&observe(&mut together, &[server.clone(), client.clone()])), expected);
    let mut apart = ServiceGraph::new(GraphLimits::default());
    assert!(observe(&mut apart, std::slice::from_ref(&client)).is_empty());
    assert_eq!(lines(&observe(&mut apart, std::slice::from_ref(&server))), expected);
    assert!(observe(&mut apart, &[server, client]).is_empty(), "spans sent again");
    assert_eq!(apart.stats(), GraphStats { paired: 1, repeated: 2, ..GraphStats::default() });
    assert!(expire(&mut apart, WAIT_NS).is_empty(), "nothing is left over");
    assert_eq!(apart.bytes(), 0);
}

/// A framework nests server spans: only the outer one was called. The parent ends later, so it comes with its child or
/// after it.
#[test]
fn a_server_span_inside_its_own_service_was_called_by_nobody() {
    let outer = sent("shop", SERVER, 2, 1);
    let middle = sent("shop", semconv::SPAN_KIND_INTERNAL, 3, 2);
    let inner = sent("shop", SERVER, 4, 3);
    let elsewhere = sent("cart", SERVER, 5, 3);
    for batches in [vec![vec![&middle, &inner]], vec![vec![&inner, &elsewhere], vec![&outer, &middle]]] {
        let mut graph = ServiceGraph::new(GraphLimits::default());
        for batch in &batches {
            let batch: Vec<Sent> = batch.iter().map(|span| (*span).clone()).collect();
            assert!(observe(&mut graph, &batch).is_empty());
        }
        let expected: &[&str] = match batches.len() {
            1 => &[],
            // The outer one waits for its caller, and a span of another service under the same parent is a call.
            _ => &["s unknown>cart virtual_node false 1 1ms", "s unknown>shop virtual_node false 1 1ms"],
        };
        assert_eq!(lines(&expire(&mut graph, WAIT_NS)), expected);
        assert_eq!(graph.bytes(), 0);
    }
}

#[test]
fn our_own_questions_are_no_calls() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    assert!(observe(&mut graph, &[sent("weir-collector", SERVER, 2, 0)]).is_empty());
    assert!(expire(&mut graph, WAIT_NS).is_empty());
}

#[test]
fn a_service_is_called_what_its_job_label_is() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    let counts = observe(&mut graph, &[sent("shop/cart", CLIENT, 1, 9), sent("stock", SERVER, 2, 1)]);
    assert!(
        counts.keys().all(|(_, client, server, ..)| (client.as_str(), server.as_str()) == ("shop/cart", "stock")),
        "{counts:?}"
    );
    assert!(!counts.is_empty());
}

#[test]
fn spans_of_other_traces_or_kinds_do_not_pair() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    let client = sent("shop", CLIENT, 2, 1);
    let other_trace = Sent { trace: 2, ..sent("cart", SERVER, 3, 2) };
    let internal = sent("cart", 1, 3, 2);
    assert!(observe(&mut graph, &[client, other_trace, internal]).is_empty());
    assert!(expire(&mut graph, WAIT_NS - 1).is_empty());
    let left = expire(&mut graph, WAIT_NS);
    let expected = ["c shop>unknown virtual_node false 1 1ms", "s unknown>cart virtual_node false 1 1ms"];
    assert_eq!(lines(&left), expected);
    assert_eq!(graph.stats().unpaired, 2);
}

#[test]
fn databases_and_entries_are_given_at_once_and_external_peers_after_the_wait() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    let old_names = vec![("db.system", Value::from("postgresql")), ("db.name", Value::from("shop"))];
    let database = Sent { attributes: old_names, ..sent("shop", CLIENT, 2, 1) };
    let cache = Sent { attributes: vec![("db.system.name", "redis".into())], ..sent("shop", CLIENT, 3, 1) };
    let entry = sent("shop", SERVER, 1, 0);
    let api = Sent { attributes: vec![("server.address", "api.example".into())], ..sent("shop", CLIENT, 4, 1) };
    let address = vec![("net.peer.name", Value::from("10.0.0.1")), ("net.peer.port", Value::from(80))];
    let by_ip = Sent { attributes: address, ..sent("shop", CLIENT, 5, 1) };
    let named = vec![("peer.service", Value::from("billing")), ("server.address", Value::from("10.0.0.2"))];
    let by_name = Sent { attributes: named, ..sent("shop", CLIENT, 6, 1) };
    let now = observe(&mut graph, &[database, cache, entry, api, by_ip, by_name]);
    let expected = [
        "c shop>postgresql/shop database false 1 1ms",
        "c shop>redis database false 1 1ms",
        "s user>shop virtual_node false 1 1ms",
    ];
    assert_eq!(lines(&now), expected);
    let expected = [
        "c shop>10.0.0.1:80 virtual_node false 1 1ms",
        "c shop>api.example virtual_node false 1 1ms",
        "c shop>billing virtual_node false 1 1ms",
    ];
    assert_eq!(lines(&expire(&mut graph, WAIT_NS)), expected);
}

#[test]
fn messages_pair_by_parent_or_link_and_may_have_many_consumers() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    let kafka = || vec![("messaging.system", Value::from("kafka")), ("messaging.destination", Value::from("orders"))];
    let producer = Sent { attributes: kafka(), duration_ms: 2, ..sent("shop", PRODUCER, 2, 1) };
    let by_parent = Sent { attributes: kafka(), ..sent("mail", CONSUMER, 3, 2) };
    let by_link = Sent { attributes: kafka(), trace: 9, link: Some((1, 2)), ..sent("bill", CONSUMER, 4, 0) };
    let lonely = Sent { attributes: kafka(), ..sent("shop", PRODUCER, 7, 1) };
    let nobody = Sent { attributes: kafka(), ..sent("mail", CONSUMER, 8, 0) };
    let now = observe(&mut graph, &[producer, by_parent, by_link, lonely, nobody]);
    let expected = [
        "c shop>mail messaging_system false 1 2ms",
        "s kafka/orders>mail messaging_system false 1 1ms",
        "s shop>bill messaging_system false 1 1ms",
        "s shop>mail messaging_system false 1 1ms",
    ];
    assert_eq!(lines(&now), expected);
    assert_eq!(lines(&expire(&mut graph, WAIT_NS)), ["c shop>kafka/orders messaging_system false 1 1ms"]);
}

#[test]
fn past_the_bytes_the_oldest_halves_are_shown_early() {
    let limits = GraphLimits { bytes_max: 10 * CALL_BYTES, ..GraphLimits::default() };
    let mut graph = ServiceGraph::new(limits);
    let halves: Vec<Sent> = (1..=100).map(|span| sent("shop", CLIENT, span, 1_000)).collect();
    let early = observe(&mut graph, &halves);
    assert_eq!(lines(&early), ["c shop>unknown virtual_node false 90 90ms"]);
    assert!(graph.bytes() <= 10 * CALL_BYTES);
    assert_eq!(graph.stats().evicted, 90);
    assert_eq!(expire(&mut graph, WAIT_NS).values().map(|(count, _)| count).sum::<u64>(), 10);
}

#[test]
fn names_and_edges_past_their_caps_overflow_and_totals_stay() {
    let limits = GraphLimits { nodes_max: 5, edges_max: 3, ..GraphLimits::default() };
    let mut graph = ServiceGraph::new(limits);
    let hosts: Vec<String> = (0..20).map(|host| format!("host-{host}")).collect();
    let calls: Vec<Sent> = (1..)
        .zip(&hosts)
        .map(|(span, host)| Sent {
            attributes: vec![("server.address", host.as_str().into())],
            ..sent("shop", CLIENT, span, 1_000)
        })
        .collect();
    observe(&mut graph, &calls);
    let counts = expire(&mut graph, WAIT_NS);
    assert_eq!(counts.values().map(|(count, _)| count).sum::<u64>(), 20);
    assert!(counts.len() <= 4, "{:?}", lines(&counts));
    assert_eq!(graph.stats().overflowed, 17);
}

#[test]
fn a_batch_that_was_not_stored_is_taken_back_and_counts_once_when_it_comes_again() {
    let mut graph = ServiceGraph::new(GraphLimits::default());
    let client = sent("shop", CLIENT, 2, 1);
    let server = sent("cart", SERVER, 3, 2);
    assert!(observe(&mut graph, std::slice::from_ref(&client)).is_empty());
    let refused = graph.observe(&batch(std::slice::from_ref(&server)), NOW_NS, &mut MetricBatch::default());
    graph.retract(refused);
    let again = observe(&mut graph, std::slice::from_ref(&server));
    assert_eq!(lines(&again), ["c shop>cart - false 1 1ms", "s shop>cart - false 1 1ms"]);
    // The repeat of a batch that is stored already, after its halves were forgotten.
    expire(&mut graph, WAIT_NS);
    let repeat = graph.observe(&batch(&[client]), NOW_NS + 2 * WAIT_NS, &mut MetricBatch::default());
    graph.retract(repeat);
    assert!(expire(&mut graph, 9 * WAIT_NS).is_empty());
    assert_eq!(graph.bytes(), 0);
}

/// One call: a client, and up to two servers.
fn any_calls() -> impl Strategy<Value = Vec<Sent>> {
    let call = (any::<bool>(), 0..3_u64, any::<bool>(), prop::sample::select(vec!["a", "b"]));
    prop::collection::vec(call, 1..15).prop_map(|calls| {
        let mut spans = Vec::new();
        for (number, (has_client, servers, failed, service)) in (1..).zip(calls) {
            let client = Sent { trace: number, failed, ..sent(service, CLIENT, 1, 100) };
            spans.extend(has_client.then_some(client));
            spans.extend((0..servers).map(|server| Sent { trace: number, ..sent("c", SERVER, 2 + server, 1) }));
        }
        spans
    })
}

proptest! {
    /// However spans fall into batches, whichever of these are refused at first (while others were observed in between)
    /// or sent twice: what is stored counts every span once, and names both sides of every pair.
    #[test]
    fn what_is_stored_counts_every_span_once(
        spans in any_calls().prop_shuffle(),
        sizes in prop::collection::vec(1..5_usize, 1..20),
        fates in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3_usize), 20),
    ) {
        let mut graph = ServiceGraph::new(GraphLimits::default());
        let mut batches: Vec<Vec<Sent>> = Vec::new();
        let mut rest = &spans[..];
        for size in sizes.into_iter().chain(std::iter::repeat(7)) {
            if rest.is_empty() { break }
            let (first, behind) = rest.split_at(size.min(rest.len()));
            batches.push(first.to_vec());
            rest = behind;
        }
        let mut stored = Counts::default();
        let mut refused: Vec<(usize, Observed)> = Vec::new();
        let mut again: Vec<Vec<Sent>> = Vec::new();
        for (at, sent) in batches.into_iter().enumerate() {
            let (is_refused, is_repeated, delay) = fates[at % fates.len()];
            let mut into = MetricBatch::default();
            let observed = graph.observe(&batch(&sent), NOW_NS, &mut into);
            if is_refused {
                refused.push((at + delay, observed));
                again.push(sent);
            } else {
                add(&mut stored, &into);
                if is_repeated {
                    let repeat = graph.observe(&batch(&sent), NOW_NS, &mut MetricBatch::default());
                    graph.retract(repeat);
                }
            }
            for (_, observed) in refused.extract_if(.., |(due, _)| *due <= at) {
                graph.retract(observed);
            }
        }
        refused.into_iter().for_each(|(_, observed)| graph.retract(observed));
        for sent in again {
            let mut into = MetricBatch::default();
            graph.observe(&batch(&sent), NOW_NS, &mut into);
            add(&mut stored, &into);
        }
        let mut into = MetricBatch::default();
        graph.expire(NOW_NS + WAIT_NS, &mut into);
        add(&mut stored, &into);
        prop_assert_eq!(graph.bytes(), 0);

        let mut expected: BTreeMap<(char, &str, &str), u64> = BTreeMap::new();
        for span in &spans {
            let partner = |kind, this: &Sent| {
                spans.iter().find(|other| other.trace == this.trace && other.kind == kind).map(|other| other.service)
            };
            let edge = match span.kind {
                CLIENT => ('c', span.service, partner(SERVER, span).unwrap_or("unknown")),
                _ => ('s', partner(CLIENT, span).unwrap_or("unknown"), span.service),
            };
            *expected.entry(edge).or_default() += 1;
        }
        let mut actual: BTreeMap<(char, &str, &str), u64> = BTreeMap::new();
        for ((side, client, server, _, _), (count, _)) in &stored {
            *actual.entry((*side, client.as_str(), server.as_str())).or_default() += count;
        }
        prop_assert_eq!(actual, expected);
    }
}
