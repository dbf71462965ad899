//! Attributes as rows of text maps with the types of their values, and back; shared texts are shared again.

use std::sync::Arc;

use arrow::array::{MapBuilder, MapFieldNames, StringBuilder};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use weir_proto::schema::metrics as columns;
use weir_proto::{KeyValue, Value};

use super::value_text;

/// Builds one text map column.
pub(crate) type TextMapBuilder = MapBuilder<StringBuilder, StringBuilder>;

/// A builder whose type is that of the schema.
pub(crate) fn text_map_builder() -> TextMapBuilder {
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let fields = columns::text_map_fields();
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Arc::clone(&fields[0]))
        .with_values_field(Arc::clone(&fields[1]))
}

/// Adds one row of pairs and, for each, the letter of its type.
pub(crate) fn push_map<'a>(
    into: &mut TextMapBuilder,
    letters: &mut String,
    pairs: impl IntoIterator<Item = &'a KeyValue>,
) {
    for pair in pairs {
        let (letter, text) = value_text::render(&pair.value);
        letters.push(letter);
        into.keys().append_value(&pair.key);
        into.values().append_value(text);
    }
    into.append(true).expect("keys and values are pushed in pairs");
}

/// The letters of a row: none when all values are strings.
pub(crate) fn letters_column(letters: &str) -> Option<&str> {
    letters.chars().any(|letter| letter != value_text::STRING).then_some(letters)
}

/// Texts that occur many times, once.
#[derive(Default)]
pub(crate) struct Texts(HashSet<Arc<str>, RandomState>);

impl Texts {
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }

    /// The pairs of a row; `letters` is left after the last letter used. `None` when a text does not fit its letter.
    pub(crate) fn pairs<'a>(
        &mut self,
        row: impl Iterator<Item = (&'a str, &'a str)>,
        letters: &mut Option<std::str::Chars<'_>>,
    ) -> Option<Vec<KeyValue>> {
        row.map(|(key, text)| {
            let letter = match letters {
                Some(letters) => letters.next()?,
                None => value_text::STRING,
            };
            let value = match letter {
                value_text::STRING => Value::String(self.intern(text)),
                letter => value_text::parse(letter, text)?,
            };
            Some(KeyValue { key: self.intern(key), value })
        })
        .collect()
    }
}
