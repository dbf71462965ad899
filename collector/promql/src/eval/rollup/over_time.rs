//! The `…_over_time` functions.

use std::sync::Arc;

use super::window::{Notices, Value, Window};
use crate::histogram::{FloatHistogram, HistogramSum, ResetHint, kahan};
use crate::quantile::quantile;

/// The floats of a window for functions that leave histograms out; none without floats.
fn only_floats<'a>(window: &Window<'a>, notices: &mut Notices) -> Option<&'a [f64]> {
    if window.floats.is_empty() {
        return None;
    }
    notices.histograms_ignored |= !window.histograms.is_empty();
    Some(window.values())
}

/// Whether a window of both kinds was met, which sums and averages cannot answer.
fn mixed(window: &Window<'_>, notices: &mut Notices) -> bool {
    notices.mixed_floats_histograms |= window.is_mixed();
    window.is_mixed()
}

/// Notes what combining the histograms of a window has to say about their hints.
fn track_hints(points: &[Arc<FloatHistogram>], notices: &mut Notices) {
    let seen = |hint: ResetHint| points.iter().any(|point| point.reset_hint == hint);
    notices.collision |= seen(ResetHint::Reset) && seen(ResetHint::NotReset);
}

/// `sum_over_time`
pub(super) fn sum(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    if mixed(window, notices) {
        return None;
    }
    if window.floats.is_empty() {
        let points = window.histogram_points();
        track_hints(points, notices);
        let mut sum = HistogramSum::of(&points[0]);
        for point in &points[1..] {
            let Ok(combined) = sum.add(point) else {
                notices.mixed_schemas = true;
                return None;
            };
            notices.reconciled_aggregating |= combined.reconciled;
        }
        return Some(Value::Histogram(sum.value()));
    }
    let (sum, compensation) = window.values().iter().fold((0.0, 0.0), |(sum, c), value| kahan(*value, sum, c));
    Some(Value::Float(if sum.is_infinite() { sum } else { sum + compensation }))
}

/// `avg_over_time`: the sum by the count, or, where the sum would leave the numbers, a running mean.
pub(super) fn average(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    if mixed(window, notices) {
        return None;
    }
    if window.floats.is_empty() {
        return average_histogram(window, notices);
    }
    let values = window.values();
    let (mut sum, mut compensation, mut running) = (values[0], 0.0, false);
    for (at, value) in values.iter().enumerate().skip(1) {
        let count = (at + 1) as f64;
        if !running {
            let (next, next_compensation) = kahan(*value, sum, compensation);
            if !next.is_infinite() {
                (sum, compensation) = (next, next_compensation);
                continue;
            }
            running = true;
            sum /= count - 1.0;
            compensation /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        (sum, compensation) = kahan(value / count, share * sum, share * compensation);
    }
    let count = if running { 1.0 } else { values.len() as f64 };
    Some(Value::Float(sum / count + compensation / count))
}

fn average_histogram(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let points = window.histogram_points();
    track_hints(points, notices);
    let (mut sum, mut running) = (HistogramSum::of(&points[0]), false);
    for (at, point) in points.iter().enumerate().skip(1) {
        let count = (at + 1) as f64;
        let added = if running {
            add_to_mean(&mut sum, point, count)
        } else {
            let mut next = sum.clone();
            let added = next.add(point);
            if next.has_overflow() {
                running = true;
                sum.scale(|part| part / (count - 1.0));
                add_to_mean(&mut sum, point, count)
            } else {
                sum = next;
                added
            }
        };
        let Ok(combined) = added else {
            notices.mixed_schemas = true;
            return None;
        };
        notices.reconciled_aggregating |= combined.reconciled;
    }
    if !running {
        let count = points.len() as f64;
        sum.scale(|part| part / count);
    }
    Some(Value::Histogram(sum.value()))
}

/// Moves a running mean by one more histogram.
pub(crate) fn add_to_mean(
    mean: &mut HistogramSum,
    point: &FloatHistogram,
    count: f64,
) -> Result<crate::histogram::Combined, crate::histogram::IncompatibleSchemas> {
    let share = (count - 1.0) / count;
    mean.scale(|part| part * share);
    let mut part = point.clone();
    part.div(count);
    mean.add(&part)
}

/// `count_over_time`
pub(super) fn count(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    Some(Value::Float((window.floats.len() + window.histograms.len()) as f64))
}

/// `present_over_time`
pub(super) fn present(_: &Window<'_>, _: &mut Notices) -> Option<Value> {
    Some(Value::Float(1.0))
}

/// The float of a window that wins against all others, with its index; a number wins against NaN.
fn best(window: &Window<'_>, notices: &mut Notices, wins: impl Fn(f64, f64) -> bool) -> Option<(usize, f64)> {
    let values = only_floats(window, notices)?;
    let mut best = (0, values[0]);
    for (at, value) in values.iter().enumerate() {
        if wins(*value, best.1) || best.1.is_nan() {
            best = (at, *value);
        }
    }
    Some(best)
}

/// `min_over_time`
pub(super) fn minimum(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    best(window, notices, |value, best| value < best).map(|(_, value)| Value::Float(value))
}

/// `max_over_time`
pub(super) fn maximum(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    best(window, notices, |value, best| value > best).map(|(_, value)| Value::Float(value))
}

fn seconds(t_ms: i64) -> Value {
    Value::Float(t_ms as f64 / 1000.0)
}

/// `ts_of_min_over_time`: the last of equals.
pub(super) fn time_of_minimum(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    best(window, notices, |value, best| value <= best).map(|(at, _)| seconds(window.times()[at]))
}

/// `ts_of_max_over_time`: the last of equals.
pub(super) fn time_of_maximum(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    best(window, notices, |value, best| value >= best).map(|(at, _)| seconds(window.times()[at]))
}

/// `ts_of_first_over_time`
pub(super) fn time_of_first(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    window.times().first().into_iter().chain(window.histogram_times().first()).min().map(|t| seconds(*t))
}

/// `ts_of_last_over_time`
pub(super) fn time_of_last(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    window.times().last().into_iter().chain(window.histogram_times().last()).max().map(|t| seconds(*t))
}

/// `last_over_time`
pub(super) fn last(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    let (float, histogram) = (window.times().last(), window.histogram_times().last());
    match (float, histogram) {
        (Some(_), None) => window.values().last().map(|value| Value::Float(*value)),
        (Some(float), Some(histogram)) if histogram < float => window.values().last().map(|value| Value::Float(*value)),
        _ => window.histogram_points().last().map(|point| Value::Shared(Arc::clone(point))),
    }
}

/// `first_over_time`
pub(super) fn first(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    let (float, histogram) = (window.times().first(), window.histogram_times().first());
    match (float, histogram) {
        (Some(_), None) => Some(Value::Float(window.values()[0])),
        (Some(float), Some(histogram)) if float < histogram => Some(Value::Float(window.values()[0])),
        _ => window.histogram_points().first().map(|point| Value::Shared(Arc::clone(point))),
    }
}

/// `stdvar_over_time` and, with a square root, `stddev_over_time`.
pub(super) fn variance(window: &Window<'_>, notices: &mut Notices, finish: fn(f64) -> f64) -> Option<Value> {
    let values = only_floats(window, notices)?;
    let (mut mean, mut mean_c, mut squares, mut squares_c) = (0.0, 0.0, 0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let delta = value - (mean + mean_c);
        (mean, mean_c) = kahan(delta / (at + 1) as f64, mean, mean_c);
        (squares, squares_c) = kahan(delta * (value - (mean + mean_c)), squares, squares_c);
    }
    Some(Value::Float(finish((squares + squares_c) / values.len() as f64)))
}

/// `mad_over_time`: the median of the distances from the median.
pub(super) fn median_deviation(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let values = only_floats(window, notices)?;
    if values.iter().any(|value| value.is_nan()) {
        return Some(Value::Float(f64::NAN));
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Some(Value::Float(quantile(0.5, &mut values)))
}

/// `quantile_over_time`
pub(super) fn quantile_over_time(window: &Window<'_>, notices: &mut Notices) -> Option<Value> {
    let values = only_floats(window, notices)?;
    Some(Value::Float(quantile(window.args[0], &mut values.to_vec())))
}
