//! What an `eval` expects.

use regex::Regex;

use super::block::parse_time;
use super::notation::SequenceValue;
use crate::engine::QueryRange;
use crate::labels::Labels;
use crate::lex::unquote;

/// A text that must occur.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Exact(String),
    Pattern(Regex),
}

impl Wanted {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// What is expected of annotations of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// There must be some.
    pub(super) any: bool,
    /// There must be none.
    pub(super) none: bool,
    /// All of these, and no others.
    pub(super) wanted: Vec<Wanted>,
}

/// What an `eval` expects.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) fail: bool,
    pub(super) fail_messages: Vec<Wanted>,
    pub(super) warn: Notes,
    pub(super) info: Notes,
    pub(super) ordered: bool,
    pub(super) range: Option<QueryRange>,
    pub(super) text: Option<String>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<SequenceValue>)>,
}

/// Reads a line that says what to expect; false when it is another line.
pub(super) fn parse_expectation(line: &str, into: &mut Expected) -> Result<bool, String> {
    for (prefix, pattern) in [("expected_fail_message", false), ("expected_fail_regexp", true)] {
        if let Some(text) = line.strip_prefix(prefix) {
            into.fail = true;
            into.fail_messages.push(wanted(text.trim(), pattern)?);
            return Ok(true);
        }
    }
    let Some(rest) = line.strip_prefix("expect ") else { return Ok(false) };
    let rest = rest.trim();
    let (word, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let detail = detail.trim();
    match word {
        "ordered" => into.ordered = true,
        "fail" => {
            into.fail = true;
            into.fail_messages.extend(detail_of(detail)?);
        }
        "warn" => note(&mut into.warn, detail)?,
        "info" => note(&mut into.info, detail)?,
        "no_warn" => into.warn.none = true,
        "no_info" => into.info.none = true,
        "string" => into.text = Some(unquote(detail)?),
        "range" => {
            let words: Vec<&str> = detail.split_whitespace().collect();
            let ["vector", "from", from, "to", to, "step", step] = words[..] else {
                return Err(format!("{line}: expected range vector from … to … step …"));
            };
            let range = QueryRange { start_ms: parse_time(from)?, end_ms: parse_time(to)?, step_ms: parse_time(step)? };
            into.range = Some(range);
        }
        _ => return Err(format!("{line}: unknown expectation")),
    }
    Ok(true)
}

fn note(notes: &mut Notes, detail: &str) -> Result<(), String> {
    notes.any = true;
    notes.wanted.extend(detail_of(detail)?);
    Ok(())
}

fn detail_of(detail: &str) -> Result<Option<Wanted>, String> {
    if let Some(text) = detail.strip_prefix("msg:") {
        return wanted(text.trim(), false).map(Some);
    }
    if let Some(pattern) = detail.strip_prefix("regex:") {
        return wanted(pattern.trim(), true).map(Some);
    }
    if detail.is_empty() { Ok(None) } else { Err(format!("{detail}: expected msg: or regex:")) }
}

fn wanted(text: &str, pattern: bool) -> Result<Wanted, String> {
    if pattern {
        Regex::new(text).map(Wanted::Pattern).map_err(|error| error.to_string())
    } else {
        Ok(Wanted::Exact(text.to_owned()))
    }
}
