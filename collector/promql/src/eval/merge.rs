//! Rows with one label set become one row; at one time they must not both have a value.

use std::collections::HashMap;

use super::groups::{Groups, Key};
use super::{Context, Row};
use crate::error::QueryError;
use crate::labels::Labels;

pub(crate) const DUPLICATE: &str = "vector cannot contain metrics with the same labelset";

/// Drops the names that no longer fit, unless that is delayed to the end of the query.
pub(crate) fn settle(context: &Context<'_>, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    if context.delayed_name_removal {
        return Ok(rows);
    }
    drop_names(context, rows)
}

/// Drops the names that no longer fit and merges what that makes equal.
pub(crate) fn drop_names(context: &Context<'_>, mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut any = false;
    for row in rows.iter_mut().filter(|row| row.drop_name) {
        row.labels = row.labels.without_metadata();
        row.drop_name = false;
        any = true;
    }
    if any { merge(context, rows) } else { Ok(rows) }
}

/// Merges rows with equal labels; those with a serial number only with their like.
///
/// # Errors
/// When two of them have a value at one time; when the query is over.
pub(crate) fn merge(context: &Context<'_>, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut groups = Groups::new(Key::Whole);
    let mut by_serial: HashMap<(u32, Labels), usize> = HashMap::new();
    let mut of_group: Vec<usize> = Vec::new();
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let next = out.len();
        context.check_at(next)?;
        let at = if row.serial == 0 {
            let group = groups.group(&row.labels) as usize;
            if group == of_group.len() {
                of_group.push(next);
            }
            of_group[group]
        } else {
            *by_serial.entry((row.serial, row.labels.clone())).or_insert(next)
        };
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
