//! The planner: a syntax tree and the times of a query in, a plan out, in which nothing is left to look up.
//!
//! Durations that are arithmetic become milliseconds, `start()`, `end()`, `step()` and `range()` become numbers,
//! constants are folded, parts that are the same at every step are marked ([`Node::Invariant`]) and evaluated once,
//! and selectors under which only count and sum of histograms are looked at say so.
//!
//! Then the plan is rewritten so that less is read. Each rewriting leaves answer and annotations as they are:
//!
//! | | what it saves | file |
//! |---|---|---|
//! | propagation | series that find no partner on the other side of an operator | `propagation` |
//! | projection | labels that nothing above looks at | `projection` |
//! | sharing | reading a selector again that was read already | `sharing` |
//!
//! An error is another matter: it may name labels that were left out, or be a limit that only the sharing met. So a
//! rewritten plan that fails is evaluated once more as it was written, and that answer or error stands.

mod build;
mod durations;
mod explain;
mod projection;
mod propagation;
mod sharing;
mod stats;

use std::sync::Arc;

use crate::ast::{Aggregation, Matching, Op};
use crate::functions::Function;
use crate::position::Span;
use crate::source::Matcher;

pub(crate) use explain::explain;
pub(crate) use projection::Projection;
pub(crate) use sharing::SharedRead;

use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::Grid;

/// The times of a query, as far as an expression can speak of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimes {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) no_step_subquery_interval_ms: i64,
    /// Fold, mark what is invariant, fuse.
    pub(crate) optimise: bool,
    /// Propagate, project, share.
    pub(crate) rewrite: bool,
}

/// A query, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) node: Node,
    /// Selections that several selectors read from, by the number that is in [`Select::shared`].
    pub(crate) reads: Vec<SharedRead>,
    /// Whether propagation, projection or sharing changed anything.
    pub(crate) rewritten: bool,
}

/// Plans an expression that is evaluated at the times of `grid`.
///
/// # Errors
/// When a duration makes no sense or a modifier does not fit its function.
pub(crate) fn plan(expr: &Expr, times: &QueryTimes, grid: &Grid, lookback_ms: i64) -> Result<Plan, QueryError> {
    let mut node = build::build(expr, times)?;
    if !times.rewrite {
        return Ok(Plan { node, reads: Vec::new(), rewritten: false });
    }
    let propagated = propagation::propagate(&mut node);
    let projected = projection::project(&mut node);
    let reads = sharing::share(&mut node, grid, lookback_ms);
    let rewritten = propagated || projected || !reads.is_empty();
    Ok(Plan { node, reads, rewritten })
}

/// How a selector fills the gaps between samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Extent {
    Plain,
    Anchored,
    Smoothed,
}

/// A selector, instant or range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) matchers: Vec<Matcher>,
    /// Width of the range; 0 for an instant selector.
    pub(crate) range_ms: i64,
    pub(crate) offset_ms: i64,
    pub(crate) at_ms: Option<i64>,
    pub(crate) extent: Extent,
    pub(crate) stats_only: bool,
    /// The labels that are needed, when not all.
    pub(crate) projection: Option<Projection>,
    /// Which of the plan's shared selections it reads from.
    pub(crate) shared: Option<u32>,
    pub(crate) span: Span,
}

impl Select {
    /// The time that the selector looks at when the step is at `t_ms`.
    pub(crate) fn end(&self, t_ms: i64) -> i64 {
        self.at_ms.unwrap_or(t_ms).saturating_sub(self.offset_ms)
    }
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) expr: Node,
    pub(crate) range_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) offset_ms: i64,
    pub(crate) at_ms: Option<i64>,
}

/// Where a range function gets its samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RangeInput {
    Select(Arc<Select>),
    Subquery(Box<Subquery>),
}

/// A call of a function over a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeCall {
    pub(crate) function: &'static Function,
    pub(crate) input: RangeInput,
    /// Where the range stands.
    pub(crate) span: Span,
    /// The other arguments, with their places.
    pub(crate) args: Vec<(Node, Span)>,
}

/// A call of any other function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) args: Vec<Node>,
    pub(crate) arg_spans: Vec<Span>,
    pub(crate) span: Span,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: Aggregation,
    pub(crate) expr: Box<Node>,
    pub(crate) expr_span: Span,
    pub(crate) parameter: Option<(Box<Node>, Span)>,
    pub(crate) grouping: Vec<Arc<str>>,
    pub(crate) without: bool,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: Op,
    pub(crate) left: Box<Node>,
    pub(crate) right: Box<Node>,
    pub(crate) return_bool: bool,
    pub(crate) matching: Option<Matching>,
    /// Whether its sides read from one shared selection: then one is evaluated after the other, since the second
    /// can only take what the first has read.
    pub(crate) sequential: bool,
    pub(crate) span: Span,
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    Text(Arc<str>),
    Select(Arc<Select>),
    /// A range that is the whole query.
    Range(RangeInput),
    RangeCall(RangeCall),
    Call(Call),
    Aggregate(Aggregate),
    Binary(Binary),
    Negate(Box<Node>),
    /// The same at every step.
    Invariant(Box<Node>),
}

impl Node {
    /// How many of its parts may be numbers: literals, calls and operators. A subquery counts its own.
    pub(crate) fn parts(&self) -> u64 {
        match self {
            Self::Text(_) | Self::Select(_) | Self::Range(_) => 0,
            Self::Number(_) => 1,
            Self::RangeCall(call) => call.args.iter().map(|(arg, _)| arg.parts()).sum(),
            Self::Call(call) => 1 + call.args.iter().map(Self::parts).sum::<u64>(),
            Self::Aggregate(aggregate) => {
                aggregate.expr.parts() + aggregate.parameter.as_ref().map_or(0, |(node, _)| node.parts())
            }
            Self::Binary(binary) => 1 + binary.left.parts() + binary.right.parts(),
            Self::Negate(inner) | Self::Invariant(inner) => 1 + inner.parts(),
        }
    }
}
