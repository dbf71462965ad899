//! Sharing: selectors with equal matchers whose windows touch read one selection.
//!
//! `a > 0 and a < 10`, `rate(a[5m]) / increase(a[5m])` and `a - a offset 5m` over a day name a series twice and need
//! its samples once. Selectors share when their matchers are equal and their hints differ at most in the function, so
//! that a source which thins samples to what a window needs thins for all of them alike; the selection then covers
//! from the first to the last of their windows. `a / a offset 1w` over an hour does not share: the week between would
//! be read for nothing.
//!
//! What is read is kept until the last of them has seen it, which takes memory: see `eval::shared` for the bound.

use std::sync::Arc;

use super::{Extent, Node, Projection, RangeInput, Select, Subquery};
use crate::ast::Aggregation;
use crate::eval::{Cover, Grid, cover, subquery_times};
use crate::source::{MatchOp, Matcher};

/// A selection that several selectors read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedRead {
    /// Sorted.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) cover: Cover,
    /// Empty where the functions differ.
    pub(crate) function: &'static str,
    pub(crate) step_ms: i64,
    pub(crate) range_ms: i64,
    pub(crate) projection: Option<Projection>,
    pub(crate) stats_only: bool,
    /// How many selectors will read from it.
    pub(crate) uses: usize,
}

/// What must be equal for selectors to share.
#[derive(PartialEq)]
struct Likeness {
    step_ms: i64,
    range_ms: i64,
    ranged: bool,
    extent: Extent,
    /// Where windows end between two steps.
    phase_ms: i64,
}

/// One selector as it will be opened.
struct Use {
    likeness: Likeness,
    read: SharedRead,
}

/// Finds what can be shared and marks the selectors.
pub(super) fn share(root: &mut Node, grid: &Grid, lookback_ms: i64) -> Vec<SharedRead> {
    let mut uses: Vec<Use> = Vec::new();
    visit(root, grid, &mut |select, grid, function| uses.push(Use::of(select, grid, function, lookback_ms)));
    let (reads, of_use) = grouped(&uses);
    if reads.is_empty() {
        return reads;
    }
    let mut of_use = of_use.into_iter();
    visit(root, grid, &mut |select, _, _| {
        if let Some(Some(read)) = of_use.next() {
            Arc::make_mut(select).shared = Some(read);
        }
    });
    order_sides(root);
    reads
}

impl Use {
    fn of(select: &Select, grid: &Grid, function: Option<&'static str>, lookback_ms: i64) -> Self {
        let mut matchers = select.matchers.clone();
        let op = |matcher: &Matcher| match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        matchers.sort_by(|a, b| (&a.name, op(a), &a.value).cmp(&(&b.name, op(b), &b.value)));
        matchers.dedup();
        let step_ms = if grid.steps > 1 { grid.step_ms } else { 0 };
        let end = select.end(grid.last());
        let ranged = function.is_some();
        let phase_ms = match (step_ms, ranged) {
            (0, true) => end,
            (0, false) => 0,
            (step, _) => end.rem_euclid(step),
        };
        let likeness = Likeness { step_ms, range_ms: select.range_ms, ranged, extent: select.extent, phase_ms };
        let read = SharedRead {
            matchers,
            cover: cover(select, grid, lookback_ms, ranged),
            function: function.unwrap_or_default(),
            step_ms,
            range_ms: select.range_ms,
            projection: select.projection.clone(),
            stats_only: select.stats_only,
            uses: 1,
        };
        Self { likeness, read }
    }
}

impl SharedRead {
    fn join(&mut self, other: &Self) {
        self.cover.to_ms = self.cover.to_ms.max(other.cover.to_ms);
        if self.function != other.function {
            self.function = "";
        }
        self.projection = match (self.projection.take(), &other.projection) {
            (Some(ours), Some(theirs)) => Some(ours.and(theirs)),
            _ => None,
        };
        self.stats_only &= other.stats_only;
        self.uses += 1;
    }
}

/// The selections that have several uses, and which of them a use reads from.
fn grouped(uses: &[Use]) -> (Vec<SharedRead>, Vec<Option<u32>>) {
    let mut order: Vec<usize> = (0..uses.len()).collect();
    order.sort_by_key(|at| uses[*at].read.cover.from_ms);
    let mut joined: Vec<(SharedRead, usize, Vec<usize>)> = Vec::new();
    for at in order {
        let Use { likeness, read } = &uses[at];
        let touches = |(other, first, _): &&mut (SharedRead, usize, Vec<usize>)| {
            uses[*first].likeness == *likeness
                && other.matchers == read.matchers
                && read.cover.from_ms <= other.cover.to_ms.saturating_add(1)
        };
        match joined.iter_mut().find(touches) {
            Some((other, _, members)) => {
                other.join(read);
                members.push(at);
            }
            None => joined.push((read.clone(), at, vec![at])),
        }
    }
    let mut of_use = vec![None; uses.len()];
    let mut reads = Vec::new();
    for (read, _, members) in joined.into_iter().filter(|(_, _, members)| members.len() > 1) {
        members.into_iter().for_each(|at| of_use[at] = Some(reads.len() as u32));
        reads.push(read);
    }
    (reads, of_use)
}

/// Calls `see` for every selector that is evaluated, with the times at which it is and, over a range, the function.
fn visit(node: &mut Node, grid: &Grid, see: &mut impl FnMut(&mut Arc<Select>, &Grid, Option<&'static str>)) {
    match node {
        Node::Number(_) | Node::Text(_) | Node::Range(RangeInput::Select(_)) => {}
        Node::Range(RangeInput::Subquery(subquery)) => inside(subquery, &Grid { steps: 1, ..*grid }, see),
        Node::Select(select) => see(select, grid, None),
        Node::RangeCall(call) => {
            call.args.iter_mut().for_each(|(arg, _)| visit(arg, grid, see));
            match &mut call.input {
                RangeInput::Select(select) => see(select, grid, Some(call.function.name)),
                RangeInput::Subquery(subquery) => inside(subquery, grid, see),
            }
        }
        Node::Call(call) => {
            // The second argument of `info` is not evaluated, only read.
            let evaluated = if call.function.name == "info" { 1 } else { call.args.len() };
            call.args.iter_mut().take(evaluated).for_each(|arg| visit(arg, grid, see));
        }
        Node::Aggregate(aggregate) => {
            visit(&mut aggregate.expr, grid, see);
            if let Some((parameter, _)) =
                aggregate.parameter.as_mut().filter(|_| aggregate.op != Aggregation::CountValues)
            {
                visit(parameter, grid, see);
            }
        }
        Node::Binary(operation) => {
            visit(&mut operation.left, grid, see);
            visit(&mut operation.right, grid, see);
        }
        Node::Negate(inner) => visit(inner, grid, see),
        Node::Invariant(inner) => visit(inner, &Grid { steps: 1, ..*grid }, see),
    }
}

fn inside(subquery: &mut Subquery, grid: &Grid, see: &mut impl FnMut(&mut Arc<Select>, &Grid, Option<&'static str>)) {
    let end = |t_ms: i64| subquery.at_ms.unwrap_or(t_ms).saturating_sub(subquery.offset_ms);
    let ends = (end(grid.start_ms), end(grid.last()));
    if let Some(times) = subquery_times(subquery, ends) {
        visit(&mut subquery.expr, &times, see);
    }
}

/// Marks the operators both of whose sides read one selection; the selections below the node.
fn order_sides(node: &mut Node) -> Vec<u32> {
    let of_input = |input: &mut RangeInput| match input {
        RangeInput::Select(select) => select.shared.into_iter().collect(),
        RangeInput::Subquery(subquery) => order_sides(&mut subquery.expr),
    };
    match node {
        Node::Number(_) | Node::Text(_) => Vec::new(),
        Node::Select(select) => select.shared.into_iter().collect(),
        Node::Range(input) => of_input(input),
        Node::RangeCall(call) => {
            let mut reads: Vec<u32> = call.args.iter_mut().flat_map(|(arg, _)| order_sides(arg)).collect();
            reads.extend(of_input(&mut call.input));
            reads
        }
        Node::Call(call) => call.args.iter_mut().flat_map(order_sides).collect(),
        Node::Aggregate(aggregate) => {
            let mut reads = order_sides(&mut aggregate.expr);
            reads.extend(aggregate.parameter.iter_mut().flat_map(|(parameter, _)| order_sides(parameter)));
            reads
        }
        Node::Binary(operation) => {
            let mut reads = order_sides(&mut operation.left);
            let right = order_sides(&mut operation.right);
            operation.sequential = right.iter().any(|read| reads.contains(read));
            reads.extend(right);
            reads.sort_unstable();
            reads.dedup();
            reads
        }
        Node::Negate(inner) | Node::Invariant(inner) => order_sides(inner),
    }
}
