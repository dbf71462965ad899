//! One part of traces: three Parquet tables from record batches in the order of `spans`.
//!
//! Encodings, all zstd level 3 (measured against 1 and 9: CPU 1 : 1 : 1.7, size 42.7 : 42.5 : 40.9 B/span):
//! ids plain, since a dictionary of random bytes only adds to them; start delta-packed; every other column the
//! library's choice, which is a dictionary as long as it is small. Pages hold 4,096 rows, so that a trace or a
//! minute of a service touches few bytes (20,000 rows cost twice the bytes read and save 1.6 B/span). Statistics by
//! page stand where a read prunes by them, by row group elsewhere, nowhere on ids, maps and lists.
//!
//! A part is complete when [`PartWriter::finish`] returns: every file and the folder are synced. A folder without a
//! commit in the manifest is removed at the next start.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use weir_proto::Resource;
use weir_proto::schema::traces::{self as schema, SPAN_COLUMNS};

use super::decode::{Wrong, column};
use super::encode::{Source, SpanEncoder};
use super::maps::AttributeMaps;
use super::memtable::SpanMemtable;
use super::summary::{self, Summaries};
use crate::durable;
use crate::error::StoreError;
use crate::part::{DAY_NS, PartEntry, SERVICES_MAX, Signal, TENANT, day_name};

/// Rows of a page; see the module.
const PAGE_ROWS: usize = 4_096;
/// Rows of a row group: a read fetches a dictionary page per column of each one that it touches.
const ROW_GROUP_ROWS: usize = 262_144;
/// A column with a larger dictionary is written plain from there on: a read pays for the whole dictionary of every
/// column, and zstd finds the repeats by itself. Measured with `benches/spans` at 32 KiB, 128 KiB, 1 MiB: 38.1, 38.2,
/// 38.7 B/span; a trace by id 32, 47, 69 ms (on a machine with four times its load).
const DICTIONARY_BYTES: usize = 32 << 10;
/// Days that one flush makes parts for. Spans of more days than that have clocks that are off, and share the part of
/// the day nearest to theirs.
const DAYS_MAX: usize = 8;

/// What names a part before its rows are known.
#[derive(Clone, Debug)]
pub(super) struct NewPart {
    /// Sortable unique name.
    pub(super) id: String,
    /// UTC day, `2026-11-22`.
    pub(super) day: String,
    /// 0 for a flush.
    pub(super) level: u8,
    /// See [`PartEntry::order`].
    pub(super) order: u64,
}

/// Writes what a memtable holds as one part per UTC day (of the spans' start) under the data directory `root`, each
/// synced. `new_id` gives a fresh sortable name; `order` is that of the commit to come.
///
/// # Errors
/// When a file cannot be written; files of parts that were begun are left for the next start to remove.
pub(crate) fn write_parts(
    root: &Path,
    memtable: &SpanMemtable,
    order: u64,
    new_id: &mut dyn FnMut() -> String,
) -> Result<Vec<PartEntry>, StoreError> {
    let batches = memtable.batches();
    let sources: Vec<Source<'_>> = batches.iter().map(|batch| Source::new(batch)).collect();
    let mut entries = Vec::new();
    for (day, rows) in rows_by_day(&sources) {
        let part = NewPart { id: new_id(), day: day_name(day), level: 0, order };
        entries.push(write_day(root, part, &sources, rows)?);
    }
    Ok(entries)
}

/// A row of one of many batches, with what it is sorted by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    service: u32,
    start_ns: i64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    batch: u32,
    row: u32,
}

/// The rows of every source by day, each day's sorted as `spans` is and without repeats.
fn rows_by_day(sources: &[Source<'_>]) -> BTreeMap<i64, Vec<RowKey>> {
    let ranks = service_ranks(sources);
    let mut days: BTreeMap<i64, Vec<RowKey>> = BTreeMap::new();
    for (at, source) in (0_u32..).zip(sources) {
        let batch = source.batch;
        for (row, service) in (0_u32..).zip(&batch.resource) {
            let place = row as usize;
            let start_ns = batch.start_ns[place];
            days.entry(start_ns.div_euclid(DAY_NS)).or_default().push(RowKey {
                service: ranks[at as usize][*service as usize],
                start_ns,
                trace_id: batch.trace_id[place],
                span_id: batch.span_id[place],
                batch: at,
                row,
            });
        }
    }
    join_stray_days(&mut days);
    for rows in days.values_mut() {
        rows.sort_unstable();
        rows.dedup_by_key(|row| (row.service, row.start_ns, row.trace_id, row.span_id));
    }
    days
}

/// Per source and resource, the place of its service among all services sorted by name.
fn service_ranks(sources: &[Source<'_>]) -> Vec<Vec<u32>> {
    let mut services: Vec<&str> = sources.iter().flat_map(Source::services).collect();
    services.sort_unstable();
    services.dedup();
    let rank = |service| services.binary_search(&service).expect("every service was gathered above");
    let rank = |service| u32::try_from(rank(service)).expect("fewer services than 2^32");
    sources.iter().map(|source| source.services().map(rank).collect()).collect()
}

/// Leaves at most [`DAYS_MAX`] days, the fullest ones; the others' rows go to the nearest of these.
fn join_stray_days(days: &mut BTreeMap<i64, Vec<RowKey>>) {
    if days.len() <= DAYS_MAX {
        return;
    }
    let mut by_rows: Vec<(usize, i64)> = days.iter().map(|(day, rows)| (rows.len(), *day)).collect();
    by_rows.sort_unstable_by(|a, b| b.cmp(a));
    let kept: Vec<i64> = by_rows[..DAYS_MAX].iter().map(|(_, day)| *day).collect();
    for (_, day) in &by_rows[DAYS_MAX..] {
        let nearest = kept.iter().min_by_key(|other| other.abs_diff(*day)).expect("there are kept days");
        let rows = days.remove(day).unwrap_or_default();
        days.entry(*nearest).or_default().extend(rows);
    }
}

fn write_day(root: &Path, part: NewPart, sources: &[Source<'_>], rows: Vec<RowKey>) -> Result<PartEntry, StoreError> {
    let mut writer = PartWriter::create(root, part)?;
    let mut encoder = SpanEncoder::new(TENANT, &writer.part.id);
    let mut resources_seen = vec![Vec::new(); sources.len()];
    for key in rows {
        let source = &sources[key.batch as usize];
        let resource = source.batch.resource[key.row as usize] as usize;
        let seen: &mut Vec<bool> = &mut resources_seen[key.batch as usize];
        seen.resize(source.batch.resources.len(), false);
        if !std::mem::replace(&mut seen[resource], true) {
            writer.add_resource(source.resource_id(resource), &source.batch.resources[resource]);
        }
        encoder.push(source, key.row as usize);
        if encoder.is_full() {
            writer.write(&encoder.finish())?;
        }
    }
    if encoder.rows() > 0 {
        writer.write(&encoder.finish())?;
    }
    writer.finish()
}

/// Writes one part. Rows must come in the order of `spans`.
pub(super) struct PartWriter {
    pub(super) part: NewPart,
    dir: PathBuf,
    path: String,
    spans: ArrowWriter<File>,
    spans_path: PathBuf,
    summaries: Summaries,
    resources: BTreeMap<i64, Arc<Resource>>,
    rows: u64,
    time_range: (i64, i64),
    services: Vec<String>,
}

impl PartWriter {
    /// Makes the part's folder and begins its `spans`.
    pub(super) fn create(root: &Path, part: NewPart) -> Result<Self, StoreError> {
        let path = PartEntry::path_of(Signal::Traces, &part.day, part.level, &part.id);
        let dir = root.join(&path);
        durable::create_dir_all(root, &dir)?;
        let spans_path = dir.join("spans.parquet");
        let spans = table_writer(&spans_path, schema::spans(), span_properties())?;
        Ok(Self {
            part,
            dir,
            path,
            spans,
            spans_path,
            summaries: Summaries::default(),
            resources: BTreeMap::new(),
            rows: 0,
            time_range: (i64::MAX, i64::MIN),
            services: Vec::new(),
        })
    }

    /// Adds a row of `resources`.
    pub(super) fn add_resource(&mut self, id: i64, resource: &Arc<Resource>) {
        self.resources.entry(id).or_insert_with(|| Arc::clone(resource));
    }

    /// Appends rows of `spans`.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.note(batch).map_err(StoreError::Internal)?;
        self.spans.write(batch).map_err(|error| StoreError::parquet(&self.spans_path, error))
    }

    /// Takes in what the entry and the `traces` table say of these rows.
    fn note(&mut self, batch: &RecordBatch) -> Result<(), Wrong> {
        self.summaries.add_rows(batch)?;
        self.rows += batch.num_rows() as u64;
        let starts: &TimestampNanosecondArray = column(batch, schema::START)?;
        for &start in starts.values() {
            self.time_range = (self.time_range.0.min(start), self.time_range.1.max(start));
        }
        let services: &StringArray = column(batch, schema::SERVICE_NAME)?;
        for service in services.iter().flatten() {
            let last = self.services.last().map(String::as_str);
            debug_assert!(last.is_none_or(|last| last <= service), "rows come sorted by service");
            if last != Some(service) {
                self.services.push(service.to_owned());
            }
        }
        Ok(())
    }

    /// Writes the other tables and syncs everything.
    pub(super) fn finish(self) -> Result<PartEntry, StoreError> {
        let traces = self.summaries.finish();
        close_table(self.spans, &self.spans_path)?;
        let traces_path = self.dir.join("traces.parquet");
        let mut table = table_writer(&traces_path, schema::traces(), trace_properties())?;
        for chunk in traces.chunks(super::CHUNK_ROWS) {
            let rows = summary::encode(chunk, TENANT, &self.part.id);
            table.write(&rows).map_err(|error| StoreError::parquet(&traces_path, error))?;
        }
        close_table(table, &traces_path)?;
        let resources_path = self.dir.join("resources.parquet");
        let mut table = table_writer(&resources_path, schema::resources(), base_properties().build())?;
        let rows = encode_resources(&self.resources, &self.part.id);
        table.write(&rows).map_err(|error| StoreError::parquet(&resources_path, error))?;
        close_table(table, &resources_path)?;
        durable::sync_dir(&self.dir)?;
        let mut entry = PartEntry {
            id: self.part.id,
            path: self.path,
            day: self.part.day,
            level: self.part.level,
            order: self.part.order,
            time_min_ns: self.time_range.0,
            time_max_ns: self.time_range.1,
            rows: self.rows,
            series: traces.len() as u64,
            services: (self.services.len() <= SERVICES_MAX).then_some(self.services),
            ..PartEntry::default()
        };
        entry.seal(&self.dir)?;
        Ok(entry)
    }
}

fn encode_resources(resources: &BTreeMap<i64, Arc<Resource>>, part: &str) -> RecordBatch {
    let constant = |text: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, resources.len())))
    };
    let mut maps = AttributeMaps::new();
    resources.values().for_each(|resource| maps.push(resource.attributes.iter()));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(resources.keys().copied()));
    let columns: Vec<ArrayRef> = [constant(TENANT), constant(part), ids].into_iter().chain(maps.finish()).collect();
    RecordBatch::try_new(schema::resources(), columns).expect("columns are built in the order and types of the schema")
}

fn base_properties() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a zstd level")))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("weir".to_owned())
}

fn span_properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name.to_owned());
    let mut properties = base_properties();
    for id in [schema::TRACE_ID, schema::SPAN_ID, schema::PARENT_SPAN_ID] {
        properties = properties
            .set_column_dictionary_enabled(path(id), false)
            .set_column_statistics_enabled(path(id), EnabledStatistics::None);
    }
    for number in [schema::START, schema::DURATION_NS] {
        properties = properties
            .set_column_dictionary_enabled(path(number), false)
            .set_column_statistics_enabled(path(number), EnabledStatistics::Page);
    }
    properties = properties.set_column_encoding(path(schema::START), Encoding::DELTA_BINARY_PACKED);
    let pruned = [schema::SERVICE_NAME, schema::NAME, schema::KIND, schema::STATUS, schema::IS_ENTRY];
    let http = SPAN_COLUMNS.iter().map(|column| column.column).filter(|column| column.starts_with("http_"));
    for name in pruned.into_iter().chain(http) {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::Page);
    }
    properties.build()
}

fn trace_properties() -> WriterProperties {
    let id = ColumnPath::from(schema::TRACE_ID);
    base_properties()
        .set_column_dictionary_enabled(id.clone(), false)
        .set_column_statistics_enabled(id, EnabledStatistics::Page)
        .build()
}

fn table_writer(
    path: &Path,
    schema: arrow::datatypes::SchemaRef,
    properties: WriterProperties,
) -> Result<ArrowWriter<File>, StoreError> {
    let file = File::create(path).map_err(|error| StoreError::io(path, error))?;
    ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| StoreError::parquet(path, error))
}

/// Ends a table and syncs it.
fn close_table(table: ArrowWriter<File>, path: &Path) -> Result<(), StoreError> {
    let file = table.into_inner().map_err(|error| StoreError::parquet(path, error))?;
    file.sync_all().map_err(|error| StoreError::io(path, error))
}
