//! A stable sort that ends with its query: millions of label sets take seconds to sort, and `sort_by` cannot be told
//! to stop.

use std::cmp::Ordering;

use crate::error::QueryError;
use crate::source::Budget;

/// Items that are sorted, or merged, between two looks at the budget: some milliseconds.
const RUN: usize = 16_384;

/// The items in order; equal ones stay in the order they were in.
///
/// # Errors
/// When the query is over.
pub(crate) fn sorted<T>(
    budget: &Budget,
    mut items: Vec<T>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, QueryError> {
    if items.len() <= RUN {
        items.sort_by(&compare);
        return Ok(items);
    }
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut rest = items.into_iter();
    loop {
        budget.check()?;
        let mut run: Vec<T> = rest.by_ref().take(RUN).collect();
        if run.is_empty() {
            break;
        }
        run.sort_by(&compare);
        runs.push(run);
    }
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(a) = pairs.next() {
            merged.push(match pairs.next() {
                Some(b) => merge(budget, a, b, &compare)?,
                None => a,
            });
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default())
}

fn merge<T>(
    budget: &Budget,
    a: Vec<T>,
    b: Vec<T>,
    compare: &impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, QueryError> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(first), Some(second)) = (a.peek(), b.peek()) {
        let from_b = compare(first, second) == Ordering::Greater;
        out.extend(if from_b { b.next() } else { a.next() });
        if out.len().is_multiple_of(RUN) {
            budget.check()?;
        }
    }
    out.extend(a);
    out.extend(b);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_sorted_stably_and_end_with_the_query() {
        let budget = Budget::new(0, 0, 0);
        let items: Vec<(u64, usize)> = (0..100_000).map(|at| ((at as u64).wrapping_mul(7919) % 1000, at)).collect();
        let mut expected = items.clone();
        expected.sort_by_key(|(key, _)| *key);
        let compare = |a: &(u64, usize), b: &(u64, usize)| a.0.cmp(&b.0);
        assert_eq!(sorted(&budget, items.clone(), compare).unwrap(), expected);
        budget.cancel();
        assert!(sorted(&budget, items, compare).is_err());
    }
}
