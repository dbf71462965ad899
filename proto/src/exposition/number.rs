//! Numbers of an exposition page: read as Prometheus reads them, and written as it writes `le` and `quantile`.

/// Bits of a NaN that is a value and not a stale marker: Prometheus `value.NormalNaN`.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;
/// Powers of ten that are exact doubles.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Integers up to this one are exact doubles.
const EXACT_MAX: u64 = 1 << 53;

/// A sample's value: decimal, `NaN`, `+Inf` and the like in any case; no hexadecimal, no underscores, and nothing
/// that is too large for a double.
pub(super) fn value(token: &[u8]) -> Option<f64> {
    if let Some(number) = short_decimal(token) {
        return Some(number);
    }
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    if number.is_infinite() && token.iter().any(u8::is_ascii_digit) {
        return None;
    }
    Some(if number.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { number })
}

/// A decimal whose digits fit in 53 bits and whose power of ten is exact: one exact operation gives the nearest
/// double (Clinger's fast path). Nearly every number of a page is one.
fn short_decimal(token: &[u8]) -> Option<f64> {
    let (negative, digits) = match token {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (mut mantissa, mut seen, mut after_point, mut point) = (0_u64, 0_u32, 0_i32, false);
    let mut rest = digits.iter();
    let mut exponent = 0_i32;
    for &byte in rest.by_ref() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                seen += 1;
                after_point += i32::from(point);
            }
            b'.' if !point => point = true,
            b'e' | b'E' => {
                exponent = self::exponent(rest.as_slice())?;
                break;
            }
            _ => return None,
        }
    }
    if seen == 0 || seen > 18 || mantissa > EXACT_MAX {
        return None;
    }
    let power = exponent - after_point;
    let scale = *POWERS_OF_TEN.get(power.unsigned_abs() as usize)?;
    let size = if power < 0 { mantissa as f64 / scale } else { mantissa as f64 * scale };
    Some(if negative { -size } else { size })
}

fn exponent(digits: &[u8]) -> Option<i32> {
    let (negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    let mut number = 0;
    for &byte in digits {
        number = number * 10 + i32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some(if negative { -number } else { number })
}

/// A `le` or `quantile` in the one spelling that Prometheus 3 uses: `1` and `1.00` become `1.0`; what is no number
/// stays as it is.
pub(super) fn normalised_bound(text: &str) -> Option<String> {
    let number = value(text.as_bytes())?;
    Some(if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        shortest(number)
    })
}

/// The shortest digits that read back, with an exponent below 1e-4 and from 1e6 on (as Go writes `%g`), and always a point or an
/// exponent.
fn shortest(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').expect("exponential format always has an e");
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        let text = number.to_string();
        if text.contains('.') { text } else { format!("{text}.0") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard_parser() {
        for text in [
            "0",
            "-0",
            "1",
            "1.5",
            "-12.25",
            "1e3",
            "1E-3",
            "2.2250738585072014e-308",
            "179769313486231570000",
            "0.1",
            "123456789012345678",
            "9007199254740993",
            "1e22",
            "1e23",
            "3.1415926535897932384626",
            "+5",
            ".5",
            "5.",
            "Inf",
            "+Inf",
            "-inf",
            "infinity",
            "00012",
            "1e+06",
        ] {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(value(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
    }

    #[test]
    fn nan_is_a_value_and_never_a_stale_marker() {
        assert_eq!(value(b"NaN").unwrap().to_bits(), NORMAL_NAN_BITS);
        assert_eq!(value(b"nan").unwrap().to_bits(), NORMAL_NAN_BITS);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", ".", "e5", "1e", "1_0", "0x10", "1p3", "1.2.3", "12a", "--1", "1e1.5", "\u{661}", "1e400",
            "-1e309",
        ] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bounds_have_one_spelling() {
        let cases = [
            ("1", "1.0"),
            ("1.00", "1.0"),
            ("0.5", "0.5"),
            ("5e-05", "5e-05"),
            ("0.00005", "5e-05"),
            ("1000000", "1e+06"),
            ("123456", "123456.0"),
            ("1234567.5", "1.2345675e+06"),
            ("+Inf", "+Inf"),
            ("inf", "+Inf"),
            ("0", "0.0"),
        ];
        for (text, expected) in cases {
            assert_eq!(normalised_bound(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(normalised_bound("all"), None);
    }
}
