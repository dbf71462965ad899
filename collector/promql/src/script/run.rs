//! Runs the commands of a script and compares.

use std::path::Path;

use super::block::{Command, Eval, When, commands};
use super::compare::{check_value, show, show_expected};
use super::expect::{Expected, Notes};
use super::nhcb::with_custom_histograms;
use super::variants::{at_variants, speaks_of_range};
use super::{Answer, Failure, FileReport, PromEngine};
use crate::engine::QueryRange;
use crate::value::{Point, Sample, Value};

/// (expected, got)
type Mismatch = (String, String);

const MINUTE_MS: i64 = 60_000;

pub(super) fn run(file: &Path, text: &str, engine: &mut dyn PromEngine) -> FileReport {
    let mut report = FileReport { file: file.to_owned(), ..FileReport::default() };
    let failure = |line, expression: &str, (expected, got): Mismatch| Failure {
        file: file.to_owned(),
        line,
        expression: expression.to_owned(),
        expected,
        got,
    };
    let commands = match commands(text) {
        Ok(commands) => commands,
        Err((line, message)) => {
            report.failures.push(failure(line, "", ("a script".to_owned(), message)));
            return report;
        }
    };
    if let Err(message) = engine.clear() {
        report.failures.push(failure(0, "clear", ("an empty store".to_owned(), message)));
        return report;
    }
    for command in commands {
        match command {
            Command::Clear => {
                if let Err(message) = engine.clear() {
                    report.failures.push(failure(0, "clear", ("an empty store".to_owned(), message)));
                }
            }
            Command::Load(load) => {
                let series = if load.custom_histograms { with_custom_histograms(load.series) } else { load.series };
                if let Err(message) = engine.load(&series) {
                    report.failures.push(failure(0, "load", ("samples taken".to_owned(), message)));
                }
            }
            Command::Eval(eval) => match evaluate(engine, &eval) {
                Ok(()) => report.passed += 1,
                Err(mismatch) => report.failures.push(failure(eval.line, &eval.expression, mismatch)),
            },
        }
    }
    report
}

fn evaluate(engine: &dyn PromEngine, eval: &Eval) -> Result<(), Mismatch> {
    let t_ms = match eval.when {
        When::Over(range) => {
            let answer = engine.range(&eval.expression, range);
            return check(answer, &eval.expected, Some(range), true).map(|_| ());
        }
        When::At(t_ms) => t_ms,
    };
    instant(engine, &eval.expression, t_ms, &eval.expected, true)?;
    let Some((expression, times)) = at_variants(&eval.expression, t_ms) else { return Ok(()) };
    for other in times {
        let named =
            |(expected, got)| (expected, format!("{got}\n            for {expression} at {} s", other as f64 / 1000.0));
        instant(engine, &expression, other, &eval.expected, false).map_err(named)?;
    }
    Ok(())
}

/// An instant query, and the same as the middle of a range.
fn instant(
    engine: &dyn PromEngine,
    expression: &str,
    t_ms: i64,
    expected: &Expected,
    as_written: bool,
) -> Result<(), Mismatch> {
    let Some(answer) = check(engine.instant(expression, t_ms), expected, None, as_written)? else { return Ok(()) };
    let matrix = matches!(answer.value, Value::Matrix(_) | Value::String { .. });
    if expected.ordered || matrix || speaks_of_range(expression) {
        return Ok(());
    }
    let range = QueryRange { start_ms: t_ms - MINUTE_MS, end_ms: t_ms + MINUTE_MS, step_ms: MINUTE_MS };
    let in_range = |message: String| (show_expected(expected), format!("error in range mode: {message}"));
    let over = engine.range(expression, range).map_err(in_range)?;
    let middle = middle(&over.value, t_ms);
    let value = match (&answer.value, &middle[..]) {
        (Value::Scalar { .. }, [Sample { point: Point::Float(value), .. }]) => Value::Scalar { t_ms, value: *value },
        _ => Value::Vector(middle),
    };
    if check_value(&value, expected, None) {
        return Ok(());
    }
    Err((show_expected(expected), format!("{}\n            as the middle of a range", show(&value))))
}

/// The samples of a range's answer at one time.
fn middle(value: &Value, t_ms: i64) -> Vec<Sample> {
    let Value::Matrix(all) = value else { return Vec::new() };
    let mut samples = Vec::new();
    for series in all {
        let float = series.floats.iter().find(|(t, _)| *t == t_ms).map(|(_, value)| Point::Float(*value));
        let histogram = series.histograms.iter().find(|(t, _)| *t == t_ms);
        let histogram = histogram.map(|(_, histogram)| Point::Histogram(std::sync::Arc::clone(histogram)));
        samples.extend(float.or(histogram).map(|point| Sample { labels: series.labels.clone(), t_ms, point }));
    }
    samples
}

/// Compares; the answer when there was one to compare.
fn check(
    answer: Result<Answer, String>,
    expected: &Expected,
    range: Option<QueryRange>,
    as_written: bool,
) -> Result<Option<Answer>, Mismatch> {
    let answer = match answer {
        Ok(_) if expected.fail => return Err((show_expected(expected), "no error".to_owned())),
        Ok(answer) => answer,
        Err(message) if expected.fail => {
            let fits = expected.fail_messages.is_empty()
                || expected.fail_messages.iter().any(|wanted| wanted.matches(&message));
            return if fits { Ok(None) } else { Err((show_expected(expected), format!("error: {message}"))) };
        }
        Err(message) => return Err((show_expected(expected), format!("error: {message}"))),
    };
    if !expected.ordered {
        check_notes("warning", &answer.warnings, &expected.warn, as_written)?;
        check_notes("info", &answer.infos, &expected.info, as_written)?;
    }
    if check_value(&answer.value, expected, range) {
        return Ok(Some(answer));
    }
    Err((show_expected(expected), show(&answer.value)))
}

/// Positions are those of the expression as written; in a rewritten one only the presence of annotations counts.
fn check_notes(kind: &str, got: &[String], expected: &Notes, as_written: bool) -> Result<(), Mismatch> {
    if expected.none && !got.is_empty() {
        return Err((format!("no {kind}"), got.join("; ")));
    }
    if expected.any && got.is_empty() {
        return Err((format!("a {kind} {:?}", expected.wanted), format!("no {kind}")));
    }
    if !as_written || expected.wanted.is_empty() {
        return Ok(());
    }
    let unmet = expected.wanted.iter().any(|wanted| !got.iter().any(|text| wanted.matches(text)));
    let surplus = got.iter().any(|text| !expected.wanted.iter().any(|wanted| wanted.matches(text)));
    if unmet || surplus {
        return Err((format!("{kind}s {:?}", expected.wanted), got.join("; ")));
    }
    Ok(())
}
