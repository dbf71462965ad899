//! One part from several of the same day: a merge of sorted rows, a repeated span kept once.
//!
//! ```text
//! part a ─▶ Cursor ─┐
//! part b ─▶ Cursor ─┼─▶ heap by (service_name, start, trace_id, span_id) ─▶ places (batch, row) ─▶ interleave ─▶ part
//! part c ─▶ Cursor ─┘
//! ```
//! Memory: a chunk of rows per input and one of output, the merged part's `traces`, nothing else. Rows that are equal
//! in the whole key are one span that was sent twice; the part given first wins.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow::compute::interleave_record_batch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use weir_proto::schema::traces as schema;

use super::CHUNK_ROWS;
use super::decode::{Wrong, column};
use super::read::{Columns, SpanPart, Table};
use super::write::{NewPart, PartWriter};
use crate::error::StoreError;
use crate::part::{PartEntry, TENANT};

/// Makes one part of `parts`, which are of one day, under the data directory `root`; `None` of none.
///
/// # Errors
/// When a part cannot be read (Corrupt names the file) or the new one not be written.
pub(crate) fn merge_parts(
    root: &Path,
    parts: &[Arc<SpanPart>],
    level: u8,
    id: String,
) -> Result<Option<PartEntry>, StoreError> {
    let Some(order) = parts.iter().map(|part| part.entry().order).max() else { return Ok(None) };
    let part = NewPart { id, day: parts[0].entry().day.clone(), level, order };
    let mut writer = PartWriter::create(root, part)?;
    for part in parts {
        for (id, resource) in part.resources()?.iter() {
            writer.add_resource(*id, resource);
        }
    }
    let mut merge = Merge::new(parts)?;
    while let Some(rows) = merge.next_chunk()? {
        let rows = with_part(&rows, &writer.part.id);
        writer.write(&rows)?;
    }
    writer.finish().map(Some)
}

/// A row's place in the order of `spans`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: Arc<str>,
    start_ns: i64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    last: Option<Key>,
}

impl<'a> Merge<'a> {
    fn new(parts: &'a [Arc<SpanPart>]) -> Result<Self, StoreError> {
        let mut merge = Self { cursors: Vec::new(), heap: BinaryHeap::new(), last: None };
        for part in parts {
            let mut cursor = Cursor::open(part.spans()?)?;
            if let Some(key) = cursor.advance()? {
                merge.heap.push(Reverse((key, merge.cursors.len())));
            }
            merge.cursors.push(cursor);
        }
        Ok(merge)
    }

    /// The next rows in order, `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        // Chunks that rows of this output chunk lie in: those current when it began, and each that came since.
        let mut chunks: Vec<RecordBatch> = Vec::new();
        let mut chunk_of: Vec<usize> = Vec::new();
        for cursor in &self.cursors {
            chunk_of.push(chunks.len());
            chunks.push(cursor.rows.clone());
        }
        let mut places = Vec::with_capacity(CHUNK_ROWS);
        while places.len() < CHUNK_ROWS {
            let Some(Reverse((key, at))) = self.heap.pop() else { break };
            let cursor = &mut self.cursors[at];
            if self.last.as_ref() != Some(&key) {
                places.push((chunk_of[at], cursor.row));
                self.last = Some(key);
            }
            if let Some(next) = cursor.advance()? {
                self.heap.push(Reverse((next, at)));
                if cursor.row == 0 {
                    chunk_of[at] = chunks.len();
                    chunks.push(cursor.rows.clone());
                }
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let chunks: Vec<&RecordBatch> = chunks.iter().collect();
        let rows = interleave_record_batch(&chunks, &places);
        rows.map(Some).map_err(|error| StoreError::Internal(error.to_string()))
    }
}

/// Walks the rows of one part.
struct Cursor<'a> {
    table: &'a Table,
    reader: ParquetRecordBatchReader,
    rows: RecordBatch,
    row: usize,
    service: Arc<str>,
}

impl<'a> Cursor<'a> {
    /// Before the first row.
    fn open(table: &'a Table) -> Result<Self, StoreError> {
        let reader = table.read(table.all_rows(), &Columns::All, None)?;
        Ok(Self { table, reader, rows: RecordBatch::new_empty(schema::spans()), row: 0, service: "".into() })
    }

    /// Steps to the next row; `None` behind the last.
    fn advance(&mut self) -> Result<Option<Key>, StoreError> {
        self.row += 1;
        while self.row >= self.rows.num_rows() {
            let Some(rows) = self.reader.next() else { return Ok(None) };
            let rows = rows.map_err(|error| self.table.error(error.into()))?;
            self.rows = conform(&rows).map_err(|wrong| self.table.corrupt(wrong))?;
            self.row = 0;
        }
        self.key().map(Some).map_err(|wrong| self.table.corrupt(wrong))
    }

    fn key(&mut self) -> Result<Key, Wrong> {
        let service = column::<StringArray>(&self.rows, schema::SERVICE_NAME)?.value(self.row);
        if self.service.as_ref() != service {
            self.service = service.into();
        }
        let trace_ids: &FixedSizeBinaryArray = column(&self.rows, schema::TRACE_ID)?;
        let span_ids: &FixedSizeBinaryArray = column(&self.rows, schema::SPAN_ID)?;
        Ok(Key {
            service: Arc::clone(&self.service),
            start_ns: column::<TimestampNanosecondArray>(&self.rows, schema::START)?.value(self.row),
            trace_id: trace_ids.value(self.row).try_into().map_err(|_| "a trace id that is not 16 bytes")?,
            span_id: span_ids.value(self.row).try_into().map_err(|_| "a span id that is not 8 bytes")?,
        })
    }
}

/// The rows in today's schema: a column that the file has not got is null, one that only newer files have is dropped.
///
/// # Errors
/// When a column that must be there is not, or has another type.
pub(super) fn conform(rows: &RecordBatch) -> Result<RecordBatch, Wrong> {
    let today = schema::spans();
    if rows.schema_ref().fields() == today.fields() {
        return Ok(rows.clone());
    }
    let columns = today.fields().iter().map(|field| match rows.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), rows.num_rows()),
    });
    RecordBatch::try_new(Arc::clone(&today), columns.collect()).map_err(|error| error.to_string())
}

/// The rows with the name of the part that they are going into.
fn with_part(rows: &RecordBatch, part: &str) -> RecordBatch {
    let constant =
        |text| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows.num_rows()))) };
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| match field.name().as_str() {
        schema::PART => constant(part),
        schema::TENANT => constant(TENANT),
        _ => Arc::clone(column),
    });
    RecordBatch::try_new(rows.schema(), columns.collect()).expect("only texts were replaced by texts")
}
