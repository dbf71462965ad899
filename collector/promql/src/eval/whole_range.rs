//! A range that is the whole query: its samples as they are.

use super::rollup::RangeSeries;
use super::scan::{Cover, collect, open};
use super::{Context, Grid, sorted, subquery};
use crate::error::QueryError;
use crate::plan::RangeInput;
use crate::value::Series;

/// The series of a range selector or subquery at one time.
pub(crate) fn whole_range(context: &Context<'_>, input: &RangeInput, grid: &Grid) -> Result<Vec<Series>, QueryError> {
    let mut series = match input {
        RangeInput::Select(select) => {
            let end = select.end(grid.start_ms);
            let from = end.saturating_sub(select.range_ms);
            let cover = Cover { from_ms: from.saturating_add(1), to_ms: end };
            let opened = open(context, select, cover, "", 0)?;
            let table = std::sync::Arc::clone(&opened.series);
            let found = collect(context, opened, |found| {
                let samples = RangeSeries::of(found, select.stats_only);
                let series = cut(&samples, from, end);
                context.budget.hold_samples((series.floats.len() + series.histograms.len()) as u64)?;
                Ok(Some(series))
            })?;
            let named = |(id, mut series): (u32, Series)| {
                series.labels = table.labels[id as usize].clone();
                series
            };
            found.into_iter().map(named).collect::<Vec<_>>()
        }
        RangeInput::Subquery(query) => {
            let end = query.at_ms.unwrap_or(grid.start_ms).saturating_sub(query.offset_ms);
            match subquery::times(query, (end, end)) {
                None => Vec::new(),
                Some(times) => {
                    let mut rows = subquery::inner(context, query, &times)?;
                    if context.delayed_name_removal {
                        rows = super::merge::drop_names(context, rows)?;
                    }
                    let series = |row: super::Row| -> Result<Series, QueryError> {
                        let samples = subquery::samples(context, &row.column, &times)?;
                        Ok(Series { labels: row.labels, ..cut(&samples, i64::MIN, i64::MAX) })
                    };
                    rows.into_iter().map(series).collect::<Result<_, _>>()?
                }
            }
        }
    };
    series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
    sorted(&context.budget, series, |a, b| a.labels.cmp(&b.labels))
}

fn cut(samples: &RangeSeries<'_>, from: i64, to: i64) -> Series {
    let floats = samples.floats_in(from, to);
    let histograms = samples.histograms_in(from, to);
    Series {
        floats: floats.map(|at| (samples.times[at], samples.values[at])).collect(),
        histograms: histograms
            .map(|at| (samples.histogram_times[at], std::sync::Arc::clone(&samples.histograms[at])))
            .collect(),
        ..Series::default()
    }
}
