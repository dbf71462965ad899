//! What the planner makes of expressions, as text, and what it saves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_promql::engine::{Engine, QueryRange};
use weir_promql::options::{EngineOptions, QueryOptions};
use weir_promql::script::script_options;
use weir_promql::value::Value;

use super::data::{Literal, World, source};

const WHEN: QueryRange = QueryRange { start_ms: 7_800_000, end_ms: 10_200_000, step_ms: 60_000 };

fn plan(query: &str) -> String {
    Engine::new(EngineOptions { threads: 1, ..script_options() }).explain(query, WHEN).expect("it is a query")
}

/// The selectors of a plan, without what surrounds them.
fn selectors(query: &str) -> Vec<String> {
    plan(query).lines().filter_map(|line| line.trim().strip_prefix("select ")).map(str::to_owned).collect()
}

#[test]
fn a_plan_as_text() {
    let query = r#"sum by (job) (rate(a{x="1"}[5m])) / scalar(b @ 60) > 2 + 3"#;
    let expected = r#">
  /
    sum by (job)
      rate
        select {x="1", __name__="a"}[300000ms] labels (job)
    once
      scalar
        select {__name__="b"} @ 60000ms labels ()
  number 5
"#;
    assert_eq!(plan(query), expected);
}

#[test]
fn projection_of_what_is_needed_above() {
    let labels = |query: &str| -> Vec<String> {
        let of = |text: String| text.split_once('}').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default();
        selectors(query).into_iter().map(of).collect()
    };
    for (query, expected) in [
        ("a", vec![""]),
        ("sum(a)", vec!["labels ()"]),
        ("sum without (x) (a)", vec![""]),
        ("count by (x, y) (abs(-a))", vec!["labels (x, y)"]),
        ("sum by (x) ({__name__=~\"a.*\"})", vec![""]),
        ("sum by (x) (topk by (x) (2, a))", vec![""]),
        ("absent(a)", vec!["labels ()"]),
        ("quantile by (x) (0.5, timestamp(a))", vec!["labels (x)"]),
        ("histogram_quantile(0.9, a)", vec![""]),
        ("a / on (x) b", vec!["labels (x)", "labels (x)"]),
        ("a / ignoring (x) b", vec!["", ""]),
        ("a * on (x) group_left (y) b", vec!["", "labels (x, y)"]),
        ("sum by (y) (a * on (x) group_left (y) b)", vec!["labels (x, y) none of (y)", "labels (x, y)"]),
        ("sum by (z) (b * on (x) group_right (y) a)", vec!["labels (x, y)", "labels (x, y, z) none of (y)"]),
        ("sum by (z) (a and on (x) b)", vec!["labels (x, z)", "labels (x)"]),
        ("sum by (z) (a unless on (x) b)", vec!["labels (x, z)", "labels (x)"]),
        ("sum by (z) (a or on (x) b)", vec!["", ""]),
        ("sum by (z) (a + on (x) group_left fill (0) b)", vec!["", ""]),
        ("sum by (z) (label_replace(a, \"z\", \"$1\", \"x\", \"(.*)\"))", vec!["labels (x, z) none of (z)"]),
        ("sum by (z) (label_replace(a, \"z\", \"$1\", \"z\", \"(.*)\"))", vec![""]),
        ("sum by (z) (label_join(a, \"z\", \"-\", \"x\", \"y\"))", vec!["labels (x, y, z) none of (z)"]),
        ("sum by (x) (max_over_time(abs(a)[5m:1m]))", vec!["labels (x)"]),
    ] {
        assert_eq!(labels(query), expected, "{query}");
    }
}

#[test]
fn propagation_where_nothing_can_change() {
    let bare = |query: &str| -> Vec<String> {
        selectors(query)
            .into_iter()
            .map(|text| text.split_inclusive('}').next().unwrap_or_default().to_owned())
            .collect()
    };
    for (query, left, right) in [
        ("a{x=\"1\"} / b", r#"{x="1", __name__="a"}"#, r#"{__name__="b", x="1"}"#),
        ("a > b{x!=\"1\", y=~\"z.*\"}", r#"{__name__="a", x!="1", y=~"z.*"}"#, r#"{x!="1", y=~"z.*", __name__="b"}"#),
        ("a{x=\"1\"} and on (x) b", r#"{x="1", __name__="a"}"#, r#"{__name__="b", x="1"}"#),
        ("a{x=\"1\"} and ignoring (x) b", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a unless b{x=\"1\"}", r#"{__name__="a"}"#, r#"{x="1", __name__="b"}"#),
        ("a{x=\"1\"} unless b", r#"{x="1", __name__="a"}"#, r#"{__name__="b", x="1"}"#),
        // Not where partners are not needed, nor where a second one would be an error, nor past what writes labels,
        // counts series or speaks of them.
        ("a{x=\"1\"} or b", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} + fill (0) b", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} + on (x) b", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} * on (x) group_left b", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} / absent(b)", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} / rate(b[5m])", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} / topk(1, b)", r#"{x="1", __name__="a"}"#, r#"{__name__="b"}"#),
        ("a{x=\"1\"} / {__name__=~\"b.*\"}", r#"{x="1", __name__="a"}"#, r#"{__name__=~"b.*"}"#),
    ] {
        assert_eq!(bare(query), [left, right], "{query}");
    }
}

#[test]
fn sharing_of_what_touches() {
    let shared = |query: &str| selectors(query).iter().filter(|text| text.contains(" shared ")).count();
    for (query, expected) in [
        ("a > 0 and a < 10", 2),
        ("rate(a[5m]) / rate(a[5m])", 2),
        ("rate(a[5m]) / increase(a[5m])", 2),
        ("a{x=\"1\", y=\"2\"} / a{y=\"2\", x=\"1\"}", 2),
        ("a - a offset 5m", 2),
        ("a + a offset 5m + a offset 10m + b", 3),
        ("(a + b) / (a - b)", 4),
        ("sum(rate(a_sum[5m])) / sum(rate(a_count[5m]))", 0),
        ("a / a offset 1w", 0),
        ("a / a offset 90s", 0),
        ("rate(a[5m]) / rate(a[1h])", 0),
        ("a / a @ end()", 0),
        ("max_over_time(a[1h:1m]) / max_over_time(a[1h:1m])", 2),
    ] {
        assert_eq!(shared(query), expected, "{query}\n{}", plan(query));
    }
    let text = plan("a - a offset 5m");
    assert!(text.starts_with("- sequential\n"), "{text}");
    assert!(text.ends_with("shared 0: 7200001ms to 10200000ms, read by 2\n"), "{text}");
    assert!(plan("(a - b) / (c - b)").starts_with("/ sequential\n  -\n"));
}

/// Asks with a budget of `bytes_max` and `samples_max`; how often the source was asked, and the values.
fn selections(query: &str, limits: (u64, u64), rewrite: bool) -> (usize, Value) {
    let (bytes_max, samples_max) = limits;
    let engine = Engine::new(EngineOptions { threads: 2, bytes_max, samples_max, rewrite, ..script_options() });
    let samples = source(World::USUAL);
    let literal = Literal::new(&samples);
    let budget = engine.budget();
    let options = QueryOptions { budget: Some(Arc::clone(&budget)), ..QueryOptions::default() };
    let output = engine.range(&literal, query, WHEN, &options).expect("it has an answer");
    (literal.selections.load(Ordering::Relaxed), output.value)
}

#[test]
fn a_shared_selection_is_read_once_where_it_fits() {
    const ROOMY: (u64, u64) = (1 << 30, 1 << 30);
    for query in ["warmth > 0 and warmth < 10", "rate(calls_total[5m]) / increase(calls_total[5m])"] {
        let (twice, expected) = selections(query, ROOMY, false);
        assert_eq!(twice, 2);
        assert_eq!(selections(query, ROOMY, true), (1, expected.clone()), "{query}");
        // 12 series of an hour: kept they would be more than a quarter of either limit.
        for tight in [(120_000, 1 << 30), (1 << 30, 6000)] {
            assert_eq!(selections(query, tight, true), (2, expected.clone()), "{query} {tight:?}");
        }
    }
}

/// The error of a query as written stands, with all its labels, and a limit that only sharing met is no limit.
#[test]
fn what_fails_rewritten_is_evaluated_as_written() {
    let samples = source(World::USUAL);
    let literal = Literal::new(&samples);
    let engine = Engine::new(EngineOptions { threads: 2, ..script_options() });
    let error = engine.range(&literal, "warmth / on (job) warmth", WHEN, &QueryOptions::default());
    let error = error.expect_err("several instances of each job").to_string();
    assert!(error.contains("instance=\"a\"") && error.contains("duplicate series"), "{error}");
}
