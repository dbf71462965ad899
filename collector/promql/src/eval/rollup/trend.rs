//! Straight lines through samples, and exponential smoothing.

use super::window::{Notices, Value, Window};
use crate::error::QueryError;
use crate::histogram::kahan;

/// Two floats at least, histograms left out.
fn two_floats<'a>(window: &Window<'a>, notices: &mut Notices) -> Option<(&'a [i64], &'a [f64])> {
    if window.floats.is_empty() {
        return None;
    }
    notices.histograms_ignored |= !window.histograms.is_empty();
    (window.floats.len() > 1).then(|| (window.times(), window.values()))
}

/// Slope and value at `origin` of the line of least squares.
fn regression(times: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    if values.iter().all(|value| *value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let [mut x, mut y, mut xy, mut xx] = [(0.0, 0.0); 4];
    for (t, value) in times.iter().zip(values) {
        let at = (t - origin) as f64 / 1e3;
        x = kahan(at, x.0, x.1);
        y = kahan(*value, y.0, y.1);
        xy = kahan(at * value, xy.0, xy.1);
        xx = kahan(at * at, xx.0, xx.1);
    }
    let [x, y, xy, xx] = [x, y, xy, xx].map(|(sum, compensation)| sum + compensation);
    let n = values.len() as f64;
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// `deriv`
pub(super) fn derivative(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let (times, values) = two_floats(window, notices)?;
    // Any time near the samples will do; a distant one costs digits.
    Some(Value::Float(regression(times, values, times[0]).0))
}

/// `predict_linear`
pub(super) fn predict_linear(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let (times, values) = two_floats(window, notices)?;
    let (slope, value) = regression(times, values, window.now);
    Some(Value::Float(slope * window.args[0] + value))
}

/// Both factors must lie between zero and one.
pub(super) fn check_factors(args: &[Vec<f64>]) -> Result<(), QueryError> {
    for (numbers, (name, short)) in args.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
        if let Some(factor) = numbers.iter().find(|factor| **factor <= 0.0 || **factor >= 1.0) {
            let message = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(QueryError::Execution(message));
        }
    }
    Ok(())
}

/// `double_exponential_smoothing`
pub(super) fn double_exponential_smoothing(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let (_, values) = two_floats(window, notices)?;
    let [smoothing, trend] = window.args;
    let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(Value::Float(level))
}
