//! One Parquet table of a metrics part: how it is written and how rows of it are read.
//!
//! Encodings follow the type: integers DELTA_BINARY_PACKED, floats and lists split by byte, text by dictionary;
//! numbers never by dictionary (the library's default, and four times larger on values). Only `sid` keeps page
//! statistics. A writer syncs its file before it says that it is done.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{Page, PageReader as _};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnPath;
use weir_proto::schema::metrics as columns;

use crate::error::StoreError;
use crate::part::TENANT;

/// Rows in a row group: with 240 samples a row, 4 million samples.
const GROUP_ROWS: usize = 16_384;
/// Rows handed to the Parquet writer at once.
pub(crate) const BATCH_ROWS: usize = 2_048;

/// How finely a table is cut, and how hard it is squeezed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Rows in a page: the least that is read for one series.
    page_rows: usize,
    zstd_level: i32,
}

impl Shape {
    /// Fresh parts are read a lot and soon replaced.
    pub(crate) const FRESH: Self = Self { page_rows: 128, zstd_level: 1 };
    /// Larger pages squeeze 6 to 14 % better.
    pub(crate) const COMPACTED: Self = Self { page_rows: 512, zstd_level: 3 };
}

/// Writes one table.
pub(crate) struct TableWriter {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    part: Arc<str>,
    rows: u64,
}

impl TableWriter {
    /// Creates `{dir}/{name}.parquet`, which must not exist.
    pub(crate) fn create(dir: &Path, name: &str, schema: SchemaRef, shape: Shape) -> Result<Self, StoreError> {
        let path = dir.join(format!("{name}.parquet"));
        let file = File::create_new(&path).map_err(|error| StoreError::io(&path, error))?;
        let properties = properties(&schema, shape).map_err(|error| StoreError::parquet(&path, error))?;
        // The Arrow schema in the footer would be a third of a small file; the Parquet types say enough.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)
            .map_err(|error| StoreError::parquet(&path, error))?;
        // The folder is `L{level}-{id}`.
        let folder = dir.file_name().unwrap_or_default().to_string_lossy();
        let part = folder.split_once('-').map_or(folder.as_ref(), |(_, id)| id).into();
        Ok(Self { path, schema, writer, part, rows: 0 })
    }

    /// Appends rows, given by their columns after `tenant` and `part`.
    pub(crate) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), StoreError> {
        let rows = columns.first().map_or(0, |column| column.len());
        if rows == 0 {
            return Ok(());
        }
        let mut all = vec![constant(TENANT, rows), constant(&self.part, rows)];
        all.extend(columns);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), all)
            .map_err(|error| StoreError::Internal(format!("rows of {} do not fit it: {error}", self.path.display())))?;
        self.rows += rows as u64;
        self.writer.write(&batch).map_err(|error| StoreError::parquet(&self.path, error))
    }

    /// Writes the footer and makes the file durable. A table without rows leaves no file.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        let file = self.writer.into_inner().map_err(|error| StoreError::parquet(&self.path, error))?;
        let done = if self.rows == 0 { std::fs::remove_file(&self.path) } else { file.sync_data() };
        done.map_err(|error| StoreError::io(&self.path, error))
    }
}

fn constant(text: &str, rows: usize) -> ArrayRef {
    let values: ArrayRef = Arc::new(StringArray::from(vec![text]));
    Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; rows]), values))
}

fn properties(schema: &SchemaRef, shape: Shape) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(shape.zstd_level)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(shape.page_rows)
        .set_write_batch_size(shape.page_rows)
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for field in schema.fields() {
        let name = field.name().as_str();
        let path = ColumnPath::from(name);
        if name == columns::SID {
            builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::Page);
        }
        builder = match field.data_type() {
            DataType::Dictionary(..) => builder.set_column_dictionary_enabled(path, true),
            DataType::Float64 => builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
            DataType::Map(..) => ["key", "value"].iter().fold(builder, |builder, leaf| {
                builder.set_column_dictionary_enabled(nested(name, &["entries", leaf]), true)
            }),
            DataType::List(_) => {
                let encoding =
                    if name == columns::TS { Encoding::DELTA_BINARY_PACKED } else { Encoding::BYTE_STREAM_SPLIT };
                builder.set_column_encoding(nested(name, &["list", "item"]), encoding)
            }
            DataType::Utf8 => builder.set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY),
            DataType::FixedSizeBinary(_) => builder.set_column_encoding(path, Encoding::PLAIN),
            _ => builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(builder.build())
}

fn nested(root: &str, rest: &[&str]) -> ColumnPath {
    ColumnPath::new(std::iter::once(root).chain(rest.iter().copied()).map(str::to_owned).collect())
}

/// A table that can be read: its path and footer.
#[derive(Debug)]
pub(crate) struct TableFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

impl TableFile {
    /// Reads the footer; `None` when there is no such file, which is how an empty table looks.
    pub(crate) fn open(path: PathBuf) -> Result<Option<Self>, StoreError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(path, error)),
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| StoreError::parquet(&path, error))?;
        Ok(Some(Self { path, metadata }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads some columns of some rows (ascending, not overlapping), or of all.
    pub(crate) fn read(
        &self,
        columns: &[&str],
        rows: Option<&[Range<usize>]>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, StoreError>> + Send + use<>, StoreError> {
        let file = File::open(&self.path).map_err(|error| StoreError::io(&self.path, error))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let mut builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        if let Some(rows) = rows {
            let selection = RowSelection::from_consecutive_ranges(rows.iter().cloned(), self.rows());
            builder = builder.with_row_selection(selection);
        }
        let reader: ParquetRecordBatchReader =
            builder.build().map_err(|error| StoreError::parquet(&self.path, error))?;
        let path = self.path.clone();
        Ok(reader.map(move |batch| batch.map_err(|error| StoreError::corrupt(&path, error))))
    }
}

/// Where a page is.
pub(crate) struct PagePlace {
    pub(crate) group: usize,
    /// Among the pages of its column in the row group.
    pub(crate) page: usize,
    /// Its rows, within the table.
    pub(crate) rows: Range<usize>,
}

impl TableFile {
    /// The place among the columns of the file of the values of list column `name`.
    pub(crate) fn leaf(&self, name: &str) -> Result<usize, StoreError> {
        let columns = self.metadata.metadata().file_metadata().schema_descr();
        let of_list = |at: &usize| columns.column(*at).path().parts().first().is_some_and(|root| root == name);
        let absent = || StoreError::corrupt(&self.path, format_args!("column {name} is absent"));
        (0..columns.num_columns()).find(of_list).ok_or_else(absent)
    }

    /// The page of column `leaf` with `row`.
    pub(crate) fn page_of(&self, leaf: usize, row: usize) -> Result<PagePlace, StoreError> {
        let row_of = |number: i64| usize::try_from(number).unwrap_or(0);
        let mut begin = 0;
        for (group, metadata) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = begin + row_of(metadata.num_rows());
            if row < end {
                let pages = self.locations(group, leaf)?;
                let after = pages.partition_point(|page| begin + row_of(page.first_row_index) <= row);
                let from = pages.get(after.wrapping_sub(1)).ok_or_else(|| self.no_pages())?;
                let to = pages.get(after).map_or(end, |next| begin + row_of(next.first_row_index));
                let rows = begin + row_of(from.first_row_index)..to;
                return Ok(PagePlace { group, page: after - 1, rows });
            }
            begin = end;
        }
        Err(StoreError::corrupt(&self.path, format_args!("there is no row {row}")))
    }

    /// Reads pages of column `leaf` in row group `group`.
    pub(crate) fn page_reader(&self, group: usize, leaf: usize) -> Result<PageReader, StoreError> {
        let file = File::open(&self.path).map_err(|error| StoreError::io(&self.path, error))?;
        let metadata = self.metadata.metadata().row_group(group);
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let locations = self.locations(group, leaf)?.to_vec();
        let pages = SerializedPageReader::new(Arc::new(file), metadata.column(leaf), rows, Some(locations))
            .map_err(|error| StoreError::parquet(&self.path, error))?;
        Ok(PageReader { path: self.path.clone(), pages, next: 0 })
    }

    fn locations(&self, group: usize, leaf: usize) -> Result<&[PageLocation], StoreError> {
        let index = self.metadata.metadata().offset_index();
        let column = index.and_then(|groups| groups.get(group)).and_then(|columns| columns.get(leaf));
        column.map(|column| column.page_locations().as_slice()).ok_or_else(|| self.no_pages())
    }

    fn no_pages(&self) -> StoreError {
        StoreError::corrupt(&self.path, "it has no index of its pages")
    }
}

/// Reads pages of one column of one row group in ascending order.
pub(crate) struct PageReader {
    path: PathBuf,
    pages: SerializedPageReader<File>,
    next: usize,
}

impl PageReader {
    /// Page number `at`, unpacked.
    pub(crate) fn page(&mut self, at: usize) -> Result<Page, StoreError> {
        let failed = |error| StoreError::parquet(&self.path, error);
        while self.next < at {
            self.pages.skip_next_page().map_err(failed)?;
            self.next += 1;
        }
        self.next += 1;
        let page = self.pages.get_next_page().map_err(failed)?;
        page.ok_or_else(|| StoreError::corrupt(&self.path, format_args!("there is no page {at}")))
    }
}

/// The ranges of consecutive numbers in an ascending list.
pub(crate) fn ranges_of(ascending: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for number in ascending {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}
