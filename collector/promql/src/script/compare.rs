//! Whether an answer is the expected one: numbers to a relative 1e-6, bounds exactly, spans by what they mean.

use std::fmt::Write;
use std::sync::Arc;

use super::expect::Expected;
use super::notation::SequenceValue;
use crate::engine::QueryRange;
use crate::eval::is_stale;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;
use crate::print::format_float;
use crate::value::{Point, Series, Value};

/// How far numbers may differ.
const EPSILON: f64 = 1e-6;

pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

fn histograms_equal(wanted: &FloatHistogram, got: &FloatHistogram, hinted: bool) -> bool {
    let side = |a: &mut dyn Iterator<Item = (i32, f64)>, b: &mut dyn Iterator<Item = (i32, f64)>| {
        let a: Vec<(i32, f64)> = a.filter(|(_, count)| *count != 0.0).collect();
        let b: Vec<(i32, f64)> = b.filter(|(_, count)| *count != 0.0).collect();
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && almost_equal(a.1, b.1))
    };
    wanted.schema == got.schema
        && almost_equal(wanted.count, got.count)
        && almost_equal(wanted.sum, got.sum)
        && (!hinted || wanted.reset_hint == got.reset_hint)
        && wanted.zero_threshold == got.zero_threshold
        && almost_equal(wanted.zero_count, got.zero_count)
        && wanted.custom_values == got.custom_values
        && side(&mut wanted.positive(), &mut got.positive())
        && side(&mut wanted.negative(), &mut got.negative())
}

fn point_matches(wanted: &SequenceValue, got: Option<&Point>) -> bool {
    match (wanted, got) {
        (SequenceValue::Gap, None) => true,
        (SequenceValue::Float(wanted), Some(Point::Float(got))) => almost_equal(*wanted, *got),
        (SequenceValue::Histogram(wanted, hinted), Some(Point::Histogram(got))) => {
            histograms_equal(wanted, got, *hinted)
        }
        _ => false,
    }
}

/// What is wrong with a value, if anything.
pub(super) fn check_value(value: &Value, expected: &Expected, range: Option<QueryRange>) -> bool {
    if let Some(text) = &expected.text {
        return matches!(value, Value::String { value, .. } if **value == **text);
    }
    match value {
        Value::String { .. } => false,
        Value::Scalar { value, .. } => expected.scalar.is_some_and(|wanted| almost_equal(wanted, *value)),
        Value::Vector(samples) => {
            expected.scalar.is_none()
                && check_vector(samples.iter().map(|sample| (&sample.labels, &sample.point)), expected)
        }
        Value::Matrix(series) => match expected.range.or(range) {
            Some(range) => check_matrix(series, expected, range),
            None => false,
        },
    }
}

fn check_vector<'a>(samples: impl Iterator<Item = (&'a Labels, &'a Point)>, expected: &Expected) -> bool {
    let samples: Vec<_> = samples.collect();
    if samples.len() != expected.series.len() {
        return false;
    }
    samples.iter().enumerate().all(|(at, (labels, point))| {
        let wanted = if expected.ordered {
            expected.series.get(at).filter(|(wanted, _)| wanted == *labels)
        } else {
            expected.series.iter().find(|(wanted, _)| wanted == *labels)
        };
        wanted.is_some_and(|(_, values)| values.len() == 1 && point_matches(&values[0], Some(point)))
    })
}

fn point_at(series: &Series, t_ms: i64) -> Option<Point> {
    if let Ok(at) = series.floats.binary_search_by_key(&t_ms, |(t, _)| *t) {
        return Some(Point::Float(series.floats[at].1));
    }
    let at = series.histograms.binary_search_by_key(&t_ms, |(t, _)| *t).ok()?;
    Some(Point::Histogram(Arc::clone(&series.histograms[at].1)))
}

fn check_matrix(all: &[Series], expected: &Expected, range: QueryRange) -> bool {
    let sorted = all.windows(2).all(|pair| pair[0].labels < pair[1].labels);
    let given =
        expected.series.iter().filter(|(_, values)| values.iter().any(|value| !matches!(value, SequenceValue::Gap)));
    sorted
        && given.count() == all.len()
        && all.iter().all(|series| {
            let wanted = expected.series.iter().find(|(labels, _)| *labels == series.labels);
            wanted.is_some_and(|(_, values)| series_matches(series, values, range))
        })
}

fn series_matches(series: &Series, values: &[SequenceValue], range: QueryRange) -> bool {
    let time = |at: usize| range.start_ms + range.step_ms * at as i64;
    let inside = values.iter().enumerate().take_while(|(at, _)| time(*at) <= range.end_ms);
    let mut seen = 0;
    for (at, wanted) in inside {
        let got = point_at(series, time(at));
        seen += usize::from(got.is_some());
        if !point_matches(wanted, got.as_ref()) {
            return false;
        }
    }
    seen == series.floats.len() + series.histograms.len()
}

/// An answer as a person reads it.
pub(super) fn show(value: &Value) -> String {
    let point = |point: &Point| match point {
        Point::Float(value) => format_float(*value),
        Point::Histogram(histogram) => histogram.to_string(),
    };
    match value {
        Value::Scalar { value, .. } => format_float(*value),
        Value::String { value, .. } => format!("{value:?}"),
        Value::Vector(samples) => {
            let shown = samples.iter().map(|sample| format!("{} {}", sample.labels, point(&sample.point)));
            listed(shown)
        }
        Value::Matrix(all) => listed(all.iter().map(|series| {
            let mut line = series.labels.to_string();
            let floats = series.floats.iter().map(|(t, value)| (*t, format_float(*value)));
            let histograms = series.histograms.iter().map(|(t, histogram)| (*t, histogram.to_string()));
            let mut points: Vec<(i64, String)> = floats.chain(histograms).collect();
            points.sort();
            points.iter().for_each(|(t, text)| _ = write!(line, " {text}@{}", *t as f64 / 1000.0));
            line
        })),
    }
}

fn listed(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n            ") }
}

/// What was expected as a person reads it.
pub(super) fn show_expected(expected: &Expected) -> String {
    if expected.fail {
        return format!("an error {:?}", expected.fail_messages);
    }
    if let Some(text) = &expected.text {
        return format!("{text:?}");
    }
    if let Some(scalar) = expected.scalar {
        return format_float(scalar);
    }
    listed(expected.series.iter().map(|(labels, values)| {
        let mut line = labels.to_string();
        for value in values {
            let text = match value {
                SequenceValue::Gap => "_".to_owned(),
                SequenceValue::Float(value) => format_float(*value),
                SequenceValue::Histogram(histogram, _) => histogram.to_string(),
            };
            _ = write!(line, " {text}");
        }
        line
    }))
}
