//! A plan as text, a line per node, deeper ones further in: for tests, and for whoever asks why a query is slow.
//!
//! ```text
//! / sequential
//!   sum by (job)
//!     rate
//!       select x{job="a"}[300000ms] labels (__name__, __type__, __unit__, job) shared 0
//! ```

use std::fmt::Write as _;

use super::{Extent, Node, Plan, RangeInput, Select, Subquery};
use crate::print::Quoted;

/// The text of a plan.
pub(crate) fn explain(plan: &Plan) -> String {
    let mut out = String::new();
    node(&mut out, 0, &plan.node);
    for (at, read) in plan.reads.iter().enumerate() {
        let (from, to) = (read.cover.from_ms, read.cover.to_ms);
        line(&mut out, 0, &format!("shared {at}: {from}ms to {to}ms, read by {}", read.uses));
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a text cannot fail.
    _ = writeln!(out, "{:1$}{text}", "", depth * 2);
}

fn node(out: &mut String, depth: usize, at: &Node) {
    match at {
        Node::Number(value) => line(out, depth, &format!("number {value}")),
        Node::Text(text) => line(out, depth, &format!("text {}", Quoted(text))),
        Node::Select(selector) => line(out, depth, &select(selector)),
        Node::Range(range) => input(out, depth, range),
        Node::RangeCall(call) => {
            line(out, depth, call.function.name);
            input(out, depth + 1, &call.input);
            call.args.iter().for_each(|(arg, _)| node(out, depth + 1, arg));
        }
        Node::Call(call) => {
            line(out, depth, call.function.name);
            call.args.iter().for_each(|arg| node(out, depth + 1, arg));
        }
        Node::Aggregate(aggregate) => {
            let how = if aggregate.without { "without" } else { "by" };
            line(out, depth, &format!("{} {how} ({})", aggregate.op.text(), aggregate.grouping.join(", ")));
            node(out, depth + 1, &aggregate.expr);
            aggregate.parameter.iter().for_each(|(parameter, _)| node(out, depth + 1, parameter));
        }
        Node::Binary(operation) => {
            let sequential = if operation.sequential { " sequential" } else { "" };
            line(out, depth, &format!("{}{sequential}", operation.op));
            node(out, depth + 1, &operation.left);
            node(out, depth + 1, &operation.right);
        }
        Node::Negate(inner) => {
            line(out, depth, "negate");
            node(out, depth + 1, inner);
        }
        Node::Invariant(inner) => {
            line(out, depth, "once");
            node(out, depth + 1, inner);
        }
    }
}

fn input(out: &mut String, depth: usize, range: &RangeInput) {
    match range {
        RangeInput::Select(selector) => line(out, depth, &select(selector)),
        RangeInput::Subquery(subquery) => {
            let Subquery { expr, range_ms, step_ms, offset_ms, at_ms } = &**subquery;
            line(out, depth, &format!("subquery [{range_ms}ms:{step_ms}ms]{}", moved(*offset_ms, *at_ms)));
            node(out, depth + 1, expr);
        }
    }
}

fn moved(offset_ms: i64, at_ms: Option<i64>) -> String {
    let offset = if offset_ms == 0 { String::new() } else { format!(" offset {offset_ms}ms") };
    at_ms.map_or_else(String::new, |at| format!(" @ {at}ms")) + &offset
}

fn select(select: &Select) -> String {
    let mut text = "select ".to_owned();
    let matchers: Vec<String> =
        select.matchers.iter().map(|matcher| crate::print::PrintedMatcher(matcher).to_string()).collect();
    text.push_str(&format!("{{{}}}", matchers.join(", ")));
    if select.range_ms > 0 {
        text.push_str(&format!("[{}ms]", select.range_ms));
    }
    text.push_str(match select.extent {
        Extent::Plain => "",
        Extent::Anchored => " anchored",
        Extent::Smoothed => " smoothed",
    });
    text.push_str(&moved(select.offset_ms, select.at_ms));
    if let Some(projection) = &select.projection {
        let names = |names: &std::collections::BTreeSet<std::sync::Arc<str>>| {
            names.iter().map(|name| &**name).filter(|name| !name.starts_with("__")).collect::<Vec<_>>().join(", ")
        };
        text.push_str(&format!(" labels ({})", names(&projection.labels)));
        let missing = names(&projection.missing);
        if !missing.is_empty() {
            text.push_str(&format!(" none of ({missing})"));
        }
    }
    if select.stats_only {
        text.push_str(" stats only");
    }
    if let Some(read) = select.shared {
        text.push_str(&format!(" shared {read}"));
    }
    text
}
