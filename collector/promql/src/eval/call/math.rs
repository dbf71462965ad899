//! Functions of single floats. Histograms have no value there and are left out.

use crate::error::QueryError;
use crate::eval::{Context, Grid, Row, STEPS_UNCHECKED, evaluate, settle};
use crate::plan::Call;

/// The function of a name, where it takes a float and nothing else.
pub(super) fn simple(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |degrees| degrees * std::f64::consts::PI / 180.0,
        "deg" => |radians| radians * 180.0 / std::f64::consts::PI,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        _ => return None,
    })
}

/// Applies a function to all floats of all rows.
pub(super) fn map(
    context: &Context<'_>,
    mut rows: Vec<Row>,
    function: impl Fn(f64) -> f64,
) -> Result<Vec<Row>, QueryError> {
    for row in &mut rows {
        row.drop_name = true;
        row.column.drop_histograms();
        for values in row.column.values.chunks_mut(STEPS_UNCHECKED) {
            context.budget.check()?;
            values.iter_mut().for_each(|value| *value = function(*value));
        }
    }
    rows.retain(|row| !row.column.present.is_empty());
    Ok(rows)
}

/// As Go's `math.Max` and `math.Min`: NaN wins.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// `clamp`, `clamp_min`, `clamp_max`, `round`: a float and numbers of the step.
pub(super) fn with_numbers(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let mut rows = evaluate(context, &call.args[0], grid)?.rows()?;
    let mut numbers = Vec::new();
    for arg in &call.args[1..] {
        numbers.push(evaluate(context, arg, grid)?.scalar()?);
    }
    let number = |at: usize, step: usize| numbers.get(at).map_or(1.0, |numbers: &Vec<f64>| numbers[step]);
    for row in &mut rows {
        context.budget.check()?;
        row.drop_name = true;
        row.column.drop_histograms();
        for step in 0..grid.steps {
            let value = &mut row.column.values[step];
            let (low, high) = match call.function.name {
                "clamp" => (number(0, step), number(1, step)),
                "clamp_min" => (number(0, step), f64::INFINITY),
                "clamp_max" => (f64::NEG_INFINITY, number(0, step)),
                _ => {
                    // Multiplying with the inverse keeps more digits than dividing.
                    let inverse = 1.0 / number(0, step);
                    *value = (*value * inverse + 0.5).floor() / inverse;
                    continue;
                }
            };
            if high < low {
                row.column.present.clear(step);
            } else {
                *value = max(low, min(high, *value));
            }
        }
    }
    rows.retain(|row| !row.column.present.is_empty());
    settle(context, rows)
}
