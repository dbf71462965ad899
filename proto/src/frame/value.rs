//! Attribute values in columns: the type of each, then the values of each type together.
//!
//! ```text
//! ┌────────────┬───────────────────┬───────────┬──────────┬────────────────┬────────┐
//! │ type column│ strings and bytes:│ ints      │ doubles  │ bools          │ nested │
//! │            │ lengths, contents │ (zigzag)  │ (bits)   │                │        │
//! └────────────┴───────────────────┴───────────┴──────────┴────────────────┴────────┘
//! nested (array, map) = n, then each value as: type u8, content; a map's value after its key's length and text
//! ```

use std::sync::Arc;

use super::FrameError;
use super::bytes::{Cursor, put_varint, unzigzag, zigzag};
use super::column::{put_column, take_column};
use crate::attribute::{KeyValue, Value};

/// Arrays and maps inside each other; the readers refuse deeper ones long before.
const DEPTH_MAX: usize = 64;

/// What a decoded value costs at least, for the budget.
const VALUE_BYTES: usize = 48;

const EMPTY: u8 = 0;
const STRING: u8 = 1;
const BOOL: u8 = 2;
const INT: u8 = 3;
const DOUBLE: u8 = 4;
const BYTES: u8 = 5;
const ARRAY: u8 = 6;
const MAP: u8 = 7;

fn type_of(value: &Value) -> u8 {
    match value {
        Value::Empty => EMPTY,
        Value::String(_) => STRING,
        Value::Bool(_) => BOOL,
        Value::Int(_) => INT,
        Value::Double(_) => DOUBLE,
        Value::Bytes(_) => BYTES,
        Value::Array(_) => ARRAY,
        Value::Map(_) => MAP,
    }
}

/// The bytes of memory that keeping `value` in a dictionary is counted as.
pub(super) fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Bytes(content) => content.len(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Map(pairs) => pairs.iter().map(|pair| pair.key.len() + weight(&pair.value)).sum(),
            _ => 0,
        }
}

/// Appends `values`; their number is the caller's to say.
pub(super) fn put_values(values: &[Value], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let types: Vec<u64> = values.iter().map(|value| u64::from(type_of(value))).collect();
    put_column(&types, out);
    let (mut lengths, mut ints, mut doubles, mut bools) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in values {
        match value {
            Value::String(text) => lengths.push(text.len() as u64),
            Value::Bytes(content) => lengths.push(content.len() as u64),
            Value::Int(number) => ints.push(zigzag(*number)),
            Value::Double(number) => doubles.push(number.to_bits()),
            Value::Bool(truth) => bools.push(u64::from(*truth)),
            Value::Empty | Value::Array(_) | Value::Map(_) => {}
        }
    }
    put_column(&lengths, out);
    for value in values {
        match value {
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(content) => out.extend_from_slice(content),
            _ => {}
        }
    }
    put_column(&ints, out);
    put_column(&doubles, out);
    put_column(&bools, out);
    for value in values.iter().filter(|value| matches!(value, Value::Array(_) | Value::Map(_))) {
        put_nested(value, 1, out)?;
    }
    Ok(())
}

/// The next `n` values.
///
/// # Errors
/// When they are cut short, too many for the budget, or not what a value can be.
pub(super) fn take_values(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<Value>, FrameError> {
    cursor.charge(n, VALUE_BYTES)?;
    let mut types = Vec::new();
    take_column(cursor, n, &mut types)?;
    let of = |wanted: &[u8]| types.iter().filter(|&&kind| wanted.iter().any(|&w| u64::from(w) == kind)).count();
    let (texts, ints, doubles, bools) = (of(&[STRING, BYTES]), of(&[INT]), of(&[DOUBLE]), of(&[BOOL]));
    let mut lengths = Vec::new();
    take_column(cursor, texts, &mut lengths)?;
    let total =
        lengths.iter().fold(0_usize, |sum, &length| sum.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
    cursor.charge(total, 1)?;
    let mut contents = Cursor::new(cursor.take(total)?, 0);
    let (mut int_values, mut double_values, mut bool_values) = (Vec::new(), Vec::new(), Vec::new());
    take_column(cursor, ints, &mut int_values)?;
    take_column(cursor, doubles, &mut double_values)?;
    take_column(cursor, bools, &mut bool_values)?;

    let (mut lengths, mut ints) = (lengths.into_iter(), int_values.into_iter());
    let (mut doubles, mut bools) = (double_values.into_iter(), bool_values.into_iter());
    let counted = "the columns were taken with the counts of these types";
    let mut values = Vec::with_capacity(n);
    for kind in types {
        values.push(match u8::try_from(kind).unwrap_or(u8::MAX) {
            EMPTY => Value::Empty,
            STRING => Value::String(contents.text(lengths.next().expect(counted) as usize)?.into()),
            BYTES => Value::Bytes(contents.take(lengths.next().expect(counted) as usize)?.into()),
            INT => Value::Int(unzigzag(ints.next().expect(counted))),
            DOUBLE => Value::Double(f64::from_bits(doubles.next().expect(counted))),
            BOOL => Value::Bool(bools.next().expect(counted) != 0),
            kind @ (ARRAY | MAP) => take_nested(cursor, kind, 1)?,
            _ => return Err(cursor.malformed("value of an unknown type")),
        });
    }
    Ok(values)
}

fn put_text(content: &[u8], out: &mut Vec<u8>) {
    put_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// The content of one value, its type known.
fn put_nested(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
    if depth > DEPTH_MAX {
        return Err(FrameError::BadBatch { what: "attribute value nested too deep" });
    }
    match value {
        Value::Empty => {}
        Value::String(text) => put_text(text.as_bytes(), out),
        Value::Bytes(content) => put_text(content, out),
        Value::Bool(truth) => out.push(u8::from(*truth)),
        Value::Int(number) => put_varint(zigzag(*number), out),
        Value::Double(number) => out.extend_from_slice(&number.to_bits().to_le_bytes()),
        Value::Array(values) => {
            put_varint(values.len() as u64, out);
            for inner in values.iter() {
                out.push(type_of(inner));
                put_nested(inner, depth + 1, out)?;
            }
        }
        Value::Map(pairs) => {
            put_varint(pairs.len() as u64, out);
            for pair in pairs.iter() {
                put_text(pair.key.as_bytes(), out);
                out.push(type_of(&pair.value));
                put_nested(&pair.value, depth + 1, out)?;
            }
        }
    }
    Ok(())
}

fn take_nested(cursor: &mut Cursor<'_>, kind: u8, depth: usize) -> Result<Value, FrameError> {
    if depth > DEPTH_MAX {
        return Err(cursor.malformed("value nested too deep"));
    }
    Ok(match kind {
        EMPTY => Value::Empty,
        STRING => {
            let length = cursor.count(1)?;
            Value::String(cursor.text(length)?.into())
        }
        BYTES => {
            let length = cursor.count(1)?;
            Value::Bytes(cursor.take(length)?.into())
        }
        BOOL => Value::Bool(cursor.byte()? != 0),
        INT => Value::Int(unzigzag(cursor.varint()?)),
        DOUBLE => Value::Double(f64::from_bits(u64::from_le_bytes(cursor.array()?))),
        ARRAY => {
            let n = cursor.count(VALUE_BYTES)?;
            let mut values = Vec::new();
            for _ in 0..n {
                let kind = cursor.byte()?;
                values.push(take_nested(cursor, kind, depth + 1)?);
            }
            Value::Array(values.into())
        }
        MAP => {
            let n = cursor.count(2 * VALUE_BYTES)?;
            let mut pairs = Vec::new();
            for _ in 0..n {
                let length = cursor.count(1)?;
                let key: Arc<str> = cursor.text(length)?.into();
                let kind = cursor.byte()?;
                pairs.push(KeyValue { key, value: take_nested(cursor, kind, depth + 1)? });
            }
            Value::Map(pairs.into())
        }
        _ => return Err(cursor.malformed("value of an unknown type")),
    })
}
