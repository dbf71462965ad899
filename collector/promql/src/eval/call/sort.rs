//! Sorting. Only the answer at a single time has an order; over a range there is a warning instead.

use std::cmp::Ordering;

use super::text;
use crate::error::QueryError;
use crate::eval::{Context, Grid, Row, evaluate, sorted};
use crate::plan::Call;

/// `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.
pub(super) fn sort(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let mut rows = evaluate(context, &call.args[0], grid)?.rows()?;
    if grid.steps > 1 {
        context.note(|notes| notes.sort_in_range_query(call.span));
    }
    let name = call.function.name;
    let descending = name.ends_with("_desc");
    if name.starts_with("sort_by_label") {
        let labels = call.args[1..].iter().map(text).collect::<Result<Vec<_>, _>>()?;
        return sorted(&context.budget, rows, |a, b| {
            let differing = labels.iter().map(|name| natural(a.labels.value(name), b.labels.value(name)));
            let order = differing.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
    }
    rows.iter_mut().for_each(|row| row.column.drop_histograms());
    rows.retain(|row| !row.column.present.is_empty());
    if grid.steps == 1 {
        rows = sorted(&context.budget, rows, |a, b| {
            let (a, b) = (a.column.values[0], b.column.values[0]);
            match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                // NaN goes last, either way.
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
                (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            }
        })?;
    }
    Ok(rows)
}

/// Compares texts as people do: runs of digits by their number.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let ((x, rest_a), (y, rest_b)) = (a.split_at(digits(a)), b.split_at(digits(b)));
            let (plain_x, plain_y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            let order =
                plain_x.len().cmp(&plain_y.len()).then_with(|| plain_x.cmp(plain_y)).then(x.len().cmp(&y.len()));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if first == second {
            (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
        } else {
            return first.cmp(&second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_digits_count_as_numbers() {
        assert_eq!(natural("4m600", "4m1000"), Ordering::Less);
        assert_eq!(natural("1.11.3", "1.2.3"), Ordering::Greater);
        assert_eq!(natural("20", "3"), Ordering::Greater);
        assert_eq!(natural("a", "b"), Ordering::Less);
    }
}
