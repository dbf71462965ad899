//! Attribute values that no typed map holds (bytes, arrays, maps, empty ones), as text.
//!
//! The form is plain JSON where JSON says it exactly, so that it reads well in SQL, and a tag where it does not:
//! ```text
//! string "x" │ int 1 │ bool true │ empty null │ array [ … ]
//! double {"$double":"1.5"}   text that parses back to the same double; other NaNs {"$double":"bits:7ff0…"}
//! bytes  {"$bytes":"00ff"}   map {"$map":[["key", value], …]} in the order sent, keys may repeat
//! ```
//! One object per row, `{"key": value, …}`. Values nest at most as deep as the readers let them (16), three JSON
//! levels each at worst, below the JSON parser's own bound of 128.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;
use weir_proto::{KeyValue, Value};

/// One JSON object of `pairs`; `None` when there are none.
pub(super) fn object<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Option<String> {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push(if text.is_empty() { '{' } else { ',' });
        put_text(&mut text, key);
        text.push(':');
        put_value(&mut text, value);
    }
    if text.is_empty() {
        return None;
    }
    text.push('}');
    Some(text)
}

/// The pairs of an object that [`object`] wrote, in the order of the JSON parser. `Err` says what is wrong.
pub(super) fn parse_object(text: &str) -> Result<Vec<KeyValue>, String> {
    let json: serde_json::Map<String, Json> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let pair = |(key, value)| Ok(KeyValue { key: Arc::from(key), value: parse_value(value)? });
    json.into_iter().map(pair).collect()
}

fn put_text(out: &mut String, text: &str) {
    out.push_str(&Json::from(text).to_string());
}

fn put_value(out: &mut String, value: &Value) {
    match value {
        Value::Empty => out.push_str("null"),
        Value::String(text) => put_text(out, text),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => put(out, format_args!("{number}")),
        Value::Double(number) => put_double(out, *number),
        Value::Bytes(bytes) => {
            out.push_str("{\"$bytes\":\"");
            bytes.iter().for_each(|byte| put(out, format_args!("{byte:02x}")));
            out.push_str("\"}");
        }
        Value::Array(values) => put_list(out, "[", values.iter(), put_value, "]"),
        Value::Map(pairs) => {
            let put_pair = |out: &mut String, pair: &KeyValue| {
                out.push('[');
                put_text(out, &pair.key);
                out.push(',');
                put_value(out, &pair.value);
                out.push(']');
            };
            put_list(out, "{\"$map\":[", pairs.iter(), put_pair, "]}");
        }
    }
}

fn put_list<T>(out: &mut String, open: &str, items: impl Iterator<Item = T>, put: impl Fn(&mut String, T), end: &str) {
    out.push_str(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push_str(end);
}

fn put_double(out: &mut String, number: f64) {
    // The shortest text of a finite double parses back to its bits; NaN has many bit patterns, infinity has none.
    if number.is_nan() {
        put(out, format_args!("{{\"$double\":\"bits:{:016x}\"}}", number.to_bits()));
    } else {
        put(out, format_args!("{{\"$double\":\"{number:?}\"}}"));
    }
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to a String does not fail");
}

fn parse_value(json: Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Empty,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => Value::Int(number.as_i64().ok_or_else(|| format!("{number} is no integer"))?),
        Json::String(text) => Value::String(text.into()),
        Json::Array(values) => Value::Array(values.into_iter().map(parse_value).collect::<Result<_, _>>()?),
        Json::Object(tagged) => parse_tagged(tagged)?,
    })
}

fn parse_tagged(tagged: serde_json::Map<String, Json>) -> Result<Value, String> {
    let mut entries = tagged.into_iter();
    match (entries.next(), entries.next()) {
        (Some((tag, Json::String(text))), None) if tag == "$double" => parse_double(&text),
        (Some((tag, Json::String(text))), None) if tag == "$bytes" => parse_bytes(&text),
        (Some((tag, Json::Array(pairs))), None) if tag == "$map" => {
            Ok(Value::Map(pairs.into_iter().map(parse_pair).collect::<Result<_, _>>()?))
        }
        (first, _) => Err(format!("unknown tag in {:?}", first.map(|(tag, _)| tag))),
    }
}

fn parse_pair(pair: Json) -> Result<KeyValue, String> {
    let Json::Array(pair) = pair else { return Err("a map entry that is no pair".to_owned()) };
    let [Json::String(key), value] = <[Json; 2]>::try_from(pair).map_err(|_| "a map entry that is no pair")? else {
        return Err("a map key that is no text".to_owned());
    };
    Ok(KeyValue { key: key.into(), value: parse_value(value)? })
}

fn parse_double(text: &str) -> Result<Value, String> {
    let number = match text.strip_prefix("bits:") {
        Some(bits) => u64::from_str_radix(bits, 16).map(f64::from_bits).map_err(|error| error.to_string()),
        None => text.parse().map_err(|_| format!("{text} is no double")),
    };
    number.map(Value::Double)
}

fn parse_bytes(text: &str) -> Result<Value, String> {
    let digits = text.as_bytes();
    let pairs = digits.as_chunks::<2>().0.iter();
    let byte = |pair: &[u8; 2]| {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        u8::try_from(high? * 16 + low?).ok()
    };
    let bytes: Option<Arc<[u8]>> = pairs.map(byte).collect();
    bytes.filter(|bytes| bytes.len() * 2 == digits.len()).map(Value::Bytes).ok_or_else(|| format!("{text} is no hex"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_plain_where_json_is_exact() {
        let list = Value::Array([Value::from("a\"b"), Value::Int(-1), Value::Bool(true), Value::Empty].into());
        let tagged = Value::Array([Value::Double(0.5), Value::Bytes([0, 255].into())].into());
        let text = object([("list", &list), ("tagged", &tagged)]).unwrap();
        assert_eq!(text, r#"{"list":["a\"b",-1,true,null],"tagged":[{"$double":"0.5"},{"$bytes":"00ff"}]}"#);
        assert_eq!(object([]), None);
    }

    #[test]
    fn damaged_text_is_an_error() {
        for bad in
            ["", "[]", r#"{"a":1.5}"#, r#"{"a":{"$bytes":"0"}}"#, r#"{"a":{"$map":[["k"]]}}"#, r#"{"a":{"x":1}}"#]
        {
            assert!(parse_object(bad).is_err(), "{bad}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Empty),
            any::<String>().prop_map(Value::from),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Bytes(bytes.into())),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            let pair = (any::<String>(), inner.clone()).prop_map(|(key, value)| KeyValue::new(key, value));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|values| Value::Array(values.into())),
                prop::collection::vec(pair, 0..4).prop_map(|pairs| Value::Map(pairs.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_was(value in any_value(), key in any::<String>()) {
            let text = object([(key.as_str(), &value)]).unwrap();
            prop_assert_eq!(parse_object(&text).unwrap(), vec![KeyValue::new(key, value)]);
        }
    }
}
