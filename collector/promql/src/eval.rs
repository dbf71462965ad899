//! The evaluator: a plan and a grid of times in, rows out, series by series.
//!
//! Every node yields either one number per step or rows, and a row is one series over all steps. A selector and the
//! function over it are evaluated in one go per series (`scan`, `rollup`), on all threads; an aggregation over them
//! folds each series into its groups at once, so that they are never all in memory (`aggregate`).
//!
//! ```text
//! source ─batches─▶ scan ─series─▶ rollup │ instant ─column─▶ rows ─▶ call │ binary │ aggregate ─▶ rows
//!                                                        └──fused──▶ aggregate
//! ```

mod aggregate;
mod binary;
mod call;
mod column;
mod groups;
mod instant;
mod merge;
mod order;
mod rollup;
mod scan;
mod shared;
mod subquery;
mod whole_range;

use std::sync::{Arc, Mutex, PoisonError};

use crate::annotations::Annotations;
use crate::error::QueryError;
use crate::plan::Node;
use crate::source::{Budget, SeriesSource};

pub(crate) use binary::scalar_operation;
pub(crate) use column::{Cell, Column, Row};
pub(crate) use merge::{drop_names, settle};
pub(crate) use order::sorted;
pub(crate) use scan::{Cover, STALE_NAN, cover, is_stale};
pub(crate) use shared::Reads;
pub(crate) use subquery::times as subquery_times;
pub(crate) use whole_range::whole_range;

/// Rows that are looked at, or put into groups, between two looks at the budget.
const ROWS_UNCHECKED: usize = 32;

/// Steps of one row that are computed between two looks at the budget: a subquery has up to some ten million.
pub(crate) const STEPS_UNCHECKED: usize = 1 << 16;

/// The times that are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) steps: usize,
}

impl Grid {
    #[inline]
    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    pub(crate) fn last(&self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }

    fn first_only(&self) -> Self {
        Self { steps: 1, ..*self }
    }
}

/// What an evaluation needs beside plan and grid.
pub(crate) struct Context<'a> {
    pub(crate) source: &'a dyn SeriesSource,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lookback_ms: i64,
    pub(crate) delayed_name_removal: bool,
    pub(crate) use_start_timestamps: bool,
    pub(crate) optimise: bool,
    /// The selections that several selectors read from.
    pub(crate) reads: Reads,
    pub(crate) notes: Mutex<Annotations>,
}

impl Context<'_> {
    /// Adds annotations.
    pub(crate) fn note(&self, add: impl FnOnce(&mut Annotations)) {
        // A poisoned lock only means that another thread panicked while adding; the set is still whole.
        add(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reserves memory and sample counts for rows that are about to be made.
    pub(crate) fn charge_rows(&self, rows: usize, steps: usize) -> Result<(), QueryError> {
        self.budget.hold_samples((rows * steps) as u64)?;
        Ok(self.budget.reserve(rows as u64 * Column::bytes(steps))?)
    }

    /// Gives back what [`Self::charge_rows`] took.
    pub(crate) fn release_rows(&self, rows: usize, steps: usize) {
        self.budget.drop_samples((rows * steps) as u64);
        self.budget.release(rows as u64 * Column::bytes(steps));
    }

    /// Reserves memory for the histograms of a column that was just made: how large they are is not known before.
    pub(crate) fn charge_histograms(&self, column: &Column) -> Result<(), QueryError> {
        match column.histogram_bytes() {
            0 => Ok(()),
            bytes => Ok(self.budget.reserve(bytes)?),
        }
    }

    /// Gives back all that rows take which are no longer needed.
    pub(crate) fn release(&self, rows: &[Row], steps: usize) {
        self.release_rows(rows.len(), steps);
        self.budget.release(rows.iter().map(|row| row.column.histogram_bytes()).sum());
    }

    /// A number for each step.
    pub(crate) fn numbers(&self, steps: usize, number: impl Fn(usize) -> f64) -> Result<Vec<f64>, QueryError> {
        let mut numbers = Vec::with_capacity(steps);
        for from in (0..steps).step_by(STEPS_UNCHECKED) {
            self.budget.check()?;
            numbers.extend((from..steps.min(from + STEPS_UNCHECKED)).map(&number));
        }
        Ok(numbers)
    }

    /// Looks whether the query is over, now and then: `at` counts what is done, a row or a column at a time.
    #[inline]
    pub(crate) fn check_at(&self, at: usize) -> Result<(), QueryError> {
        if at.is_multiple_of(ROWS_UNCHECKED) { Ok(self.budget.check()?) } else { Ok(()) }
    }
}

/// What a node yields.
pub(crate) enum Out {
    /// One number per step.
    Scalar(Vec<f64>),
    Text(Arc<str>),
    Rows(Vec<Row>),
}

impl Out {
    pub(crate) fn rows(self) -> Result<Vec<Row>, QueryError> {
        match self {
            Self::Rows(rows) => Ok(rows),
            _ => Err(QueryError::Execution("expected an instant vector".to_owned())),
        }
    }

    pub(crate) fn scalar(self) -> Result<Vec<f64>, QueryError> {
        match self {
            Self::Scalar(values) => Ok(values),
            _ => Err(QueryError::Execution("expected a scalar".to_owned())),
        }
    }
}

/// Evaluates a node at every time of the grid.
pub(crate) fn evaluate(context: &Context<'_>, node: &Node, grid: &Grid) -> Result<Out, QueryError> {
    context.budget.check()?;
    match node {
        Node::Number(value) => context.numbers(grid.steps, |_| *value).map(Out::Scalar),
        Node::Text(text) => Ok(Out::Text(Arc::clone(text))),
        Node::Select(select) => instant::select(context, select, grid).map(Out::Rows),
        Node::Range(_) => Err(QueryError::Execution("a range vector must be the argument of a function".to_owned())),
        Node::RangeCall(range_call) => rollup::call(context, range_call, grid).map(Out::Rows),
        Node::Call(function_call) => call::call(context, function_call, grid),
        Node::Aggregate(aggregation) => aggregate::aggregate(context, aggregation, grid).map(Out::Rows),
        Node::Binary(operation) => binary::binary(context, operation, grid),
        Node::Negate(expr) => negate(context, expr, grid),
        Node::Invariant(expr) => invariant(context, expr, grid),
    }
}

/// Evaluates at the first time and repeats the answer.
fn invariant(context: &Context<'_>, node: &Node, grid: &Grid) -> Result<Out, QueryError> {
    let out = evaluate(context, node, &grid.first_only())?;
    if grid.steps == 1 {
        return Ok(out);
    }
    Ok(match out {
        Out::Scalar(values) => Out::Scalar(context.numbers(grid.steps, |_| values[0])?),
        Out::Text(text) => Out::Text(text),
        Out::Rows(mut rows) => {
            context.release_rows(rows.len(), 1);
            context.charge_rows(rows.len(), grid.steps)?;
            for (at, row) in rows.iter_mut().enumerate() {
                context.check_at(at)?;
                row.column = row.column.broadcast(grid.steps);
            }
            Out::Rows(rows)
        }
    })
}

fn negate(context: &Context<'_>, node: &Node, grid: &Grid) -> Result<Out, QueryError> {
    match evaluate(context, node, grid)? {
        Out::Scalar(values) => Ok(Out::Scalar(values.into_iter().map(|value| -value).collect())),
        Out::Text(text) => Ok(Out::Text(text)),
        Out::Rows(mut rows) => {
            for (at, row) in rows.iter_mut().enumerate() {
                context.check_at(at)?;
                row.drop_name = true;
                for value in &mut row.column.values {
                    *value = -*value;
                }
                for histogram in row.column.histograms.iter_mut().flatten().flatten() {
                    Arc::make_mut(histogram).mul(-1.0);
                }
            }
            settle(context, rows).map(Out::Rows)
        }
    }
}
