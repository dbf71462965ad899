//! One operator on one pair of values, floats or histograms, and what is to be said where that makes no sense.

use std::sync::Arc;

use crate::annotations::Combining;
use crate::ast::Op;
use crate::eval::{Cell, Context};
use crate::histogram::{FloatHistogram, Keep, ResetHint};
use crate::plan::Binary;

/// Arithmetic on floats.
#[inline]
pub(crate) fn arithmetic(op: Op, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        // As C's fmod, so that the sign is that of the dividend.
        Op::Mod => a % b,
        Op::Pow => a.powf(b),
        Op::Atan2 => a.atan2(b),
        _ => return None,
    })
}

/// What went wrong, collected over all pairs.
#[derive(Default)]
pub(crate) struct Complaints {
    /// (left, right) of pairs that have no result.
    types: Vec<(&'static str, &'static str)>,
    layout: bool,
    collision: bool,
    reconciled: bool,
}

impl Complaints {
    fn types(&mut self, left: &'static str, right: &'static str) {
        if !self.types.contains(&(left, right)) {
            self.types.push((left, right));
        }
    }

    /// Adds them to the annotations of the query.
    pub(crate) fn report(&self, context: &Context<'_>, binary: &Binary) {
        if self.types.is_empty() && !self.layout && !self.collision && !self.reconciled {
            return;
        }
        let combining = if binary.op == Op::Sub { Combining::Subtraction } else { Combining::Addition };
        context.note(|notes| {
            for (left, right) in &self.types {
                notes.incompatible_types(left, binary.op.text(), right, binary.span);
            }
            if self.layout {
                notes.incompatible_layout(binary.op.text(), binary.span);
            }
            if self.collision {
                notes.reset_collision(combining, binary.span);
            }
            if self.reconciled {
                notes.mismatched_bounds(combining, binary.span);
            }
        });
    }
}

fn kind(cell: &Cell) -> &'static str {
    match cell {
        Cell::Float(_) => "float",
        Cell::Histogram(_) => "histogram",
    }
}

/// The result of an operator and, for a comparison, whether it holds; none where the operator has no result.
pub(crate) fn apply(op: Op, left: &Cell, right: &Cell, complaints: &mut Complaints) -> Option<(Cell, bool)> {
    let result = match (left, right) {
        (Cell::Float(a), Cell::Float(b)) => floats(op, *a, *b),
        (Cell::Float(a), Cell::Histogram(h)) if op == Op::Mul => Some((scaled(h, |h| h.mul(*a)), true)),
        (Cell::Histogram(h), Cell::Float(b)) => match op {
            Op::Mul => Some((scaled(h, |h| h.mul(*b)), true)),
            Op::Div => Some((scaled(h, |h| h.div(*b)), true)),
            Op::TrimUpper => Some((Cell::Histogram(Arc::new(h.trimmed(*b, Keep::Below))), true)),
            Op::TrimLower => Some((Cell::Histogram(Arc::new(h.trimmed(*b, Keep::Above))), true)),
            _ => None,
        },
        (Cell::Histogram(a), Cell::Histogram(b)) => match op {
            Op::Add | Op::Sub => return combined(op, a, b, complaints).map(|cell| (cell, true)),
            Op::Eql => Some((left.clone(), a.equals(b))),
            Op::Neq => Some((left.clone(), !a.equals(b))),
            _ => None,
        },
        _ => None,
    };
    if result.is_none() {
        complaints.types(kind(left), kind(right));
    }
    result
}

fn floats(op: Op, a: f64, b: f64) -> Option<(Cell, bool)> {
    let holds = match op {
        Op::Eql => a == b,
        Op::Neq => a != b,
        Op::Gtr => a > b,
        Op::Lss => a < b,
        Op::Gte => a >= b,
        Op::Lte => a <= b,
        _ => return arithmetic(op, a, b).map(|value| (Cell::Float(value), true)),
    };
    Some((Cell::Float(a), holds))
}

fn scaled(histogram: &FloatHistogram, scale: impl FnOnce(&mut FloatHistogram)) -> Cell {
    let mut result = histogram.clone();
    scale(&mut result);
    Cell::Histogram(Arc::new(result.compacted()))
}

fn combined(op: Op, a: &FloatHistogram, b: &FloatHistogram, complaints: &mut Complaints) -> Option<Cell> {
    let mut result = a.clone();
    let combined = if op == Op::Add { result.add(b) } else { result.sub(b) };
    let Ok(combined) = combined else {
        complaints.layout = true;
        return None;
    };
    if op == Op::Sub {
        result.reset_hint = ResetHint::Gauge;
    }
    complaints.reconciled |= combined.reconciled;
    complaints.collision |= combined.collision;
    Some(Cell::Histogram(Arc::new(result.compacted())))
}
