//! Quoted text: where it ends, and what its escapes mean (Go's rules).

use super::{Kind, Lexed, Lexer};

impl Lexer<'_> {
    /// A text in `"` or `'`; the opening quote is read.
    pub(super) fn quoted(&mut self, quote: char) -> Lexed {
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some('\\') => self.escape(quote)?,
                Some(c) if c == quote => {
                    self.emit(Kind::Quoted);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
    }

    /// A text in backquotes; the opening one is read.
    pub(super) fn raw_quoted(&mut self) -> Lexed {
        loop {
            match self.next() {
                None => return Err("unterminated raw string".to_owned()),
                Some('`') => {
                    self.emit(Kind::Quoted);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, quote: char) -> Lexed {
        let Some(c) = self.next() else {
            return Err("escape sequence not terminated".to_owned());
        };
        let (mut value, count, base, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == quote => return Ok(()),
            '0'..='7' => (c.to_digit(8).unwrap_or(0), 2, 8, 255),
            'x' => (0, 2, 16, 255),
            'u' => (0, 4, 16, 0x10_ffff),
            'U' => (0, 8, 16, 0x10_ffff),
            c => return Err(format!("unknown escape sequence {}", code_point(c))),
        };
        for _ in 0..count {
            let Some(c) = self.next() else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(digit) = c.to_digit(base) else {
                return Err(format!("illegal character {} in escape sequence", code_point(c)));
            };
            value = value.saturating_mul(base).saturating_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

/// Go's `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// The text of a quoted token. Bytes that are no UTF-8 (`"\xff"`) become U+FFFD, which no label name may hold.
///
/// # Errors
/// When an escape or a quote is wrong; Go's message.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let fail = || format!("error unquoting string {}: invalid syntax", super::go_quote(token));
    let quote = token.chars().next().ok_or_else(fail)?;
    if token.len() < 2 || !token.ends_with(quote) {
        return Err(fail());
    }
    let inner = &token[1..token.len() - 1];
    if quote == '`' {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            unescape(&mut chars, &mut bytes).ok_or_else(fail)?;
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn unescape(chars: &mut std::str::Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    let simple = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '\'' => b'\'',
        '"' => b'"',
        'x' => digits(chars, 2, 16, 0)? as u8,
        c @ '0'..='7' => u8::try_from(digits(chars, 2, 8, c.to_digit(8)?)?).ok()?,
        c @ ('u' | 'U') => {
            let value = char::from_u32(digits(chars, if c == 'u' { 4 } else { 8 }, 16, 0)?)?;
            out.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => return None,
    };
    out.push(simple);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, base: u32, first: u32) -> Option<u32> {
    let mut value = first;
    for _ in 0..count {
        value = value.checked_mul(base)?.checked_add(chars.next()?.to_digit(base)?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn escapes_are_gos() {
        assert_eq!(unquote(r#""a\n\"\\\x41\101\u00e9""#), Ok("a\n\"\\AA\u{e9}".to_owned()));
        assert_eq!(unquote("`a\\n`"), Ok("a\\n".to_owned()));
        assert_eq!(unquote(r#""\xff""#), Ok("\u{fffd}".to_owned()));
    }
}
