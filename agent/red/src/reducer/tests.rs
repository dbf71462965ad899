//! What the reducer guarantees, by hand-made spans and by recount.

use proptest::prelude::*;
use weir_proto::HistogramLayout;

use super::*;

const NOW_NS: i64 = 1_700_000_003_000_000_000;

/// A span to be put into a batch.
#[derive(Clone, Debug)]
struct Sent {
    resource: Vec<(&'static str, String)>,
    name: String,
    kind: u8,
    status: u8,
    duration_ns: i64,
    trace_state: &'static str,
    attributes: Vec<(&'static str, Value)>,
}

fn sent(service: &str, name: &str) -> Sent {
    Sent {
        resource: vec![("service.name", service.to_owned()), ("service.instance.id", "i-1".to_owned())],
        name: name.to_owned(),
        kind: 2,
        status: 0,
        duration_ns: 1_000_000,
        trace_state: "",
        attributes: Vec::new(),
    }
}

/// A batch without any sharing in its dictionaries: the worst that a reader may give.
fn batch(sent: &[Sent]) -> SpanBatch {
    let mut spans = SpanBatch::default();
    for (number, span) in (1_u64..).zip(sent) {
        let attributes = span.resource.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
        spans.resources.push(Arc::new(Resource { attributes: attributes.collect() }));
        spans.resource.push(u32::try_from(number - 1).unwrap());
        spans.scope.push(0);
        spans.trace_id.push(u128::from(number).to_be_bytes());
        spans.span_id.push(number.to_be_bytes());
        spans.parent_span_id.push([0; 8]);
        spans.start_ns.push(NOW_NS);
        spans.duration_ns.push(span.duration_ns);
        for (column, text) in [(&mut spans.name, span.name.as_str()), (&mut spans.trace_state, span.trace_state)] {
            spans.strings.push(text.into());
            column.push(u32::try_from(spans.strings.len() - 1).unwrap());
        }
        spans.status_message.push(0);
        spans.kind.push(span.kind);
        spans.status.push(span.status);
        spans.flags.push(0);
        for (key, value) in &span.attributes {
            spans.key_values.push(KeyValue::new(*key, value.clone()));
            spans.attributes.push(u32::try_from(spans.key_values.len() - 1).unwrap());
        }
        spans.attribute_offsets.push(u32::try_from(spans.attributes.len()).unwrap());
    }
    spans
}

fn observe(reducer: &mut RedReducer, sent: &[Sent]) -> MetricBatch {
    let mut into = MetricBatch::default();
    reducer.observe(&batch(sent), NOW_NS, &mut into);
    into
}

fn label(series: &SeriesIdentity, key: &str) -> Option<String> {
    match series.attributes.find(key)? {
        Value::String(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        other => panic!("a label that is no scalar: {other:?}"),
    }
}

/// Count by the given labels of every point.
fn counts(batch: &MetricBatch, keys: &[&str]) -> Vec<(Vec<Option<String>>, u64)> {
    let points = batch.histograms.series.iter().zip(&batch.histograms.count);
    let mut counts: Vec<_> = points
        .map(|(&at, &count)| (keys.iter().map(|key| label(&batch.series[at as usize], key)).collect(), count))
        .collect();
    counts.sort();
    counts
}

#[test]
fn one_span_is_one_delta_point_of_its_service_in_the_slot_of_now() {
    let mut span = sent("shop", "GET /cart");
    span.attributes = vec![("http.route", "/cart".into()), ("http.response.status_code", 200.into()), ("x", 1.into())];
    let got = observe(&mut RedReducer::new(RedLimits::default()), &[span]);
    let series = &got.series[0];
    assert_eq!(series.name.as_ref(), semconv::RED_DURATION);
    assert_eq!(series.unit.as_ref(), "s");
    assert!(series.is_additive() && series.is_histogram());
    assert_eq!(series.resource.attributes.len(), 1, "instances add up: {:?}", series.resource);
    let labels = ["span.name", "span.kind", "status.code", "http.route", "http.response.status_code", "x"];
    let labels: Vec<_> = labels.iter().map(|key| label(series, key)).collect();
    let some = |text: &str| Some(text.to_owned());
    let expected = ["GET /cart", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET", "/cart", "200"].map(some);
    assert_eq!(labels, [&expected[..], &[None]].concat());
    let points = &got.histograms;
    assert_eq!((points.start_ns[0], points.time_ns[0]), (1_700_000_000_000_000_000, 1_700_000_005_000_000_000));
    assert_eq!((points.count[0], points.sum[0], points.min[0], points.max[0]), (1, 0.001, 0.001, 0.001));
    assert_eq!(points.counts, [1]);
    let HistogramLayout::Exponential { scale, positive_offset, positive_len, .. } = points.layouts[0] else {
        panic!("an exponential histogram")
    };
    assert_eq!((scale, positive_len), (3, 1));
    assert!(2_f64.powf(f64::from(positive_offset) / 8.0) < 0.001);
    assert!(2_f64.powf(f64::from(positive_offset + 1) / 8.0) >= 0.001);
}

#[test]
fn old_and_new_conventions_are_one_series() {
    let mut old = sent("shop", "GET /cart");
    old.resource.push(("deployment.environment", "prod".to_owned()));
    old.attributes =
        vec![("http.method", "GET".into()), ("http.status_code", 200.into()), ("http.target", "/cart?x=1".into())];
    let mut new = sent("shop", "GET /cart");
    new.resource.push(("deployment.environment.name", "prod".to_owned()));
    new.attributes = vec![("http.response.status_code", "200".into()), ("http.request.method", "GET".into())];
    let mut both = new.clone();
    both.attributes.insert(0, ("http.method", "get, as the old instrumentation spelt it".into()));
    let got = observe(&mut RedReducer::new(RedLimits::default()), &[old, new, both]);
    assert_eq!(got.series.len(), 1, "{:#?}", got.series);
    assert_eq!(got.histograms.count, [3]);
}

#[test]
fn a_head_sampled_span_counts_for_those_not_sent() {
    let mut quarter = sent("shop", "GET");
    quarter.trace_state = "ot=th:c";
    let got = observe(&mut RedReducer::new(RedLimits::default()), &[quarter, sent("shop", "GET")]);
    assert_eq!(got.histograms.count, [5]);
    assert_eq!(got.histograms.counts, [5]);
    assert!((got.histograms.sum[0] - 0.005).abs() < 1e-12);
}

#[test]
fn values_past_the_cap_overflow_and_are_counted_while_other_services_go_on() {
    let limits = RedLimits { label_values_max: 2, ..RedLimits::default() };
    let mut reducer = RedReducer::new(limits);
    let mut spans: Vec<_> = (0..5).map(|number| sent("noisy", &format!("GET /user/{number}"))).collect();
    spans.push(sent("calm", "GET /"));
    let got = observe(&mut reducer, &spans);
    assert_eq!(got.histograms.count.iter().sum::<u64>(), 6, "no span is lost");
    let by_name = counts(&got, &["span.name"]);
    assert!(by_name.contains(&(vec![Some(OVERFLOW.to_owned())], 3)), "{by_name:?}");
    assert!(by_name.contains(&(vec![Some("GET /".to_owned())], 1)));
    assert_eq!(reducer.stats().labels_overflowed().find(|(label, _)| *label == "span.name").unwrap().1, 3);
    assert_eq!(reducer.stats().spans, 6);
}

#[test]
fn services_and_series_past_their_caps_keep_totals() {
    let limits = RedLimits { services_max: 3, series_max: 4, ..RedLimits::default() };
    let mut reducer = RedReducer::new(limits);
    let spans: Vec<_> = (0..200).map(|n| sent(&format!("service {}", n % 20), &format!("GET {n}"))).collect();
    let got = observe(&mut reducer, &spans);
    assert_eq!(got.histograms.count.iter().sum::<u64>(), 200);
    assert!(got.series.len() <= 4 + 4, "4 series, and an overflow series for each of 4 services: {}", got.series.len());
    assert_eq!(reducer.stats().services_overflowed, 17 * 10);
    assert_eq!(reducer.stats().series_overflowed, 196);
}

#[test]
fn state_stays_within_its_bytes() {
    let limits = RedLimits { state_bytes_max: 100_000, ..RedLimits::default() };
    let mut reducer = RedReducer::new(limits);
    for round in 0..50 {
        let spans: Vec<_> = (0..100).map(|n| sent(&format!("s{}", n % 7), &format!("GET {round} {n}"))).collect();
        let got = observe(&mut reducer, &spans);
        assert_eq!(got.histograms.count.iter().sum::<u64>(), 100);
    }
    assert!(reducer.state_bytes() < 110_000, "{}", reducer.state_bytes());
}

#[test]
fn exemplars_are_the_slowest_and_the_newest_error_of_a_slot_given_once() {
    let mut reducer = RedReducer::new(RedLimits::default());
    let span = |duration_ms: i64, status| Sent { duration_ns: duration_ms * 1_000_000, status, ..sent("shop", "GET") };
    let got = observe(&mut reducer, &[span(3, 0), span(9, 0), span(5, 0), span(2, 2), span(4, 2), span(1, 2)]);
    assert_eq!(got.series.len(), 2, "errors are a series of their own");
    assert_eq!(got.exemplars.value, [0.009, 0.004]);
    assert_eq!(got.exemplars.span_id, [2_u64.to_be_bytes(), 5_u64.to_be_bytes()]);
    assert_eq!(got.exemplars.attribute_offsets, [0, 0, 0]);
    let again = observe(&mut reducer, &[span(9, 0), span(8, 0)]);
    assert!(again.exemplars.value.is_empty(), "not slower than what was given");
    let slower = observe(&mut reducer, &[span(10, 0)]);
    assert_eq!(slower.exemplars.value, [0.010]);
    let mut next_slot = MetricBatch::default();
    reducer.observe(&batch(&[span(1, 0)]), NOW_NS + crate::SLOT_NS, &mut next_slot);
    assert_eq!(next_slot.exemplars.value, [0.001]);
}

#[test]
fn points_are_appended_behind_what_the_batch_holds() {
    let mut reducer = RedReducer::new(RedLimits::default());
    let mut into = observe(&mut reducer, &[sent("shop", "GET")]);
    reducer.observe(&batch(&[sent("shop", "GET"), sent("shop", "PUT")]), NOW_NS, &mut into);
    assert_eq!(into.series.len(), 2, "a series stands once in a batch");
    assert_eq!(into.histograms.series, [0, 0, 1]);
    assert_eq!(into.histograms.counts_offsets, [0, 1, 2, 3]);
}

fn any_span() -> impl Strategy<Value = Sent> {
    let attribute = prop_oneof![
        (0..4_i64).prop_map(|n| ("http.response.status_code", Value::Int(200 + n))),
        (0..4_i64).prop_map(|n| ("http.status_code", Value::Int(200 + n))),
        "[a-c]{0,2}".prop_map(|text| ("http.route", text.into())),
        "[a-c]{0,2}".prop_map(|text| ("db.system", text.into())),
        Just(("http.route", Value::Double(1.0))),
        "[a-c]{3}".prop_map(|text| ("user.id", text.into())),
    ];
    let trace_state = prop_oneof![Just(""), Just("ot=th:8"), Just("ot=th:55555555555555"), Just("ot=th:nonsense")];
    (
        (0..4_u8, "[a-e]{1,2}", 0..8_u8, 0..4_u8),
        prop_oneof![Just(0_i64), Just(-7), Just(i64::MAX), 1..100_000_000_000_i64],
        trace_state,
        prop::collection::vec(attribute, 0..4),
    )
        .prop_map(|((service, name, kind, status), duration_ns, trace_state, attributes)| Sent {
            kind,
            status,
            duration_ns,
            trace_state,
            attributes,
            ..sent(&format!("s{service}"), &name)
        })
}

proptest! {
    /// Whatever the caps: RED counts every span once, by its weight, in its service, kind, status and duration.
    #[test]
    fn red_equals_a_recount(
        rounds in prop::collection::vec(prop::collection::vec(any_span(), 1..40), 1..5),
        label_values_max in 1..6_usize,
        series_max in 1..40_usize,
    ) {
        let mut reducer = RedReducer::new(RedLimits { label_values_max, series_max, ..RedLimits::default() });
        for round in &rounds {
            let spans = batch(round);
            let mut got = MetricBatch::default();
            reducer.observe(&spans, NOW_NS, &mut got);
            let mut expected: HashMap<(String, usize, usize), (u64, u64)> = HashMap::new();
            let mut actual = expected.clone();
            for (row, span) in round.iter().enumerate() {
                let weight = threshold(span.trace_state).map_or(1, |th| span_weight(th, spans.span_id[row]));
                let kind = if span.kind > 5 { 0 } else { span.kind };
                let status = if span.status > 2 { 0 } else { span.status };
                let key = (span.resource[0].1.clone(), usize::from(kind), usize::from(status));
                let entry = expected.entry(key).or_default();
                *entry = (entry.0 + weight, entry.1 + if span.duration_ns <= 0 { weight } else { 0 });
            }
            let points = &got.histograms;
            for (row, &at) in points.series.iter().enumerate() {
                let series = &got.series[at as usize];
                let service = series.resource.attributes.find("service.name").unwrap().as_str().unwrap().to_owned();
                let kind = KINDS.iter().position(|kind| Some(*kind) == label(series, "span.kind").as_deref()).unwrap();
                let status = label(series, "status.code").unwrap();
                let status = STATUSES.iter().position(|name| *name == status).unwrap();
                let counts = points.counts_offsets[row] as usize..points.counts_offsets[row + 1] as usize;
                let HistogramLayout::Exponential { positive_len, .. } = points.layouts[points.layout[row] as usize]
                else { panic!("an exponential histogram") };
                prop_assert_eq!(counts.len(), positive_len as usize);
                let in_buckets: u64 = points.counts[counts].iter().sum();
                prop_assert_eq!(in_buckets + points.zero_count[row], points.count[row]);
                let entry = actual.entry((service, kind, status)).or_default();
                *entry = (entry.0 + points.count[row], entry.1 + points.zero_count[row]);
            }
            prop_assert_eq!(&actual, &expected);
            let mut series: Vec<_> = points.series.clone();
            series.dedup();
            prop_assert_eq!(series.len(), points.series.len(), "one point a series");
        }
    }
}
