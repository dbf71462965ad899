//! What a function over a range sees: the samples of one series in one window.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::annotations::Combining;
use crate::eval::Context;
use crate::eval::instant::stats_only;
use crate::eval::scan::{Found, is_stale};
use crate::histogram::FloatHistogram;
use crate::position::Span;

/// The samples of one series, floats and histograms apart, ends taken out.
#[derive(Default)]
pub(crate) struct RangeSeries<'a> {
    pub(crate) times: Cow<'a, [i64]>,
    pub(crate) values: Cow<'a, [f64]>,
    pub(crate) starts: Option<Cow<'a, [i64]>>,
    pub(crate) histogram_times: Vec<i64>,
    pub(crate) histograms: Vec<Arc<FloatHistogram>>,
    pub(crate) histogram_starts: Option<Vec<i64>>,
}

impl<'a> RangeSeries<'a> {
    pub(crate) fn of(found: &Found<'a>, stats: bool) -> Self {
        if found.histogram_rows.is_none() && !found.values.iter().fold(false, |any, value| any | is_stale(*value)) {
            return Self {
                times: Cow::Borrowed(found.times),
                values: Cow::Borrowed(found.values),
                starts: found.starts.map(Cow::Borrowed),
                ..Self::default()
            };
        }
        let reduced = if stats { stats_only(found) } else { Vec::new() };
        let (mut times, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut histogram_times, mut histograms, mut histogram_starts) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..found.times.len() {
            if is_stale(found.values[row]) {
                continue;
            }
            let start = found.starts.map_or(0, |starts| starts[row]);
            let histogram = found.histogram(row);
            let histogram = if stats { reduced[row].as_ref() } else { histogram };
            if let Some(histogram) = histogram {
                histogram_times.push(found.times[row]);
                histograms.push(Arc::clone(histogram));
                histogram_starts.push(start);
            } else {
                times.push(found.times[row]);
                values.push(found.values[row]);
                starts.push(start);
            }
        }
        Self {
            times: Cow::Owned(times),
            values: Cow::Owned(values),
            starts: found.starts.map(|_| Cow::Owned(starts)),
            histogram_times,
            histograms,
            histogram_starts: found.starts.map(|_| histogram_starts),
        }
    }

    /// Whether the start time of a float says that the counter was reset before it.
    #[inline]
    pub(crate) fn start_reset(&self, at: usize) -> bool {
        self.starts
            .as_ref()
            .is_some_and(|starts| is_start_reset((starts[at - 1], self.times[at - 1]), (starts[at], self.times[at])))
    }

    /// Floats after `from`, up to `to`.
    pub(crate) fn floats_in(&self, from: i64, to: i64) -> Range<usize> {
        self.times.partition_point(|t| *t <= from)..self.times.partition_point(|t| *t <= to)
    }

    /// Histograms after `from`, up to `to`.
    pub(crate) fn histograms_in(&self, from: i64, to: i64) -> Range<usize> {
        let times = &self.histogram_times;
        times.partition_point(|t| *t <= from)..times.partition_point(|t| *t <= to)
    }
}

/// Whether (start, time) of a sample and of the one before say that the counter was reset between them.
pub(crate) fn is_start_reset(before: (i64, i64), now: (i64, i64)) -> bool {
    let ((start_before, t_before), (start, t)) = (before, now);
    // No start, or one that makes no sense, or OpenTelemetry's sign for an unknown one.
    if start == 0 || start >= t || start < t_before {
        return false;
    }
    if start > t_before {
        return true;
    }
    // It begins where the one before ended: a delta, unless the one before did not know its own start.
    start_before <= t_before && start_before != 0 && start_before != t_before
}

/// Whether a sample claims to begin before the one before ended, and not where that one began.
pub(crate) fn starts_overlap(before: (i64, i64), start: i64) -> bool {
    start != 0 && start < before.1 && start != before.0
}

/// The value of a window.
pub(crate) enum Value {
    Float(f64),
    Histogram(FloatHistogram),
    Shared(Arc<FloatHistogram>),
}

/// The samples of one series in one window.
pub(crate) struct Window<'a> {
    pub(crate) series: &'a RangeSeries<'a>,
    /// Floats of the window, and of its surroundings where those count.
    pub(crate) floats: Range<usize>,
    /// Histograms, likewise.
    pub(crate) histograms: Range<usize>,
    /// Indices of the floats before which a counter was reset, all in the window.
    pub(crate) resets: &'a [u32],
    /// The window is after this,
    pub(crate) start: i64,
    /// up to this.
    pub(crate) end: i64,
    /// The time of evaluation.
    pub(crate) now: i64,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    /// Numbers of the other arguments.
    pub(crate) args: [f64; 2],
}

impl<'a> Window<'a> {
    pub(crate) fn values(&self) -> &'a [f64] {
        &self.series.values[self.floats.clone()]
    }

    pub(crate) fn times(&self) -> &'a [i64] {
        &self.series.times[self.floats.clone()]
    }

    pub(crate) fn starts(&self) -> Option<&'a [i64]> {
        self.series.starts.as_ref().map(|starts| &starts[self.floats.clone()])
    }

    pub(crate) fn histogram_points(&self) -> &'a [Arc<FloatHistogram>] {
        &self.series.histograms[self.histograms.clone()]
    }

    pub(crate) fn histogram_times(&self) -> &'a [i64] {
        &self.series.histogram_times[self.histograms.clone()]
    }

    pub(crate) fn histogram_starts(&self) -> Option<&'a [i64]> {
        self.series.histogram_starts.as_ref().map(|starts| &starts[self.histograms.clone()])
    }

    /// Whether both floats and histograms are in the window.
    pub(crate) fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }

    pub(crate) fn range_seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// What functions notice about a series; told once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notices {
    pub(crate) mixed_floats_histograms: bool,
    pub(crate) histograms_ignored: bool,
    pub(crate) not_a_counter: bool,
    pub(crate) not_a_gauge: bool,
    pub(crate) mixed_schemas: bool,
    pub(crate) start_overlap: bool,
    pub(crate) reconciled_adding: bool,
    pub(crate) reconciled_subtracting: bool,
    pub(crate) reconciled_aggregating: bool,
    pub(crate) collision: bool,
}

impl Notices {
    pub(crate) fn report(&self, context: &Context<'_>, metric: &str, span: Span) {
        let told = [
            self.mixed_floats_histograms,
            self.histograms_ignored,
            self.not_a_counter,
            self.not_a_gauge,
            self.mixed_schemas,
            self.start_overlap,
            self.reconciled_adding,
            self.reconciled_subtracting,
            self.reconciled_aggregating,
            self.collision,
        ];
        if !told.contains(&true) {
            return;
        }
        context.note(|notes| {
            let mut tell = told.into_iter();
            let mut next = || tell.next().unwrap_or(false);
            if next() {
                notes.mixed_floats_histograms(metric, span);
            }
            if next() {
                notes.histogram_ignored_in_range(metric, span);
            }
            if next() {
                notes.not_a_counter(metric, span);
            }
            if next() {
                notes.not_a_gauge(metric, span);
            }
            if next() {
                notes.mixed_exponential_custom(metric, span);
            }
            if next() {
                notes.start_time_overlap(metric, span);
            }
            for combining in [Combining::Addition, Combining::Subtraction, Combining::Aggregation] {
                if next() {
                    notes.mismatched_bounds(combining, span);
                }
            }
            if next() {
                notes.reset_collision(Combining::Aggregation, span);
            }
        });
    }
}
