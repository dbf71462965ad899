//! What ends a query, and how soon.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use weir_promql::engine::{Engine, QueryRange};
use weir_promql::error::{ErrorKind, QueryError};
use weir_promql::memory::{MemorySample, MemorySource};
use weir_promql::options::{EngineOptions, Language, QueryOptions};
use weir_promql::parse::parse;
use weir_promql::script::script_options;
use weir_promql::source::{Budget, SelectRequest, Selection, SeriesBatch, SeriesSource, SeriesTable, SourceError};
use weir_promql::value::Point;

use super::data::{World, source};

const DAY_MS: i64 = 86_400_000;

fn ask(options: EngineOptions, query: &str) -> QueryError {
    let begin = World::USUAL.begin * 1000;
    let range = QueryRange { start_ms: begin, end_ms: begin + 3_600_000, step_ms: 1000 };
    let engine = Engine::new(options);
    let answer = engine.range(&source(World::USUAL), query, range, &QueryOptions::default());
    answer.expect_err("it is more than allowed")
}

#[test]
fn points() {
    let engine = Engine::new(EngineOptions::default());
    let samples = source(World::USUAL);
    let ask = |end_ms| {
        let range = QueryRange { start_ms: 0, end_ms, step_ms: 1000 };
        engine.range(&samples, "warmth", range, &QueryOptions::default())
    };
    assert!(ask(11_000_000).is_ok());
    let error = ask(11_001_000).expect_err("one point too many");
    assert_eq!(error.error_type(), "bad_data");
    assert!(error.to_string().starts_with("exceeded maximum resolution of 11000 points per timeseries"));
}

#[test]
fn samples() {
    let error = ask(EngineOptions { samples_max: 1000, ..EngineOptions::default() }, "warmth");
    assert_eq!((error.error_type(), error.kind()), ("execution", ErrorKind::Full));
    let text = error.to_string();
    assert!(text.starts_with("query processing would load too many samples into memory"), "{text}");
    assert!(
        text.ends_with("more than the 1000 allowed; narrow it by matchers, a shorter range or a longer step"),
        "{text}"
    );
}

#[test]
fn samples_of_a_subquery_are_refused_before_they_are_made() {
    for query in ["max_over_time(warmth[10000d:1ms])", "sum_over_time(vector(1)[10000d:1ms])"] {
        let from = Instant::now();
        let error = ask(EngineOptions::default(), query);
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(from.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn series() {
    let error = ask(EngineOptions { series_max: 11, ..EngineOptions::default() }, "warmth");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(error.to_string(), "query selects 12 series, more than the 11 allowed; add matchers");
}

#[test]
fn bytes() {
    let options = EngineOptions { bytes_max: 100_000, ..EngineOptions::default() };
    for query in ["warmth", "sum by (instance, job) (warmth)", "warmth * 2", "rate(calls_total[5m])"] {
        let error = ask(options.clone(), query);
        assert_eq!(error.kind(), ErrorKind::Full, "{query}");
        let text = error.to_string();
        assert!(text.starts_with("query needs more than 0 MiB of memory; narrow it by"), "{text}");
    }
}

/// Columns of floats fit; the histograms in them, or the numbers between them, do not.
#[test]
fn bytes_of_histograms_and_of_numbers() {
    let options = EngineOptions { bytes_max: 3_000_000, ..EngineOptions::default() };
    assert_eq!(ask(options.clone(), "rate(size[5m])").kind(), ErrorKind::Full);
    assert_eq!(ask(options.clone(), "size * 2").kind(), ErrorKind::Full);
    let numbers = "max_over_time(vector(time() ^ time() ^ time() ^ time())[1000s:10ms])";
    assert_eq!(ask(options, numbers).kind(), ErrorKind::Full);
    let engine = Engine::new(EngineOptions { bytes_max: 3_000_000, ..EngineOptions::default() });
    let range = QueryRange { start_ms: 7_200_000, end_ms: 10_800_000, step_ms: 1000 };
    assert!(engine.range(&source(World::USUAL), "rate(calls_total[5m])", range, &QueryOptions::default()).is_ok());
}

/// What is given back is what was taken: after an answer nothing but its rows is held, however it was come by.
#[test]
fn a_query_twice_as_long_takes_no_more_at_a_time() {
    let peak = |query: &str| {
        let engine = Engine::new(EngineOptions { threads: 1, ..script_options() });
        let range = QueryRange { start_ms: 7_200_000, end_ms: 10_800_000, step_ms: 60_000 };
        let output = engine.range(&source(World::USUAL), query, range, &QueryOptions::default());
        output.expect("it has an answer").stats.bytes_peak
    };
    for term in
        ["sum(abs(warmth))", "histogram_quantile(0.5, size)", "sum(warmth * warmth)", "max_over_time(warmth[5m:1m])"]
    {
        let many = vec![format!("sum({term})"); 12].join(" + ");
        let (one, twelve) = (peak(&format!("sum({term}) + sum({term})")), peak(&many));
        assert!(twelve < one * 2, "{term}: {one} bytes, then {twelve}");
    }
}

#[test]
fn time() {
    let options = EngineOptions { timeout: Duration::from_millis(30), ..EngineOptions::default() };
    let from = Instant::now();
    let error = ask(options, "max_over_time(stddev_over_time(warmth[1h])[1h:1s])");
    assert_eq!(error.error_type(), "timeout");
    assert_eq!(
        error.to_string(),
        "query timed out in expression evaluation; narrow it by matchers, a shorter range or a longer step"
    );
    assert!(from.elapsed() < Duration::from_secs(2), "{:?}", from.elapsed());
}

/// How long a query goes on after it was cancelled.
fn cancelled_after(source: &dyn SeriesSource, query: &str, end_ms: i64) -> Duration {
    let engine = Engine::new(EngineOptions { samples_max: u64::MAX / 2, bytes_max: 8 << 30, ..script_options() });
    let budget = engine.budget();
    let options = QueryOptions { budget: Some(Arc::clone(&budget)), ..QueryOptions::default() };
    let (ended, cancelled) = thread::scope(|scope| {
        let query = scope.spawn(|| {
            let range = QueryRange { start_ms: 0, end_ms, step_ms: end_ms / 10_000 };
            let error = engine.range(source, query, range, &options).expect_err("it was cancelled");
            (Instant::now(), error)
        });
        thread::park_timeout(Duration::from_millis(60));
        budget.cancel();
        let cancelled = Instant::now();
        (query.join().expect("no panic"), cancelled)
    });
    assert_eq!(ended.1.error_type(), "canceled");
    assert_eq!(ended.1.kind(), ErrorKind::Closed);
    ended.0.saturating_duration_since(cancelled)
}

#[test]
fn cancellation() {
    let mut many = MemorySource::new();
    for series in 0..200 {
        let sample = |at: i64| MemorySample { t_ms: at * 10_000, start_ms: 0, point: Point::Float((at % 97) as f64) };
        let labels = [("__name__".into(), "m".into()), ("n".into(), series.to_string().into())].into_iter().collect();
        many.append(&labels, (0..8640).map(sample).collect());
    }
    let heavy = [
        "quantile_over_time(0.5, m[1d])",
        "sum(mad_over_time(m[12h]))",
        "max_over_time(m[1d:10s])",
        "sort(m and m and m and m and m and m and m) * on (n) m ^ m ^ m ^ m ^ m",
        "max_over_time(deriv(m[1h])[1h:10s])",
        "topk(150, m) + on (n) topk(150, m)",
        "m ^ on () group_left max(m) ^ on () group_left max(m)",
        "quantile(0.3, m)",
        "label_replace(m ^ 1.5, \"a\", \"$1\", \"n\", \"(.*)\") or on (n) exp(sin(cos(m)))",
    ];
    for query in heavy {
        let more = format!("{query} or {query} * 2 or {query} * 3");
        let late = cancelled_after(&many, &more, DAY_MS);
        // 100 ms, and what a busy machine adds to them.
        assert!(late < Duration::from_millis(400), "{query}: {late:?}");
    }
}

/// A source with one batch of a great many series.
struct Crowd;

impl SeriesSource for Crowd {
    fn select(&self, _: &SelectRequest, _: &Arc<Budget>) -> Result<Selection, SourceError> {
        const SERIES: u32 = 100_000;
        let labels = |at: u32| [("__name__".into(), "m".into()), ("n".into(), at.to_string().into())];
        let series = Arc::new(SeriesTable { labels: (0..SERIES).map(|at| labels(at).into_iter().collect()).collect() });
        let batch = SeriesBatch {
            ids: (0..SERIES).collect(),
            offsets: (0..=SERIES).map(|at| 2 * at).collect(),
            t_ms: (0..2 * SERIES).map(|at| if at % 2 == 0 { 1000 } else { 16_000 }).collect(),
            value: (0..2 * SERIES).map(f64::from).collect(),
            ..SeriesBatch::default()
        };
        Ok(Selection { series, batches: Box::new(std::iter::once(Ok(batch))), warnings: Vec::new() })
    }
}

#[test]
fn cancellation_inside_one_batch() {
    for query in ["sum(rate(m[1d]))", "sum by (n) (m offset -1d)", "quantile(0.5, m)"] {
        let late = cancelled_after(&Crowd, query, DAY_MS);
        assert!(late < Duration::from_millis(400), "{query}: {late:?}");
    }
}

/// One series of twenty million steps.
#[test]
fn cancellation_inside_one_row() {
    let none = MemorySource::new();
    for inner in ["vector(time() ^ 1.5 ^ 1.5)", "sin(cos(vector(time()) ^ 1.5)) ^ 1.5", "rate(vector(time())[1m:10ms])"]
    {
        let late = cancelled_after(&none, &format!("sum_over_time(({inner})[200000s:10ms])"), DAY_MS);
        assert!(late < Duration::from_millis(400), "{inner}: {late:?}");
    }
}

/// A source that gives an endless row of batches.
struct Endless;

impl SeriesSource for Endless {
    fn select(&self, _: &SelectRequest, budget: &Arc<Budget>) -> Result<Selection, SourceError> {
        let labels = vec![[("__name__".into(), "m".into())].into_iter().collect()];
        let budget = Arc::clone(budget);
        let batches = std::iter::from_fn(move || {
            thread::park_timeout(Duration::from_millis(5));
            Some(budget.check().map(|()| SeriesBatch { offsets: vec![0], ..SeriesBatch::default() }))
        });
        let series = Arc::new(SeriesTable { labels });
        Ok(Selection { series, batches: Box::new(batches), warnings: Vec::new() })
    }
}

#[test]
fn cancellation_while_a_source_reads() {
    for query in ["m", "sum(m)", "sum(rate(m[5m])) / sum(m)"] {
        let late = cancelled_after(&Endless, query, DAY_MS);
        assert!(late < Duration::from_millis(400), "{query}: {late:?}");
    }
}

/// Expressions nested as deep as allowed, and much deeper, on a thread with a small stack.
#[test]
fn depth() {
    let deep = |levels: usize| {
        [
            format!("{}1{}", "(".repeat(levels), ")".repeat(levels)),
            format!("{}m", "-".repeat(levels)),
            format!("{}m{}", "abs(".repeat(levels), ")".repeat(levels)),
            format!("{}m{}", "sum(".repeat(levels), ")".repeat(levels)),
            format!("m{}", "[5m:1m]".repeat(levels)),
            format!("{}m", "m ^ ".repeat(levels)),
            format!("m{}", " + m".repeat(levels)),
            format!("m[{}5m{}]", "(".repeat(levels), ")".repeat(levels)),
            format!("m offset {}5m", "-".repeat(levels)),
        ]
    };
    let work = move || {
        for expression in deep(100_000).iter().chain(&deep(30_000)).chain(&deep(1_000)) {
            assert!(parse(expression, &Language::all()).is_err(), "{}", &expression[..40]);
        }
        let engine = Engine::new(EngineOptions { threads: 1, ..script_options() });
        let samples = source(World::USUAL);
        for expression in deep(80) {
            // Whether it is right is not the question: it must be answered.
            _ = engine.instant(&samples, &expression, 0, &QueryOptions::default()).is_ok();
        }
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    thread.join().expect("no overflow");
}

#[test]
fn length() {
    let long = format!("m{{a=\"{}\"}}", "x".repeat(200_000));
    let error = parse(&long, &Language::default()).expect_err("too long");
    assert!(error.to_string().contains("200007 bytes, more than the 131072 allowed"), "{error}");
}
