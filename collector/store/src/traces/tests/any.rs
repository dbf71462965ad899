//! Any spans at all: what is found and read equals a search through the list of what was sent.

use proptest::prelude::*;

use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[a-z]{0,3}".prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Empty),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(|values| Value::Array(values.into()))
    })
}

fn any_pairs() -> impl Strategy<Value = Pairs> {
    let key = prop::sample::select(vec![
        "http.method",
        "http.request.method",
        "http.status_code",
        "http.response.status_code",
        "net.peer.name",
        "server.address",
        "db.sql.table",
        "db.mongodb.collection",
        "service.name",
        "service.namespace",
        "service.version",
        "deployment.environment",
        "custom",
        "custom.two",
        "",
    ]);
    prop::collection::vec((key.prop_map(str::to_owned), any_value()), 0..6)
}

fn any_resource() -> impl Strategy<Value = Pairs> {
    let service = prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        (service, prop::option::of(prop::sample::select(vec!["n", "m"])), any_pairs()).prop_map(
            |(service, space, rest)| {
                let named = [("service.name", Some(service)), ("service.namespace", space)];
                let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into())));
                let rest = rest.into_iter().filter(|(key, _)| key != "service.namespace");
                named.chain(rest).collect()
            }
        ),
        Just(Vec::new()),
    ]
}

fn any_span() -> impl Strategy<Value = Sent> {
    let ids = (1..6_u64, 1..9_u64, 0..3_u8, 0..6_u8, 0..3_u8);
    let times = (-2_000_i64..2_000, prop_oneof![Just(i64::MIN), Just(i64::MAX), -5..50_i64]);
    let texts = ("[a-z]{0,2}", "[a-z]{0,2}", "[a-z]{0,2}", any::<u32>());
    let event = (any::<i64>(), "[a-z]{0,2}".prop_map(String::from), any_pairs(), any::<u32>());
    let link = (any::<u8>(), "[a-z]{0,2}".prop_map(String::from), any::<u32>(), any_pairs(), any::<u32>());
    let lists = (prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..3));
    (ids, times, texts, (any_resource(), any_pairs(), any_pairs()), lists).prop_map(
        |((trace, span, parent, kind, status), (start, duration_ns), texts, pairs, (events, links))| Sent {
            resource: pairs.0,
            scope: (texts.0.clone(), texts.1.clone(), pairs.1),
            parent: [parent; 8],
            // Hours, so that some lie in the day before or after; a span's id decides them, as it does in life.
            start_ns: NOON_NS + (start / 500) * 6 * 3_600_000_000_000 + i64::try_from(span).unwrap(),
            duration_ns,
            name: texts.2,
            kind,
            status,
            texts: [texts.0, texts.1],
            flags: texts.3,
            attributes: pairs.2,
            events,
            links,
            ..sent(trace, span, "")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Wherever spans lie — in memory, in parts, in merged parts, some sent twice — a trace comes back whole, each
    /// span once and as it was sent, and a search finds what a scan of everything finds.
    #[test]
    fn spans_come_back_from_wherever_they_lie(
        spans in prop::collection::vec(any_span(), 1..40),
        split in (0..40_usize, 0..40_usize),
        repeated in 0..40_usize,
        service in prop::sample::select(vec!["a", "b", "unknown_service"]),
        limit in 1..6_usize,
    ) {
        // One span per (trace, span) id; a repeat is equal to the first.
        let mut known = BTreeSet::new();
        let spans: Vec<Sent> = spans.into_iter().filter(|span| known.insert((span.trace_id, span.span_id))).collect();
        let cut = (split.0.min(split.1).min(spans.len()), split.0.max(split.1).min(spans.len()));
        let mut thirds = [spans[..cut.0].to_vec(), spans[cut.0..cut.1].to_vec(), spans[cut.1..].to_vec()];
        let repeat = spans[repeated % spans.len()].clone();
        thirds.iter_mut().for_each(|third| third.push(repeat.clone()));
        let mut dir = Dir::new();
        let first = dir.write(&memtable(&[thirds[0].clone()]));
        let second = dir.write(&memtable(&[thirds[1].clone(), thirds[1].clone()]));
        let rest = memtable(&[thirds[2].clone()]);
        let both: Vec<Arc<SpanPart>> = first.iter().chain(&second).cloned().collect();
        let merged = dir.merge(&both);
        let third = dir.write(&rest).remove(0);
        let all = dir.merge(&[Arc::clone(&merged), third]);
        let everything = memtable(&thirds);
        let mut views = vec![view(&[&rest], &both), view(&[&rest], std::slice::from_ref(&merged)), view(&[&everything], &[])];
        let whole = thirds[2].iter().all(|span| span.start_ns.div_euclid(DAY_NS) == NOON_NS / DAY_NS);
        if whole {
            views.push(view(&[], &[all]));
        }
        let sent = vec![spans.clone()];
        for trace_id in spans.iter().map(|span| span.trace_id) {
            let expected = expected(&sent, trace_id);
            for view in &views {
                prop_assert_eq!(&trace(view, trace_id), &expected);
            }
        }
        for order in [TraceOrder::Recent, TraceOrder::Slow, TraceOrder::Failed] {
            for namespace in [None, Some("n".to_owned())] {
                let from_ns = if limit == 3 { NOON_NS } else { i64::MIN };
                let search = ServiceSearch { namespace, from_ns, ..search(service, order, limit) };
                let expected = brute_force(&spans, &search);
                for view in &views {
                    prop_assert_eq!(&ids(view, &search), &expected, "{:?}", &search);
                }
            }
        }
    }

    /// The merged part says of each trace what a fresh part of the same spans says.
    #[test]
    fn summaries_of_a_merge_count_each_span_once(
        spans in prop::collection::vec(any_span(), 1..30),
        cut in 0..30_usize,
    ) {
        let spans: Vec<Sent> = spans.into_iter().map(|span| Sent { start_ns: NOON_NS + span.start_ns % 1_000, ..span }).collect();
        let mut known = BTreeSet::new();
        let spans: Vec<Sent> = spans.into_iter().filter(|span| known.insert((span.trace_id, span.span_id))).collect();
        let cut = cut.min(spans.len() - 1);
        let mut dir = Dir::new();
        // The second part repeats the first.
        let mut parts = dir.write(&memtable(std::slice::from_ref(&spans)));
        parts.extend(dir.write(&memtable(&[spans[cut..].to_vec()])));
        let merged = dir.merge(&parts);
        prop_assert_eq!(merged.entry().rows, spans.len() as u64);
        prop_assert_eq!(merged.entry().level, 1);
        let everything = memtable(std::slice::from_ref(&spans));
        let expected = everything.summaries();
        prop_assert_eq!(merged.entry().series, expected.len() as u64);
        for summary in expected {
            let found = view(&[], &[Arc::clone(&merged)]).summary(summary.trace_id).unwrap().unwrap();
            let without_root_start = |summary: &TraceSummary| TraceSummary {
                root: summary.root.clone().map(|root| Root { start_ns: 0, ..root }),
                ..summary.clone()
            };
            prop_assert_eq!(without_root_start(&found), without_root_start(&summary));
        }
    }
}
