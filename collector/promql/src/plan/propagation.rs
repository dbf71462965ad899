//! Propagation of matchers: what one side of an operator cannot have, the other side need not read.
//!
//! In `a{job="x"} / b` a series of `b` whose `job` is not `x` finds no partner, so `b{job="x"}` answers the same. The
//! matchers of a side are those of its selector on labels that partners must agree in, and they hold for all its rows
//! as long as nothing between selector and operator writes labels. An absent label is the empty text for matchers and
//! for signatures alike, so any matcher may travel, negative ones and patterns too.
//!
//! What does not read series cannot complain about them. So this is done only where nothing could be told, whatever
//! the values are:
//!
//! - A side is a selector, or `last_over_time` or `first_over_time` of one: their rows are samples as they are.
//! - Arithmetic and comparisons refuse a second series of one signature on their one side even where that has no
//!   partner. So both sides must be unable to have one: one name each, no name, type or unit among the labels matched
//!   on, and either one-to-one matching on all labels, or nothing is propagated. `and` and `unless` refuse nothing.
//! - `or` shows what has no partner, `unless` shows its left side's; `fill` makes partners up. Nothing travels to
//!   where partners are not needed.

use std::sync::Arc;

use super::{Binary, Extent, Node, RangeInput, Select};
use crate::ast::{Cardinality, Matching, Op};
use crate::labels::METADATA;
use crate::source::{MatchOp, Matcher};

/// Adds matchers wherever that changes nothing; whether it did anywhere.
pub(super) fn propagate(node: &mut Node) -> bool {
    match node {
        Node::Number(_) | Node::Text(_) | Node::Select(_) | Node::Range(RangeInput::Select(_)) => false,
        Node::Range(RangeInput::Subquery(subquery)) => propagate(&mut subquery.expr),
        Node::RangeCall(call) => match &mut call.input {
            RangeInput::Select(_) => false,
            RangeInput::Subquery(subquery) => propagate(&mut subquery.expr),
        },
        Node::Call(call) => call.args.iter_mut().fold(false, |any, arg| propagate(arg) | any),
        Node::Aggregate(aggregate) => propagate(&mut aggregate.expr),
        Node::Negate(inner) | Node::Invariant(inner) => propagate(inner),
        Node::Binary(operation) => {
            let below = propagate(&mut operation.left) | propagate(&mut operation.right);
            across(operation) | below
        }
    }
}

fn across(operation: &mut Binary) -> bool {
    let Some(matching) = operation.matching.clone() else { return false };
    if operation.op == Op::Or || matching.fill_left.is_some() || matching.fill_right.is_some() {
        return false;
    }
    let (Some(left), Some(right)) = (selector(&mut operation.left), selector(&mut operation.right)) else {
        return false;
    };
    let refuses_nothing = operation.op.is_set() || (is_unique(left, &matching) && is_unique(right, &matching));
    if !refuses_nothing {
        return false;
    }
    let (of_left, of_right) = (travelling(left, &matching), travelling(right, &matching));
    let to_right = add(right, of_left);
    let to_left = operation.op != Op::Unless && add(left, of_right);
    to_right || to_left
}

/// The selector whose series are a node's rows.
fn selector(node: &mut Node) -> Option<&mut Arc<Select>> {
    match node {
        // Drawing lines between samples may have to speak of them.
        Node::Select(select) if select.extent == Extent::Plain => Some(select),
        Node::RangeCall(call) if matches!(call.function.name, "first_over_time" | "last_over_time") => {
            match &mut call.input {
                RangeInput::Select(select) => Some(select),
                RangeInput::Subquery(_) => None,
            }
        }
        Node::Invariant(inner) => selector(inner),
        _ => None,
    }
}

/// Whether no two of its series can have one signature.
fn is_unique(select: &Select, matching: &Matching) -> bool {
    let one_name = |matcher: &Matcher| &*matcher.name == METADATA[0] && matcher.op == MatchOp::Equal;
    let all_labels = !matching.on && matching.labels.is_empty() && matching.cardinality == Cardinality::OneToOne;
    all_labels && select.matchers.iter().any(one_name)
}

/// The matchers on labels that partners agree in.
fn travelling(select: &Select, matching: &Matching) -> Vec<Matcher> {
    let listed = |name: &str| matching.labels.iter().any(|label| &**label == name);
    let agreed = |matcher: &&Matcher| listed(&matcher.name) == matching.on && !METADATA.contains(&&*matcher.name);
    select.matchers.iter().filter(agreed).cloned().collect()
}

/// Adds those that are not there; whether there were any.
fn add(select: &mut Arc<Select>, mut matchers: Vec<Matcher>) -> bool {
    matchers.retain(|matcher| !select.matchers.contains(matcher));
    if matchers.is_empty() {
        return false;
    }
    Arc::make_mut(select).matchers.extend(matchers);
    true
}
