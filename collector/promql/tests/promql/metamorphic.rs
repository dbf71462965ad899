//! Answers that must be the same however a query is asked or evaluated.

use weir_promql::engine::{Engine, QueryRange};
use weir_promql::options::{EngineOptions, Language, QueryOptions};
use weir_promql::parse::parse;
use weir_promql::script::script_options;
use weir_promql::source::SeriesSource;
use weir_promql::value::{Point, Series, Value};

use super::data::{Literal, Random, World, source};
use super::expressions::Writer;

const EXPRESSIONS: u64 = 250;

fn expression(seed: u64, world: World) -> String {
    let mut random = Random::new(seed + 1);
    Writer { random: &mut random, world }.vector(1 + seed as usize % 3)
}

fn window(world: World) -> QueryRange {
    let start_ms = (world.begin + 600) * 1000;
    QueryRange { start_ms, end_ms: start_ms + 40 * 60_000, step_ms: 120_000 }
}

type Points = Vec<(String, Vec<(i64, Point)>)>;

fn points(series: Vec<Series>) -> Points {
    let all = |series: Series| {
        let floats = series.floats.into_iter().map(|(t, value)| (t, Point::Float(value)));
        let histograms = series.histograms.into_iter().map(|(t, value)| (t, Point::Histogram(value)));
        let mut all: Vec<(i64, Point)> = floats.chain(histograms).collect();
        all.sort_by_key(|(t, _)| *t);
        (series.labels.to_string(), all)
    };
    let mut all: Points = series.into_iter().map(all).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn range(engine: &Engine, source: &dyn SeriesSource, query: &str, range: QueryRange) -> Result<Points, String> {
    let output = engine.range(source, query, range, &QueryOptions::default()).map_err(|error| error.to_string())?;
    match output.value {
        Value::Matrix(series) => Ok(points(series)),
        other => Err(format!("{other:?}")),
    }
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-7 * a.abs().max(b.abs()).max(1e-6)
}

fn same_point(a: &Point, b: &Point) -> bool {
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => near(*a, *b),
        (Point::Histogram(a), Point::Histogram(b)) => {
            let (ours, theirs) = (a.all_buckets(), b.all_buckets());
            let buckets = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| near(a.count, b.count));
            near(a.count, b.count) && near(a.sum, b.sum) && buckets
        }
        _ => false,
    }
}

/// Fails unless both are errors or both have the same series with the same values, the second one later by `shift`.
fn assert_same(query: &str, a: &Result<Points, String>, b: &Result<Points, String>, shift: i64) {
    let (Ok(ours), Ok(theirs)) = (a, b) else {
        assert_eq!(a.is_ok(), b.is_ok(), "{query}\n{:?}\n{:?}", a.as_ref().err(), b.as_ref().err());
        return;
    };
    assert_eq!(ours.len(), theirs.len(), "{query}\n{ours:?}\n{theirs:?}");
    for ((ours_of, ours), (theirs_of, theirs)) in ours.iter().zip(theirs) {
        assert_eq!(ours_of, theirs_of, "{query}");
        let times = |points: &[(i64, Point)], shift| points.iter().map(|(t, _)| t + shift).collect::<Vec<i64>>();
        assert_eq!(times(ours, shift), times(theirs, 0), "{query}: {ours_of}");
        for ((t, a), (_, b)) in ours.iter().zip(theirs) {
            assert!(same_point(a, b), "{query}: {ours_of} at {t}: {a:?} and {b:?}");
        }
    }
}

fn engine(change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions { threads: 2, ..script_options() };
    change(&mut options);
    Engine::new(options)
}

/// Asks both engines everything.
fn agree(a: &Engine, b: &Engine) {
    let samples = source(World::USUAL);
    for seed in 0..EXPRESSIONS {
        let query = expression(seed, World::USUAL);
        let when = window(World::USUAL);
        assert_same(&query, &range(a, &samples, &query, when), &range(b, &samples, &query, when), 0);
    }
}

#[test]
fn most_expressions_have_an_answer() {
    let (samples, engine) = (source(World::USUAL), engine(|_| {}));
    let answer = |seed| {
        let query = expression(seed, World::USUAL);
        range(&engine, &samples, &query, window(World::USUAL)).is_ok_and(|points| !points.is_empty())
    };
    let answered = (0..EXPRESSIONS).filter(|seed| answer(*seed)).count() as u64;
    assert!(answered * 2 > EXPRESSIONS, "{answered} of {EXPRESSIONS}");
}

#[test]
fn any_number_of_threads() {
    agree(&engine(|options| options.threads = 1), &engine(|options| options.threads = 4));
}

#[test]
fn with_and_without_the_optimiser() {
    agree(&engine(|_| {}), &engine(|options| (options.optimise, options.rewrite) = (false, false)));
}

/// Propagation, projection and sharing, over a source that leaves out every label it may. Beside the values, texts of
/// errors, warnings and infos must be the same.
#[test]
fn with_and_without_rewriting() {
    let samples = source(World::USUAL);
    let literal = Literal::new(&samples);
    for delayed_name_removal in [true, false] {
        let rewriting = engine(|options| options.delayed_name_removal = delayed_name_removal);
        let plain = engine(|options| {
            (options.rewrite, options.delayed_name_removal) = (false, delayed_name_removal);
        });
        for seed in 0..4 * EXPRESSIONS {
            let query = expression(seed, World::USUAL);
            let when = window(World::USUAL);
            let told = |engine: &Engine, source: &dyn SeriesSource| {
                let output = engine.range(source, &query, when, &QueryOptions::default());
                output.map(|output| (output.annotations, output.stats)).map_err(|error| error.to_string())
            };
            match (told(&rewriting, &literal), told(&plain, &samples)) {
                (Ok((ours, cost)), Ok((theirs, plain_cost))) => {
                    assert_eq!(ours, theirs, "{query}");
                    // More would be read if the rewritten plan had failed and the query been evaluated as written.
                    assert!(cost.samples_read <= plain_cost.samples_read, "{query}");
                }
                (ours, theirs) => assert_eq!(ours.err(), theirs.err(), "{query}"),
            }
            assert_same(&query, &range(&rewriting, &literal, &query, when), &range(&plain, &samples, &query, when), 0);
        }
    }
}

#[test]
fn names_dropped_early_or_late() {
    agree(&engine(|_| {}), &engine(|options| options.delayed_name_removal = false));
}

#[test]
fn at_another_time() {
    let engine = engine(|_| {});
    let later = World { begin: World::USUAL.begin + 36_000, ..World::USUAL };
    let (here, there) = (source(World::USUAL), source(later));
    for seed in 0..EXPRESSIONS {
        let (query, moved) = (expression(seed, World::USUAL), expression(seed, later));
        let a = range(&engine, &here, &query, window(World::USUAL));
        let b = range(&engine, &there, &moved, window(later));
        assert_same(&query, &a, &b, 36_000_000);
    }
}

#[test]
fn with_other_label_names() {
    let engine = engine(|_| {});
    let renamed = World { job: "task", instance: "host", ..World::USUAL };
    let (samples, others) = (source(World::USUAL), source(renamed));
    for seed in 0..EXPRESSIONS {
        let (query, other) = (expression(seed, World::USUAL), expression(seed, renamed));
        if query.contains("topk") || query.contains("bottomk") {
            // Which of equals is taken depends on the order of series, and that on their labels.
            continue;
        }
        let back = |points: Points| {
            let name = |name: String| name.replace("task=", "job=").replace("host=", "instance=");
            let mut points: Points = points
                .into_iter()
                .map(|(labels, values)| {
                    let mut pairs: Vec<String> = labels.split_inclusive(['{', ',', '}']).map(str::to_owned).collect();
                    pairs = pairs.into_iter().map(name).collect();
                    (sorted(&pairs.concat()), values)
                })
                .collect();
            points.sort_by(|a, b| a.0.cmp(&b.0));
            points
        };
        let a = range(&engine, &samples, &query, window(World::USUAL)).map(back);
        let b = range(&engine, &others, &other, window(World::USUAL)).map(back);
        assert_same(&query, &a, &b, 0);
    }
}

/// Labels in braces, in order.
fn sorted(labels: &str) -> String {
    let mut pairs: Vec<&str> = labels.trim_end_matches('}').split(['{', ',']).map(str::trim).collect();
    pairs.sort_unstable();
    pairs.join(",")
}

#[test]
fn a_range_is_its_instants() {
    let (samples, engine) = (source(World::USUAL), engine(|_| {}));
    for seed in 0..EXPRESSIONS {
        let query = expression(seed, World::USUAL);
        let when = window(World::USUAL);
        let Ok(whole) = range(&engine, &samples, &query, when) else { continue };
        for t_ms in [when.start_ms, when.start_ms + 7 * when.step_ms, when.end_ms] {
            let one = QueryRange { start_ms: t_ms, end_ms: t_ms, ..when };
            let at: Points = whole
                .iter()
                .map(|(labels, points)| (labels.clone(), points.iter().filter(|(t, _)| *t == t_ms).cloned().collect()))
                .filter(|(_, points): &(String, Vec<_>)| !points.is_empty())
                .collect();
            assert_same(&query, &Ok(at), &range(&engine, &samples, &query, one), 0);
        }
    }
}

#[test]
fn what_is_printed_is_read_again() {
    let (samples, engine) = (source(World::USUAL), engine(|_| {}));
    for seed in 0..EXPRESSIONS {
        let query = expression(seed, World::USUAL);
        let printed = parse(&query, &Language::all()).expect("it is an expression").to_string();
        let again = parse(&printed, &Language::all()).expect("it is printed as one").to_string();
        assert_eq!(printed, again);
        let when = window(World::USUAL);
        assert_same(&query, &range(&engine, &samples, &query, when), &range(&engine, &samples, &printed, when), 0);
    }
}
