//! Decoding of attributes, within limits: from the raw bytes of a KeyValue to a [`KeyValue`] that shares its key.
//!
//! Keys repeat over all series and spans, values over many; both are decoded once and then found by their bytes.
//! Source: opentelemetry/proto/common/v1/common.proto.

use std::sync::Arc;

use super::ReaderLimits;
use super::wire::{self, Fields, WireError};
use crate::attribute::{Attributes, KeyValue, Value};
use crate::raw_table::RawTable;
use crate::read::Reason;

/// How deep arrays and maps may nest.
const DEPTH_MAX: usize = 16;
/// Texts and pairs longer than this are not remembered, only decoded.
const REMEMBERED_BYTES_MAX: usize = 256;
/// Texts remembered before all are forgotten.
const TEXTS_MAX: usize = 16_384;

/// Why something is not taken: the body is broken, or only this piece is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The bytes are not protobuf; give up the body.
    Wire(WireError),
    /// Leave this out and go on.
    Refuse(Reason),
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Refuse(reason)
    }
}

/// Texts by their bytes, shared between all who repeat them.
#[derive(Default)]
pub(super) struct Texts {
    known: RawTable<Arc<str>>,
}

impl Texts {
    /// `raw` as text; the same `Arc` for the same short text, usually.
    pub(super) fn text(&mut self, raw: &[u8]) -> Result<Arc<str>, Fault> {
        if raw.len() > REMEMBERED_BYTES_MAX {
            return Ok(utf8(raw)?.into());
        }
        if let Some(slot) = self.known.find(0, raw) {
            return Ok(Arc::clone(self.known.value(slot)));
        }
        let text: Arc<str> = utf8(raw)?.into();
        if self.known.len() >= TEXTS_MAX {
            self.known.clear();
        }
        self.known.insert(0, raw, Arc::clone(&text));
        Ok(text)
    }
}

/// `raw` as UTF-8.
pub(super) fn utf8(raw: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(raw).map_err(|_| Fault::Refuse(Reason::BadUtf8))
}

/// Whole KeyValues by their bytes, for identities.
#[derive(Default)]
pub(super) struct Pairs {
    known: RawTable<KeyValue>,
    texts: Texts,
}

impl Pairs {
    /// The attributes in `run`, canonical: fields `tag` of a message, any other field between them is skipped.
    pub(super) fn attributes(&mut self, run: &[u8], tag: u32, limits: &ReaderLimits) -> Result<Attributes, Fault> {
        let mut pairs = Vec::new();
        self.list(run, tag, limits, &mut pairs)?;
        Ok(Attributes::new(pairs))
    }

    /// Appends the attributes in `run` as sent.
    pub(super) fn list(
        &mut self,
        run: &[u8],
        tag: u32,
        limits: &ReaderLimits,
        into: &mut Vec<KeyValue>,
    ) -> Result<(), Fault> {
        let before = into.len();
        let mut fields = Fields::new(run);
        while let Some(found) = fields.tag()? {
            if found != tag {
                fields.skip(found)?;
                continue;
            }
            let raw = fields.bytes()?;
            if into.len() - before >= limits.attributes_max {
                return Err(Reason::TooManyAttributes.into());
            }
            into.push(self.pair(raw, limits)?);
        }
        Ok(())
    }

    /// `raw` as text, shared.
    pub(super) fn text(&mut self, raw: &[u8]) -> Result<Arc<str>, Fault> {
        self.texts.text(raw)
    }

    fn pair(&mut self, raw: &[u8], limits: &ReaderLimits) -> Result<KeyValue, Fault> {
        if let Some(slot) = self.known.find(0, raw) {
            return Ok(self.known.value(slot).clone());
        }
        let pair = key_value(raw, &mut self.texts, limits)?;
        if raw.len() <= REMEMBERED_BYTES_MAX {
            if self.known.len() >= TEXTS_MAX {
                self.known.clear();
            }
            self.known.insert(0, raw, pair.clone());
        }
        Ok(pair)
    }
}

/// Decodes one KeyValue. `key_strindex` belongs to profiles and is ignored.
pub(super) fn key_value(raw: &[u8], texts: &mut Texts, limits: &ReaderLimits) -> Result<KeyValue, Fault> {
    const KEY: u32 = wire::len(1);
    const VALUE: u32 = wire::len(2);
    let mut fields = Fields::new(raw);
    let (mut key, mut value) = (&[][..], None);
    while let Some(tag) = fields.tag()? {
        match tag {
            KEY => key = fields.bytes()?,
            VALUE => value = Some(fields.bytes()?),
            _ => fields.skip(tag)?,
        }
    }
    if key.len() > limits.key_bytes_max {
        return Err(Reason::AttributeTooLong.into());
    }
    let value = value.map_or(Ok(Value::Empty), |raw| any_value(raw, texts, limits, 0))?;
    Ok(KeyValue { key: texts.text(key)?, value })
}

/// Decodes one AnyValue; of several members of the oneof the last counts.
fn any_value(raw: &[u8], texts: &mut Texts, limits: &ReaderLimits, depth: usize) -> Result<Value, Fault> {
    const STRING: u32 = wire::len(1);
    const BOOL: u32 = wire::varint(2);
    const INT: u32 = wire::varint(3);
    const DOUBLE: u32 = wire::fixed64(4);
    const ARRAY: u32 = wire::len(5);
    const MAP: u32 = wire::len(6);
    const BYTES: u32 = wire::len(7);
    if raw.len() > limits.value_bytes_max {
        return Err(Reason::AttributeTooLong.into());
    }
    if depth > DEPTH_MAX {
        return Err(Reason::NestedTooDeep.into());
    }
    let mut fields = Fields::new(raw);
    let mut value = Value::Empty;
    while let Some(tag) = fields.tag()? {
        value = match tag {
            STRING => Value::String(utf8(fields.bytes()?)?.into()),
            BOOL => Value::Bool(fields.varint()? != 0),
            INT => Value::Int(fields.varint()?.cast_signed()),
            DOUBLE => Value::Double(fields.double()?),
            ARRAY => array(fields.bytes()?, texts, limits, depth)?,
            MAP => map(fields.bytes()?, texts, limits, depth)?,
            BYTES => Value::Bytes(fields.bytes()?.into()),
            _ => {
                fields.skip(tag)?;
                continue;
            }
        };
    }
    Ok(value)
}

fn array(raw: &[u8], texts: &mut Texts, limits: &ReaderLimits, depth: usize) -> Result<Value, Fault> {
    const VALUES: u32 = wire::len(1);
    let mut fields = Fields::new(raw);
    let mut values = Vec::new();
    while let Some(tag) = fields.tag()? {
        if tag == VALUES {
            values.push(any_value(fields.bytes()?, texts, limits, depth + 1)?);
        } else {
            fields.skip(tag)?;
        }
        if values.len() > limits.values_max {
            return Err(Reason::AttributeTooLong.into());
        }
    }
    Ok(Value::Array(values.into()))
}

fn map(raw: &[u8], texts: &mut Texts, limits: &ReaderLimits, depth: usize) -> Result<Value, Fault> {
    const VALUES: u32 = wire::len(1);
    const KEY: u32 = wire::len(1);
    const VALUE: u32 = wire::len(2);
    let mut fields = Fields::new(raw);
    let mut pairs = Vec::new();
    while let Some(tag) = fields.tag()? {
        if tag != VALUES {
            fields.skip(tag)?;
            continue;
        }
        let mut inner = Fields::new(fields.bytes()?);
        let (mut key, mut value) = (&[][..], Value::Empty);
        while let Some(tag) = inner.tag()? {
            match tag {
                KEY => key = inner.bytes()?,
                VALUE => value = any_value(inner.bytes()?, texts, limits, depth + 1)?,
                _ => inner.skip(tag)?,
            }
        }
        pairs.push(KeyValue { key: texts.text(key)?, value });
        if pairs.len() > limits.values_max {
            return Err(Reason::AttributeTooLong.into());
        }
    }
    Ok(Value::Map(pairs.into()))
}

/// `service.name` of a Resource message, for messages to people only.
pub(super) fn service_name(resource: &[u8]) -> Option<String> {
    let mut fields = Fields::new(resource);
    while let Ok(Some(tag)) = fields.tag() {
        if tag != wire::len(1) {
            fields.skip(tag).ok()?;
            continue;
        }
        let pair = key_value(fields.bytes().ok()?, &mut Texts::default(), &ReaderLimits::default()).ok()?;
        if pair.key.as_ref() == crate::semconv::SERVICE_NAME {
            return pair.value.as_str().map(str::to_owned);
        }
    }
    None
}
