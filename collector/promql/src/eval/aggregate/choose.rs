//! Aggregations that choose among their input's series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use super::key;
use crate::ast::Aggregation;
use crate::error::QueryError;
use crate::eval::column::Bits;
use crate::eval::groups::Groups;
use crate::eval::{Context, Grid, Row};
use crate::labels::Labels;
use crate::plan::Aggregate;
use crate::position::Span;

/// The largest and smallest numbers that fit 64 bits, as Prometheus bounds them.
const COUNT_MAX: f64 = 9_223_372_036_854_774_784.0;
const COUNT_MIN: f64 = -9_223_372_036_854_775_808.0;

/// Evaluates one of these aggregations.
pub(super) fn choose(
    context: &Context<'_>,
    aggregate: &Aggregate,
    parameter: &[f64],
    mut rows: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, QueryError> {
    let span = aggregate.parameter.as_ref().map_or(aggregate.expr_span, |(_, span)| *span);
    if !check_parameter(context, aggregate.op, parameter, span)? {
        context.release(&rows, grid.steps);
        return Ok(Vec::new());
    }
    let mut groups = Groups::new(key(aggregate));
    let of_row = groups.of_all(context, rows.iter().map(|row| &row.labels))?;
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (row, group) in of_row.iter().enumerate() {
        members[*group as usize].push(row);
    }
    if matches!(aggregate.op, Aggregation::Topk | Aggregation::Bottomk) {
        let ignored = rows.iter().any(|row| row.column.histograms.is_some());
        if ignored {
            context.note(|notes| notes.histogram_ignored_in_aggregation(aggregate.op.text(), aggregate.expr_span));
        }
    }
    let mut chosen: Vec<Bits> = rows.iter().map(|_| Bits::none(grid.steps)).collect();
    let mut order: Vec<usize> = Vec::new();
    for (step, number) in parameter.iter().copied().enumerate() {
        context.budget.check()?;
        for group in &members {
            match aggregate.op {
                Aggregation::LimitRatio => choose_by_hash(&rows, group, step, number, &mut chosen),
                Aggregation::Limitk => {
                    let present = group.iter().filter(|row| rows[**row].column.present.get(step));
                    present.take(count_of(number)).for_each(|row| chosen[*row].set(step));
                }
                _ => {
                    let top = aggregate.op == Aggregation::Topk;
                    let best = best(&rows, group, step, count_of(number), top);
                    best.iter().for_each(|row| chosen[*row].set(step));
                    if grid.steps == 1 {
                        order.extend(best);
                    }
                }
            }
        }
    }
    for (row, chosen) in rows.iter_mut().zip(&chosen) {
        row.column.present.and(chosen);
        if let Some(histograms) = &mut row.column.histograms {
            let absent = (0..grid.steps).filter(|step| !chosen.get(*step));
            absent.for_each(|step| histograms[step] = None);
        }
    }
    if !order.is_empty() {
        // At a single time the answer is in the order of the choice.
        let mut slots: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        return Ok(order.into_iter().filter_map(|row| slots[row].take()).collect());
    }
    rows.retain(|row| !row.column.present.is_empty());
    Ok(rows)
}

fn count_of(number: f64) -> usize {
    if number < 1.0 { 0 } else { number as usize }
}

/// Whether the parameter makes sense and can choose anything at all.
fn check_parameter(context: &Context<'_>, op: Aggregation, parameter: &[f64], span: Span) -> Result<bool, QueryError> {
    let max = parameter.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = parameter.iter().copied().fold(f64::INFINITY, f64::min);
    let nan = parameter.iter().any(|number| number.is_nan());
    let fail = |text: String| Err(QueryError::Execution(text));
    if op == Aggregation::LimitRatio {
        if nan {
            return fail("Ratio value is NaN".to_owned());
        }
        for (beyond, number, cap) in [(max > 1.0, max, 1.0), (min < -1.0, min, -1.0)] {
            if beyond {
                context.note(|notes| notes.invalid_ratio(number, cap, span));
            }
        }
        return Ok(max != 0.0 || min != 0.0);
    }
    if nan {
        return fail("Parameter value is NaN".to_owned());
    }
    if min <= COUNT_MIN {
        return fail(format!("Scalar value {} underflows int64", crate::print::format_g(min)));
    }
    if max >= COUNT_MAX {
        return fail(format!("Scalar value {} overflows int64", crate::print::format_g(max)));
    }
    Ok(max >= 1.0)
}

/// The rows with the largest or smallest floats, best first; NaN is worst.
fn best(rows: &[Row], group: &[usize], step: usize, count: usize, top: bool) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let floats = group.iter().filter_map(|row| Some((rows[*row].column.float(step)?, *row)));
    let mut floats: Vec<(f64, usize)> = floats.collect();
    let better = |a: &(f64, usize), b: &(f64, usize)| -> Ordering {
        let by_value = match (a.0.is_nan(), b.0.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if top => b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal),
            (false, false) => a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal),
        };
        by_value.then(a.1.cmp(&b.1))
    };
    if count < floats.len() {
        floats.select_nth_unstable_by(count - 1, better);
        floats.truncate(count);
    }
    floats.sort_unstable_by(better);
    floats.into_iter().map(|(_, row)| row).collect()
}

fn choose_by_hash(rows: &[Row], group: &[usize], step: usize, ratio: f64, chosen: &mut [Bits]) {
    let ratio = ratio.clamp(-1.0, 1.0);
    for row in group.iter().filter(|row| rows[**row].column.present.get(step)) {
        let place = place(&rows[*row].labels);
        let taken = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
        if taken {
            chosen[*row].set(step);
        }
    }
}

/// Where between 0 and 1 a label set falls: the hash that Prometheus uses, over its encoding of labels (lengths of one
/// byte, or 255 and three bytes), so that the same series are chosen.
fn place(labels: &Labels) -> f64 {
    let mut encoded = Vec::with_capacity(128);
    let mut push = |text: &str| {
        let length = text.len();
        if length < 255 {
            encoded.push(length as u8);
        } else {
            encoded.push(255);
            encoded.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
        }
        encoded.extend_from_slice(text.as_bytes());
    };
    for (name, value) in labels.iter() {
        push(name);
        push(value);
    }
    xxhash_rust::xxh64::xxh64(&encoded, 0) as f64 / u64::MAX as f64
}
