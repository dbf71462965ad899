//! One part of traces: which traces it has, and their rows.
//!
//! Everything that is kept in memory of a part is made at its first use: a filter over its trace ids (9 bits each,
//! 0.4 % false), the footers and page indexes, its resources. [`Table`] reads a Parquet file with the pages that can
//! hold no wanted row left out, and the columns beside the predicate's decoded only for rows that passed it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::file::metadata::PageIndexPolicy;
use weir_proto::schema::traces as schema;
use xorf::{BinaryFuse8, Filter};

use super::decode::{self, Resources};
use super::merge::conform;
use super::summary::{self, TraceSummary};
use super::{CHUNK_BYTES, CHUNK_ROWS};
use crate::error::StoreError;
use crate::part::{Part, PartEntry};

/// A part of traces that can be read.
#[derive(Debug)]
pub struct SpanPart {
    part: Arc<Part>,
    filter: OnceLock<TraceFilter>,
    spans: OnceLock<Table>,
    traces: OnceLock<Table>,
    resources: OnceLock<Arc<Resources>>,
}

impl SpanPart {
    /// The reader of `part`; opens nothing yet.
    #[must_use]
    pub fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            filter: OnceLock::new(),
            spans: OnceLock::new(),
            traces: OnceLock::new(),
            resources: OnceLock::new(),
        }
    }

    /// The part that is read.
    #[must_use]
    pub fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// What the manifest knows of it.
    #[must_use]
    pub fn entry(&self) -> &PartEntry {
        self.part.entry()
    }

    /// The rows in `traces` of those of `trace_ids` that have spans here, found in one read.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn summaries(&self, trace_ids: &[[u8; 16]]) -> Result<Vec<TraceSummary>, StoreError> {
        let filter = get_or_load(&self.filter, || TraceFilter::load(self.traces()?))?;
        let mut wanted: Vec<[u8; 16]> = trace_ids.iter().copied().filter(|id| filter.may_hold(*id)).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        wanted.sort_unstable();
        let table = self.traces()?;
        let pages = table.pages(schema::TRACE_ID, |min, max, page| {
            let (min, max) = (min.as_fixed_size_binary().value(page), max.as_fixed_size_binary().value(page));
            // The first id not below the page's smallest is on the page, if any is.
            wanted.get(wanted.partition_point(|id| id.as_slice() < min)).is_some_and(|id| id.as_slice() <= max)
        })?;
        let mut found = Vec::new();
        for rows in table.read(pages, &Columns::All, Some(has_trace_id(wanted)))? {
            let rows = rows.map_err(|error| table.error(error.into()))?;
            for row in 0..rows.num_rows() {
                found.push(summary::decode(&rows, row).map_err(|wrong| table.corrupt(wrong))?);
            }
        }
        Ok(found)
    }

    /// All rows of `spans` of the trace that `summary` is about.
    pub(super) fn rows_of(&self, summary: &TraceSummary) -> Result<Vec<RecordBatch>, StoreError> {
        let table = self.spans()?;
        let services = table.pages(schema::SERVICE_NAME, |min, max, page| {
            let (min, max) = (min.as_string::<i32>().value(page), max.as_string::<i32>().value(page));
            // The first service not below the page's smallest is on the page, if any is.
            let at = summary.services.partition_point(|service| service.as_ref() < min);
            summary.services.get(at).is_some_and(|service| service.as_ref() <= max)
        })?;
        let times = table.start_pages(summary.start_ns, summary.end_ns)?;
        let pages = services.intersection(&times);
        let mut batches = Vec::new();
        for rows in table.read(pages, &Columns::All, Some(has_trace_id(vec![summary.trace_id])))? {
            let rows = rows.map_err(|error| table.error(error.into()))?;
            if rows.num_rows() > 0 {
                batches.push(conform(&rows).map_err(|wrong| table.corrupt(wrong))?);
            }
        }
        Ok(batches)
    }

    /// Every resource of its spans.
    pub(super) fn resources(&self) -> Result<Arc<Resources>, StoreError> {
        get_or_load(&self.resources, || {
            let table = Table::open(self.part.table("resources"))?;
            let mut resources = Resources::default();
            for rows in table.read(table.all_rows(), &Columns::All, None)? {
                let rows = rows.map_err(|error| table.error(error.into()))?;
                decode::resources(&rows, &mut resources).map_err(|wrong| table.corrupt(wrong))?;
            }
            Ok(Arc::new(resources))
        })
        .map(Arc::clone)
    }

    /// The table `spans`.
    pub(super) fn spans(&self) -> Result<&Table, StoreError> {
        get_or_load(&self.spans, || Table::open(self.part.table("spans")))
    }

    fn traces(&self) -> Result<&Table, StoreError> {
        get_or_load(&self.traces, || Table::open(self.part.table("traces")))
    }
}

/// What `cell` holds, loaded at the first call. Two first calls may both load; one of the results is kept.
fn get_or_load<T>(cell: &OnceLock<T>, load: impl FnOnce() -> Result<T, StoreError>) -> Result<&T, StoreError> {
    if let Some(loaded) = cell.get() {
        return Ok(loaded);
    }
    let loaded = load()?;
    Ok(cell.get_or_init(|| loaded))
}

/// Answers "may this part have the trace?" from memory.
struct TraceFilter(Option<BinaryFuse8>);

impl std::fmt::Debug for TraceFilter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("TraceFilter").field(&self.0.as_ref().map(Filter::len)).finish()
    }
}

impl TraceFilter {
    /// Reads the trace ids of a table `traces`.
    fn load(table: &Table) -> Result<Self, StoreError> {
        let mut keys = Vec::with_capacity(table.rows());
        for rows in table.read(table.all_rows(), &Columns::Named(&[schema::TRACE_ID]), None)? {
            let rows = rows.map_err(|error| table.error(error.into()))?;
            let ids: &FixedSizeBinaryArray =
                decode::column(&rows, schema::TRACE_ID).map_err(|wrong| table.corrupt(wrong))?;
            keys.extend(ids.iter().flatten().filter_map(|id| <[u8; 16]>::try_from(id).ok()).map(key_of));
        }
        // The construction wants distinct keys. It fails for a set with a chance that is next to nothing; without a
        // filter every lookup reads a page of `traces`.
        keys.sort_unstable();
        keys.dedup();
        Ok(Self(BinaryFuse8::try_from(keys.as_slice()).ok()))
    }

    fn may_hold(&self, trace_id: [u8; 16]) -> bool {
        self.0.as_ref().is_none_or(|filter| filter.contains(&key_of(trace_id)))
    }
}

/// A trace id in 64 bits; the filter hashes it itself.
fn key_of(trace_id: [u8; 16]) -> u64 {
    let id = u128::from_le_bytes(trace_id);
    let [low, high] = [id as u64, (id >> 64) as u64];
    low ^ high.rotate_left(29)
}

/// Columns to read.
pub(super) enum Columns<'a> {
    All,
    Named(&'a [&'static str]),
}

type TestFn = Box<dyn FnMut(&RecordBatch) -> Result<BooleanArray, ArrowError> + Send>;

/// A test of rows, over some columns.
pub(super) struct RowTest {
    columns: Vec<&'static str>,
    test: TestFn,
}

impl RowTest {
    /// A test that sees `columns`.
    pub(super) fn new(
        columns: &[&'static str],
        test: impl FnMut(&RecordBatch) -> Result<BooleanArray, ArrowError> + Send + 'static,
    ) -> Self {
        Self { columns: columns.to_vec(), test: Box::new(test) }
    }
}

/// Passes the rows with one of `trace_ids`, which are sorted.
fn has_trace_id(trace_ids: Vec<[u8; 16]>) -> RowTest {
    RowTest::new(&[schema::TRACE_ID], move |rows| {
        let ids: &FixedSizeBinaryArray =
            decode::column(rows, schema::TRACE_ID).map_err(ArrowError::InvalidArgumentError)?;
        let is_wanted = |id: &[u8]| trace_ids.binary_search_by(|wanted| wanted.as_slice().cmp(id)).is_ok();
        Ok(ids.iter().map(|id| Some(id.is_some_and(is_wanted))).collect())
    })
}

/// A Parquet file with its footer and page index in memory.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

impl Table {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = open_file(&path)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| StoreError::parquet(&path, error))?;
        Ok(Self { path, metadata })
    }

    /// Rows of the file.
    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The selection of every row.
    pub(super) fn all_rows(&self) -> RowSelection {
        RowSelection::from_consecutive_ranges(std::iter::once(0..self.rows()), self.rows())
    }

    /// The rows of the pages of `column` that `keep(mins, maxes, page)` keeps; those without statistics are kept.
    pub(super) fn pages(
        &self,
        column: &str,
        keep: impl Fn(&ArrayRef, &ArrayRef, usize) -> bool,
    ) -> Result<RowSelection, StoreError> {
        let metadata = self.metadata.metadata();
        let (Some(column_index), Some(offset_index)) = (metadata.column_index(), metadata.offset_index()) else {
            return Ok(self.all_rows());
        };
        let pages = || {
            let statistics =
                StatisticsConverter::try_new(column, self.metadata.schema(), self.metadata.parquet_schema())?;
            let groups: Vec<usize> = (0..metadata.num_row_groups()).collect();
            let mins = statistics.data_page_mins(column_index, offset_index, &groups)?;
            let maxes = statistics.data_page_maxes(column_index, offset_index, &groups)?;
            let counts = statistics.data_page_row_counts(offset_index, metadata.row_groups(), &groups)?;
            Ok((mins, maxes, counts))
        };
        let (mins, maxes, counts) = pages().map_err(|error| self.error(error))?;
        let Some(counts) = counts else { return Ok(self.all_rows()) };
        let mut begin = 0;
        let mut kept = Vec::new();
        for (page, rows) in counts.values().iter().enumerate() {
            let end = begin + usize::try_from(*rows).unwrap_or(0);
            if mins.is_null(page) || maxes.is_null(page) || keep(&mins, &maxes, page) {
                kept.push(begin..end);
            }
            begin = end;
        }
        Ok(RowSelection::from_consecutive_ranges(kept.into_iter(), self.rows()))
    }

    /// The pages of a text column that may hold `value`.
    pub(super) fn text_pages(&self, column: &str, value: &str) -> Result<RowSelection, StoreError> {
        self.pages(column, |min, max, page| {
            let (min, max) = (min.as_string::<i32>().value(page), max.as_string::<i32>().value(page));
            min <= value && value <= max
        })
    }

    /// The pages with starts in `from..=to`.
    pub(super) fn start_pages(&self, from_ns: i64, to_ns: i64) -> Result<RowSelection, StoreError> {
        self.pages(schema::START, |min, max, page| {
            let (min, max) =
                (min.as_primitive::<TimestampNanosecondType>(), max.as_primitive::<TimestampNanosecondType>());
            min.value(page) <= to_ns && from_ns <= max.value(page)
        })
    }

    /// The selected rows that pass `test`.
    pub(super) fn read(
        &self,
        rows: RowSelection,
        columns: &Columns<'_>,
        test: Option<RowTest>,
    ) -> Result<ParquetRecordBatchReader, StoreError> {
        let file = open_file(&self.path)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask =
            |names: &[&'static str]| ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied());
        let builder = match columns {
            Columns::All => builder,
            Columns::Named(names) => builder.with_projection(mask(names)),
        };
        let builder = match test {
            None => builder,
            Some(RowTest { columns, mut test }) => {
                let predicate = ArrowPredicateFn::new(mask(&columns), move |rows| test(&rows));
                builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
            }
        };
        let reader = builder.with_row_selection(rows).with_batch_size(self.batch_rows()).build();
        reader.map_err(|error| self.error(error))
    }

    /// Rows of a record batch, fewer where rows are so large that a chunk would pass the bytes of one.
    fn batch_rows(&self) -> usize {
        let bytes: i64 = self.metadata.metadata().row_groups().iter().map(|group| group.total_byte_size()).sum();
        let row_bytes = usize::try_from(bytes).unwrap_or(0) / self.rows().max(1);
        (CHUNK_BYTES / row_bytes.max(1)).clamp(64, CHUNK_ROWS)
    }

    /// A failure of the library on this file.
    pub(super) fn error(&self, error: parquet::errors::ParquetError) -> StoreError {
        StoreError::parquet(&self.path, error)
    }

    /// Content that is not what was written.
    pub(super) fn corrupt(&self, wrong: impl std::fmt::Display) -> StoreError {
        StoreError::corrupt(&self.path, wrong)
    }
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|error| StoreError::io(path, error))
}
