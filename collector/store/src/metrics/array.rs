//! Typed access to the columns of a batch that came from disk: a column that is absent or of another type is an
//! error with its name, never a panic.

use std::path::Path;

use arrow::array::{
    Array, ArrowPrimitiveType, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray,
};

use crate::error::StoreError;

/// A batch and the file it came from.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) path: &'a Path,
}

impl<'a> Rows<'a> {
    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&'a PrimitiveArray<T>, StoreError> {
        self.column(name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a StringArray, StoreError> {
        self.column(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<&'a FixedSizeBinaryArray, StoreError> {
        self.column(name)
    }

    /// A map of text to text.
    pub(crate) fn map(&self, name: &str) -> Result<TextMap<'a>, StoreError> {
        let map: &MapArray = self.column(name)?;
        let (keys, values) = (map.keys().as_any().downcast_ref(), map.values().as_any().downcast_ref());
        match (keys, values) {
            (Some(keys), Some(values)) => Ok(TextMap { map, keys, values }),
            _ => Err(self.wrong(name)),
        }
    }

    /// A list of numbers.
    pub(crate) fn list<T: ArrowPrimitiveType>(&self, name: &str) -> Result<NumberLists<'a, T>, StoreError> {
        let list: &ListArray = self.column(name)?;
        let values = list.values().as_any().downcast_ref::<PrimitiveArray<T>>().ok_or_else(|| self.wrong(name))?;
        Ok(NumberLists { list, values: values.values() })
    }

    /// A list of numbers in a column that came with a later version: older files lack it, as if every row were null.
    pub(crate) fn later_list<T: ArrowPrimitiveType>(&self, name: &str) -> Result<LaterLists<'a, T>, StoreError> {
        let lists = self.batch.column_by_name(name).map(|_| self.list(name)).transpose()?;
        Ok(LaterLists(lists))
    }

    /// The error of a row that no writer of ours made.
    pub(crate) fn bad_row(&self, row: usize, what: &str) -> StoreError {
        StoreError::corrupt(self.path, format_args!("row {row} of a batch: {what}"))
    }

    fn column<A: Array + 'static>(&self, name: &str) -> Result<&'a A, StoreError> {
        self.batch
            .column_by_name(name)
            .and_then(|column| column.as_any().downcast_ref())
            .ok_or_else(|| self.wrong(name))
    }

    fn wrong(&self, name: &str) -> StoreError {
        StoreError::corrupt(self.path, format_args!("column {name} is absent or has another type"))
    }
}

/// Rows of text pairs.
pub(crate) struct TextMap<'a> {
    map: &'a MapArray,
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> TextMap<'a> {
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let offsets = self.map.value_offsets();
        let (keys, values) = (self.keys, self.values);
        let at = |offset: i32| usize::try_from(offset).unwrap_or(0);
        (at(offsets[row])..at(offsets[row + 1])).map(move |at| (keys.value(at), values.value(at)))
    }
}

/// Rows of numbers.
pub(crate) struct NumberLists<'a, T: ArrowPrimitiveType> {
    list: &'a ListArray,
    values: &'a [T::Native],
}

impl<'a, T: ArrowPrimitiveType> NumberLists<'a, T> {
    /// The list of a row; `None` for null.
    pub(crate) fn row(&self, row: usize) -> Option<&'a [T::Native]> {
        if self.list.is_null(row) {
            return None;
        }
        let offsets = self.list.value_offsets();
        let at = |offset: i32| usize::try_from(offset).unwrap_or(0);
        Some(&self.values[at(offsets[row])..at(offsets[row + 1])])
    }
}

/// Rows of numbers, or of nulls where the file is older than the column.
pub(crate) struct LaterLists<'a, T: ArrowPrimitiveType>(Option<NumberLists<'a, T>>);

impl<'a, T: ArrowPrimitiveType> LaterLists<'a, T> {
    /// The list of a row; `None` for null.
    pub(crate) fn row(&self, row: usize) -> Option<&'a [T::Native]> {
        self.0.as_ref()?.row(row)
    }
}
