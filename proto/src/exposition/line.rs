//! One line of a page, taken apart: the series before the value, and what stands behind it.
//!
//! ```text
//! http_requests_total{path="/a b",code="200"} 1027 1395066363000 # {trace_id="…"} 0.67 1395066363
//! └────────────── series prefix ─────────────┘└v─┘ └── time ───┘ └────── exemplar (OpenMetrics) ─┘
//! {"name.in.quotes", "label.in.quotes"="v"} 1
//! ```

use std::borrow::Cow;

/// Name and labels of a sample line, as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeriesText<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// How many bytes of `line` come before the value: name, labels and the space behind them. `None` when there is no
/// value, or a quote or brace is not closed.
pub(super) fn prefix_len(line: &[u8]) -> Option<usize> {
    let mut at = blank(line, 0);
    while at < line.len() && !matches!(line[at], b'{' | b' ' | b'\t') {
        at += 1;
    }
    let braces = blank(line, at);
    if line.get(braces) == Some(&b'{') {
        at = closing_brace(line, braces)?;
    }
    let value = blank(line, at);
    (value < line.len()).then_some(value)
}

/// The index behind the brace that closes the one at `open`; braces in quotes do not count.
fn closing_brace(line: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b'}', line.get(at..)?)?;
        if line[at] == b'}' {
            return Some(at + 1);
        }
        at = closing_quote(line, at)? + 1;
    }
}

/// The index of the quote that closes the one at `open`.
fn closing_quote(line: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The first index from `at` on that is no space or tab.
pub(super) fn blank(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// Splits at the first space, tab or line end; that byte stays in the rest.
#[inline]
pub(super) fn token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')).unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// Name and labels of `prefix`, which ends before the value.
pub(super) fn series(prefix: &[u8]) -> Result<SeriesText<'_>, String> {
    let text = std::str::from_utf8(prefix).map_err(|_| "text that is not UTF-8".to_owned())?.trim_matches([' ', '\t']);
    let (name, braces) = match text.find('{') {
        Some(at) => (text[..at].trim_end_matches([' ', '\t']), Some(&text[at..])),
        None => (text, None),
    };
    if !name.is_empty() && !is_metric_name(name) {
        return Err(format!("invalid metric name {name:?}"));
    }
    let mut series = SeriesText { name: Cow::Borrowed(name), labels: Vec::new() };
    if let Some(braces) = braces {
        labels(braces, &mut series)?;
    }
    if series.name.is_empty() {
        return Err("a sample without a metric name".to_owned());
    }
    Ok(series)
}

/// Reads `{…}`. A quoted text without a value is the metric's name.
pub(super) fn labels<'a>(braces: &'a str, series: &mut SeriesText<'a>) -> Result<(), String> {
    let mut rest = braces[1..].trim_start_matches([' ', '\t']);
    loop {
        if let Some(end) = rest.strip_prefix('}') {
            return if end.trim_matches([' ', '\t']).is_empty() { Ok(()) } else { Err(format!("unexpected {end:?}")) };
        }
        let (name, quoted, after) = label_name(rest)?;
        let after = after.trim_start_matches([' ', '\t']);
        rest = match after.strip_prefix('=') {
            Some(after) => {
                let after = after.trim_start_matches([' ', '\t']);
                let (value, after) = quoted_text(after)?;
                let is_name_again = name == "__name__" && !series.name.is_empty();
                if is_name_again || series.labels.iter().any(|label| label.0 == name) {
                    return Err(format!("label {name:?} appears twice"));
                }
                series.labels.push((name, value));
                after
            }
            None if quoted && series.name.is_empty() && !name.is_empty() => {
                series.name = name;
                after
            }
            None => return Err(format!("expected = after the label name {name:?}")),
        };
        rest = rest.trim_start_matches([' ', '\t']);
        // Prometheus does not insist on the comma between two labels.
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start_matches([' ', '\t']);
    }
}

fn label_name(rest: &str) -> Result<(Cow<'_, str>, bool, &str), String> {
    if rest.starts_with('"') {
        let (name, after) = quoted_text(rest)?;
        return Ok((name, true, after));
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("expected a label name and found {:?}", start_of(rest)));
    }
    Ok((Cow::Borrowed(&rest[..end]), false, &rest[end..]))
}

/// A text in double quotes, its escapes resolved, and what follows.
fn quoted_text(rest: &str) -> Result<(Cow<'_, str>, &str), String> {
    if !rest.starts_with('"') {
        return Err(format!("expected a quoted text and found {:?}", start_of(rest)));
    }
    let end = closing_quote(rest.as_bytes(), 0).ok_or_else(|| "a quoted text that is not closed".to_owned())?;
    Ok((unescape(&rest[1..end]), &rest[end + 1..]))
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stands for itself.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.clone().next() } else { None };
        match escaped {
            Some('n') => plain.push('\n'),
            Some(same @ ('\\' | '"')) => plain.push(same),
            _ => {
                plain.push(c);
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(plain)
}

/// Whether `name` is a metric name that needs no quotes.
fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// The beginning of a text, for messages.
pub(super) fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(String, Vec<(String, String)>), String> {
        let prefix = prefix_len(line.as_bytes()).ok_or("no value")?;
        let series = series(&line.as_bytes()[..prefix])?;
        let labels = series.labels.iter().map(|label| (label.0.to_string(), label.1.to_string())).collect();
        Ok((series.name.to_string(), labels))
    }

    fn pairs(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        labels.iter().map(|label| (label.0.to_owned(), label.1.to_owned())).collect()
    }

    #[test]
    fn names_labels_and_escapes_are_read() {
        type Labels = &'static [(&'static str, &'static str)];
        let cases: [(&str, &str, Labels); 10] = [
            ("up 1", "up", &[]),
            ("\tup\t1", "up", &[]),
            ("a:b_c{} 1", "a:b_c", &[]),
            (r#"x{a="1",b="2"} 1"#, "x", &[("a", "1"), ("b", "2")]),
            (r#"x { a = "1" , b="2", } 1"#, "x", &[("a", "1"), ("b", "2")]),
            (r#"x{a="}{ ,\"\\\n\d"} 1"#, "x", &[("a", "}{ ,\"\\\n\\d")]),
            (r#"x{a="ü"} 1"#, "x", &[("a", "ü")]),
            (r#"{"a.name", "b.c"="d"} 1"#, "a.name", &[("b.c", "d")]),
            (r#"x{a="1"}1"#, "x", &[("a", "1")]),
            (r#"x{a="1"b="2"} 1"#, "x", &[("a", "1"), ("b", "2")]),
        ];
        for (line, name, labels) in cases {
            assert_eq!(read(line), Ok((name.to_owned(), pairs(labels))), "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_errors() {
        let wrong = [
            "up",
            "up ",
            "9up 1",
            "a-b 1",
            r#"x{a="1" 1"#,
            r#"x{a="1} 1"#,
            r#"x{a=1} 1"#,
            r#"x{a} 1"#,
            r#"x{a="1",a="2"} 1"#,
            r#"x{9="1"} 1"#,
            r#"x{a="1";b="2"} 1"#,
            r#"{a="1"} 1"#,
            r#"{"a","b"} 1"#,
            r#"x{,} 1"#,
            r#"x{a="1",,b="2"} 1"#,
            r#"x{__name__="y"} 1"#,
        ];
        for line in wrong {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
