//! Durations that are arithmetic, worked out for a query.

use super::QueryTimes;
use crate::ast::{DurationExpr, DurationOp, Op};
use crate::error::QueryError;

/// Milliseconds of a duration; one that is no literal must be greater than zero unless it is an offset.
pub(super) fn resolve(expr: &DurationExpr, times: &QueryTimes, may_be_negative: bool) -> Result<i64, QueryError> {
    if let Some(ms) = expr.literal_ms() {
        return Ok(ms);
    }
    let seconds = seconds(expr, times)?;
    let span = expr.span();
    let fail = |what: &str| QueryError::Execution(format!("{}:{}: {what}", span.start, span.end));
    if seconds <= 0.0 && !may_be_negative {
        return Err(fail("duration must be greater than 0"));
    }
    // Go counts nanoseconds in 64 bits.
    if !seconds.is_finite() || seconds.abs() > i64::MAX as f64 / 1e9 {
        return Err(fail("duration is out of range"));
    }
    Ok((seconds * 1000.0).trunc() as i64)
}

fn seconds(expr: &DurationExpr, times: &QueryTimes) -> Result<f64, QueryError> {
    let (op, left, right, span) = match expr {
        DurationExpr::Literal(literal) => return Ok(literal.value),
        DurationExpr::Node { op, left, right, span, .. } => (op, left, right, span),
    };
    let value = |side: &Option<Box<DurationExpr>>| side.as_ref().map_or(Ok(0.0), |side| seconds(side, times));
    let (a, b) = (value(left)?, value(right)?);
    let fail = |what: &str| QueryError::Execution(format!("{}:{}: {what}", span.start, span.end));
    Ok(match op {
        DurationOp::Step => times.step_ms as f64 / 1000.0,
        DurationOp::Range => times.end_ms.saturating_sub(times.start_ms) as f64 / 1000.0,
        DurationOp::Min => a.min(b),
        DurationOp::Max => a.max(b),
        DurationOp::Arithmetic(Op::Add) => a + b,
        DurationOp::Arithmetic(Op::Sub) => a - b,
        DurationOp::Arithmetic(Op::Mul) => a * b,
        DurationOp::Arithmetic(Op::Div) if b == 0.0 => return Err(fail("division by zero")),
        DurationOp::Arithmetic(Op::Div) => a / b,
        DurationOp::Arithmetic(Op::Mod) if b == 0.0 => return Err(fail("modulo by zero")),
        DurationOp::Arithmetic(Op::Mod) => a % b,
        DurationOp::Arithmetic(_) => a.powf(b),
    })
}
