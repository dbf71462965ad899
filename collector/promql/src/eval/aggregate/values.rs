//! Aggregations over all values of a group at a step: `quantile` and `count_values`.

use std::collections::BTreeMap;

use super::key;
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::groups::Groups;
use crate::eval::{Cell, Context, Grid, Row};
use crate::labels::Labels;
use crate::plan::{Aggregate, Node};
use crate::print::format_float;
use crate::quantile::quantile;

fn members(
    context: &Context<'_>,
    aggregate: &Aggregate,
    rows: &[Row],
) -> Result<(Groups, Vec<Vec<usize>>), QueryError> {
    let mut groups = Groups::new(key(aggregate));
    let of_row = groups.of_all(context, rows.iter().map(|row| &row.labels))?;
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (row, group) in of_row.iter().enumerate() {
        members[*group as usize].push(row);
    }
    Ok((groups, members))
}

/// `quantile`
pub(super) fn quantiles(
    context: &Context<'_>,
    aggregate: &Aggregate,
    parameter: &[f64],
    rows: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, QueryError> {
    let span = aggregate.parameter.as_ref().map_or(aggregate.expr_span, |(_, span)| *span);
    for q in parameter.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        context.note(|notes| notes.invalid_quantile(*q, span));
    }
    if rows.iter().any(|row| row.column.histograms.is_some()) {
        context.note(|notes| notes.histogram_ignored_in_aggregation("quantile", aggregate.expr_span));
    }
    let (groups, members) = members(context, aggregate, &rows)?;
    let mut out = Vec::new();
    let mut values = Vec::new();
    for (group, members) in members.iter().enumerate() {
        context.charge_rows(1, grid.steps)?;
        let mut column = Column::empty(grid.steps);
        for (step, q) in parameter.iter().enumerate() {
            context.budget.check()?;
            values.clear();
            values.extend(members.iter().filter_map(|row| rows[*row].column.float(step)));
            if !values.is_empty() {
                column.set_float(step, quantile(*q, &mut values));
            }
        }
        if !column.present.is_empty() {
            let drop_name = members.iter().any(|row| rows[*row].drop_name);
            out.push(Row { serial: 0, labels: groups.labels(group), drop_name, column });
        }
    }
    context.release(&rows, grid.steps);
    Ok(out)
}

/// `count_values`
pub(super) fn count_values(
    context: &Context<'_>,
    aggregate: &Aggregate,
    rows: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, QueryError> {
    let Some((Node::Text(label), _)) = aggregate.parameter.as_ref().map(|(node, span)| (peeled(node), span)) else {
        return Err(QueryError::Execution("count_values needs a label name".to_owned()));
    };
    if label.is_empty() || label.contains('\u{fffd}') {
        let name = crate::print::Quoted(label);
        return Err(QueryError::Execution(format!("invalid label name {name}")));
    }
    let (groups, members) = members(context, aggregate, &rows)?;
    let mut out: Vec<Row> = Vec::new();
    for (group, members) in members.iter().enumerate() {
        let labels = groups.labels(group);
        let drop_name = members.iter().any(|row| rows[*row].drop_name);
        let mut by_value: BTreeMap<String, Column> = BTreeMap::new();
        for row in members {
            context.budget.check()?;
            let column = &rows[*row].column;
            for step in column.present.iter() {
                let text = match column.cell(step) {
                    Some(Cell::Histogram(histogram)) => histogram.to_string(),
                    _ => format_float(column.values[step]),
                };
                if !by_value.contains_key(&text) {
                    context.charge_rows(1, grid.steps)?;
                }
                let counts = by_value.entry(text).or_insert_with(|| Column::empty(grid.steps));
                counts.set_float(step, counts.values[step] + 1.0);
            }
        }
        let with = |value: &str| -> Labels { labels.with(label, value) };
        out.extend(by_value.into_iter().map(|(value, column)| Row {
            serial: 0,
            labels: with(&value),
            drop_name,
            column,
        }));
    }
    context.release(&rows, grid.steps);
    crate::eval::merge::merge(context, out)
}

fn peeled(node: &Node) -> &Node {
    match node {
        Node::Invariant(inner) => inner,
        other => other,
    }
}
