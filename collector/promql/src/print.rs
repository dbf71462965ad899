//! The printer: a tree back into text that parses to the same tree, in Prometheus' canonical form; and Go's number
//! and quoting formats, which messages and labels need.

use std::fmt;

use crate::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, DurationOp, Expr, Matching, Op, Subquery, VectorSelector,
};
use crate::labels::METRIC_NAME;
use crate::source::{MatchOp, Matcher};

/// Shows text as Go's `strconv.Quote` does.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{b}' => f.write_str("\\v")?,
                '\u{c}' => f.write_str("\\f")?,
                c if u32::from(c) < 0x20 || c == '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A float as Go's `strconv.FormatFloat(v, 'f', -1, 64)`: shortest, never an exponent.
#[must_use]
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}

/// A float as Go's `%g`: shortest, with an exponent below 1e-4 and from 1e21 on.
#[must_use]
pub fn format_g(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_float(value);
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..21).contains(&exponent) { with_exponent(mantissa, exponent) } else { format_float(value) }
}

/// A float as Go's `%.{precision}g`.
#[must_use]
pub(crate) fn format_g_precision(value: f64, precision: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_float(value);
    }
    let scientific = format!("{value:.*e}", precision.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if exponent < -4 || exponent >= precision as i32 {
        with_exponent(&trimmed(mantissa), exponent)
    } else {
        trimmed(&format!("{value:.*}", (precision as i32 - 1 - exponent).max(0) as usize))
    }
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A duration of whole milliseconds in Prometheus' form (`1h30m`); the largest units only where they divide evenly.
#[must_use]
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let mut rest = ms.unsigned_abs();
    let units: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    for (name, size, exact) in units {
        if exact && !rest.is_multiple_of(size) {
            continue;
        }
        let count = rest / size;
        if count > 0 {
            out.push_str(&format!("{count}{name}"));
            rest -= count * size;
        }
    }
    out
}

/// Whether a name needs no quotes.
#[must_use]
pub fn is_plain_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(crate::lex::is_alpha) && chars.all(crate::lex::is_alphanumeric)
}

fn labels(f: &mut fmt::Formatter<'_>, names: &[std::sync::Arc<str>]) -> fmt::Result {
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        if is_plain_label(name) { f.write_str(name)? } else { write!(f, "{}", Quoted(name))? }
    }
    Ok(())
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(literal) => f.write_str(&number(literal.value, literal.duration)),
            Self::Text { value, .. } => write!(f, "{}", Quoted(value)),
            Self::Vector(selector) => {
                bare_selector(f, selector)?;
                at_modifier(f, selector.at)?;
                extended(f, selector)?;
                offset_modifier(f, selector.offset.as_ref())
            }
            Self::Matrix(matrix) => {
                bare_selector(f, &matrix.selector)?;
                write!(f, "[{}]", Range(&matrix.range))?;
                extended(f, &matrix.selector)?;
                at_modifier(f, matrix.selector.at)?;
                offset_modifier(f, matrix.selector.offset.as_ref())
            }
            Self::Subquery(subquery) => print_subquery(f, subquery),
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (at, arg) in call.args.iter().enumerate() {
                    write!(f, "{}{arg}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Aggregate(aggregate) => print_aggregate(f, aggregate),
            Self::Binary(binary) => print_binary(f, binary),
            Self::Unary { op, expr, .. } => write!(f, "{op}{expr}"),
            Self::Paren { expr, .. } => write!(f, "({expr})"),
        }
    }
}

fn number(value: f64, duration: bool) -> String {
    if !duration {
        return format_float(value);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", format_duration_ms(crate::ast::seconds_to_ms(value.abs())))
}

fn print_aggregate(f: &mut fmt::Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.text())?;
    if aggregate.without || !aggregate.grouping.is_empty() {
        f.write_str(if aggregate.without { " without (" } else { " by (" })?;
        labels(f, &aggregate.grouping)?;
        f.write_str(") ")?;
    }
    f.write_str("(")?;
    if let Some(parameter) = &aggregate.parameter {
        write!(f, "{parameter}, ")?;
    }
    write!(f, "{})", aggregate.expr)
}

fn print_binary(f: &mut fmt::Formatter<'_>, binary: &Binary) -> fmt::Result {
    match &*binary.left {
        // A sign in front of a power would be taken as the sign of the power.
        Expr::Number(literal) if binary.op == Op::Pow && literal.value == f64::INFINITY => f.write_str("Inf ^")?,
        left => write!(f, "{left} {}", binary.op)?,
    }
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    if let Some(matching) = &binary.matching {
        print_matching(f, matching)?;
    }
    write!(f, " {}", binary.right)
}

fn print_matching(f: &mut fmt::Formatter<'_>, matching: &Matching) -> fmt::Result {
    let grouped = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if !matching.labels.is_empty() || matching.on || grouped {
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        labels(f, &matching.labels)?;
        f.write_str(")")?;
    }
    if grouped {
        let left = matching.cardinality == Cardinality::ManyToOne;
        f.write_str(if left { " group_left (" } else { " group_right (" })?;
        labels(f, &matching.include)?;
        f.write_str(")")?;
    }
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if same(left, right) => write!(f, " fill ({})", format_float(left)),
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", format_float(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", format_float(right))?;
            }
            Ok(())
        }
    }
}

fn print_subquery(f: &mut fmt::Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(f, "{}[{}:", subquery.expr, Range(&subquery.range))?;
    if let Some(step) = &subquery.step {
        write!(f, "{}", Range(step))?;
    }
    f.write_str("]")?;
    at_modifier(f, subquery.at)?;
    offset_modifier(f, subquery.offset.as_ref())
}

fn bare_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    f.write_str(&selector.name)?;
    let inside = selector
        .matchers
        .iter()
        .filter(|matcher| selector.name.is_empty() || &*matcher.name != METRIC_NAME || matcher.op != MatchOp::Equal);
    let mut shown: Vec<String> = inside.map(|matcher| PrintedMatcher(matcher).to_string()).collect();
    shown.sort();
    if !shown.is_empty() || selector.name.is_empty() {
        write!(f, "{{{}}}", shown.join(","))?;
    }
    Ok(())
}

pub(crate) struct PrintedMatcher<'a>(pub(crate) &'a Matcher);

impl fmt::Display for PrintedMatcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.0.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        if is_plain_label(&self.0.name) {
            write!(f, "{}{op}{}", self.0.name, Quoted(&self.0.value))
        } else {
            write!(f, "{}{op}{}", Quoted(&self.0.name), Quoted(&self.0.value))
        }
    }
}

fn extended(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    if selector.anchored {
        f.write_str(" anchored")?;
    }
    if selector.smoothed {
        f.write_str(" smoothed")?;
    }
    Ok(())
}

fn at_modifier(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Time(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            write!(f, " @ {sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
        }
    }
}

fn offset_modifier(f: &mut fmt::Formatter<'_>, offset: Option<&DurationExpr>) -> fmt::Result {
    match offset {
        None => Ok(()),
        Some(offset) if offset.literal_ms() == Some(0) => Ok(()),
        Some(offset) => write!(f, " offset {}", Range(offset)),
    }
}

/// A duration where one is expected: literals in Prometheus' units, whatever they were written as.
struct Range<'a>(&'a DurationExpr);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.literal_ms() {
            Some(ms) if ms < 0 => write!(f, "-{}", format_duration_ms(ms)),
            Some(ms) => f.write_str(&format_duration_ms(ms)),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Node { op, left, right, wrapped, .. } = self else {
            let Self::Literal(literal) = self else { return Ok(()) };
            return f.write_str(&number(literal.value, literal.duration));
        };
        if *wrapped {
            f.write_str("(")?;
        }
        match (op, left, right) {
            (DurationOp::Step, ..) => f.write_str("step()")?,
            (DurationOp::Range, ..) => f.write_str("range()")?,
            (DurationOp::Min, Some(a), Some(b)) => write!(f, "min_of({a}, {b})")?,
            (DurationOp::Max, Some(a), Some(b)) => write!(f, "max_of({a}, {b})")?,
            (DurationOp::Arithmetic(op), Some(a), Some(b)) => write!(f, "{a} {op} {b}")?,
            (DurationOp::Arithmetic(Op::Sub), None, Some(b)) => write!(f, "-{b}")?,
            (_, _, Some(b)) => write!(f, "{b}")?,
            _ => {}
        }
        if *wrapped { f.write_str(")") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
