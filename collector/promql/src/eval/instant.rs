//! Instant selectors: at each step the newest sample that is not older than the lookback, unless it says that the
//! series has ended. `smoothed` ones draw lines between samples instead.

use std::sync::Arc;

use super::column::{Cell, Column};
use super::rollup::{Finger, Notices, RangeSeries, interpolated_histogram};
use super::scan::{Found, Opened, collect, cover, is_stale, open};
use super::{Context, Grid, Row, STEPS_UNCHECKED};
use crate::error::QueryError;
use crate::histogram::{FloatHistogram, ResetHint};
use crate::plan::{Extent, Select};

/// What an instant selector puts into its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// The sample's value.
    Value,
    /// Its time in seconds.
    Time,
    /// Its start time in seconds.
    StartTime,
}

/// The rows of an instant selector.
pub(crate) fn select(context: &Context<'_>, select: &Select, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    select_taking(context, select, grid, Taking::Value)
}

/// Opens the series that an instant selector looks at.
pub(crate) fn open_instant(context: &Context<'_>, select: &Select, grid: &Grid) -> Result<Opened, QueryError> {
    let cover = cover(select, grid, context.lookback_ms, false);
    open(context, select, cover, "", if grid.steps > 1 { grid.step_ms } else { 0 })
}

/// The rows of an instant selector, of values or of times.
pub(crate) fn select_taking(
    context: &Context<'_>,
    select: &Select,
    grid: &Grid,
    taking: Taking,
) -> Result<Vec<Row>, QueryError> {
    let opened = open_instant(context, select, grid)?;
    let (series, first) = (Arc::clone(&opened.series), opened.serial(0));
    let columns = collect(context, opened, |found| {
        context.charge_rows(1, grid.steps)?;
        let mut column = Column::empty(grid.steps);
        fill(context, (select, taking), grid, found, &mut column)?;
        if column.present.is_empty() {
            context.release_rows(1, grid.steps);
            return Ok(None);
        }
        context.charge_histograms(&column)?;
        Ok(Some(column))
    })?;
    let row = |(id, column): (u32, Column)| {
        let serial = if first == 0 { 0 } else { first + id };
        Row { serial, labels: series.labels[id as usize].clone(), drop_name: false, column }
    };
    Ok(columns.into_iter().map(row).collect())
}

/// One series of an instant selector, into an empty column.
pub(crate) fn fill(
    context: &Context<'_>,
    (select, taking): (&Select, Taking),
    grid: &Grid,
    found: &Found<'_>,
    column: &mut Column,
) -> Result<(), QueryError> {
    if select.extent == Extent::Smoothed && taking == Taking::Value {
        return smoothed(context, select, grid, found, column);
    }
    let stats = select.stats_only && found.histogram_rows.is_some();
    let hinted = if stats { stats_only(found) } else { Vec::new() };
    let times = found.times;
    let mut next = Finger::default();
    for step in 0..grid.steps {
        if step % STEPS_UNCHECKED == STEPS_UNCHECKED - 1 {
            context.budget.check()?;
        }
        let end = select.end(grid.time(step));
        if select.at_ms.is_none() || step == 0 {
            next.advance(times, end);
        }
        let Some(at) = next.at.checked_sub(1) else { continue };
        if times[at] <= end.saturating_sub(context.lookback_ms) || is_stale(found.values[at]) {
            continue;
        }
        match taking {
            Taking::Time => column.set_float(step, times[at] as f64 / 1000.0),
            Taking::StartTime => {
                let start = found.starts.map_or(0, |starts| starts[at]);
                column.set_float(step, start as f64 / 1000.0);
            }
            Taking::Value => match found.histogram(at) {
                None => column.set_float(step, found.values[at]),
                Some(_) if stats => column.set(step, hinted[at].clone().map_or(Cell::Float(0.0), Cell::Histogram)),
                Some(histogram) => column.set_histogram(step, Arc::clone(histogram)),
            },
        }
    }
    Ok(())
}

/// The histograms of a series, by row, reduced to count and sum. What the buckets say about resets is kept in the
/// hint, since nobody can see it afterwards.
pub(crate) fn stats_only(found: &Found<'_>) -> Vec<Option<Arc<FloatHistogram>>> {
    let mut before: Option<&Arc<FloatHistogram>> = None;
    (0..found.times.len())
        .map(|row| {
            let histogram = found.histogram(row)?;
            let reset_hint = match (histogram.reset_hint, before) {
                (ResetHint::Unknown, Some(before)) if histogram.detect_reset(before) => ResetHint::Reset,
                (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
                (hint, _) => hint,
            };
            before = Some(histogram);
            Some(Arc::new(FloatHistogram {
                schema: histogram.schema,
                count: histogram.count,
                sum: histogram.sum,
                custom_values: histogram.custom_values.clone(),
                reset_hint,
                ..FloatHistogram::default()
            }))
        })
        .collect()
}

/// Between two samples the line that joins them, after the last one its value.
fn smoothed(
    context: &Context<'_>,
    select: &Select,
    grid: &Grid,
    found: &Found<'_>,
    column: &mut Column,
) -> Result<(), QueryError> {
    let series = RangeSeries::of(found, false);
    let mut notices = Notices::default();
    for step in 0..grid.steps {
        if step % STEPS_UNCHECKED == STEPS_UNCHECKED - 1 {
            context.budget.check()?;
        }
        let at = select.end(grid.time(step));
        let (from, to) = (at.saturating_sub(context.lookback_ms), at.saturating_add(context.lookback_ms));
        let floats = series.floats_in(from, to);
        let histograms = series.histograms_in(from, to);
        if !floats.is_empty() && !histograms.is_empty() {
            notices.mixed_floats_histograms = true;
        } else if !histograms.is_empty() {
            let times = &series.histogram_times[histograms.clone()];
            let points = &series.histograms[histograms];
            if let Some(histogram) = smoothed_histogram(times, points, at, &mut notices) {
                column.set_histogram(step, Arc::new(histogram));
            }
        } else if !floats.is_empty() {
            let (times, values) = (&series.times[floats.clone()], &series.values[floats]);
            let next = times.partition_point(|t| *t < at);
            if next < times.len() && times[next] == at {
                column.set_float(step, values[next]);
            } else if next > 0 && next < times.len() {
                let share = (at - times[next - 1]) as f64 / (times[next] - times[next - 1]) as f64;
                column.set_float(step, values[next - 1] + (values[next] - values[next - 1]) * share);
            } else if next > 0 {
                column.set_float(step, values[next - 1]);
            }
        }
    }
    notices.report(context, found.labels.name(), select.span);
    Ok(())
}

fn smoothed_histogram(
    times: &[i64],
    points: &[Arc<FloatHistogram>],
    at: i64,
    notices: &mut Notices,
) -> Option<FloatHistogram> {
    let next = times.partition_point(|t| *t < at);
    if next < times.len() && times[next] == at {
        return Some(FloatHistogram::clone(&points[next]));
    }
    let before = next.checked_sub(1)?;
    if next == times.len() {
        // The hint speaks of two neighbours, not of a value that is carried on.
        return Some(FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(&points[before]) });
    }
    let (a, b) = (&points[before], &points[next]);
    let counter = a.reset_hint != ResetHint::Gauge || b.reset_hint != ResetHint::Gauge;
    interpolated_histogram((times[before], a), (times[next], b), at, counter, notices)
}
