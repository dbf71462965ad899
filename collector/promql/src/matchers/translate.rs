//! RE2 patterns into the syntax of the `regex` crate. The two are siblings; what differs: `.` matches a newline in
//! Prometheus, Perl classes and `\b` are ASCII, `{` that opens no repetition is itself, `\Q…\E` quotes, and inside a
//! class `[`, `&&`, `--` and `~~` have no meaning.

use regex::{Regex, RegexBuilder};

/// Memory that one compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Compiles an RE2 pattern that matches whole values.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", reason(&error)))
}

/// The last line of a multi-line explanation says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, class, &mut out),
            '[' if class => posix_class(rest, &mut out),
            '[' => {
                class = true;
                open_class(after, &mut out)
            }
            ']' if class => {
                class = false;
                out.push(']');
                after
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
                after
            }
            '-' if class && after.starts_with('-') => {
                out.push_str("\\-");
                after
            }
            '{' if !class && !opens_repetition(after) => {
                out.push_str("\\{");
                after
            }
            '}' if !class && !closes_repetition(&out) => {
                out.push_str("\\}");
                after
            }
            '(' if !class && after.starts_with("?P=") => after,
            c => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// What stands behind `[`: a negation and a first `]` that is itself.
fn open_class<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = after;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    if let Some(bracket) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = bracket;
    }
    rest
}

/// `[:alpha:]` stays; any other `[` inside a class is itself.
fn posix_class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if rest.starts_with("[:")
        && let Some(end) = rest.find(":]")
    {
        out.push_str(&rest[..end + 2]);
        return &rest[end + 2..];
    }
    out.push_str("\\[");
    &rest[1..]
}

fn escape<'a>(after: &'a str, class: bool, out: &mut String) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[c.len_utf8()..];
    let ascii = match (c, class) {
        ('d', true) => "0-9",
        ('w', true) => "0-9A-Za-z_",
        ('s', true) => "\\t\\n\\x0c\\r ",
        ('d', false) => "[0-9]",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\x0c\\r ]",
        ('S', _) => "[^\\t\\n\\x0c\\r ]",
        ('b', false) => "(?-u:\\b)",
        ('B', false) => "(?-u:\\B)",
        ('Q', false) => {
            let end = rest.find("\\E").unwrap_or(rest.len());
            out.push_str(&regex::escape(&rest[..end]));
            return rest[end..].strip_prefix("\\E").unwrap_or_default();
        }
        _ => "",
    };
    if ascii.is_empty() {
        out.push('\\');
        out.push(c);
    } else {
        out.push_str(ascii);
    }
    rest
}

fn opens_repetition(after: &str) -> bool {
    let Some(end) = after.find('}') else { return false };
    let (low, high) = after[..end].split_once(',').unwrap_or((&after[..end], ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

fn closes_repetition(out: &str) -> bool {
    match out.rfind('{') {
        Some(at) if !out[..at].ends_with('\\') => {
            let inner = &out[at + 1..];
            !inner.is_empty() && inner.chars().all(|c| c.is_ascii_digit() || c == ',')
        }
        // `\p{Greek}` and `\x{10FFFF}`
        Some(at) => out[..at].ends_with("\\p") || out[..at].ends_with("\\P") || out[..at].ends_with("\\x"),
        None => false,
    }
}
