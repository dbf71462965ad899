//! The order of series in a part: by metric, then by who sends it, then by its attributes.
//!
//! The sender stands before the point's attributes, since most questions are about one service, which then lies
//! in one run of rows per metric.

use std::cmp::Ordering;

use weir_proto::{Attributes, SeriesIdentity, Value};

/// Compares two series; equal only when they are one series.
pub(crate) fn compare(left: &SeriesIdentity, right: &SeriesIdentity) -> Ordering {
    if left.fingerprint == right.fingerprint {
        return Ordering::Equal;
    }
    left.name
        .cmp(&right.name)
        .then_with(|| attributes(&left.resource.attributes, &right.resource.attributes))
        .then_with(|| left.scope.name.cmp(&right.scope.name))
        .then_with(|| attributes(&left.attributes, &right.attributes))
        .then_with(|| left.fingerprint.cmp(&right.fingerprint))
}

fn attributes(left: &Attributes, right: &Attributes) -> Ordering {
    for (a, b) in left.iter().zip(right.iter()) {
        let order = a.key.cmp(&b.key).then_with(|| values(&a.value, &b.value));
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// Texts by text, integers by size; the fingerprint settles the rest.
fn values(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Empty => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Double(_) => 3,
        Value::String(_) => 4,
        Value::Bytes(_) => 5,
        Value::Array(_) => 6,
        Value::Map(_) => 7,
    }
}
