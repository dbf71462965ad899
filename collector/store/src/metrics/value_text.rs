//! Attribute values as text, for maps that anyone can read in SQL, and exactly back.
//!
//! A string is itself. Every other type has a letter in the row's `value_types` (null when all are strings):
//! `b` true/false, `i` integer, `d` double, `D` double whose text would lose bits (hex), `x` bytes in hex, `j` array
//! or map as OTLP JSON (doubles by their bits), `e` empty, `s` string.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_proto::{KeyValue, Value};

/// The letter of a string.
pub(crate) const STRING: char = 's';

/// The letter and the text of `value`.
pub(crate) fn render(value: &Value) -> (char, String) {
    match value {
        Value::Empty => ('e', String::new()),
        Value::String(text) => (STRING, text.as_ref().to_owned()),
        Value::Bool(truth) => ('b', truth.to_string()),
        Value::Int(number) => ('i', number.to_string()),
        Value::Double(number) => {
            let text = number.to_string();
            let exact = text.parse::<f64>().is_ok_and(|back| back.to_bits() == number.to_bits());
            if exact { ('d', text) } else { ('D', format!("{:016x}", number.to_bits())) }
        }
        Value::Bytes(bytes) => ('x', hex(bytes)),
        Value::Array(_) | Value::Map(_) => ('j', to_json(value).to_string()),
    }
}

/// The value with this letter and text; `None` when [`render`] cannot have made it.
pub(crate) fn parse(letter: char, text: &str) -> Option<Value> {
    Some(match letter {
        'e' => Value::Empty,
        STRING => Value::from(text),
        'b' => Value::Bool(text.parse().ok()?),
        'i' => Value::Int(text.parse().ok()?),
        'd' => Value::Double(text.parse().ok()?),
        'D' => Value::Double(f64::from_bits(u64::from_str_radix(text, 16).ok()?)),
        'x' => Value::Bytes(from_hex(text)?.into()),
        'j' => from_json(&serde_json::from_str(text).ok()?)?,
        _ => return None,
    })
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Empty => json!({}),
        Value::String(text) => json!({ "stringValue": text.as_ref() }),
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Int(number) => json!({ "intValue": number.to_string() }),
        Value::Double(number) => json!({ "doubleBits": format!("{:016x}", number.to_bits()) }),
        Value::Bytes(bytes) => json!({ "bytesHex": hex(bytes) }),
        Value::Array(values) => json!({ "arrayValue": values.iter().map(to_json).collect::<Vec<_>>() }),
        Value::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|pair| json!({ "key": pair.key.as_ref(), "value": to_json(&pair.value) })).collect();
            json!({ "kvlistValue": pairs })
        }
    }
}

fn from_json(json: &Json) -> Option<Value> {
    let Some((kind, inner)) = json.as_object()?.iter().next() else { return Some(Value::Empty) };
    Some(match kind.as_str() {
        "stringValue" => Value::from(inner.as_str()?),
        "boolValue" => Value::Bool(inner.as_bool()?),
        "intValue" => Value::Int(inner.as_str()?.parse().ok()?),
        "doubleBits" => Value::Double(f64::from_bits(u64::from_str_radix(inner.as_str()?, 16).ok()?)),
        "bytesHex" => Value::Bytes(from_hex(inner.as_str()?)?.into()),
        "arrayValue" => Value::Array(inner.as_array()?.iter().map(from_json).collect::<Option<Vec<_>>>()?.into()),
        "kvlistValue" => Value::Map(inner.as_array()?.iter().map(pair_from_json).collect::<Option<Vec<_>>>()?.into()),
        _ => return None,
    })
}

fn pair_from_json(json: &Json) -> Option<KeyValue> {
    let key: Arc<str> = json.get("key")?.as_str()?.into();
    Some(KeyValue { key, value: from_json(json.get("value")?)? })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_exactly() {
        let nested = Value::Map(Arc::new([
            KeyValue::new("b", Value::Array(Arc::new([Value::Int(i64::MIN), Value::Double(-0.0), Value::Empty]))),
            KeyValue::new("a", Value::Bytes(Arc::new([0, 255]))),
        ]));
        let odd_nan = f64::from_bits(0x7ff0_0000_0000_0001);
        for value in [
            Value::Empty,
            Value::from("text"),
            Value::Bool(true),
            Value::Int(i64::MAX),
            Value::Double(0.1),
            Value::Double(-0.0),
            Value::Double(odd_nan),
            Value::Double(f64::INFINITY),
            Value::Bytes(Arc::new([1, 2, 3])),
            nested,
        ] {
            let (letter, text) = render(&value);
            assert_eq!(parse(letter, &text), Some(value), "{letter} {text}");
        }
    }

    #[test]
    fn text_that_nobody_rendered_is_refused() {
        for (letter, text) in [('i', "x"), ('x', "0"), ('x', "zz"), ('x', "é"), ('j', "{"), ('?', ""), ('b', "")] {
            assert_eq!(parse(letter, text), None, "{letter} {text}");
        }
    }
}
