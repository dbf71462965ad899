//! Functions over ranges: per series, a window of samples slides over the steps.
//!
//! Floats and histograms of a series are kept apart, markers of the end taken out; each has two fingers that only
//! move forward. The window is open on its left. What a function notices is kept in flags and told once per series.

mod changes;
mod counter;
mod extended;
mod histograms;
mod over_time;
mod trend;
mod window;

use std::sync::Arc;

use super::column::{Bits, Column};
use super::scan::{Found, Opened, collect, cover, open};
use super::{Context, Grid, Row, STEPS_UNCHECKED, evaluate, settle, subquery};
use crate::error::QueryError;
use crate::functions::Function;
use crate::plan::{Extent, RangeCall, RangeInput, Select};

pub(crate) use extended::interpolated_histogram;
pub(crate) use window::{Notices, RangeSeries, Value, Window};

/// After this many samples in windows it is looked whether the query is over: windows overlap, and one series with many
/// steps can keep a thread for long.
const CHECK_SAMPLES: usize = 1 << 18;

/// A function over a window.
type RangeFunction = fn(&Window<'_>, &mut Notices) -> Option<Value>;

/// The function of a name.
fn range_function(function: &Function, extent: Extent) -> Option<RangeFunction> {
    let plain = extent == Extent::Plain;
    Some(match function.name {
        "rate" if plain => |window, notices| counter::extrapolated(window, notices, true, true),
        "increase" if plain => |window, notices| counter::extrapolated(window, notices, true, false),
        "delta" if plain => |window, notices| counter::extrapolated(window, notices, false, false),
        "rate" => |window, notices| extended::extended(window, notices, true, true),
        "increase" => |window, notices| extended::extended(window, notices, true, false),
        "delta" => |window, notices| extended::extended(window, notices, false, false),
        "irate" => |window, notices| counter::last_two(window, notices, true),
        "idelta" => |window, notices| counter::last_two(window, notices, false),
        "changes" => changes::changes,
        "resets" => changes::resets,
        "avg_over_time" => over_time::average,
        "sum_over_time" => over_time::sum,
        "count_over_time" => over_time::count,
        "min_over_time" => over_time::minimum,
        "max_over_time" => over_time::maximum,
        "last_over_time" => over_time::last,
        "first_over_time" => over_time::first,
        "stddev_over_time" => |window, notices| over_time::variance(window, notices, f64::sqrt),
        "stdvar_over_time" => |window, notices| over_time::variance(window, notices, |variance| variance),
        "mad_over_time" => over_time::median_deviation,
        "quantile_over_time" => over_time::quantile_over_time,
        "present_over_time" | "absent_over_time" => over_time::present,
        "ts_of_first_over_time" => over_time::time_of_first,
        "ts_of_last_over_time" => over_time::time_of_last,
        "ts_of_min_over_time" => over_time::time_of_minimum,
        "ts_of_max_over_time" => over_time::time_of_maximum,
        "deriv" => trend::derivative,
        "predict_linear" => trend::predict_linear,
        "double_exponential_smoothing" => trend::double_exponential_smoothing,
        _ => return None,
    })
}

/// What all series of a call have in common.
pub(crate) struct Rollup<'a> {
    pub(crate) context: &'a Context<'a>,
    call: &'a RangeCall,
    function: RangeFunction,
    grid: Grid,
    /// Numbers of the other arguments, by step.
    args: Vec<Vec<f64>>,
    range_ms: i64,
    offset_ms: i64,
    at_ms: Option<i64>,
    extent: Extent,
    /// For what of this kind there is a shorter way where a series has only floats.
    floats_only: Option<counter::Kind>,
}

impl<'a> Rollup<'a> {
    pub(crate) fn new(context: &'a Context<'a>, call: &'a RangeCall, grid: &Grid) -> Result<Self, QueryError> {
        let (range_ms, offset_ms, at_ms, extent) = match &call.input {
            RangeInput::Select(select) => (select.range_ms, select.offset_ms, select.at_ms, select.extent),
            RangeInput::Subquery(subquery) => (subquery.range_ms, subquery.offset_ms, subquery.at_ms, Extent::Plain),
        };
        let function = range_function(call.function, extent)
            .ok_or_else(|| QueryError::Execution(format!("{} is not over a range", call.function.name)))?;
        let mut args = Vec::new();
        for (arg, span) in &call.args {
            let numbers = evaluate(context, arg, grid)?.scalar()?;
            if call.function.name == "quantile_over_time" {
                for q in numbers.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                    context.note(|notes| notes.invalid_quantile(*q, *span));
                }
            }
            args.push(numbers);
        }
        if call.function.name == "double_exponential_smoothing" {
            trend::check_factors(&args)?;
        }
        let floats_only = counter::Kind::of(call.function.name).filter(|_| extent == Extent::Plain);
        Ok(Self { context, call, function, grid: *grid, args, range_ms, offset_ms, at_ms, extent, floats_only })
    }

    /// How far beyond the window samples may be looked at, before and behind.
    fn reach(&self) -> (i64, i64) {
        match self.extent {
            Extent::Plain => (0, 0),
            Extent::Anchored => (self.context.lookback_ms, 0),
            Extent::Smoothed => (self.context.lookback_ms, self.context.lookback_ms),
        }
    }

    fn window_end(&self, step: usize) -> i64 {
        self.at_ms.unwrap_or_else(|| self.grid.time(step)).saturating_sub(self.offset_ms)
    }

    /// The ends of the first and the last window.
    pub(crate) fn window_ends(&self) -> (i64, i64) {
        (self.window_end(0), self.window_end(self.grid.steps.saturating_sub(1)))
    }

    pub(crate) fn open(&self, select: &Select) -> Result<Opened, QueryError> {
        let step_ms = if self.grid.steps > 1 { self.grid.step_ms } else { 0 };
        let cover = cover(select, &self.grid, self.context.lookback_ms, true);
        open(self.context, select, cover, self.call.function.name, step_ms)
    }

    /// How many steps a row has.
    pub(crate) fn steps(&self) -> usize {
        self.grid.steps
    }

    /// Whether the result is still the metric that it was.
    pub(crate) fn keeps_name(&self) -> bool {
        matches!(self.call.function.name, "last_over_time" | "first_over_time")
    }

    /// One series over all steps.
    pub(crate) fn column(&self, series: &RangeSeries<'_>, metric: &str) -> Result<Column, QueryError> {
        let mut column = Column::empty(self.grid.steps);
        self.fill(series, metric, &mut column)?;
        Ok(column)
    }

    /// One series over all steps, into an empty column.
    fn fill(&self, series: &RangeSeries<'_>, metric: &str, column: &mut Column) -> Result<(), QueryError> {
        let resets = self.resets(series);
        if let Some(kind) = self.floats_only
            && series.histograms.is_empty()
            && series.starts.is_none()
        {
            counter::fill_floats(self, kind, (&series.times, &series.values, &resets), column)?;
            self.report(&Notices::default(), metric, column);
            return Ok(());
        }
        let mut notices = Notices::default();
        let (before, behind) = self.reach();
        let (mut floats, mut histograms, mut reset) = (Fingers::default(), Fingers::default(), Fingers::default());
        let mut args = [0.0; 2];
        let mut looked_at = 0;
        for step in 0..self.grid.steps {
            let end = self.window_end(step);
            let start = end.saturating_sub(self.range_ms);
            let (from, to) = (start.saturating_sub(before), end.saturating_add(behind));
            floats.advance(&series.times, from, to);
            histograms.advance(&series.histogram_times, from, to);
            if step % STEPS_UNCHECKED == STEPS_UNCHECKED - 1 {
                self.context.budget.check()?;
            }
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            looked_at += floats.to - floats.from + 64 * (histograms.to - histograms.from);
            if looked_at > CHECK_SAMPLES {
                looked_at = 0;
                self.context.budget.check()?;
            }
            reset.advance_indices(&resets, floats.from + 1, floats.to);
            for (into, numbers) in args.iter_mut().zip(&self.args) {
                *into = numbers[step];
            }
            let window = Window {
                series,
                floats: floats.from..floats.to,
                histograms: histograms.from..histograms.to,
                resets: &resets[reset.from..reset.to.max(reset.from)],
                start,
                end,
                now: self.grid.time(step),
                anchored: self.extent == Extent::Anchored,
                smoothed: self.extent == Extent::Smoothed,
                args,
            };
            match (self.function)(&window, &mut notices) {
                None => {}
                Some(Value::Float(value)) => column.set_float(step, value),
                Some(Value::Histogram(histogram)) => column.set_histogram(step, Arc::new(histogram)),
                Some(Value::Shared(histogram)) => column.set_histogram(step, histogram),
            }
        }
        self.report(&notices, metric, column);
        Ok(())
    }

    /// Where a counter of floats was reset: indices of the first sample afterwards.
    fn resets(&self, series: &RangeSeries<'_>) -> Vec<u32> {
        if !matches!(self.call.function.name, "rate" | "increase") || self.extent != Extent::Plain {
            return Vec::new();
        }
        let values = &*series.values;
        // Without a branch for each: mostly there are none.
        let falls: usize = values.iter().skip(1).zip(values).map(|(now, before)| usize::from(now < before)).sum();
        if falls == 0 && series.starts.is_none() {
            return Vec::new();
        }
        (1..values.len())
            .filter(|at| values[*at] < values[*at - 1] || series.start_reset(*at))
            .map(|at| at as u32)
            .collect()
    }

    fn report(&self, notices: &Notices, metric: &str, column: &Column) {
        let span = self.call.span;
        notices.report(self.context, metric, span);
        if !matches!(self.call.function.name, "rate" | "increase") || metric.is_empty() {
            return;
        }
        let counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix));
        let floats = column.present.iter().any(|step| column.histogram(step).is_none());
        if !counter && floats {
            self.context.note(|notes| notes.possible_non_counter(metric, span));
        }
    }

    /// One series as it was read, into an empty column.
    pub(crate) fn fill_found(&self, found: &Found<'_>, column: &mut Column) -> Result<(), QueryError> {
        let stats = match &self.call.input {
            RangeInput::Select(select) => select.stats_only,
            RangeInput::Subquery(_) => false,
        };
        let mut series = RangeSeries::of(found, stats);
        if !self.context.use_start_timestamps {
            series.starts = None;
            series.histogram_starts = None;
        }
        self.fill(&series, found.labels.name(), column)
    }
}

/// An index that moves forward along times, mostly as far as the last time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finger {
    pub(crate) at: usize,
    stride: usize,
}

impl Finger {
    /// Moves to the first time after `bound`.
    #[inline]
    pub(crate) fn advance(&mut self, times: &[i64], bound: i64) {
        let guess = self.at + self.stride;
        if guess > self.at
            && times.get(guess - 1).is_some_and(|t| *t <= bound)
            && times.get(guess).is_none_or(|t| *t > bound)
        {
            self.at = guess;
            return;
        }
        let from = self.at;
        while times.get(self.at).is_some_and(|t| *t <= bound) {
            self.at += 1;
        }
        self.stride = self.at - from;
    }
}

/// The first and one past the last sample of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Fingers {
    from: usize,
    to: usize,
}

impl Fingers {
    /// Moves to the samples after `from`, up to `to`.
    #[inline]
    fn advance(&mut self, times: &[i64], from: i64, to: i64) {
        while self.to < times.len() && times[self.to] <= to {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= from {
            self.from += 1;
        }
    }

    /// Moves to the entries from `from` up to, but not including, `to`.
    #[inline]
    fn advance_indices(&mut self, indices: &[u32], from: usize, to: usize) {
        while self.to < indices.len() && (indices[self.to] as usize) < to {
            self.to += 1;
        }
        while self.from < indices.len() && (indices[self.from] as usize) < from {
            self.from += 1;
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

/// Evaluates a call over a range.
pub(crate) fn call(context: &Context<'_>, call: &RangeCall, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let rollup = Rollup::new(context, call, grid)?;
    let rows = match &call.input {
        RangeInput::Select(select) => selected(&rollup, select)?,
        RangeInput::Subquery(query) => subquery::rows(&rollup, query)?,
    };
    if call.function.name == "absent_over_time" {
        return Ok(absent(context, call, &rows, grid));
    }
    settle(context, rows)
}

fn selected(rollup: &Rollup<'_>, select: &Select) -> Result<Vec<Row>, QueryError> {
    let opened = rollup.open(select)?;
    let (table, first) = (Arc::clone(&opened.series), opened.serial(0));
    let columns = collect(rollup.context, opened, |found| {
        rollup.context.charge_rows(1, rollup.grid.steps)?;
        let mut column = Column::empty(rollup.grid.steps);
        rollup.fill_found(found, &mut column)?;
        if column.present.is_empty() {
            rollup.context.release_rows(1, rollup.grid.steps);
            return Ok(None);
        }
        rollup.context.charge_histograms(&column)?;
        Ok(Some(column))
    })?;
    let drop_name = !rollup.keeps_name();
    let row = |(id, column): (u32, Column)| {
        let serial = if first == 0 { 0 } else { first + id };
        Row { serial, labels: table.labels[id as usize].clone(), drop_name, column }
    };
    Ok(columns.into_iter().map(row).collect())
}

/// One where no row has a value.
fn absent(context: &Context<'_>, call: &RangeCall, rows: &[Row], grid: &Grid) -> Vec<Row> {
    let mut column = Column::constant(1.0, grid.steps);
    let mut present = Bits::none(grid.steps);
    rows.iter().for_each(|row| present.or(&row.column.present));
    column.present.and_not(&present);
    context.release(rows, grid.steps);
    if column.present.is_empty() {
        return Vec::new();
    }
    let labels = match &call.input {
        RangeInput::Select(select) => super::call::absent_labels(&select.matchers),
        RangeInput::Subquery(_) => crate::labels::Labels::default(),
    };
    vec![Row { serial: 0, labels, drop_name: true, column }]
}
