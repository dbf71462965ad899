//! Rows with one label set become one row; at one time they must not both have a value.

use super::groups::{Groups, Key};
use super::{Context, Row};
use crate::error::QueryError;

pub(crate) const DUPLICATE: &str = "vector cannot contain metrics with the same labelset";

/// Drops the names that no longer fit, unless that is delayed to the end of the query.
pub(crate) fn settle(context: &Context<'_>, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    if context.delayed_name_removal {
        return Ok(rows);
    }
    drop_names(rows)
}

/// Drops the names that no longer fit and merges what that makes equal.
pub(crate) fn drop_names(mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut any = false;
    for row in rows.iter_mut().filter(|row| row.drop_name) {
        row.labels = row.labels.without_metadata();
        row.drop_name = false;
        any = true;
    }
    if any { merge(rows) } else { Ok(rows) }
}

/// Merges rows with equal labels.
///
/// # Errors
/// When two of them have a value at one time.
pub(crate) fn merge(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut groups = Groups::new(Key::Whole);
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let at = groups.group(&row.labels) as usize;
        let Some(kept) = out.get_mut(at) else {
            out.push(row);
            continue;
        };
        if kept.column.present.overlaps(&row.column.present) {
            return Err(QueryError::Execution(DUPLICATE.to_owned()));
        }
        kept.column.fill_from(&row.column);
        kept.drop_name |= row.drop_name;
    }
    Ok(out)
}
