//! Projection: which labels of a selector's series anything above it looks at.
//!
//! A need is carried from the root down. The root needs all labels; an aggregation `by` needs its own and no others,
//! so do both sides of a one-to-one `on`; the many side of a join needs what is needed of the result, and so on. What
//! arrives at a selector is [`Projection::labels`].
//!
//! Labels are also what tells series apart, and a label nobody looks at may be the one that does. Three things keep
//! the answer as it is without it:
//!
//! - The source keeps series apart by id, and rows of a projected selection carry that id ([`Row::serial`]): rows of
//!   different series never merge, however equal their labels look.
//! - Prometheus refuses series that become equal when a name is dropped or a label overwritten. A selector with one
//!   name, whose series have none of [`Projection::missing`] (the type and unit that go with a name, labels that are
//!   written above), has none that could; where the source finds some, it is asked again for all labels.
//! - Whatever orders, hashes or merges by all labels (`limit_ratio`, `sort_by_label`, `or`, classic histograms, …)
//!   needs all of them.
//!
//! [`Row::serial`]: crate::eval::Row

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Aggregate, Binary, Call, Node, RangeInput, Select};
use crate::ast::{Aggregation, Cardinality, Op};
use crate::labels::{METADATA, METRIC_NAME};
use crate::source::MatchOp;

/// The labels that are needed of a selection.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Projection {
    /// These and no others, sorted.
    pub(crate) labels: BTreeSet<Arc<str>>,
    /// Those among them that no series may have: else all labels are needed.
    pub(crate) missing: BTreeSet<Arc<str>>,
}

impl Projection {
    fn of(labels: &[Arc<str>]) -> Self {
        Self { labels: labels.iter().cloned().collect(), missing: BTreeSet::new() }
    }

    fn with(mut self, labels: &[Arc<str>]) -> Self {
        self.labels.extend(labels.iter().cloned());
        self
    }

    /// Needs these too, but to be absent.
    fn without(mut self, labels: &[Arc<str>]) -> Self {
        self.missing.extend(labels.iter().cloned());
        self.with(labels)
    }

    /// Needs all that the other needs.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.labels.extend(other.labels.iter().cloned());
        self.missing.extend(other.missing.iter().cloned());
        self
    }
}

/// What is needed of a node's rows; all labels when `None`.
type Need = Option<Projection>;

/// Gives every selector its projection; whether any got one.
pub(super) fn project(root: &mut Node) -> bool {
    let mut any = false;
    node(root, &None, &mut any);
    any
}

fn node(at: &mut Node, need: &Need, any: &mut bool) {
    match at {
        Node::Number(_) | Node::Text(_) | Node::Range(RangeInput::Select(_)) => {}
        Node::Range(RangeInput::Subquery(subquery)) => node(&mut subquery.expr, &None, any),
        Node::Select(selector) => select(selector, need, any),
        Node::RangeCall(call) => {
            call.args.iter_mut().for_each(|(arg, _)| node(arg, &None, any));
            let nothing = Some(Projection::default());
            let need = if call.function.name == "absent_over_time" { &nothing } else { need };
            match &mut call.input {
                RangeInput::Select(selector) => select(selector, need, any),
                RangeInput::Subquery(subquery) => node(&mut subquery.expr, need, any),
            }
        }
        Node::Call(function) => call(function, need, any),
        Node::Aggregate(aggregation) => aggregate(aggregation, any),
        Node::Binary(operation) => binary(operation, need, any),
        Node::Negate(inner) | Node::Invariant(inner) => node(inner, need, any),
    }
}

fn select(selector: &mut Arc<Select>, need: &Need, any: &mut bool) {
    let Some(need) = need else { return };
    let one_name = |matcher: &crate::source::Matcher| {
        &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal && !matcher.value.is_empty()
    };
    if !selector.matchers.iter().any(one_name) {
        return;
    }
    let metadata = METADATA.map(Arc::from);
    let (name, type_and_unit) = metadata.split_at(1);
    Arc::make_mut(selector).projection = Some(need.clone().with(name).without(type_and_unit));
    *any = true;
}

/// Functions of one vector whose rows are its rows, whatever their labels are.
const ELEMENTWISE: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "exp",
    "floor",
    "histogram_avg",
    "histogram_count",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "hour",
    "ln",
    "log10",
    "log2",
    "minute",
    "month",
    "rad",
    "round",
    "sgn",
    "sin",
    "sinh",
    "sort",
    "sort_desc",
    "sqrt",
    "start_timestamp",
    "tan",
    "tanh",
    "timestamp",
    "year",
];

fn call(function: &mut Call, need: &Need, any: &mut bool) {
    let first = match function.function.name {
        "absent" | "scalar" => Some(Projection::default()),
        "label_replace" => relabelled(function, need, 3..4),
        "label_join" => relabelled(function, need, 3..function.args.len()),
        name if ELEMENTWISE.contains(&name) => need.clone(),
        _ => None,
    };
    for (at, arg) in function.args.iter_mut().enumerate() {
        node(arg, if at == 0 { &first } else { &None }, any);
    }
}

/// Under a function that writes a label, its argument 1, from others. A label that is only written is new, and cannot
/// make equal what differed.
fn relabelled(function: &Call, need: &Need, sources: std::ops::Range<usize>) -> Need {
    let text = |node: &Node| match node {
        Node::Text(text) => Some(Arc::clone(text)),
        _ => None,
    };
    let written = text(function.args.get(1)?)?;
    let sources: Vec<Arc<str>> = function.args.get(sources)?.iter().map(text).collect::<Option<_>>()?;
    if METADATA.contains(&&*written) || sources.contains(&written) {
        return None;
    }
    Some(need.clone()?.with(&sources).without(&[written]))
}

fn aggregate(aggregation: &mut Aggregate, any: &mut bool) {
    let all = aggregation.without || aggregation.op.selects();
    let need = (!all).then(|| Projection::of(&aggregation.grouping));
    node(&mut aggregation.expr, &need, any);
    if let Some((parameter, _)) = aggregation.parameter.as_mut().filter(|_| aggregation.op != Aggregation::CountValues)
    {
        node(parameter, &None, any);
    }
}

fn binary(operation: &mut Binary, need: &Need, any: &mut bool) {
    let (left, right) = sides(operation, need);
    node(&mut operation.left, &left, any);
    node(&mut operation.right, &right, any);
}

fn sides(operation: &Binary, need: &Need) -> (Need, Need) {
    let Some(matching) = &operation.matching else {
        // One side is a number.
        return (need.clone(), need.clone());
    };
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !matching.on || filled || operation.op == Op::Or {
        return (None, None);
    }
    let signature = Projection::of(&matching.labels);
    let one = Some(signature.clone().with(&matching.include));
    // What is copied from the one side must not be there already.
    let many = need.clone().map(|need| need.and(&signature).without(&matching.include));
    match matching.cardinality {
        Cardinality::OneToOne => (Some(signature.clone()), Some(signature)),
        Cardinality::ManyToOne => (many, one),
        Cardinality::OneToMany => (one, many),
        Cardinality::ManyToMany => (many, Some(signature)),
    }
}
