//! `changes` and `resets`: how often neighbours differ, floats and histograms in one sequence.

use std::sync::Arc;

use super::window::{Notices, Value, Window, is_start_reset};
use crate::histogram::FloatHistogram;

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'a> {
    t: i64,
    start: i64,
    float: f64,
    histogram: Option<&'a Arc<FloatHistogram>>,
}

/// Indices of the first float and the first histogram to look at. An anchored window begins with the newest sample at
/// or before its start, of whichever kind; with nothing after its start there is nothing to see.
fn first_samples(window: &Window<'_>) -> Option<(usize, usize)> {
    if !window.anchored {
        return Some((0, 0));
    }
    let (times, histogram_times) = (window.times(), window.histogram_times());
    let floats = times.partition_point(|t| *t <= window.start);
    let histograms = histogram_times.partition_point(|t| *t <= window.start);
    if floats == times.len() && histograms == histogram_times.len() {
        return None;
    }
    let last = |times: &[i64], count: usize| count.checked_sub(1).map(|at| times[at]);
    Some(match (last(times, floats), last(histogram_times, histograms)) {
        (None, None) => (0, 0),
        (Some(float), other) if other.is_none_or(|histogram| float >= histogram) => (floats - 1, histograms),
        _ => (floats, histograms - 1),
    })
}

/// Counts neighbours for which `differs` holds.
fn count(window: &Window<'_>, differs: impl Fn(&Sample<'_>, &Sample<'_>) -> bool) -> Option<Value> {
    let (mut float, mut histogram) = first_samples(window)?;
    let (times, values, starts) = (window.times(), window.values(), window.starts());
    let (points, point_times, point_starts) =
        (window.histogram_points(), window.histogram_times(), window.histogram_starts());
    let mut before: Option<Sample<'_>> = None;
    let mut differing = 0_u64;
    while float < times.len() || histogram < point_times.len() {
        let take_float =
            histogram >= point_times.len() || (float < times.len() && times[float] < point_times[histogram]);
        let sample = if take_float {
            let start = starts.map_or(0, |starts| starts[float]);
            float += 1;
            Sample { t: times[float - 1], start, float: values[float - 1], histogram: None }
        } else {
            let start = point_starts.map_or(0, |starts| starts[histogram]);
            histogram += 1;
            Sample { t: point_times[histogram - 1], start, float: 0.0, histogram: Some(&points[histogram - 1]) }
        };
        if before.is_some_and(|before| differs(&before, &sample)) {
            differing += 1;
        }
        before = Some(sample);
    }
    Some(Value::Float(differing as f64))
}

/// `changes`
pub(super) fn changes(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    count(window, |before, now| match (before.histogram, now.histogram) {
        (None, None) => before.float != now.float && !(before.float.is_nan() && now.float.is_nan()),
        (Some(before), Some(now)) => !now.equals(before),
        _ => true,
    })
}

/// `resets`
pub(super) fn resets(window: &Window<'_>, _: &mut Notices) -> Option<Value> {
    count(window, |before, now| {
        let by_start = || is_start_reset((before.start, before.t), (now.start, now.t));
        match (before.histogram, now.histogram) {
            (None, None) => now.float < before.float || by_start(),
            (Some(earlier), Some(later)) => by_start() || later.detect_reset(earlier),
            _ => true,
        }
    })
}
