//! Increase of a native histogram over a window, and combining with notices.

use super::window::{Notices, Window, is_start_reset, starts_overlap};
use crate::histogram::{FloatHistogram, ResetHint};

/// Adds `other`; none when their schemas do not fit.
pub(super) fn add(base: &mut FloatHistogram, other: &FloatHistogram, notices: &mut Notices) -> Option<()> {
    match base.add(other) {
        Ok(combined) => {
            notices.reconciled_adding |= combined.reconciled;
            Some(())
        }
        Err(_) => {
            notices.mixed_schemas = true;
            None
        }
    }
}

/// Subtracts `other`; none when their schemas do not fit.
pub(super) fn subtract(base: &mut FloatHistogram, other: &FloatHistogram, notices: &mut Notices) -> Option<()> {
    match base.sub(other) {
        Ok(combined) => {
            notices.reconciled_subtracting |= combined.reconciled;
            Some(())
        }
        Err(_) => {
            notices.mixed_schemas = true;
            None
        }
    }
}

/// How much the histograms of a window grew, resets of counters undone; at least two of them.
pub(super) fn histogram_rate(window: &Window<'_>, notices: &mut Notices, counter: bool) -> Option<FloatHistogram> {
    let (points, times, starts) = (window.histogram_points(), window.histogram_times(), window.histogram_starts());
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    let start_reset = |at: usize| {
        starts.is_some_and(|starts| is_start_reset((starts[at - 1], times[at - 1]), (starts[at], times[at])))
    };
    // After a reset right behind it, nothing of the first histogram counts, so its layout need not fit either.
    let replaced = counter && (start_reset(1) || points[1].detect_reset(first));
    let nothing = FloatHistogram {
        schema: points[1].schema,
        custom_values: points[1].custom_values.clone(),
        ..FloatHistogram::default()
    };
    let base: &FloatHistogram = if replaced { &nothing } else { first };
    let custom = base.uses_custom_buckets();
    if counter {
        notices.not_a_counter |= gauge(first) || gauge(last);
    }
    if last.uses_custom_buckets() != custom {
        notices.mixed_schemas = true;
        return None;
    }
    if counter {
        let inner = &points[1..points.len() - 1];
        if inner.iter().any(|point| point.uses_custom_buckets() != custom) {
            notices.mixed_schemas = true;
            return None;
        }
        notices.not_a_counter |= inner.iter().any(|point| gauge(point));
    }
    let mut result = FloatHistogram::clone(last);
    subtract(&mut result, base, notices)?;
    if counter {
        let mut before = base;
        for (at, point) in points.iter().enumerate().skip(1) {
            if let Some(starts) = starts {
                notices.start_overlap |= starts_overlap((starts[at - 1], times[at - 1]), starts[at]);
            }
            if start_reset(at) || point.detect_reset(before) {
                add(&mut result, before, notices)?;
            }
            before = point;
        }
    } else {
        notices.not_a_gauge |= !gauge(first) || !gauge(last);
    }
    result.reset_hint = ResetHint::Gauge;
    Some(result.compacted())
}
