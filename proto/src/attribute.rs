//! Attribute keys and values, typed as OTLP types them.
//!
//! [`Attributes`] is the canonical form: sorted by key, one value per key (the first one sent wins), cheap to
//! clone. Identity, PromQL labels and stored maps are all derived from it.
//! Source: opentelemetry/proto/common/v1/common.proto (AnyValue, KeyValue).

use std::sync::Arc;

/// One attribute value. Doubles compare by their bits, so that a value equals itself.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value was set (`AnyValue` with no field).
    Empty,
    /// UTF-8 text.
    String(Arc<str>),
    /// A truth value.
    Bool(bool),
    /// A 64-bit signed integer, kept exact.
    Int(i64),
    /// A 64-bit float, kept bit for bit.
    Double(f64),
    /// Raw bytes.
    Bytes(Arc<[u8]>),
    /// Values in the order sent.
    Array(Arc<[Value]>),
    /// Keys and values in the order sent.
    Map(Arc<[KeyValue]>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// The attribute name, as sent.
    pub key: Arc<str>,
    /// The attribute value, as sent.
    pub value: Value,
}

/// Attributes sorted by key, each key once. Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes(Arc<[KeyValue]>);

impl Attributes {
    /// Sorts by key and keeps the first of each key.
    #[must_use]
    pub fn new(mut pairs: Vec<KeyValue>) -> Self {
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        pairs.dedup_by(|later, first| later.key == first.key);
        Self(pairs.into())
    }

    /// The value under `key`, found by binary search.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|pair| pair.key.as_ref().cmp(key)).ok()?;
        Some(&self.0[at].value)
    }

    /// The pairs in key order.
    pub fn iter(&self) -> std::slice::Iter<'_, KeyValue> {
        self.0.iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = &'a KeyValue;
    type IntoIter = std::slice::Iter<'a, KeyValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<KeyValue> for Attributes {
    fn from_iter<I: IntoIterator<Item = KeyValue>>(pairs: I) -> Self {
        Self::new(pairs.into_iter().collect())
    }
}

impl KeyValue {
    /// A pair from anything that becomes a key and a value.
    pub fn new(key: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Value {
    /// The text, when this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when this is an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, Self::Empty) => true,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Empty => {}
            Self::String(text) => text.hash(state),
            Self::Bool(truth) => truth.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Double(number) => number.to_bits().hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::Array(values) => values.hash(state),
            Self::Map(pairs) => pairs.hash(state),
        }
    }
}
