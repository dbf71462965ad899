//! Functions of instant vectors and numbers.

mod calendar;
mod histograms;
mod info;
mod labels;
mod math;
mod sort;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::column::{Bits, Column};
use super::instant::{Taking, select_taking};
use super::{Context, Grid, Out, Row, evaluate, settle};
use crate::error::QueryError;
use crate::labels::{Labels, METRIC_NAME};
use crate::plan::{Call, Extent, Node};
use crate::source::{MatchOp, Matcher};

/// Evaluates a call.
pub(crate) fn call(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Out, QueryError> {
    let name = call.function.name;
    if let Some(function) = math::simple(name) {
        let rows = evaluate(context, &call.args[0], grid)?.rows()?;
        return settle(context, math::map(context, rows, function)?).map(Out::Rows);
    }
    if let Some(part) = calendar::part(name) {
        return calendar::dates(context, call, grid, part).map(Out::Rows);
    }
    match name {
        "time" => context.numbers(grid.steps, |step| grid.time(step) as f64 / 1000.0).map(Out::Scalar),
        "min_of" | "max_of" => extremum(context, call, grid),
        "scalar" => evaluate(context, &call.args[0], grid)?.rows().and_then(|rows| only_float(context, &rows, grid)),
        "vector" => {
            let values = evaluate(context, &call.args[0], grid)?.scalar()?;
            let column = Column { values, present: Bits::all(grid.steps), histograms: None };
            Ok(Out::Rows(vec![Row { serial: 0, labels: Labels::default(), drop_name: false, column }]))
        }
        "absent" => absent(context, call, grid).map(Out::Rows),
        "timestamp" | "start_timestamp" => times(context, call, grid).map(Out::Rows),
        "clamp" | "clamp_min" | "clamp_max" | "round" => math::with_numbers(context, call, grid).map(Out::Rows),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => sort::sort(context, call, grid).map(Out::Rows),
        "label_replace" => labels::replace(context, call, grid).map(Out::Rows),
        "label_join" => labels::join(context, call, grid).map(Out::Rows),
        "info" => info::info(context, call, grid).map(Out::Rows),
        _ => histograms::call(context, call, grid).map(Out::Rows),
    }
}

/// The text of an argument.
fn text(node: &Node) -> Result<&Arc<str>, QueryError> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Invariant(inner) => text(inner),
        _ => Err(QueryError::Execution("expected a string literal".to_owned())),
    }
}

fn extremum(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Out, QueryError> {
    let a = evaluate(context, &call.args[0], grid)?.scalar()?;
    let b = evaluate(context, &call.args[1], grid)?.scalar()?;
    let min = call.function.name == "min_of";
    let pick = |(a, b): (f64, f64)| match (a.is_nan() || b.is_nan(), min) {
        (true, _) => f64::NAN,
        (false, true) => a.min(b),
        (false, false) => a.max(b),
    };
    Ok(Out::Scalar(a.into_iter().zip(b).map(pick).collect()))
}

/// The float of each step that has exactly one.
fn only_float(context: &Context<'_>, rows: &[Row], grid: &Grid) -> Result<Out, QueryError> {
    let mut values = vec![f64::NAN; grid.steps];
    for (step, value) in values.iter_mut().enumerate() {
        context.check_at(step)?;
        let mut floats = rows.iter().filter_map(|row| row.column.float(step));
        if let (Some(only), None) = (floats.next(), floats.next()) {
            *value = only;
        }
    }
    context.release(rows, grid.steps);
    Ok(Out::Scalar(values))
}

/// The labels that matchers pin down to one value.
pub(crate) fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut pinned: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| &*matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&&*matcher.name) {
            seen.push(&matcher.name);
            pinned.insert(Arc::clone(&matcher.name), Arc::clone(&matcher.value));
        } else {
            pinned.remove(&matcher.name);
        }
    }
    pinned.into_iter().collect()
}

fn absent(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let rows = evaluate(context, &call.args[0], grid)?.rows()?;
    let mut column = Column::constant(1.0, grid.steps);
    rows.iter().for_each(|row| column.present.and_not(&row.column.present));
    context.release(&rows, grid.steps);
    if column.present.is_empty() {
        return Ok(Vec::new());
    }
    let labels = match selector(&call.args[0]) {
        Some(select) => absent_labels(&select.matchers),
        None => Labels::default(),
    };
    Ok(vec![Row { serial: 0, labels, drop_name: false, column }])
}

/// The selector that an argument is.
fn selector(node: &Node) -> Option<&Arc<crate::plan::Select>> {
    match node {
        Node::Select(select) => Some(select),
        Node::Invariant(inner) => selector(inner),
        _ => None,
    }
}

/// `timestamp` and `start_timestamp`: of a selector the sample's own, of anything else the step's.
fn times(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let start = call.function.name == "start_timestamp";
    let mut rows = match selector(&call.args[0]) {
        Some(_) if start && !context.use_start_timestamps => return Ok(Vec::new()),
        Some(select) if select.extent != Extent::Smoothed => {
            let taking = if start { Taking::StartTime } else { Taking::Time };
            select_taking(context, select, grid, taking)?
        }
        _ if start => return Ok(Vec::new()),
        _ => {
            let mut rows = evaluate(context, &call.args[0], grid)?.rows()?;
            for row in &mut rows {
                row.column.histograms = None;
                let values = row.column.values.iter_mut().enumerate();
                values.for_each(|(step, value)| *value = grid.time(step) as f64 / 1000.0);
            }
            rows
        }
    };
    rows.iter_mut().for_each(|row| row.drop_name = true);
    settle(context, rows)
}
