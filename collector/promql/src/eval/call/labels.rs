//! `label_replace` and `label_join`: other labels, same values.

use super::text;
use crate::error::QueryError;
use crate::eval::merge::merge;
use crate::eval::{Context, Grid, Row, evaluate};
use crate::labels::METRIC_NAME;
use crate::matchers::anchored;
use crate::plan::Call;

fn check_name(name: &str, what: &str, function: &str) -> Result<(), QueryError> {
    // U+FFFD stands for bytes that were no UTF-8.
    if name.is_empty() || name.contains('\u{fffd}') {
        return Err(QueryError::Execution(format!("invalid {what} label name in {function}(): {name}")));
    }
    Ok(())
}

fn relabel(row: &mut Row, name: &str, value: &str) {
    row.labels = row.labels.with(name, value);
    if name == METRIC_NAME {
        row.drop_name = false;
    }
}

/// `label_replace(v, dst, replacement, src, regex)`
pub(super) fn replace(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let (name, replacement) = (text(&call.args[1])?, text(&call.args[2])?);
    let (source, pattern) = (text(&call.args[3])?, text(&call.args[4])?);
    let invalid = |_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}"));
    let regex = anchored(pattern).map_err(invalid)?;
    check_name(name, "destination", "label_replace")?;
    let mut rows = evaluate(context, &call.args[0], grid)?.rows()?;
    for (at, row) in rows.iter_mut().enumerate() {
        context.check_at(at)?;
        let value = row.labels.value(source);
        if let Some(found) = regex.captures(value) {
            let mut expanded = String::new();
            found.expand(replacement, &mut expanded);
            relabel(row, name, &expanded);
        }
    }
    merge(context, rows)
}

/// `label_join(v, dst, separator, src…)`
pub(super) fn join(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let (name, separator) = (text(&call.args[1])?, text(&call.args[2])?);
    let sources = call.args[3..].iter().map(text).collect::<Result<Vec<_>, _>>()?;
    for source in &sources {
        check_name(source, "source", "label_join")?;
    }
    check_name(name, "destination", "label_join")?;
    let mut rows = evaluate(context, &call.args[0], grid)?.rows()?;
    for (at, row) in rows.iter_mut().enumerate() {
        context.check_at(at)?;
        let values: Vec<&str> = sources.iter().map(|source| row.labels.value(source)).collect();
        let joined = values.join(separator);
        relabel(row, name, &joined);
    }
    merge(context, rows)
}
