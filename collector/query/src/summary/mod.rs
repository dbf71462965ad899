//! What pages open with: every service, every host, and why a panel is empty. Asked in PromQL through the engine
//! itself, so that a summary and the panel it leads to cannot disagree.

mod hosts;
mod services;
mod why;

use std::collections::HashMap;

use weir_promql::engine::QueryRange;
use weir_promql::value::{Point, Value};

pub use hosts::HostRow;
pub use services::{Health, ServiceRow};
pub use why::{Reason, Why};

use crate::engine::{Engine, QueryContext};
use crate::error::QueryError;

/// Numbers of an instant query by one label.
fn by_label(
    engine: &Engine,
    query: &str,
    label: &str,
    t_ms: i64,
    context: &QueryContext,
) -> Result<HashMap<String, f64>, QueryError> {
    let Value::Vector(samples) = engine.instant(query, t_ms, context)?.value else { return Ok(HashMap::new()) };
    let numbers = samples.into_iter().filter_map(|sample| match sample.point {
        Point::Float(number) if !number.is_nan() => Some((sample.labels.value(label).to_owned(), number)),
        _ => None,
    });
    Ok(numbers.collect())
}

/// Points (unix seconds, value) of a range query by one label.
fn series_by_label(
    engine: &Engine,
    query: &str,
    label: &str,
    range: QueryRange,
    context: &QueryContext,
) -> Result<HashMap<String, Vec<(f64, f64)>>, QueryError> {
    let Value::Matrix(series) = engine.range(query, range, context)?.value else { return Ok(HashMap::new()) };
    let lines = series.into_iter().map(|one| {
        let points = one.floats.iter().map(|&(t_ms, value)| (seconds(t_ms), value)).collect();
        (one.labels.value(label).to_owned(), points)
    });
    Ok(lines.collect())
}

/// Milliseconds as unix seconds.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
