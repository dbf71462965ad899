//! `and`, `or`, `unless`: which series of the one side have a partner on the other, step by step, as bit operations.

use super::matching::signature_key;
use crate::ast::Op;
use crate::error::QueryError;
use crate::eval::column::{Bits, Column};
use crate::eval::groups::Groups;
use crate::eval::merge::merge;
use crate::eval::{Context, Grid, Row};
use crate::plan::Binary;

/// Evaluates a set operator.
pub(super) fn combine(
    context: &Context<'_>,
    binary: &Binary,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, QueryError> {
    let before = left.len() + right.len();
    let mut groups = Groups::new(signature_key(&binary.matching.clone().unwrap_or_default()));
    // The side that decides, by signature.
    let (deciding, decided) = if binary.op == Op::Or { (&left, &mut right) } else { (&right, &mut left) };
    let mut present: Vec<Bits> = Vec::new();
    for (at, row) in deciding.iter().enumerate() {
        context.check_at(at)?;
        let group = groups.group(&row.labels) as usize;
        if group == present.len() {
            present.push(Bits::none(grid.steps));
        }
        present[group].or(&row.column.present);
    }
    for (at, row) in decided.iter_mut().enumerate() {
        context.check_at(at)?;
        let partners = groups.find(&row.labels).map(|group| &present[group as usize]);
        match (binary.op, partners) {
            (Op::And, Some(partners)) => mask(&mut row.column, |bits| bits.and(partners)),
            (Op::And, None) => row.column = Column::empty(grid.steps),
            (_, Some(partners)) => mask(&mut row.column, |bits| bits.and_not(partners)),
            (_, None) => {}
        }
    }
    decided.retain(|row| !row.column.present.is_empty());
    if binary.op == Op::Or {
        left.append(&mut right);
        left = merge(context, left)?;
    }
    context.release_rows(before.saturating_sub(left.len()), grid.steps);
    Ok(left)
}

fn mask(column: &mut Column, change: impl FnOnce(&mut Bits)) {
    change(&mut column.present);
    if let Some(histograms) = &mut column.histograms {
        for (step, histogram) in histograms.iter_mut().enumerate() {
            if !column.present.get(step) {
                *histogram = None;
            }
        }
    }
}
