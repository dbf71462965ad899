//! Ids and attribute values as text.

use std::sync::Arc;

use weir_proto::Value;

/// Lower-case hexadecimal.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text
}

/// Bytes of a hexadecimal text of exactly twice their number, upper or lower case.
#[must_use]
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A value as a label shows it: text as it is, anything else as JSON.
/// Source: OpenTelemetry to Prometheus, `AsString` of pcommon.Value.
#[must_use]
pub(crate) fn value_text(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => Arc::clone(text),
        Value::Empty => "".into(),
        Value::Bool(truth) => truth.to_string().into(),
        Value::Int(number) => number.to_string().into(),
        Value::Double(number) => number.to_string().into(),
        Value::Bytes(bytes) => hex(bytes).into(),
        Value::Array(_) | Value::Map(_) => json_of(value).to_string().into(),
    }
}

/// A value as JSON; bytes are hexadecimal.
#[must_use]
pub(crate) fn json_of(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => Json::String(text.to_string()),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => {
            serde_json::Number::from_f64(*number).map_or_else(|| number.to_string().into(), Json::Number)
        }
        Value::Bytes(bytes) => Json::String(hex(bytes)),
        Value::Array(values) => Json::Array(values.iter().map(json_of).collect()),
        Value::Map(pairs) => {
            Json::Object(pairs.iter().map(|pair| (pair.key.to_string(), json_of(&pair.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways_and_refuses_the_rest() {
        let id = [0x4b, 0xf9, 0x00, 0xff];
        assert_eq!(hex(&id), "4bf900ff");
        assert_eq!(from_hex("4BF900ff"), Some(id));
        assert_eq!(from_hex::<4>("4bf900f"), None);
        assert_eq!(from_hex::<4>("+bf900ff"), None);
        assert_eq!(from_hex::<2>("é12"), None);
    }
}
