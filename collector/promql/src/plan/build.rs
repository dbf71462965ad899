//! From syntax tree to plan.

use std::sync::Arc;

use super::durations::resolve;
use super::stats::Reading;
use super::{Aggregate, Binary, Call, Extent, Node, QueryTimes, RangeCall, RangeInput, Select, Subquery};
use crate::ast::{self, At, Expr, Op, VectorSelector};
use crate::error::QueryError;
use crate::eval::scalar_operation;
use crate::functions::{ANCHORED, SMOOTHED, depends_on_time};

type Built = Result<Node, QueryError>;

/// Plans an expression.
///
/// # Errors
/// When a duration makes no sense or a modifier does not fit its function.
pub(super) fn build(expr: &Expr, times: &QueryTimes) -> Built {
    let planner = Planner { times };
    let node = planner.node(expr, Reading::Whole)?;
    Ok(if times.optimise { mark_invariant(node) } else { node })
}

struct Planner<'a> {
    times: &'a QueryTimes,
}

impl Planner<'_> {
    fn node(&self, expr: &Expr, reading: Reading) -> Built {
        Ok(match expr {
            Expr::Number(literal) => Node::Number(literal.value),
            Expr::Text { value, .. } => Node::Text(Arc::clone(value)),
            Expr::Paren { expr, .. } => self.node(expr, reading)?,
            Expr::Unary { op: Op::Sub, expr, .. } => match self.node(expr, reading)? {
                Node::Number(value) => Node::Number(-value),
                node => Node::Negate(Box::new(node)),
            },
            Expr::Unary { expr, .. } => self.node(expr, reading)?,
            Expr::Vector(selector) => Node::Select(Arc::new(self.select(selector, 0, reading)?)),
            Expr::Matrix(_) | Expr::Subquery(_) => Node::Range(self.range_input(expr, reading)?),
            Expr::Call(call) => self.call(call, reading)?,
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, reading)?,
            Expr::Binary(binary) => self.binary(binary)?,
        })
    }

    fn at(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.times.start_ms,
            At::End => self.times.end_ms,
        })
    }

    fn select(&self, selector: &VectorSelector, range_ms: i64, reading: Reading) -> Result<Select, QueryError> {
        let offset_ms = match &selector.offset {
            Some(offset) => resolve(offset, self.times, true)?,
            None => 0,
        };
        Ok(Select {
            matchers: selector.matchers.clone(),
            range_ms,
            offset_ms,
            at_ms: self.at(selector.at),
            extent: match (selector.anchored, selector.smoothed) {
                (true, _) => Extent::Anchored,
                (_, true) => Extent::Smoothed,
                _ => Extent::Plain,
            },
            stats_only: reading == Reading::Stats,
            projection: None,
            shared: None,
            span: selector.span,
        })
    }

    fn range_input(&self, expr: &Expr, reading: Reading) -> Result<RangeInput, QueryError> {
        match expr.unwrapped() {
            Expr::Matrix(matrix) => {
                let range_ms = resolve(&matrix.range, self.times, false)?;
                Ok(RangeInput::Select(Arc::new(self.select(&matrix.selector, range_ms, reading)?)))
            }
            Expr::Subquery(subquery) => {
                let step_ms = match &subquery.step {
                    Some(step) => resolve(step, self.times, false)?,
                    None => 0,
                };
                let step_ms = if step_ms == 0 { self.times.no_step_subquery_interval_ms } else { step_ms };
                let offset_ms = match &subquery.offset {
                    Some(offset) => resolve(offset, self.times, true)?,
                    None => 0,
                };
                let expr = self.node(&subquery.expr, Reading::Buckets)?;
                Ok(RangeInput::Subquery(Box::new(Subquery {
                    expr: if self.times.optimise { mark_invariant(expr) } else { expr },
                    range_ms: resolve(&subquery.range, self.times, false)?,
                    step_ms,
                    offset_ms,
                    at_ms: self.at(subquery.at),
                })))
            }
            other => Err(QueryError::Execution(format!("expected a range vector, got {}", other.value_type().name()))),
        }
    }

    fn call(&self, call: &ast::Call, reading: Reading) -> Built {
        let name = call.function.name;
        let reading = reading.inside_call(name);
        let times = self.times;
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match name {
            "pi" => return Ok(Node::Number(std::f64::consts::PI)),
            "start" => return Ok(Node::Number(seconds(times.start_ms))),
            "end" => return Ok(Node::Number(seconds(times.end_ms))),
            "step" => return Ok(Node::Number(seconds(times.step_ms))),
            "range" => return Ok(Node::Number(seconds(times.end_ms - times.start_ms))),
            _ => {}
        }
        let ranged = call.args.iter().position(|arg| arg.value_type() == crate::value::ValueType::Matrix);
        let Some(ranged) = ranged else {
            let args = call.args.iter().map(|arg| self.node(arg, reading)).collect::<Result<_, _>>()?;
            let arg_spans = call.args.iter().map(|arg| arg.unwrapped().span()).collect();
            return Ok(Node::Call(Call { function: call.function, args, arg_spans, span: call.span }));
        };
        let input = self.range_input(&call.args[ranged], reading)?;
        if let RangeInput::Select(select) = &input {
            check_extent(select.extent, name)?;
        }
        let others = call.args.iter().enumerate().filter(|(at, _)| *at != ranged);
        let args = others.map(|(_, arg)| Ok((self.node(arg, reading)?, arg.span())));
        Ok(Node::RangeCall(RangeCall {
            function: call.function,
            input,
            span: call.args[ranged].unwrapped().span(),
            args: args.collect::<Result<_, QueryError>>()?,
        }))
    }

    fn aggregate(&self, aggregate: &ast::Aggregate, reading: Reading) -> Built {
        let parameter = match &aggregate.parameter {
            Some(parameter) => Some((Box::new(self.node(parameter, reading)?), parameter.unwrapped().span())),
            None => None,
        };
        let mut grouping = aggregate.grouping.clone();
        grouping.sort();
        grouping.dedup();
        Ok(Node::Aggregate(Aggregate {
            op: aggregate.op,
            expr: Box::new(self.node(&aggregate.expr, reading)?),
            expr_span: aggregate.expr.span(),
            parameter,
            grouping,
            without: aggregate.without,
        }))
    }

    fn binary(&self, binary: &ast::Binary) -> Built {
        let left = self.node(&binary.left, Reading::Whole)?;
        let right = self.node(&binary.right, Reading::Whole)?;
        if let (Node::Number(a), Node::Number(b), true) = (&left, &right, self.times.optimise)
            && let Some(value) = scalar_operation(binary.op, *a, *b)
        {
            return Ok(Node::Number(value));
        }
        Ok(Node::Binary(Binary {
            op: binary.op,
            left: Box::new(left),
            right: Box::new(right),
            return_bool: binary.return_bool,
            matching: binary.matching.clone(),
            sequential: false,
            span: binary.left.span().to(binary.right.span()),
        }))
    }
}

fn check_extent(extent: Extent, function: &str) -> Result<(), QueryError> {
    let (name, safe) = match extent {
        Extent::Plain => return Ok(()),
        Extent::Anchored => ("anchored", ANCHORED),
        Extent::Smoothed => ("smoothed", SMOOTHED),
    };
    if safe.contains(&function) {
        return Ok(());
    }
    let safe = safe.join(", ");
    Err(QueryError::Execution(format!("{name} modifier can only be used with: {safe} - not with {function}")))
}

/// Marks the largest parts that are the same at every step.
fn mark_invariant(node: Node) -> Node {
    if is_invariant(&node) {
        return match node {
            Node::Number(_) | Node::Text(_) | Node::Range(_) => node,
            node => Node::Invariant(Box::new(node)),
        };
    }
    let mark = |node: Box<Node>| Box::new(mark_invariant(*node));
    match node {
        Node::Negate(expr) => Node::Negate(mark(expr)),
        Node::Binary(mut binary) => {
            binary.left = mark(binary.left);
            binary.right = mark(binary.right);
            Node::Binary(binary)
        }
        Node::Aggregate(mut aggregate) => {
            aggregate.expr = mark(aggregate.expr);
            aggregate.parameter = aggregate.parameter.map(|(node, span)| (mark(node), span));
            Node::Aggregate(aggregate)
        }
        Node::RangeCall(mut call) => {
            call.args = call.args.into_iter().map(|(node, span)| (mark_invariant(node), span)).collect();
            Node::RangeCall(call)
        }
        // These look at their argument's own samples, so it must stay a selector.
        Node::Call(call) if matches!(call.function.name, "timestamp" | "start_timestamp" | "info") => Node::Call(call),
        Node::Call(mut call) => {
            call.args = call.args.into_iter().map(mark_invariant).collect();
            Node::Call(call)
        }
        other => other,
    }
}

fn is_invariant(node: &Node) -> bool {
    match node {
        Node::Number(_) | Node::Text(_) | Node::Invariant(_) => true,
        Node::Select(select) => select.at_ms.is_some(),
        Node::Range(input) => input_is_invariant(input),
        Node::Negate(expr) => is_invariant(expr),
        Node::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        Node::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.as_ref().is_none_or(|(node, _)| is_invariant(node));
            parameter && is_invariant(&aggregate.expr)
        }
        Node::RangeCall(call) => {
            !depends_on_time(call.function.name)
                && input_is_invariant(&call.input)
                && call.args.iter().all(|(arg, _)| is_invariant(arg))
        }
        Node::Call(call) => {
            // The time of a sample that a selector picked does not depend on the step.
            let of_sample = call.function.name == "timestamp" && matches!(call.args.first(), Some(Node::Select(_)));
            let with_argument = !call.args.is_empty() && !matches!(call.function.name, "timestamp" | "time");
            let timeless = !depends_on_time(call.function.name) || of_sample || with_argument;
            timeless && call.args.iter().all(is_invariant) && call.function.name != "info"
        }
    }
}

fn input_is_invariant(input: &RangeInput) -> bool {
    match input {
        RangeInput::Select(select) => select.at_ms.is_some(),
        RangeInput::Subquery(subquery) => subquery.at_ms.is_some(),
    }
}
