//! The notation of series: `name{labels} 1 2+3x4 _ stale {{schema:0 …}}x3`, and the start timestamps of
//! `name{labels}@st -1m -1mx3`.

use std::sync::Arc;

use crate::histogram::{FloatHistogram, ResetHint, Span};
use crate::labels::{Labels, METRIC_NAME};
use crate::lex::unquote;
use crate::memory::STALE_NAN;
use crate::parse_duration_ms;

/// One value of a series in a script.
#[derive(Clone, Debug)]
pub enum SequenceValue {
    /// No sample.
    Gap,
    /// A float.
    Float(f64),
    /// A histogram, and whether its reset hint was written down.
    Histogram(Arc<FloatHistogram>, bool),
}

/// A line of a `load` or the expected answer of an `eval`: labels, whether it gives start timestamps, the rest.
pub(super) struct SeriesLine<'a> {
    pub(super) labels: Labels,
    pub(super) starts: bool,
    pub(super) rest: &'a str,
}

/// Parses `name{labels}` and its values.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<SequenceValue>), String> {
    let line = parse_metric(line)?;
    Ok((line.labels, parse_values(line.rest)?))
}

pub(super) fn parse_metric(line: &str) -> Result<SeriesLine<'_>, String> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace() || c == '@').unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_end);
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    // `{{` begins a histogram, not labels.
    if rest.starts_with('{') && (!name.is_empty() || !rest.starts_with("{{")) {
        rest = parse_labels(&rest[1..], &mut pairs)?;
    }
    if !name.is_empty() {
        pairs.push((Arc::from(METRIC_NAME), Arc::from(name)));
    }
    let (starts, rest) = match rest.strip_prefix("@st") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    Ok(SeriesLine { labels: Labels::new(pairs), starts, rest: rest.trim() })
}

fn parse_labels<'a>(text: &'a str, into: &mut Vec<(Arc<str>, Arc<str>)>) -> Result<&'a str, String> {
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) = if rest.starts_with(['"', '\'', '`']) {
            let (name, after) = quoted(rest)?;
            (name, after.trim_start())
        } else {
            let end = rest.find(['=', '}', ',']).ok_or("unterminated labels")?;
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        rest = match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = quoted(after.trim_start())?;
                into.push((Arc::from(name), Arc::from(value)));
                after.trim_start()
            }
            None => {
                into.push((Arc::from(METRIC_NAME), Arc::from(name)));
                after
            }
        };
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c)).ok_or("expected a quoted label value")?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return Ok((unquote(&text[..=at])?, &text[at + 1..]));
        }
    }
    Err("unterminated label value".to_owned())
}

/// The items of a sequence; a histogram is one item, whatever blanks it has.
fn items(text: &str) -> Result<Vec<&str>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut end = 0;
        while let Some(c) = rest[end..].chars().next().filter(|c| !c.is_whitespace()) {
            if rest[end..].starts_with("{{") {
                end += rest[end..].find("}}").ok_or("unterminated histogram")? + 2;
            } else {
                end += c.len_utf8();
            }
        }
        out.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// Splits `…xN`.
fn repeated(item: &str) -> (&str, Option<usize>) {
    match item.rsplit_once('x') {
        Some((what, count)) if !what.is_empty() && !count.is_empty() => match count.parse() {
            Ok(count) => (what, Some(count)),
            Err(_) => (item, None),
        },
        _ => (item, None),
    }
}

/// Values longer than this are a slip of the pen.
const VALUES_MAX: usize = 1 << 20;

pub(super) fn parse_values(text: &str) -> Result<Vec<SequenceValue>, String> {
    let mut out = Vec::new();
    for item in items(text)? {
        let (what, count) = repeated(item);
        if count.is_some_and(|count| count > VALUES_MAX) {
            return Err(format!("{item}: more than {VALUES_MAX} values"));
        }
        if what == "_" {
            out.extend((0..count.unwrap_or(1)).map(|_| SequenceValue::Gap));
        } else if what.starts_with("{{") {
            histograms(what, count, &mut out)?;
        } else {
            floats(what, count, &mut out)?;
        }
    }
    Ok(out)
}

fn floats(what: &str, count: Option<usize>, out: &mut Vec<SequenceValue>) -> Result<(), String> {
    if what == "stale" {
        let stale = f64::from_bits(STALE_NAN);
        out.extend((0..=count.unwrap_or(0)).map(|_| SequenceValue::Float(stale)));
        return Ok(());
    }
    let (start, step) = match split_signed(what) {
        Some((start, step)) if count.is_some() => (number(start)?, number(step)?),
        _ => (number(what)?, 0.0),
    };
    let mut value = start;
    for _ in 0..=count.unwrap_or(0) {
        out.push(SequenceValue::Float(value));
        value += step;
    }
    Ok(())
}

/// Splits `a+b` and `a-b`; signs of exponents and of `a` itself do not part anything.
fn split_signed(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    (1..text.len())
        .find(|at| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E'))
        .map(|at| text.split_at(at))
}

pub(super) fn number(text: &str) -> Result<f64, String> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(value) = plain.parse() {
        return Ok(value);
    }
    let (sign, digits) = plain.strip_prefix('-').map_or((1.0, plain), |digits| (-1.0, digits));
    let ms = parse_duration_ms(digits).map_err(|_| format!("{text}: not a number"))?;
    Ok(sign * ms as f64 / 1000.0)
}

fn histograms(what: &str, count: Option<usize>, out: &mut Vec<SequenceValue>) -> Result<(), String> {
    let end = what.find("}}").ok_or("unterminated histogram")? + 2;
    let (first, mut hinted) = histogram(&what[..end])?;
    let rest = &what[end..];
    if rest.is_empty() {
        let first = Arc::new(first);
        out.extend((0..=count.unwrap_or(0)).map(|_| SequenceValue::Histogram(Arc::clone(&first), hinted)));
        return Ok(());
    }
    let (step, step_hinted) = histogram(&rest[1..])?;
    hinted |= step_hinted;
    let mut value = first;
    for _ in 0..=count.unwrap_or(0) {
        out.push(SequenceValue::Histogram(Arc::new(value.clone()), hinted));
        let combined = if rest.starts_with('-') { value.sub(&step) } else { value.add(&step) };
        combined.map_err(|_| format!("{what}: histograms do not fit"))?;
    }
    Ok(())
}

/// Parses `{{schema:0 sum:1 …}}`; whether the reset hint is written down.
fn histogram(text: &str) -> Result<(FloatHistogram, bool), String> {
    let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).ok_or("expected a histogram")?;
    let mut out = FloatHistogram::default();
    let (mut hinted, mut offset, mut negative_offset) = (false, 0, 0);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("{rest}: expected key:value"))?;
        let end = if after.starts_with('[') {
            after.find(']').ok_or("unterminated list")? + 1
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        let (value, after) = after.split_at(end);
        let list =
            || -> Result<Vec<f64>, String> { value.trim_matches(['[', ']']).split_whitespace().map(number).collect() };
        let whole = || value.parse::<i32>().map_err(|_| format!("{value}: not a whole number"));
        match key.trim() {
            "schema" => out.schema = whole()?,
            "sum" => out.sum = number(value)?,
            "count" => out.count = number(value)?,
            "z_bucket" => out.zero_count = number(value)?,
            "z_bucket_w" => out.zero_threshold = number(value)?,
            "custom_values" => out.custom_values = list()?,
            "buckets" => out.positive_buckets = list()?,
            "n_buckets" => out.negative_buckets = list()?,
            "offset" => offset = whole()?,
            "n_offset" => negative_offset = whole()?,
            "counter_reset_hint" => {
                hinted = true;
                out.reset_hint = reset_hint(value)?;
            }
            other => return Err(format!("{other}: unknown key of a histogram")),
        }
        rest = after.trim_start();
    }
    let spans = |offset, buckets: &[f64]| match buckets.len() {
        0 => Vec::new(),
        length => vec![Span { offset, length: length as u32 }],
    };
    out.positive_spans = spans(offset, &out.positive_buckets);
    out.negative_spans = spans(negative_offset, &out.negative_buckets);
    Ok((out, hinted))
}

fn reset_hint(text: &str) -> Result<ResetHint, String> {
    Ok(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        other => return Err(format!("{other}: unknown counter_reset_hint")),
    })
}

/// The start timestamps of a series, relative to its samples; none where unknown.
pub(super) fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let (what, count) = repeated(item);
        if what == "_" {
            out.extend((0..count.unwrap_or(1)).map(|_| None));
            continue;
        }
        let (start, step) = match split_signed(what) {
            Some((start, step)) => (signed_ms(start)?, signed_ms(step)?),
            None => (signed_ms(what)?, 0),
        };
        out.extend((0..=count.unwrap_or(0)).map(|at| Some(start + step * at as i64)));
    }
    Ok(out)
}

fn signed_ms(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(text) => parse_duration_ms(text).map(|ms| -ms),
        None => parse_duration_ms(text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats_of(text: &str) -> Vec<f64> {
        let number = |value: &SequenceValue| match value {
            SequenceValue::Float(value) => *value,
            _ => f64::NAN,
        };
        parse_values(text).unwrap().iter().map(number).collect()
    }

    #[test]
    fn sequences() {
        assert_eq!(floats_of("1+2x3 -1-1x1 1e-3 0x1"), [1.0, 3.0, 5.0, 7.0, -1.0, -2.0, 1e-3, 0.0, 0.0]);
        assert_eq!(floats_of("-0.5 Inf -Inf"), [-0.5, f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(parse_values("_x3 1").unwrap().len(), 4);
        assert_eq!(
            parse_starts("_ -1m-15sx2 +1m").unwrap(),
            [None, Some(-60_000), Some(-75_000), Some(-90_000), Some(60_000)]
        );
    }

    #[test]
    fn metrics_and_histograms() {
        let (labels, values) =
            parse_series(r#"a:b{le="+Inf", x="{}"} {{count:3 buckets:[1 2] offset:1}}x2 5"#).unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="a:b", le="+Inf", x="{}"}"#);
        assert_eq!(values.len(), 4);
        assert!(parse_metric("m@st -1m").unwrap().starts);
        assert_eq!(parse_series("{} {{}}").unwrap().1.len(), 1);
    }
}
