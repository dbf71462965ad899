//! Attributes without a column of their own, as map columns.
//!
//! [`AttributeMaps`] serves spans and resources: a map per type, so that integers stay exact and SQL can compare
//! them. [`SmallAttributes`] serves events and links, which have few attributes, nearly all of them text: one map
//! and the rest as tagged JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
};
use arrow::datatypes::{DataType, Field};
use weir_proto::{KeyValue, SpanBatch, Value};

use super::json;

/// The five columns that hold attributes without a column of their own.
pub(super) struct AttributeMaps {
    texts: MapBuilder<StringBuilder, StringBuilder>,
    integers: MapBuilder<StringBuilder, Int64Builder>,
    doubles: MapBuilder<StringBuilder, Float64Builder>,
    booleans: MapBuilder<StringBuilder, BooleanBuilder>,
    other: StringBuilder,
}

fn map_of<V: ArrayBuilder>(values: V, of: DataType) -> MapBuilder<StringBuilder, V> {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), values).with_values_field(Field::new("value", of, false))
}

fn end_row<V: ArrayBuilder>(map: &mut MapBuilder<StringBuilder, V>, before: usize) {
    let any = map.keys().len() > before;
    map.append(any).expect("every key was pushed with its value");
}

impl AttributeMaps {
    pub(super) fn new() -> Self {
        Self {
            texts: map_of(StringBuilder::new(), DataType::Utf8),
            integers: map_of(Int64Builder::new(), DataType::Int64),
            doubles: map_of(Float64Builder::new(), DataType::Float64),
            booleans: map_of(BooleanBuilder::new(), DataType::Boolean),
            other: StringBuilder::new(),
        }
    }

    /// Pushes one row of pairs with distinct keys.
    pub(super) fn push<'a>(&mut self, pairs: impl Iterator<Item = &'a KeyValue>) {
        let before = (
            self.texts.keys().len(),
            self.integers.keys().len(),
            self.doubles.keys().len(),
            self.booleans.keys().len(),
        );
        let mut others: Vec<(&str, &Value)> = Vec::new();
        for pair in pairs {
            match &pair.value {
                Value::String(text) => push_entry(&mut self.texts, &pair.key, |values| values.append_value(text)),
                Value::Int(number) => push_entry(&mut self.integers, &pair.key, |values| values.append_value(*number)),
                Value::Double(number) => {
                    push_entry(&mut self.doubles, &pair.key, |values| values.append_value(*number))
                }
                Value::Bool(truth) => push_entry(&mut self.booleans, &pair.key, |values| values.append_value(*truth)),
                other => others.push((pair.key.as_ref(), other)),
            }
        }
        end_row(&mut self.texts, before.0);
        end_row(&mut self.integers, before.1);
        end_row(&mut self.doubles, before.2);
        end_row(&mut self.booleans, before.3);
        self.other.append_option(json::object(others));
    }

    /// The columns, in the order of the schemas.
    pub(super) fn finish(&mut self) -> [ArrayRef; 5] {
        [
            Arc::new(self.texts.finish()),
            Arc::new(self.integers.finish()),
            Arc::new(self.doubles.finish()),
            Arc::new(self.booleans.finish()),
            Arc::new(self.other.finish()),
        ]
    }
}

fn push_entry<V: ArrayBuilder>(map: &mut MapBuilder<StringBuilder, V>, key: &str, push_value: impl FnOnce(&mut V)) {
    let (keys, values) = map.entries();
    keys.append_value(key);
    push_value(values);
}

/// Attributes of events and links: a map of the texts, JSON of the rest.
pub(super) struct SmallAttributes {
    texts: MapBuilder<StringBuilder, StringBuilder>,
    other: StringBuilder,
}

impl SmallAttributes {
    pub(super) fn new() -> Self {
        Self { texts: map_of(StringBuilder::new(), DataType::Utf8), other: StringBuilder::new() }
    }

    /// Pushes one row.
    pub(super) fn push(&mut self, batch: &SpanBatch, attributes: &[u32]) {
        let before = self.texts.keys().len();
        let mut others: Vec<(&str, &Value)> = Vec::new();
        for pair in distinct(attributes.iter().map(|&at| &batch.key_values[at as usize])) {
            match &pair.value {
                Value::String(text) => push_entry(&mut self.texts, &pair.key, |values| values.append_value(text)),
                other => others.push((pair.key.as_ref(), other)),
            }
        }
        end_row(&mut self.texts, before);
        self.other.append_option(json::object(others));
    }

    /// The map and the rest.
    pub(super) fn finish(&mut self) -> [ArrayRef; 2] {
        [Arc::new(self.texts.finish()), Arc::new(self.other.finish())]
    }
}

/// Sorts by key and keeps the first of each.
pub(super) fn distinct<'a>(pairs: impl Iterator<Item = &'a KeyValue>) -> Vec<&'a KeyValue> {
    let mut pairs: Vec<&KeyValue> = pairs.collect();
    pairs.sort_by(|a, b| a.key.cmp(&b.key));
    pairs.dedup_by(|later, first| later.key == first.key);
    pairs
}
