//! The samples table: rows of chunks of numbers.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Float64Builder, Int8Array, Int32Builder, Int64Builder, ListBuilder};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int32Type, Int64Type};
use weir_proto::schema::metrics as columns;

use super::array::Rows;
use super::chunk::NumberChunk;
use super::codec::{self, DecodeList, Differences, Kind};
use super::cut::{self, HEAD, HeadColumns, HeadReader};
use super::file::{BATCH_ROWS, Shape, TableWriter};
use super::merge::Column;
use super::timelines::{TimelineLists, TimelineWriter};
use crate::error::StoreError;

/// Name of the table.
pub(crate) const TABLE: &str = "samples";

/// Writes chunks of numbers.
pub(crate) struct SampleWriter {
    table: TableWriter,
    head: HeadColumns,
    kinds: Vec<i8>,
    exponents: Vec<i8>,
    firsts: Vec<f64>,
    narrow: ListBuilder<Int32Builder>,
    wide: ListBuilder<Int64Builder>,
    raw: ListBuilder<Float64Builder>,
}

impl SampleWriter {
    pub(crate) fn create(dir: &Path, shape: Shape) -> Result<Self, StoreError> {
        Ok(Self {
            table: TableWriter::create(dir, TABLE, columns::samples(), shape)?,
            head: HeadColumns::default(),
            kinds: Vec::new(),
            exponents: Vec::new(),
            firsts: Vec::new(),
            narrow: ListBuilder::new(Int32Builder::new()).with_field(columns::list_item(DataType::Int32)),
            wide: ListBuilder::new(Int64Builder::new()).with_field(columns::list_item(DataType::Int64)),
            raw: ListBuilder::new(Float64Builder::new()).with_field(columns::list_item(DataType::Float64)),
        })
    }

    /// Writes all numbers of the next series.
    pub(crate) fn push(
        &mut self,
        sid: u32,
        column: &Column<f64>,
        timelines: &mut TimelineWriter,
    ) -> Result<(), StoreError> {
        let mut pieces = Vec::new();
        for piece in cut::by_time_and_start(&column.times, &column.starts) {
            cut::by_finiteness(&column.values, piece, &mut pieces);
        }
        for piece in pieces {
            self.head.push(sid, &column.times[piece.clone()], &column.starts[piece.clone()], timelines)?;
            self.push_values(&column.values[piece]);
            if self.head.len() == BATCH_ROWS {
                self.write()?;
            }
        }
        Ok(())
    }

    fn push_values(&mut self, values: &[f64]) {
        let encoded = codec::encode(values);
        self.kinds.push(encoded.kind as i8);
        self.exponents.push(encoded.exponent);
        self.firsts.push(encoded.first);
        match &encoded.differences {
            Differences::Narrow(list) => self.narrow.values().append_slice(list),
            Differences::Wide(list) => self.wide.values().append_slice(list),
            Differences::Raw => self.raw.values().append_slice(values),
            Differences::None => {}
        }
        self.narrow.append(matches!(encoded.differences, Differences::Narrow(_)));
        self.wide.append(matches!(encoded.differences, Differences::Wide(_)));
        self.raw.append(matches!(encoded.differences, Differences::Raw));
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut all = self.head.take();
        let values: [ArrayRef; 6] = [
            Arc::new(Int8Array::from(std::mem::take(&mut self.kinds))),
            Arc::new(Int8Array::from(std::mem::take(&mut self.exponents))),
            Arc::new(Float64Array::from(std::mem::take(&mut self.firsts))),
            Arc::new(self.narrow.finish()),
            Arc::new(self.wide.finish()),
            Arc::new(self.raw.finish()),
        ];
        all.extend(values);
        self.table.write(all)
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.table.finish()
    }
}

/// Columns to read for [`decode`].
pub(crate) fn read_columns() -> Vec<&'static str> {
    let values = [columns::KIND, columns::E, columns::FIRST, columns::D32, columns::D64, columns::VAL];
    HEAD.into_iter().chain(values).collect()
}

/// The chunks of a batch of rows whose timelines are in `lists`.
pub(crate) fn decode(
    rows: Rows<'_>,
    head: &HeadReader<'_>,
    lists: &TimelineLists,
) -> Result<Vec<NumberChunk>, StoreError> {
    let kinds = rows.numbers::<Int8Type>(columns::KIND)?;
    let exponents = rows.numbers::<Int8Type>(columns::E)?;
    let firsts = rows.numbers::<Float64Type>(columns::FIRST)?;
    let narrow = rows.list::<Int32Type>(columns::D32)?;
    let wide = rows.list::<Int64Type>(columns::D64)?;
    let raw = rows.list::<Float64Type>(columns::VAL)?;
    let mut chunks = Vec::with_capacity(rows.batch.num_rows());
    for row in 0..rows.batch.num_rows() {
        let (sid, times, starts) = head.row(row, lists)?;
        let list = match (narrow.row(row), wide.row(row), raw.row(row)) {
            (Some(list), _, _) => DecodeList::Narrow(list),
            (_, Some(list), _) => DecodeList::Wide(list),
            (_, _, Some(list)) => DecodeList::Raw(list),
            _ => DecodeList::None,
        };
        let values = Kind::from_i8(kinds.value(row))
            .and_then(|kind| codec::decode(kind, exponents.value(row), firsts.value(row), times.len(), list))
            .ok_or_else(|| rows.bad_row(row, "its values do not fit its kind and timeline"))?;
        chunks.push(NumberChunk { sid, starts, times, values });
    }
    Ok(chunks)
}
