//! Binary operators: numbers with numbers, vectors with numbers, vectors with vectors.

mod elements;
mod matching;
mod sets;

use super::column::Column;
use super::{Cell, Context, Grid, Out, Row, STEPS_UNCHECKED, evaluate, settle};
use crate::ast::Op;
use crate::error::QueryError;
use crate::plan::Binary;
use elements::{Complaints, apply};

/// The result of an operator on two numbers; none for operators that have no meaning there.
pub(crate) fn scalar_operation(op: Op, a: f64, b: f64) -> Option<f64> {
    let truth = |holds: bool| Some(f64::from(u8::from(holds)));
    match op {
        Op::Eql => truth(a == b),
        Op::Neq => truth(a != b),
        Op::Gtr => truth(a > b),
        Op::Lss => truth(a < b),
        Op::Gte => truth(a >= b),
        Op::Lte => truth(a <= b),
        _ => elements::arithmetic(op, a, b),
    }
}

/// Evaluates a binary operation.
pub(crate) fn binary(context: &Context<'_>, binary: &Binary, grid: &Grid) -> Result<Out, QueryError> {
    let (left, right) = if binary.sequential {
        (evaluate(context, &binary.left, grid), evaluate(context, &binary.right, grid))
    } else {
        // Both sides at once: each is parallel inside, but their beginnings and ends are not.
        rayon::join(|| evaluate(context, &binary.left, grid), || evaluate(context, &binary.right, grid))
    };
    match (left?, right?) {
        (Out::Scalar(left), Out::Scalar(right)) => scalars(context, binary, &left, &right),
        (Out::Rows(rows), Out::Scalar(numbers)) => with_scalar(context, binary, rows, &numbers, false).map(Out::Rows),
        (Out::Scalar(numbers), Out::Rows(rows)) => with_scalar(context, binary, rows, &numbers, true).map(Out::Rows),
        (Out::Rows(left), Out::Rows(right)) if binary.op.is_set() => {
            sets::combine(context, binary, left, right, grid).map(Out::Rows)
        }
        (Out::Rows(left), Out::Rows(right)) => matching::pair(context, binary, left, right, grid).map(Out::Rows),
        _ => {
            Err(QueryError::Execution("binary expression must contain only scalar and instant vector types".to_owned()))
        }
    }
}

fn scalars(context: &Context<'_>, binary: &Binary, left: &[f64], right: &[f64]) -> Result<Out, QueryError> {
    let mut numbers = Vec::with_capacity(left.len());
    for (left, right) in left.chunks(STEPS_UNCHECKED).zip(right.chunks(STEPS_UNCHECKED)) {
        context.budget.check()?;
        for (a, b) in left.iter().zip(right) {
            let Some(number) = scalar_operation(binary.op, *a, *b) else {
                let op = crate::print::Quoted(binary.op.text()).to_string();
                return Err(QueryError::Execution(format!("operator {op} not allowed for Scalar operations")));
            };
            numbers.push(number);
        }
    }
    Ok(Out::Scalar(numbers))
}

/// A vector with a number at each step; `swapped` when the number stands on the left.
fn with_scalar(
    context: &Context<'_>,
    binary: &Binary,
    mut rows: Vec<Row>,
    numbers: &[f64],
    swapped: bool,
) -> Result<Vec<Row>, QueryError> {
    let mut complaints = Complaints::default();
    for (at, row) in rows.iter_mut().enumerate() {
        context.check_at(at)?;
        if row.column.histograms.is_none() && binary.op.changes_schema() {
            plain_arithmetic(context, binary.op, &mut row.column, (numbers, swapped))?;
        } else {
            context.budget.release(row.column.histogram_bytes());
            any_with_scalar(binary, row, numbers, swapped, &mut complaints);
            context.charge_histograms(&row.column)?;
        }
        row.drop_name |= binary.op.changes_schema() || binary.return_bool;
    }
    complaints.report(context, binary);
    rows.retain(|row| !row.column.present.is_empty());
    settle(context, rows)
}

fn plain_arithmetic(
    context: &Context<'_>,
    op: Op,
    column: &mut Column,
    (numbers, swapped): (&[f64], bool),
) -> Result<(), QueryError> {
    for (values, numbers) in column.values.chunks_mut(STEPS_UNCHECKED).zip(numbers.chunks(STEPS_UNCHECKED)) {
        context.budget.check()?;
        for (value, number) in values.iter_mut().zip(numbers) {
            let (a, b) = if swapped { (*number, *value) } else { (*value, *number) };
            *value = elements::arithmetic(op, a, b).unwrap_or(f64::NAN);
        }
    }
    Ok(())
}

fn any_with_scalar(binary: &Binary, row: &mut Row, numbers: &[f64], swapped: bool, complaints: &mut Complaints) {
    let before = std::mem::replace(&mut row.column, Column::empty(numbers.len()));
    for step in before.present.iter() {
        let Some(own) = before.cell(step) else { continue };
        let number = Cell::Float(numbers[step]);
        let (a, b) = if swapped { (&number, &own) } else { (&own, &number) };
        let Some((value, keep)) = apply(binary.op, a, b, complaints) else { continue };
        if binary.return_bool {
            row.column.set_float(step, f64::from(u8::from(keep)));
        } else if keep {
            // A comparison answers the vector's value, on whichever side it stands.
            row.column.set(step, if binary.op.is_comparison() { own } else { value });
        }
    }
}
