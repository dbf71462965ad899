//! Aggregations. Those that combine (`sum`, `avg`, `count`, …) fold series into groups one by one and, over a selector
//! or a function of a range, do so while the series are read, on every thread for itself. Those that need all values of
//! a step at once (`topk`, `quantile`, `count_values`, `limitk`) are evaluated on finished rows.

mod accumulate;
mod choose;
mod values;

use std::sync::Arc;

use super::column::Column;
use super::groups::{Groups, Key};
use super::rollup::Rollup;
use super::{Context, Grid, Row, evaluate, instant, scan};
use crate::ast::Aggregation;
use crate::error::QueryError;
use crate::labels::METRIC_NAME;
use crate::plan::{Aggregate, Extent, Node, RangeInput};
use crate::source::{MatchOp, Matcher};
use accumulate::Accumulator;

/// How groups are told apart.
fn key(aggregate: &Aggregate) -> Key {
    if aggregate.without { Key::Without(aggregate.grouping.clone()) } else { Key::By(aggregate.grouping.clone()) }
}

/// Evaluates an aggregation.
pub(crate) fn aggregate(context: &Context<'_>, aggregate: &Aggregate, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let parameter = match &aggregate.parameter {
        Some((node, _)) if aggregate.op != Aggregation::CountValues => Some(evaluate(context, node, grid)?.scalar()?),
        _ => None,
    };
    match aggregate.op {
        Aggregation::Topk | Aggregation::Bottomk | Aggregation::Limitk | Aggregation::LimitRatio => {
            let rows = evaluate(context, &aggregate.expr, grid)?.rows()?;
            return choose::choose(context, aggregate, &parameter.unwrap_or_default(), rows, grid);
        }
        Aggregation::Quantile => {
            let rows = evaluate(context, &aggregate.expr, grid)?.rows()?;
            return values::quantiles(context, aggregate, &parameter.unwrap_or_default(), rows, grid);
        }
        Aggregation::CountValues => {
            let rows = evaluate(context, &aggregate.expr, grid)?.rows()?;
            return values::count_values(context, aggregate, rows, grid);
        }
        _ => {}
    }
    if context.optimise
        && let Some(rows) = fused(context, aggregate, grid)?
    {
        return Ok(rows);
    }
    let rows = evaluate(context, &aggregate.expr, grid)?.rows()?;
    let mut groups = Groups::new(key(aggregate));
    let of_row = groups.of_all(context, rows.iter().map(|row| &row.labels))?;
    let bytes = Accumulator::bytes(groups.len(), grid.steps);
    context.budget.reserve(bytes)?;
    let mut into = Accumulator::new(aggregate.op, groups.len(), grid.steps);
    for (at, (row, group)) in rows.iter().zip(of_row).enumerate() {
        context.check_at(at)?;
        into.add(group as usize, row.labels.name(), row.drop_name, &row.column);
    }
    context.release(&rows, grid.steps);
    drop(rows);
    let finished = into.finish(context, aggregate, &groups);
    context.budget.release(bytes);
    finished
}

/// The aggregation while its input is being read; none when the input is of another shape.
fn fused(context: &Context<'_>, aggregate: &Aggregate, grid: &Grid) -> Result<Option<Vec<Row>>, QueryError> {
    match &*aggregate.expr {
        Node::Select(select) if select.extent == Extent::Plain => {
            let opened = instant::open_instant(context, select, grid)?;
            let column = |found: &scan::Found<'_>, column: &mut Column| {
                instant::fill(context, (select, instant::Taking::Value), grid, found, column)
            };
            fold(context, aggregate, grid, opened, (false, &column)).map(Some)
        }
        Node::RangeCall(call) => {
            let RangeInput::Select(select) = &call.input else { return Ok(None) };
            let rollup = Rollup::new(context, call, grid)?;
            let drop_name = !rollup.keeps_name();
            // Two metrics that only their names tell apart must be refused, not added up.
            let one_name = select.matchers.iter().any(is_name);
            if call.function.name == "absent_over_time" || !(context.delayed_name_removal || !drop_name || one_name) {
                return Ok(None);
            }
            let opened = rollup.open(select)?;
            let column = |found: &scan::Found<'_>, column: &mut Column| rollup.fill_found(found, column);
            fold(context, aggregate, grid, opened, (drop_name, &column)).map(Some)
        }
        _ => Ok(None),
    }
}

fn is_name(matcher: &Matcher) -> bool {
    &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal
}

/// Whether the name goes, and what fills the column of a series.
type MakeColumn<'a> = (bool, &'a (dyn Fn(&scan::Found<'_>, &mut Column) -> Result<(), QueryError> + Sync));

fn fold(
    context: &Context<'_>,
    aggregate: &Aggregate,
    grid: &Grid,
    opened: scan::Opened,
    (drop_name, column): MakeColumn<'_>,
) -> Result<Vec<Row>, QueryError> {
    let table = Arc::clone(&opened.series);
    let mut key = key(aggregate);
    if drop_name
        && !context.delayed_name_removal
        && let Key::By(names) = &mut key
    {
        names.retain(|name| &**name != METRIC_NAME);
    }
    let mut groups = Groups::new(key);
    let of_series = groups.of_all(context, table.labels.iter())?;
    let bytes = Accumulator::bytes(groups.len(), grid.steps) + Column::bytes(grid.steps);
    let bytes = bytes * rayon::current_num_threads() as u64;
    context.budget.reserve(bytes)?;
    context.budget.hold_samples((groups.len() * grid.steps) as u64)?;
    let delayed_drop = drop_name && context.delayed_name_removal;
    let fresh = || (Accumulator::new(aggregate.op, groups.len(), grid.steps), Column::default());
    let add = |(into, scratch): &mut (Accumulator, Column), found: &scan::Found<'_>| {
        scratch.reset(grid.steps);
        column(found, scratch)?;
        if !scratch.present.is_empty() {
            let group = of_series[found.id as usize] as usize;
            into.add(group, found.labels.name(), delayed_drop, scratch);
        }
        Ok(())
    };
    let join = |(mut a, scratch): (Accumulator, Column), (b, _): (Accumulator, Column)| {
        a.join(b);
        (a, scratch)
    };
    let folded = scan::fold(context, opened, fresh, add, join);
    context.budget.drop_samples((groups.len() * grid.steps) as u64);
    let finished = match folded? {
        Some((accumulator, _)) => accumulator.finish(context, aggregate, &groups),
        None => Ok(Vec::new()),
    };
    context.budget.release(bytes);
    finished
}
