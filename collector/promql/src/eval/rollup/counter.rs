//! `rate`, `increase`, `delta` and, of the last two samples, `irate` and `idelta`.
//!
//! The first three measure between the first and the last sample of the window and extend that to the window's ends,
//! as far as samples are dense enough to believe that it goes on, and never below zero for a counter. Start
//! timestamps replace the extension on the left, where they are known.

use std::sync::Arc;

use super::histograms::{add, histogram_rate, subtract};
use super::window::{Notices, Value, Window, is_start_reset, starts_overlap};
use super::{Finger, Fingers, Rollup};
use crate::error::QueryError;
use crate::eval::STEPS_UNCHECKED;
use crate::eval::column::Column;
use crate::histogram::{FloatHistogram, ResetHint};

/// How much sparser than the average the distance to an end of the window may be to count as covered.
const EXTRAPOLATION_SLACK: f64 = 1.1;

/// The samples of a window that a rate is made of.
struct Measured {
    result: Value,
    first_t: i64,
    last_t: i64,
    samples: usize,
    /// Value of the first sample: the float, or the histogram's count.
    first_value: f64,
    first_start: i64,
}

/// `rate`, `increase` and `delta`.
pub(super) fn extrapolated(
    window: &Window<'_>,
    notices: &mut Notices,
    counter: bool,
    per_second: bool,
) -> Option<Value> {
    if window.is_mixed() {
        notices.mixed_floats_histograms = true;
        return None;
    }
    let measured = if window.histograms.is_empty() {
        floats(window, notices, counter)
    } else {
        histograms(window, notices, counter)?
    };
    let Measured { mut result, first_t, last_t, samples, first_value, first_start } = measured;
    let mut to_start = (first_t - window.start) as f64 / 1000.0;
    let mut to_end = (window.end - last_t) as f64 / 1000.0;
    let mut interval = (last_t - first_t) as f64 / 1000.0;
    let average = if samples > 1 { interval / (samples - 1) as f64 } else { 0.0 };
    let threshold = average * EXTRAPOLATION_SLACK;
    if counter && first_start != 0 && first_start > window.start && first_start < first_t {
        // The counter began inside the window: it was zero then, nothing needs to be guessed on the left.
        to_start = 0.0;
        interval = (last_t - first_start) as f64 / 1000.0;
        result = with_first(window, result, notices)?;
    } else if samples < 2 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        let grown = match &result {
            Value::Float(value) => *value,
            Value::Histogram(histogram) => histogram.count,
            Value::Shared(histogram) => histogram.count,
        };
        if counter && grown > 0.0 && first_value >= 0.0 {
            to_start = to_start.min(interval * (first_value / grown));
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = if interval == 0.0 { 1.0 } else { (interval + to_start + to_end) / interval };
    if per_second {
        factor /= window.range_seconds();
    }
    Some(scaled(result, factor))
}

/// Which of the three.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    counter: bool,
    per_second: bool,
}

impl Kind {
    pub(super) fn of(function: &str) -> Option<Self> {
        match function {
            "rate" => Some(Self { counter: true, per_second: true }),
            "increase" => Some(Self { counter: true, per_second: false }),
            "delta" => Some(Self { counter: false, per_second: false }),
            _ => None,
        }
    }
}

/// What [`extrapolated`] gives at each step, of a series that has only floats without start times.
pub(super) fn fill_floats(
    rollup: &Rollup<'_>,
    kind: Kind,
    series: (&[i64], &[f64], &[u32]),
    column: &mut Column,
) -> Result<(), QueryError> {
    let (times, values, resets) = series;
    let (mut from, mut to, mut reset) = (Finger::default(), Finger::default(), Fingers::default());
    let range_seconds = rollup.range_ms as f64 / 1000.0;
    for step in 0..rollup.grid.steps {
        if step % STEPS_UNCHECKED == STEPS_UNCHECKED - 1 {
            rollup.context.budget.check()?;
        }
        let end = rollup.window_end(step);
        let start = end.saturating_sub(rollup.range_ms);
        to.advance(times, end);
        from.advance(times, start);
        if to.at < from.at + 2 {
            continue;
        }
        let last = to.at - 1;
        let (first_value, first_t, last_t) = (values[from.at], times[from.at], times[last]);
        let mut grown = values[last] - first_value;
        if !resets.is_empty() {
            reset.advance_indices(resets, from.at + 1, to.at);
            for at in &resets[reset.from..reset.to.max(reset.from)] {
                grown += values[*at as usize - 1];
            }
        }
        let mut to_start = (first_t - start) as f64 / 1000.0;
        let mut to_end = (end - last_t) as f64 / 1000.0;
        let interval = (last_t - first_t) as f64 / 1000.0;
        let average = interval / (last - from.at) as f64;
        let threshold = average * EXTRAPOLATION_SLACK;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if kind.counter && grown > 0.0 && first_value >= 0.0 {
            to_start = to_start.min(interval * (first_value / grown));
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = (interval + to_start + to_end) / interval;
        if kind.per_second {
            factor /= range_seconds;
        }
        column.set_float(step, grown * factor);
    }
    Ok(())
}

fn scaled(value: Value, factor: f64) -> Value {
    match value {
        Value::Float(value) => Value::Float(value * factor),
        Value::Histogram(mut histogram) => {
            histogram.mul(factor);
            Value::Histogram(histogram)
        }
        Value::Shared(histogram) => {
            let mut histogram = Arc::unwrap_or_clone(histogram);
            histogram.mul(factor);
            Value::Histogram(histogram)
        }
    }
}

/// Adds the first sample of the window: what the counter had counted since it began.
fn with_first(window: &Window<'_>, result: Value, notices: &mut Notices) -> Option<Value> {
    Some(match result {
        Value::Float(value) => Value::Float(value + window.values()[0]),
        Value::Histogram(mut histogram) => {
            if window.histograms.len() == 1 {
                return Some(Value::Histogram(FloatHistogram::clone(&window.histogram_points()[0])));
            }
            add(&mut histogram, &window.histogram_points()[0], notices)?;
            Value::Histogram(histogram)
        }
        shared @ Value::Shared(_) => shared,
    })
}

fn floats(window: &Window<'_>, notices: &mut Notices, counter: bool) -> Measured {
    let (values, times) = (window.values(), window.times());
    let last = values.len() - 1;
    let mut result = values[last] - values[0];
    let mut first_start = 0;
    if counter {
        // The value before each reset was counted before it.
        for reset in window.resets {
            result += window.series.values[*reset as usize - 1];
        }
        if let Some(starts) = window.starts() {
            first_start = starts[0];
            let overlap = |at: usize| starts_overlap((starts[at - 1], times[at - 1]), starts[at]);
            notices.start_overlap |= (1..starts.len()).any(overlap);
        }
    }
    Measured {
        result: Value::Float(result),
        first_t: times[0],
        last_t: times[last],
        samples: values.len(),
        first_value: values[0],
        first_start,
    }
}

fn histograms(window: &Window<'_>, notices: &mut Notices, counter: bool) -> Option<Measured> {
    let (points, times) = (window.histogram_points(), window.histogram_times());
    let result = if points.len() > 1 { histogram_rate(window, notices, counter)? } else { FloatHistogram::default() };
    Some(Measured {
        result: Value::Histogram(result),
        first_t: times[0],
        last_t: times[times.len() - 1],
        samples: points.len(),
        first_value: points[0].count,
        first_start: window.histogram_starts().map_or(0, |starts| starts[0]),
    })
}

/// One of the last two samples.
struct Last<'a> {
    t: i64,
    start: i64,
    float: f64,
    histogram: Option<&'a Arc<FloatHistogram>>,
}

/// The last two samples of a window, older first.
fn last_samples<'a>(window: &Window<'a>) -> Option<(Last<'a>, Last<'a>)> {
    if window.histograms.is_empty() {
        let (times, values, starts) = (window.times(), window.values(), window.starts());
        let last = values.len() - 1;
        let float = |at: usize| {
            let start = starts.map_or(0, |starts| starts[at]);
            Last { t: times[at], start, float: values[at], histogram: None }
        };
        return (last > 0).then(|| (float(last - 1), float(last)));
    }
    let mut floats = window.times().iter().enumerate().rev();
    let mut histograms = window.histogram_times().iter().enumerate().rev();
    let (mut float, mut histogram) = (floats.next(), histograms.next());
    let mut next = || {
        let newer = match (float, histogram) {
            (Some((_, a)), Some((_, b))) => a > b,
            (a, _) => a.is_some(),
        };
        if newer {
            let (at, t) = float?;
            float = floats.next();
            let start = window.starts().map_or(0, |starts| starts[at]);
            return Some(Last { t: *t, start, float: window.values()[at], histogram: None });
        }
        let (at, t) = histogram?;
        histogram = histograms.next();
        let start = window.histogram_starts().map_or(0, |starts| starts[at]);
        Some(Last { t: *t, start, float: 0.0, histogram: Some(&window.histogram_points()[at]) })
    };
    let newest = next()?;
    Some((next()?, newest))
}

/// `irate` and `idelta`.
pub(super) fn last_two(window: &Window<'_>, notices: &mut Notices, rate: bool) -> Option<Value> {
    let (before, now) = last_samples(window)?;
    let interval = (now.t - before.t) as f64 / 1000.0;
    if interval == 0.0 {
        return None;
    }
    let start_reset = is_start_reset((before.start, before.t), (now.start, now.t));
    match (before.histogram, now.histogram) {
        (None, None) => {
            let reset = rate && (now.float < before.float || start_reset);
            let change = if reset { now.float } else { now.float - before.float };
            Some(Value::Float(if rate { change / interval } else { change }))
        }
        (Some(a), Some(b)) => {
            let gauges = [a.reset_hint, b.reset_hint].map(|hint| hint == ResetHint::Gauge);
            notices.not_a_counter |= rate && gauges.contains(&true);
            notices.not_a_gauge |= !rate && gauges.contains(&false);
            let mut change = FloatHistogram::clone(b);
            if !rate || (!start_reset && !b.detect_reset(a)) {
                subtract(&mut change, a, notices)?;
            }
            change.reset_hint = ResetHint::Gauge;
            if rate {
                change.div(interval);
            }
            Some(Value::Histogram(change.compacted()))
        }
        _ => {
            notices.mixed_floats_histograms = true;
            None
        }
    }
}
