//! The exemplars table.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int64Array, StringBuilder, UInt32Array};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use weir_proto::schema::metrics as columns;

use super::array::Rows;
use super::attributes::{TextMapBuilder, Texts, letters_column, push_map, text_map_builder};
use super::chunk::Exemplar;
use super::file::{BATCH_ROWS, Shape, TableFile, TableWriter};
use crate::error::StoreError;

/// Name of the table.
pub(crate) const TABLE: &str = "exemplars";

/// Writes exemplars.
pub(crate) struct ExemplarWriter {
    table: TableWriter,
    sids: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    traces: FixedSizeBinaryBuilder,
    spans: FixedSizeBinaryBuilder,
    attributes: TextMapBuilder,
    letters: StringBuilder,
}

impl ExemplarWriter {
    pub(crate) fn create(dir: &Path, shape: Shape) -> Result<Self, StoreError> {
        Ok(Self {
            table: TableWriter::create(dir, TABLE, columns::exemplars(), shape)?,
            sids: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            traces: FixedSizeBinaryBuilder::new(16),
            spans: FixedSizeBinaryBuilder::new(8),
            attributes: text_map_builder(),
            letters: StringBuilder::new(),
        })
    }

    /// Writes the exemplars of the next series, ordered by time.
    pub(crate) fn push(&mut self, sid: u32, exemplars: &[Exemplar]) -> Result<(), StoreError> {
        for exemplar in exemplars {
            self.sids.push(sid);
            self.times.push(exemplar.time_ns);
            self.values.push(exemplar.value);
            append_id(&mut self.traces, &exemplar.trace_id);
            append_id(&mut self.spans, &exemplar.span_id);
            let mut letters = String::new();
            push_map(&mut self.attributes, &mut letters, &exemplar.attributes);
            self.letters.append_option(letters_column(&letters));
            if self.sids.len() == BATCH_ROWS {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let all: [ArrayRef; 7] = [
            Arc::new(UInt32Array::from(std::mem::take(&mut self.sids))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.times))),
            Arc::new(Float64Array::from(std::mem::take(&mut self.values))),
            Arc::new(self.traces.finish()),
            Arc::new(self.spans.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.letters.finish()),
        ];
        self.table.write(all.into())
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.table.finish()
    }
}

fn append_id(into: &mut FixedSizeBinaryBuilder, id: &[u8]) {
    if id.iter().all(|&byte| byte == 0) {
        into.append_null();
    } else {
        into.append_value(id).expect("the builder is as wide as the id");
    }
}

/// The exemplars of a part with `keep(sid, time)`.
pub(crate) fn read(table: &TableFile, keep: impl Fn(u32, i64) -> bool) -> Result<Vec<Exemplar>, StoreError> {
    let mut found = Vec::new();
    let mut texts = Texts::default();
    let read = [
        columns::SID,
        columns::TIME,
        columns::VALUE,
        columns::TRACE_ID,
        columns::SPAN_ID,
        columns::ATTRIBUTES,
        columns::VALUE_TYPES,
    ];
    for batch in table.read(&read, None)? {
        let batch = batch?;
        let rows = Rows { batch: &batch, path: table.path() };
        let sids = rows.numbers::<UInt32Type>(columns::SID)?;
        let times = rows.numbers::<Int64Type>(columns::TIME)?;
        let values = rows.numbers::<Float64Type>(columns::VALUE)?;
        let (traces, spans) = (rows.bytes(columns::TRACE_ID)?, rows.bytes(columns::SPAN_ID)?);
        let (attributes, letters) = (rows.map(columns::ATTRIBUTES)?, rows.text(columns::VALUE_TYPES)?);
        for row in 0..batch.num_rows() {
            let (sid, time_ns) = (sids.value(row), times.value(row));
            if !keep(sid, time_ns) {
                continue;
            }
            let mut letters = letters.is_valid(row).then(|| letters.value(row).chars());
            found.push(Exemplar {
                sid,
                time_ns,
                value: values.value(row),
                trace_id: id_of(traces, row),
                span_id: id_of(spans, row),
                attributes: texts
                    .pairs(attributes.row(row), &mut letters)
                    .ok_or_else(|| rows.bad_row(row, "a value does not fit its type"))?,
            });
        }
    }
    Ok(found)
}

fn id_of<const N: usize>(ids: &arrow::array::FixedSizeBinaryArray, row: usize) -> [u8; N] {
    if ids.is_null(row) { [0; N] } else { ids.value(row).try_into().unwrap_or([0; N]) }
}
