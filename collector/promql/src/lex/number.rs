//! Numbers and durations: where they end, and what they are worth.

use super::{Kind, Lexed, Lexer, go_quote, is_alphanumeric};

const DIGITS: &str = "0123456789";

impl Lexer<'_> {
    pub(super) fn number_or_duration(&mut self) -> Lexed {
        self.at = self.start;
        if self.scan_number() {
            self.emit(Kind::Number);
            return Ok(());
        }
        if self.scan_duration() {
            self.emit(Kind::Duration);
            return Ok(());
        }
        let text = &self.input[self.start..self.at];
        Err(format!("bad number or duration syntax: {}", go_quote(text)))
    }

    fn is_next(&self, set: &str) -> bool {
        self.peek().is_some_and(|c| set.contains(c))
    }

    /// Go's number syntax: hexadecimal whole numbers, underscores between digits, exponents.
    fn scan_number(&mut self) -> bool {
        let mut digits = DIGITS;
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = "0123456789abcdefABCDEF";
        }
        let hexadecimal = digits.len() > DIGITS.len();
        let (mut dot, mut exponent) = (self.accept("."), false);
        self.accept(digits);
        loop {
            if self.is_next(digits) {
                self.next();
            } else if self.is_next(".") {
                self.next();
                if dot || hexadecimal || self.accept("_.") {
                    return false;
                }
                dot = true;
            } else if !hexadecimal && self.is_next("eE") {
                self.next();
                if exponent {
                    return false;
                }
                exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.is_next("_") {
                self.next();
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else {
                break;
            }
        }
        self.at > self.start && !self.peek().is_some_and(is_alphanumeric)
    }

    /// What follows the digits that [`Self::scan_number`] has taken: units, and more digits with units.
    fn scan_duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept(DIGITS) {
            while self.accept(DIGITS) {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }
}

/// The value of a number token.
///
/// # Errors
/// Go's message.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(whole) = parse_whole(text) {
        return Ok(whole);
    }
    let fail = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", go_quote(text));
    if text.contains('_') || text.starts_with("0x") || text.starts_with("0X") {
        return Err(fail("invalid syntax"));
    }
    let value: f64 = text.parse().map_err(|_| fail("invalid syntax"))?;
    if value.is_infinite() && !text.to_ascii_lowercase().contains("inf") {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

/// Whole numbers as Go reads them with base 0: `0x` is hexadecimal, a leading zero octal, underscores are skipped.
fn parse_whole(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    let parsed = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i64::from_str_radix(&lower[1..], 8)
    } else {
        lower.parse()
    };
    parsed.ok().map(|value| value as f64)
}

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds of a Prometheus duration such as `1h30m`: units in falling order, each once.
///
/// # Errors
/// Prometheus' messages.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("not a valid duration string: {}", go_quote(text));
    let (mut rest, mut total, mut from) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(invalid)?;
        let after = &rest[digits..];
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = &after[..unit_length];
        let index = UNITS[from..].iter().position(|(name, _)| *name == unit).ok_or_else(invalid)? + from;
        let count: i64 = rest[..digits].parse().map_err(|_| "duration out of range".to_owned())?;
        total = count
            .checked_mul(UNITS[index].1)
            .and_then(|ms| total.checked_add(ms))
            // Go counts nanoseconds in 64 bits.
            .filter(|ms| *ms <= i64::MAX / 1_000_000)
            .ok_or_else(|| "duration out of range".to_owned())?;
        from = index + 1;
        rest = &after[unit_length..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        for (text, value) in [("12.34e6", 12.34e6), ("0x1F", 31.0), ("1_000", 1000.0), ("010", 8.0), ("2.", 2.0)] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert_eq!(parse_number("inF"), Ok(f64::INFINITY));
        assert!(parse_number("1e400").is_err());
    }

    #[test]
    fn durations_in_falling_units() {
        assert_eq!(parse_duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration_ms("10s53ms"), Ok(10_053));
        assert_eq!(parse_duration_ms("0"), Ok(0));
        assert!(parse_duration_ms("1m1h").is_err());
        assert!(parse_duration_ms("5").is_err());
    }
}
