//! Other queries that must answer as an instant evaluation does.

use crate::ast::{At, Expr};
use crate::functions::depends_on_time;
use crate::options::Language;
use crate::parse::parse;

/// The expression with `@` of its own time on every selector, and other times to evaluate it at. Nothing when it holds
/// a function whose result depends on the time of evaluation.
pub(super) fn at_variants(expression: &str, t_ms: i64) -> Option<(String, Vec<i64>)> {
    let mut expr = parse(expression, &Language::all()).ok()?;
    let mut timeless = true;
    pin(&mut expr, t_ms, &mut timeless);
    if !timeless {
        return None;
    }
    let times = if t_ms == 0 { vec![-1000, 0, 1000] } else { vec![-10 * t_ms, 0, t_ms / 5, t_ms, 10 * t_ms] };
    Some((expr.to_string(), times))
}

fn pin(expr: &mut Expr, t_ms: i64, timeless: &mut bool) {
    let set = |at: &mut Option<At>| {
        at.get_or_insert(At::Time(t_ms));
    };
    match expr {
        Expr::Number(_) | Expr::Text { .. } => {}
        Expr::Vector(selector) => set(&mut selector.at),
        Expr::Matrix(matrix) => set(&mut matrix.selector.at),
        // What is inside has the times of the subquery.
        Expr::Subquery(subquery) => {
            set(&mut subquery.at);
            find_calls(&subquery.expr, timeless);
        }
        Expr::Call(call) => {
            *timeless &= !depends_on_time(call.function.name);
            let args = call.args.iter_mut().enumerate();
            // The second argument of `info` names labels.
            let args = args.filter(|(at, _)| call.function.name != "info" || *at == 0);
            args.for_each(|(_, arg)| pin(arg, t_ms, timeless));
        }
        Expr::Aggregate(aggregate) => {
            pin(&mut aggregate.expr, t_ms, timeless);
            if let Some(parameter) = &mut aggregate.parameter {
                pin(parameter, t_ms, timeless);
            }
        }
        Expr::Binary(binary) => {
            pin(&mut binary.left, t_ms, timeless);
            pin(&mut binary.right, t_ms, timeless);
        }
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => pin(expr, t_ms, timeless),
    }
}

fn find_calls(expr: &Expr, timeless: &mut bool) {
    match expr {
        Expr::Number(_) | Expr::Text { .. } | Expr::Vector(_) | Expr::Matrix(_) => {}
        Expr::Subquery(subquery) => find_calls(&subquery.expr, timeless),
        Expr::Call(call) => {
            *timeless &= !depends_on_time(call.function.name);
            call.args.iter().for_each(|arg| find_calls(arg, timeless));
        }
        Expr::Aggregate(aggregate) => {
            find_calls(&aggregate.expr, timeless);
            if let Some(parameter) = &aggregate.parameter {
                find_calls(parameter, timeless);
            }
        }
        Expr::Binary(binary) => {
            find_calls(&binary.left, timeless);
            find_calls(&binary.right, timeless);
        }
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => find_calls(expr, timeless),
    }
}

/// Whether an expression speaks of the query's own range, so that it answers otherwise as part of a range.
pub(super) fn speaks_of_range(expression: &str) -> bool {
    let lower = expression.to_ascii_lowercase();
    ["start()", "end()", "range()", "step()"].iter().any(|name| lower.contains(name))
}
