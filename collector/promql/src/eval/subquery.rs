//! Subqueries: an expression evaluated at times of its own, whose values then are the samples of a range.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::column::Column;
use super::rollup::{RangeSeries, Rollup};
use super::{Context, Grid, Row, STEPS_UNCHECKED, evaluate};
use crate::error::QueryError;
use crate::histogram::{FloatHistogram, ResetHint};
use crate::plan::Subquery;

/// The times of a subquery: multiples of its step after the beginning of the first window, up to the last window's
/// end. `ends` are the ends of the first and the last window.
pub(crate) fn times(query: &Subquery, ends: (i64, i64)) -> Option<Grid> {
    let after = ends.0.saturating_sub(query.range_ms);
    let step = query.step_ms.max(1);
    // Cut toward zero, as Prometheus cuts, then up to the first time that is inside.
    let mut start = step * (after / step);
    if start <= after {
        start += step;
    }
    let steps = if start > ends.1 { 0 } else { (ends.1 - start) / step + 1 };
    (steps > 0).then_some(Grid { start_ms: start, step_ms: step, steps: steps as usize })
}

/// Evaluates the inner expression of a subquery.
pub(crate) fn inner(context: &Context<'_>, query: &Subquery, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    context.budget.hold_samples(grid.steps as u64)?;
    context.budget.drop_samples(grid.steps as u64);
    // Numbers are a column each, and no part of the expression holds more than one.
    let bytes = query.expr.parts() * grid.steps as u64 * size_of::<f64>() as u64;
    context.budget.reserve(bytes)?;
    let rows = evaluate(context, &query.expr, grid)?.rows();
    context.budget.release(bytes);
    rows
}

/// The samples of a row of a subquery.
pub(crate) fn samples<'a>(context: &Context<'_>, column: &Column, grid: &Grid) -> Result<RangeSeries<'a>, QueryError> {
    let mut series = RangeSeries::default();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for (at, step) in column.present.iter().enumerate() {
        if at % STEPS_UNCHECKED == STEPS_UNCHECKED - 1 {
            context.budget.check()?;
        }
        let t = grid.time(step);
        if let Some(histogram) = column.histogram(step) {
            series.histogram_times.push(t);
            series.histograms.push(without_reset_hint(histogram));
        } else {
            times.push(t);
            values.push(column.values[step]);
        }
    }
    series.times = Cow::Owned(times);
    series.values = Cow::Owned(values);
    Ok(series)
}

/// What a hint says of neighbours in storage is not true of neighbours at other distances.
fn without_reset_hint(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    if matches!(histogram.reset_hint, ResetHint::Unknown | ResetHint::Gauge) {
        return Arc::clone(histogram);
    }
    Arc::new(FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(histogram) })
}

/// The rows of a function over a subquery.
pub(crate) fn rows(rollup: &Rollup<'_>, query: &Subquery) -> Result<Vec<Row>, QueryError> {
    let Some(grid) = times(query, rollup.window_ends()) else { return Ok(Vec::new()) };
    let context = rollup.context;
    let rows = inner(context, query, &grid)?;
    context.release(&rows, grid.steps);
    let keeps_name = rollup.keeps_name();
    let made: Vec<Option<Row>> = rows
        .into_par_iter()
        .map(|row| {
            context.charge_rows(1, rollup.steps())?;
            let column = rollup.column(&samples(context, &row.column, &grid)?, row.labels.name())?;
            let drop_name = row.drop_name || !keeps_name;
            if column.present.is_empty() {
                context.release_rows(1, rollup.steps());
                return Ok(None);
            }
            context.charge_histograms(&column)?;
            Ok(Some(Row { column, drop_name, ..row }))
        })
        .collect::<Result<_, QueryError>>()?;
    Ok(made.into_iter().flatten().collect())
}
