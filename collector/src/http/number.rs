//! Numbers and text exactly as Prometheus' API prints them: floats as strings in Go's shortest form, times as
//! seconds with three decimals or none, strings as JSON.
//! Source: Prometheus util/jsonutil/marshal.go.

use weir_promql::labels::Labels;

/// Below this magnitude Go's printer changes to an exponent.
const EXPONENT_BELOW: f64 = 1e-6;
/// From this magnitude on Go's printer changes to an exponent.
const EXPONENT_FROM: f64 = 1e21;

/// Appends a float without quotes: `1.5`, `1e-07`, `+Inf`, `NaN`.
pub(crate) fn push_float(out: &mut String, value: f64) {
    use std::fmt::Write;
    let magnitude = value.abs();
    let written = if value.is_nan() {
        out.push_str("NaN");
        Ok(())
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        Ok(())
    } else if magnitude != 0.0 && !(EXPONENT_BELOW..EXPONENT_FROM).contains(&magnitude) {
        push_exponent(out, &format!("{value:e}"));
        Ok(())
    } else {
        write!(out, "{value}")
    };
    written.expect("writing to a String does not fail");
}

/// Rust writes `1e-7` and `1e21`, Go writes `1e-07` and `1e+21`.
fn push_exponent(out: &mut String, text: &str) {
    let (mantissa, exponent) = text.split_once('e').expect("{:e} writes an exponent");
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    out.push_str(mantissa);
    out.push('e');
    out.push(sign);
    if digits.len() < 2 {
        out.push('0');
    }
    out.push_str(digits);
}

/// Appends a float in quotes.
pub(crate) fn push_quoted_float(out: &mut String, value: f64) {
    out.push('"');
    push_float(out, value);
    out.push('"');
}

/// Appends milliseconds as seconds: `1435781430`, `1435781430.781`.
pub(crate) fn push_time(out: &mut String, ms: i64) {
    use std::fmt::Write;
    if ms < 0 {
        out.push('-');
    }
    let ms = ms.unsigned_abs();
    let written = if ms.is_multiple_of(1000) {
        write!(out, "{}", ms / 1000)
    } else {
        write!(out, "{}.{:03}", ms / 1000, ms % 1000)
    };
    written.expect("writing to a String does not fail");
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_text(out: &mut String, text: &str) {
    let quoted = serde_json::to_string(text).expect("a string is always JSON");
    out.push_str(&quoted);
}

/// Appends labels as a JSON object in name order.
pub(crate) fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> String {
        let mut out = String::new();
        push_float(&mut out, value);
        out
    }

    fn time(ms: i64) -> String {
        let mut out = String::new();
        push_time(&mut out, ms);
        out
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        assert_eq!(float(0.0), "0");
        assert_eq!(float(-0.0), "-0");
        assert_eq!(float(1.0), "1");
        assert_eq!(float(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(float(1e-6), "0.000001");
        assert_eq!(float(9.5e-7), "9.5e-07");
        assert_eq!(float(1e20), "100000000000000000000");
        assert_eq!(float(1e21), "1e+21");
        assert_eq!(float(-1.5e100), "-1.5e+100");
        assert_eq!(float(f64::INFINITY), "+Inf");
        assert_eq!(float(f64::NEG_INFINITY), "-Inf");
        assert_eq!(float(f64::NAN), "NaN");
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        assert_eq!(time(1_435_781_430_781), "1435781430.781");
        assert_eq!(time(1_435_781_430_001), "1435781430.001");
        assert_eq!(time(1_435_781_430_000), "1435781430");
        assert_eq!(time(-1_500), "-1.500");
        assert_eq!(time(0), "0");
    }

    #[test]
    fn labels_are_an_object_with_escapes() {
        let labels = Labels::new(vec![("b".into(), "x\"y\n".into()), ("a".into(), "é".into())]);
        let mut out = String::new();
        push_labels(&mut out, &labels);
        assert_eq!(out, r#"{"a":"é","b":"x\"y\n"}"#);
    }
}
