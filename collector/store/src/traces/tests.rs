//! Spans in, the same spans out: from memory, from parts, from merged parts, and from all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_proto::{Attributes, KeyValue, Resource, Scope, SpanBatch, Value};

use super::*;
use crate::part::Part;

mod any;

const DAY_NS: i64 = 86_400_000_000_000;
/// 2026-11-22 12:00 UTC.
const NOON_NS: i64 = 20_779 * DAY_NS + DAY_NS / 2;

type Pairs = Vec<(String, Value)>;

/// A span as a test thinks of it: every text in place.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    resource: Pairs,
    scope: (String, String, Pairs),
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: [u8; 8],
    start_ns: i64,
    duration_ns: i64,
    name: String,
    kind: u8,
    status: u8,
    texts: [String; 2],
    flags: u32,
    attributes: Pairs,
    dropped: [u32; 3],
    events: Vec<(i64, String, Pairs, u32)>,
    links: Vec<(u8, String, u32, Pairs, u32)>,
}

fn sent(trace: u64, span: u64, service: &str) -> Sent {
    Sent {
        resource: vec![("service.name".to_owned(), service.into())],
        scope: Default::default(),
        trace_id: u128::from(trace).to_be_bytes(),
        span_id: span.to_be_bytes(),
        parent: [0; 8],
        start_ns: NOON_NS,
        duration_ns: 1_000_000,
        name: "GET /".to_owned(),
        kind: 2,
        status: 0,
        texts: Default::default(),
        flags: 1,
        attributes: Vec::new(),
        dropped: [0; 3],
        events: Vec::new(),
        links: Vec::new(),
    }
}

fn attributes(pairs: &Pairs) -> Attributes {
    pairs.iter().map(|(key, value)| KeyValue::new(key.as_str(), value.clone())).collect()
}

fn end(position: usize) -> u32 {
    u32::try_from(position).unwrap()
}

fn string(batch: &mut SpanBatch, text: &str) -> u32 {
    if text.is_empty() {
        return 0;
    }
    batch.strings.push(text.into());
    end(batch.strings.len() - 1)
}

fn put_pairs(batch: &mut SpanBatch, pairs: &Pairs) -> Vec<u32> {
    let first = end(batch.key_values.len());
    batch.key_values.extend(pairs.iter().map(|(key, value)| KeyValue::new(key.as_str(), value.clone())));
    (first..end(batch.key_values.len())).collect()
}

fn batch(sent: &[Sent]) -> SpanBatch {
    let mut batch = SpanBatch::default();
    for span in sent {
        batch.resource.push(end(batch.resources.len()));
        batch.resources.push(Arc::new(Resource { attributes: attributes(&span.resource) }));
        batch.scope.push(end(batch.scopes.len()));
        let (name, version, pairs) = &span.scope;
        let scope =
            Scope { name: name.as_str().into(), version: version.as_str().into(), attributes: attributes(pairs) };
        batch.scopes.push(Arc::new(scope));
        batch.trace_id.push(span.trace_id);
        batch.span_id.push(span.span_id);
        batch.parent_span_id.push(span.parent);
        batch.start_ns.push(span.start_ns);
        batch.duration_ns.push(span.duration_ns);
        let name = string(&mut batch, &span.name);
        batch.name.push(name);
        batch.kind.push(span.kind);
        batch.status.push(span.status);
        let message = string(&mut batch, &span.texts[0]);
        batch.status_message.push(message);
        let state = string(&mut batch, &span.texts[1]);
        batch.trace_state.push(state);
        batch.flags.push(span.flags);
        let pairs = put_pairs(&mut batch, &span.attributes);
        batch.attributes.extend(pairs);
        batch.attribute_offsets.push(end(batch.attributes.len()));
        batch.dropped_attributes.push(span.dropped[0]);
        batch.dropped_events.push(span.dropped[1]);
        batch.dropped_links.push(span.dropped[2]);
        put_events_and_links(&mut batch, span);
    }
    batch
}

fn put_events_and_links(batch: &mut SpanBatch, span: &Sent) {
    for (time_ns, name, pairs, dropped) in &span.events {
        let name = string(batch, name);
        let pairs = put_pairs(batch, pairs);
        batch.events.time_ns.push(*time_ns);
        batch.events.name.push(name);
        batch.events.attributes.extend(pairs);
        batch.events.attribute_offsets.push(end(batch.events.attributes.len()));
        batch.events.dropped_attributes.push(*dropped);
    }
    batch.event_offsets.push(end(batch.events.time_ns.len()));
    for (id, state, flags, pairs, dropped) in &span.links {
        let state = string(batch, state);
        let pairs = put_pairs(batch, pairs);
        batch.links.trace_id.push([*id; 16]);
        batch.links.span_id.push([*id; 8]);
        batch.links.trace_state.push(state);
        batch.links.flags.push(*flags);
        batch.links.attributes.extend(pairs);
        batch.links.attribute_offsets.push(end(batch.links.attributes.len()));
        batch.links.dropped_attributes.push(*dropped);
    }
    batch.link_offsets.push(end(batch.links.flags.len()));
}

/// What is sent, as it must come back: pairs sorted by key, the first of each.
fn canonical(mut span: Sent) -> Sent {
    let sort = |pairs: &mut Pairs| {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
    };
    sort(&mut span.resource);
    sort(&mut span.scope.2);
    sort(&mut span.attributes);
    span.events.iter_mut().for_each(|event| sort(&mut event.2));
    span.links.iter_mut().for_each(|link| sort(&mut link.3));
    span
}

fn pairs_of(attributes: &Attributes) -> Pairs {
    attributes.iter().map(|pair| (pair.key.to_string(), pair.value.clone())).collect()
}

fn read_pairs(batch: &SpanBatch, offsets: &[u32], references: &[u32], at: usize) -> Pairs {
    let pairs = &references[offsets[at] as usize..offsets[at + 1] as usize];
    let pairs = pairs.iter().map(|&at| &batch.key_values[at as usize]);
    pairs.map(|pair| (pair.key.to_string(), pair.value.clone())).collect()
}

/// The spans of a batch.
fn spans_of(batch: &SpanBatch) -> Vec<Sent> {
    let text = |at: u32| batch.strings[at as usize].to_string();
    let events = |row: usize| batch.event_offsets[row] as usize..batch.event_offsets[row + 1] as usize;
    let links = |row: usize| batch.link_offsets[row] as usize..batch.link_offsets[row + 1] as usize;
    let span = |row: usize| {
        let scope = &batch.scopes[batch.scope[row] as usize];
        Sent {
            resource: pairs_of(&batch.resources[batch.resource[row] as usize].attributes),
            scope: (scope.name.to_string(), scope.version.to_string(), pairs_of(&scope.attributes)),
            trace_id: batch.trace_id[row],
            span_id: batch.span_id[row],
            parent: batch.parent_span_id[row],
            start_ns: batch.start_ns[row],
            duration_ns: batch.duration_ns[row],
            name: text(batch.name[row]),
            kind: batch.kind[row],
            status: batch.status[row],
            texts: [text(batch.status_message[row]), text(batch.trace_state[row])],
            flags: batch.flags[row],
            attributes: read_pairs(batch, &batch.attribute_offsets, &batch.attributes, row),
            dropped: [batch.dropped_attributes[row], batch.dropped_events[row], batch.dropped_links[row]],
            events: events(row)
                .map(|at| {
                    let pairs = read_pairs(batch, &batch.events.attribute_offsets, &batch.events.attributes, at);
                    let events = &batch.events;
                    (events.time_ns[at], text(events.name[at]), pairs, events.dropped_attributes[at])
                })
                .collect(),
            links: links(row)
                .map(|at| {
                    let pairs = read_pairs(batch, &batch.links.attribute_offsets, &batch.links.attributes, at);
                    let links = &batch.links;
                    let state = text(links.trace_state[at]);
                    (links.trace_id[at][0], state, links.flags[at], pairs, links.dropped_attributes[at])
                })
                .collect(),
        }
    };
    (0..batch.len()).map(span).collect()
}

fn memtable(batches: &[Vec<Sent>]) -> Arc<SpanMemtable> {
    let memtable = SpanMemtable::default();
    batches.iter().for_each(|sent| memtable.insert(batch(sent)));
    Arc::new(memtable)
}

struct Dir {
    dir: tempfile::TempDir,
    parts_made: u32,
}

impl Dir {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), parts_made: 0 }
    }

    fn open(&self, entry: crate::PartEntry) -> Arc<SpanPart> {
        Arc::new(SpanPart::new(Part::new(self.dir.path(), entry)))
    }

    fn write(&mut self, memtable: &SpanMemtable) -> Vec<Arc<SpanPart>> {
        let mut made = self.parts_made;
        let mut new_id = || {
            made += 1;
            format!("{made:026}")
        };
        let entries = write_parts(self.dir.path(), memtable, 7, &mut new_id).unwrap();
        self.parts_made = made;
        entries.into_iter().map(|entry| self.open(entry)).collect()
    }

    fn merge(&mut self, parts: &[Arc<SpanPart>]) -> Arc<SpanPart> {
        self.parts_made += 1;
        let entry = merge_parts(self.dir.path(), parts, 1, format!("{:026}", self.parts_made)).unwrap().unwrap();
        self.open(entry)
    }
}

fn view(memtables: &[&Arc<SpanMemtable>], parts: &[Arc<SpanPart>]) -> TracesView {
    TracesView { memtables: memtables.iter().map(|&memtable| Arc::clone(memtable)).collect(), parts: parts.to_vec() }
}

/// What the view gives for a trace, compared by (start, span id).
fn trace(view: &TracesView, trace_id: [u8; 16]) -> Vec<Sent> {
    view.trace(trace_id).unwrap().map(|batch| spans_of(&batch)).unwrap_or_default()
}

fn expected(sent: &[Vec<Sent>], trace_id: [u8; 16]) -> Vec<Sent> {
    let mut spans: BTreeMap<[u8; 8], Sent> = BTreeMap::new();
    for span in sent.iter().flatten().filter(|span| span.trace_id == trace_id) {
        spans.entry(span.span_id).or_insert_with(|| canonical(span.clone()));
    }
    let mut spans: Vec<Sent> = spans.into_values().collect();
    spans.sort_by_key(|span| (span.start_ns, span.span_id));
    spans
}

/// A trace with every kind of attribute, under old names and new.
fn odd_trace() -> Vec<Vec<Sent>> {
    let mut old = sent(1, 1, "shop");
    old.attributes = vec![
        ("http.method".to_owned(), "GET".into()),
        ("http.status_code".to_owned(), 200.into()),
        ("net.host.name".to_owned(), "shop.local".into()),
        ("net.peer.name".to_owned(), "client.local".into()),
        ("db.sql.table".to_owned(), "a".into()),
        ("db.mongodb.collection".to_owned(), "two old names of one column".into()),
    ];
    let mut new = sent(1, 2, "shop");
    new.kind = 3;
    new.attributes = vec![
        ("http.request.method".to_owned(), "GET".into()),
        ("http.method".to_owned(), "both names, other value".into()),
        ("http.response.status_code".to_owned(), "text where a number belongs".into()),
        ("http.response.status_code".to_owned(), 200.into()),
        ("net.peer.name".to_owned(), "server.local".into()),
        ("big".to_owned(), i64::MAX.into()),
        ("nan".to_owned(), Value::Double(f64::from_bits(0x7ff0_0000_0000_0002))),
        ("yes".to_owned(), true.into()),
        ("empty".to_owned(), Value::Empty),
        ("text".to_owned(), "".into()),
        ("bytes".to_owned(), Value::Bytes([0, 1, 255].into())),
        ("list".to_owned(), Value::Array([Value::Double(0.1), "x".into(), Value::Array([].into())].into())),
        ("list".to_owned(), "the second of one key is dropped".into()),
        ("map".to_owned(), Value::Map([KeyValue::new("k", 1), KeyValue::new("k", 2)].into())),
    ];
    new.events = vec![(NOON_NS + 5, "exception".to_owned(), new.attributes[4..].to_vec(), 3)];
    new.links = vec![(7, "ot=th:c".to_owned(), 1, new.attributes[4..].to_vec(), 4)];
    new.scope = ("http".to_owned(), "1.0".to_owned(), new.attributes[4..].to_vec());
    new.texts = ["timed out".to_owned(), "ot=th:8".to_owned()];
    vec![vec![old, new]]
}

#[test]
fn every_kind_of_attribute_comes_back_under_the_name_and_type_it_was_sent_with() {
    let sent = odd_trace();
    let memtable = memtable(&sent);
    let mut dir = Dir::new();
    let parts = dir.write(&memtable);
    let expected = expected(&sent, 1_u128.to_be_bytes());
    assert_eq!(trace(&view(&[&memtable], &[]), 1_u128.to_be_bytes()), expected);
    assert_eq!(trace(&view(&[], &parts), 1_u128.to_be_bytes()), expected);
}

/// A part written by the first version of the format is in the tree; `UPDATE=1` writes it anew, which only a change
/// that old files survive may do.
#[test]
fn a_part_of_the_first_version_stays_readable() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/traces-v1");
    let entry = root.join("entry.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&root).unwrap();
        let written = write_parts(&root, &memtable(&odd_trace()), 1, &mut || "golden".to_owned()).unwrap();
        std::fs::write(&entry, serde_json::to_string_pretty(&written[0]).unwrap()).unwrap();
    }
    let entry: crate::PartEntry = serde_json::from_str(&std::fs::read_to_string(&entry).unwrap()).unwrap();
    let part = Arc::new(SpanPart::new(Part::new(&root, entry)));
    let view = view(&[], &[part]);
    assert_eq!(trace(&view, 1_u128.to_be_bytes()), expected(&odd_trace(), 1_u128.to_be_bytes()));
    assert_eq!(ids(&view, &search("shop", TraceOrder::Recent, 9)).len(), 1);
}

#[test]
fn old_names_fill_todays_columns() {
    let mut span = sent(1, 1, "shop");
    span.attributes = vec![("http.method".to_owned(), "GET".into()), ("net.host.port".to_owned(), 80.into())];
    let rows = memtable(&[vec![span]]).record_batches();
    let text = |name: &str| {
        let column = rows[0].column_by_name(name).unwrap();
        arrow::util::display::array_value_to_string(column, 0).unwrap()
    };
    assert_eq!(text("http_request_method"), "GET");
    assert_eq!(text("server_port"), "80");
    assert_eq!(text("sent_as"), "http.method,net.host.port");
    assert_eq!(text("service_name"), "shop");
    assert_eq!(text("attrs_str"), "");
}

#[test]
fn record_batches_of_a_memtable_grow_with_it_and_give_each_span_once() {
    let memtable = SpanMemtable::default();
    let mut rows = 0;
    for round in 0..40_u64 {
        let spans: Vec<Sent> = (0..=round * 20).map(|span| sent(round, span + 1, "shop")).collect();
        rows += spans.len();
        memtable.insert(batch(&spans));
        let batches = memtable.record_batches();
        assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), rows);
        assert!(batches.len() <= 1 + rows / (CHUNK_ROWS / 2), "{} chunks for {rows} rows", batches.len());
    }
    assert_eq!(memtable.rows(), rows as u64);
    assert!(memtable.bytes() > 100 * rows as u64);
}

#[test]
fn spans_of_two_days_make_two_parts_and_one_trace() {
    let mut late = sent(1, 1, "shop");
    late.start_ns = NOON_NS + DAY_NS;
    late.parent = [9; 8];
    let sent = vec![vec![late, sent(1, 2, "cart")]];
    let mut dir = Dir::new();
    let parts = dir.write(&memtable(&sent));
    let days: Vec<_> = parts.iter().map(|part| part.entry().day.as_str()).collect();
    assert_eq!(days, ["2026-11-22", "2026-11-23"]);
    assert_eq!(parts[0].entry().path, format!("traces/2026-11-22/L0-{:026}", 1));
    assert_eq!(parts[0].entry().services.as_deref().unwrap(), ["cart"]);
    let view = view(&[], &parts);
    assert_eq!(trace(&view, 1_u128.to_be_bytes()), expected(&sent, 1_u128.to_be_bytes()));
    let summary = view.summary(1_u128.to_be_bytes()).unwrap().unwrap();
    assert_eq!((summary.span_count, summary.start_ns), (2, NOON_NS));
    assert_eq!(summary.end_ns, NOON_NS + DAY_NS + 1_000_000);
    assert_eq!(summary.root.unwrap().service.as_ref(), "cart");
    assert_eq!(summary.services, ["cart".into(), "shop".into()]);
}

#[test]
fn clocks_that_are_off_do_not_make_a_part_for_each_day() {
    let spans: Vec<Sent> = (0..100)
        .map(|day| Sent { start_ns: (day * 37) * DAY_NS, ..sent(1, u64::try_from(day).unwrap() + 1, "shop") })
        .collect();
    let mut dir = Dir::new();
    let parts = dir.write(&memtable(std::slice::from_ref(&spans)));
    assert_eq!(parts.len(), 8);
    assert_eq!(trace(&view(&[], &parts), 1_u128.to_be_bytes()).len(), 100);
    let merged = dir.merge(&parts);
    assert_eq!(trace(&view(&[], &[merged]), 1_u128.to_be_bytes()), expected(&[spans], 1_u128.to_be_bytes()));
}

/// Spans enough for many pages and services: every trace is found through the page index, and nothing else is.
#[test]
fn traces_are_found_in_a_part_of_many_pages() {
    let services = ["ad", "cart", "db", "shop", "user"];
    let spans: Vec<Sent> = (0..30_000_u64)
        .map(|n| {
            let mut span = sent(n / 6 + 1, n + 1, services[usize::try_from((n * 7) % 5).unwrap()]);
            span.start_ns += i64::try_from(n).unwrap() * 1_000_003 % 60_000_000_000;
            span.parent = if n % 6 == 0 { [0; 8] } else { (n / 6 * 6 + 1).to_be_bytes() };
            span
        })
        .collect();
    let sent: Vec<Vec<Sent>> = spans.chunks(500).map(<[Sent]>::to_vec).collect();
    let mut dir = Dir::new();
    let parts = dir.write(&memtable(&sent));
    let entry = parts[0].entry();
    assert_eq!((entry.rows, entry.series), (30_000, 5_000));
    let view = view(&[], &parts);
    for number in [1_u128, 2, 777, 2_500, 5_000] {
        let expected = expected(&sent, number.to_be_bytes());
        assert_eq!(expected.len(), 6);
        assert_eq!(trace(&view, number.to_be_bytes()), expected, "trace {number}");
    }
    for absent in [0_u128, 5_001, u128::MAX] {
        assert_eq!(view.summary(absent.to_be_bytes()).unwrap(), None);
        assert!(view.trace(absent.to_be_bytes()).unwrap().is_none());
    }
    for order in [TraceOrder::Recent, TraceOrder::Slow] {
        let search = search("cart", order, 50);
        assert_eq!(ids(&view, &search), brute_force(&spans, &search));
    }
}

#[test]
fn a_corrupt_part_is_reported_and_the_others_answer() {
    let sent = [vec![sent(1, 1, "shop")], vec![sent(1, 2, "cart")]];
    let mut dir = Dir::new();
    let good = dir.write(&memtable(&sent[..1]));
    let bad = dir.write(&memtable(&sent[1..]));
    let path = bad[0].part().table("traces");
    std::fs::write(&path, b"no Parquet").unwrap();
    let view = view(&[], &[Arc::clone(&bad[0]), Arc::clone(&good[0])]);
    assert_eq!(trace(&view, 1_u128.to_be_bytes()), expected(&sent[..1], 1_u128.to_be_bytes()));
    assert!(bad[0].part().is_corrupt() && !good[0].part().is_corrupt());
    let error = merge_parts(dir.dir.path(), &bad, 1, "x".to_owned());
    assert!(error.is_ok(), "the table of spans itself is whole, and traces are made anew");
}

#[test]
fn a_file_older_than_a_column_is_read() {
    let memtable = memtable(&[vec![sent(1, 1, "shop")]]);
    let rows = memtable.record_batches().remove(0);
    let keep: Vec<usize> = rows
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| !["db_query_text", "http_route"].contains(&field.name().as_str()))
        .map(|(at, _)| at)
        .collect();
    let older = rows.project(&keep).unwrap();
    let today = merge::conform(&older).unwrap();
    assert_eq!(today.schema(), rows.schema());
    let required = older.project(&[0, 1, 2]).unwrap();
    assert!(merge::conform(&required).is_err(), "a required column cannot be made up");
}

fn search(service: &str, order: TraceOrder, limit: usize) -> ServiceSearch {
    ServiceSearch { service: service.to_owned(), namespace: None, order, from_ns: i64::MIN, to_ns: i64::MAX, limit }
}

fn ids(view: &TracesView, search: &ServiceSearch) -> Vec<([u8; 16], [u8; 8])> {
    let found = view.of_service(search).unwrap();
    found.iter().for_each(|found| assert_eq!(found.trace.trace_id, found.span.trace_id));
    found.into_iter().map(|found| (found.span.trace_id, found.span.span_id)).collect()
}

fn brute_force(spans: &[Sent], search: &ServiceSearch) -> Vec<([u8; 16], [u8; 8])> {
    let of = |span: &Sent, key: &str| {
        let found = span.resource.iter().find(|(name, _)| name == key);
        found.and_then(|(_, value)| value.as_str().map(str::to_owned))
    };
    let mut found: Vec<_> = spans
        .iter()
        .filter(|span| of(span, "service.name").unwrap_or("unknown_service".to_owned()) == search.service)
        .filter(|span| search.namespace.is_none() || of(span, "service.namespace") == search.namespace)
        .filter(|span| span.parent == [0; 8] || span.kind == 2 || span.kind == 5)
        .filter(|span| search.order != TraceOrder::Failed || span.status == 2)
        .filter(|span| (search.from_ns..=search.to_ns).contains(&span.start_ns))
        .map(|span| {
            let score = if search.order == TraceOrder::Slow { span.duration_ns } else { span.start_ns };
            (score, span.trace_id, span.span_id)
        })
        .collect();
    found.sort_unstable();
    found.reverse();
    let mut traces = BTreeSet::new();
    found.retain(|(_, trace_id, _)| traces.insert(*trace_id));
    found.truncate(search.limit);
    found.into_iter().map(|(_, trace_id, span_id)| (trace_id, span_id)).collect()
}
