//! `rate`, `increase` and `delta` over `anchored` and `smoothed` ranges: measured between the very ends of the window.
//! Anchored takes the last sample before each end, smoothed the line between its neighbours.

use std::sync::Arc;

use super::histograms::{add, subtract};
use super::window::{Notices, Value, Window};
use crate::histogram::{FloatHistogram, ResetHint};

/// A histogram at its time.
type Point<'a> = (i64, &'a Arc<FloatHistogram>);

/// `rate`, `increase` and `delta`.
pub(super) fn extended(window: &Window<'_>, notices: &mut Notices, counter: bool, per_second: bool) -> Option<Value> {
    if window.is_mixed() {
        notices.mixed_floats_histograms = true;
        return None;
    }
    let seconds = window.range_seconds();
    if window.histograms.is_empty() {
        let change = floats(window, counter)?;
        return Some(Value::Float(if per_second { change / seconds } else { change }));
    }
    let mut change = histograms(window, notices, counter)?;
    if per_second {
        change.div(seconds);
    }
    change.reset_hint = ResetHint::Gauge;
    Some(Value::Histogram(change.compacted()))
}

/// First and last sample that the ends of the window are taken from.
fn ends(window: &Window<'_>, times: &[i64]) -> Option<(usize, usize)> {
    let mut last = times.len() - 1;
    let first = times[..last].partition_point(|t| *t <= window.start).saturating_sub(1);
    if window.smoothed {
        last = times[..last].partition_point(|t| *t < window.end);
    }
    if times[last] <= window.start || (window.smoothed && times[first] > window.end) {
        return None;
    }
    Some((first, last))
}

/// The value between two samples; a counter that fell began anew at zero.
fn interpolated(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

fn floats(window: &Window<'_>, counter: bool) -> Option<f64> {
    let (values, times) = (window.values(), window.times());
    let (mut first, mut last) = ends(window, times)?;
    let at = |index: usize| (times[index], values[index]);
    let left = if window.smoothed && times[first] < window.start {
        interpolated(at(first), at(first + 1), window.start, counter)
    } else {
        values[first]
    };
    let right = if window.smoothed && last > 0 && times[last] > window.end {
        interpolated(at(last - 1), at(last), window.end, counter)
    } else {
        values[last]
    };
    let mut change = right - left;
    if counter {
        // Resets at the ends are in the ends already.
        if times[first] <= window.start {
            first += 1;
        }
        if times[last] >= window.end {
            last = last.wrapping_sub(1);
        }
        let mut before = left;
        for value in values.get(first..last.wrapping_add(1)).unwrap_or_default() {
            if *value < before {
                change += before;
            }
            before = *value;
        }
        if right < before {
            change += before;
        }
    }
    Some(change)
}

/// The histogram between two; a counter that was reset began anew at zero. None when they do not fit.
pub(crate) fn interpolated_histogram(
    a: Point<'_>,
    b: Point<'_>,
    t: i64,
    counter: bool,
    notices: &mut Notices,
) -> Option<FloatHistogram> {
    if t == a.0 {
        return Some(FloatHistogram::clone(a.1));
    }
    if t == b.0 {
        return Some(FloatHistogram::clone(b.1));
    }
    let share = (t - a.0) as f64 / (b.0 - a.0) as f64;
    let mut result = FloatHistogram::clone(b.1);
    if a.1.uses_custom_buckets() != b.1.uses_custom_buckets() {
        notices.mixed_schemas = true;
        return None;
    }
    if counter && b.1.detect_reset(a.1) {
        result.mul(share);
        return Some(result);
    }
    subtract(&mut result, a.1, notices)?;
    result.mul(share);
    add(&mut result, a.1, notices)?;
    Some(result)
}

fn histograms(window: &Window<'_>, notices: &mut Notices, counter: bool) -> Option<FloatHistogram> {
    let (points, times) = (window.histogram_points(), window.histogram_times());
    let (first, last) = ends(window, times)?;
    let custom = points[first].uses_custom_buckets();
    for point in &points[first..=last] {
        if point.uses_custom_buckets() != custom {
            notices.mixed_schemas = true;
            return None;
        }
        notices.not_a_counter |= counter && point.reset_hint == ResetHint::Gauge;
    }
    let at = |index: usize| (times[index], &points[index]);
    let left = if window.smoothed && times[first] < window.start {
        interpolated_histogram(at(first), at(first + 1), window.start, counter, notices)?
    } else {
        FloatHistogram::clone(&points[first])
    };
    let right = if window.smoothed && last > 0 && times[last] > window.end {
        interpolated_histogram(at(last - 1), at(last), window.end, counter, notices)?
    } else {
        FloatHistogram::clone(&points[last])
    };
    let gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    if !counter {
        notices.not_a_gauge |= !gauge(&left) || !gauge(&right);
    }
    let mut change = right.clone();
    subtract(&mut change, &left, notices)?;
    if counter {
        undo_resets(window, (first, last), (&left, &right), &mut change, notices)?;
    }
    Some(change)
}

/// Adds what was counted before each reset between the ends.
fn undo_resets(
    window: &Window<'_>,
    (first, last): (usize, usize),
    (left, right): (&FloatHistogram, &FloatHistogram),
    change: &mut FloatHistogram,
    notices: &mut Notices,
) -> Option<()> {
    let (points, times) = (window.histogram_points(), window.histogram_times());
    let (mut from, mut before) = (first + 1, left);
    let spanned = window.smoothed
        && times[first] < window.start
        && points.get(first + 1).is_some_and(|next| next.detect_reset(&points[first]));
    if spanned {
        // The interpolation on the left crossed this reset: what follows is compared with the sample behind it.
        before = &points[first + 1];
        from += 1;
    }
    // The last sample is the right end, or gives it its hint: comparing with both would count one reset twice.
    if from > last {
        return Some(());
    }
    for point in &points[from..last] {
        if point.detect_reset(before) {
            add(change, before, notices)?;
        }
        before = point;
    }
    if right.detect_reset(before) {
        add(change, before, notices)?;
    }
    Some(())
}
