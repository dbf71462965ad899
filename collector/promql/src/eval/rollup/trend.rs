//! Straight lines through samples, and exponential smoothing.

use super::window::{Notices, Value, Window};
use crate::error::QueryError;

/// Two floats at least, histograms left out.
fn two_floats<'a>(window: &Window<'a>, notices: &mut Notices) -> Option<(&'a [i64], &'a [f64])> {
    if window.floats.is_empty() {
        return None;
    }
    notices.histograms_ignored |= !window.histograms.is_empty();
    (window.floats.len() > 1).then(|| (window.times(), window.values()))
}

/// A sum and what was lost to rounding: `kahan`, but that infinity is looked at last, which makes it quicker.
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    #[inline]
    fn add(&mut self, more: f64) {
        let total = self.sum + more;
        let part = total - self.sum;
        self.lost += (self.sum - (total - part)) + (more - part);
        self.sum = total;
    }

    #[inline]
    fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// Slope and value at `origin` of the line of least squares.
fn regression(times: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    if values.iter().all(|value| *value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    // Sums of times are exact in whole milliseconds.
    let (mut x, mut xx) = (0_i64, 0_i128);
    let (mut y, mut xy) = (Sum::default(), Sum::default());
    for (t, value) in times.iter().zip(values) {
        let at = t - origin;
        x = x.saturating_add(at);
        xx += i128::from(at) * i128::from(at);
        y.add(*value);
        xy.add(at as f64 / 1e3 * value);
    }
    let (x, xx, y, xy) = (x as f64 / 1e3, xx as f64 / 1e6, y.value(), xy.value());
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
