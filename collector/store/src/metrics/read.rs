//! Reads a metrics part.
//!
//! The first use checks the part's checksums, reads its series, the ends of its timelines and which rows belong to
//! which series; all that stays in memory until the cache lets go of it. A question then knows its rows without
//! looking: it reads the pages with those rows, and the timelines they name.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::UInt32Type;
use roaring::RoaringBitmap;
use weir_proto::schema::metrics as columns;

use super::array::Rows;
use super::chunk::{Exemplar, HistogramChunk, NumberChunk};
use super::cut::{Directory, HeadReader};
use super::file::{TableFile, ranges_of};
use super::index::SeriesIndex;
use super::pages::TablePages;
use super::registry::SeriesRegistry;
use super::rows::NumberRows;
use super::timelines::{TimelineLists, Timelines};
use super::{exemplars, histograms, samples, series_table};
use crate::error::StoreError;
use crate::part::Part;

const NS_PER_MS: i64 = 1_000_000;
/// Chunk rows read at once: at 240 samples each, 4 MB of values.
const READ_ROWS: usize = 2_048;
/// Timelines kept from one read to the next of the same question.
const KEPT_TIMELINES: usize = 4_096;

/// A metrics part and what is loaded of it.
#[derive(Debug)]
pub(crate) struct MetricPart {
    part: Arc<Part>,
    registry: Arc<SeriesRegistry>,
    /// Held while loading, so that two questions do not load twice.
    loaded: Mutex<Option<Arc<Loaded>>>,
    /// The registry's count of uses when this part was last asked for.
    last_use: AtomicU64,
}

/// What is in memory of a part.
#[derive(Debug)]
pub(crate) struct Loaded {
    part: Arc<Part>,
    pub(crate) index: Arc<SeriesIndex>,
    pub(super) timelines: Timelines,
    samples: ChunkTable,
    histograms: ChunkTable,
    exemplars: Option<TableFile>,
    registry: Arc<SeriesRegistry>,
    /// By which its pages are known to the cache.
    pages_id: u64,
}

#[derive(Debug)]
struct ChunkTable {
    file: Option<TableFile>,
    directory: Directory,
}

impl MetricPart {
    pub(crate) fn new(part: Arc<Part>, registry: Arc<SeriesRegistry>) -> Arc<Self> {
        Arc::new(Self { part, registry, loaded: Mutex::new(None), last_use: AtomicU64::new(0) })
    }

    pub(crate) fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Loads what is needed for every question; the part is reported when its bytes are wrong.
    pub(crate) fn load(&self) -> Result<Arc<Loaded>, StoreError> {
        self.last_use.store(self.registry.next_use(), Ordering::Relaxed);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        let fresh = Loaded::open(&self.part, &self.registry).inspect_err(|error| report(&self.part, error))?;
        Ok(Arc::clone(loaded.insert(Arc::new(fresh))))
    }

    /// Grows with every use of any part: the least was asked for longest ago.
    pub(crate) fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    /// Bytes that [`Self::unload`] would free, but for questions that are running.
    pub(crate) fn loaded_bytes(&self) -> u64 {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().map_or(0, |loaded| loaded.bytes())
    }

    /// Forgets what is loaded.
    pub(crate) fn unload(&self) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn report(part: &Part, error: &StoreError) {
    if matches!(error, StoreError::Corrupt { .. }) {
        part.report_corrupt(error);
    }
}

impl Loaded {
    fn open(part: &Arc<Part>, registry: &Arc<SeriesRegistry>) -> Result<Self, StoreError> {
        part.verify()?;
        let series = series_table::load(part.dir())?;
        let count = series.len();
        Ok(Self {
            part: Arc::clone(part),
            index: Arc::new(SeriesIndex::build(0, registry.intern(&series))),
            timelines: Timelines::open(part.dir())?,
            samples: ChunkTable::open(part.dir(), samples::TABLE, count)?,
            histograms: ChunkTable::open(part.dir(), histograms::TABLE, count)?,
            exemplars: TableFile::open(part.table(exemplars::TABLE))?,
            registry: Arc::clone(registry),
            pages_id: registry.pages().next_table(),
        })
    }

    fn bytes(&self) -> u64 {
        self.index.bytes() + self.timelines.bytes() + self.samples.directory.bytes() + self.histograms.directory.bytes()
    }

    /// Chunks of numbers of `sids` that may have points in `from <= time <= to`, ordered by (sid, time).
    pub(crate) fn numbers(self: &Arc<Self>, sids: &RoaringBitmap, from: i64, to: i64) -> ChunkReader<NumberChunk> {
        let rows = self.samples.rows(sids, from, to, &self.timelines);
        let table = Table { of: |loaded| &loaded.samples, columns: samples::read_columns(), decode: samples::decode };
        ChunkReader::new(self, table, rows)
    }

    /// The rows with numbers of `sids` that may have points in `from <= time <= to`, whole ms, unread.
    pub(crate) fn number_rows(
        self: &Arc<Self>,
        sids: &RoaringBitmap,
        from: i64,
        to: i64,
    ) -> Result<NumberRows, StoreError> {
        let directory = &self.samples.directory;
        let rows = sids.iter().flat_map(|sid| directory.rows(sid).map(move |(row, timeline)| (sid, row, timeline)));
        let rows = rows.filter(|&(_, _, timeline)| self.timelines.overlaps(timeline, from, to));
        let whole_ms = (from.div_euclid(NS_PER_MS), to.div_euclid(NS_PER_MS));
        NumberRows::new(self, rows, whole_ms).inspect_err(|error| self.report(error))
    }

    /// The pages of the samples table; none when the part has no numbers.
    pub(super) fn sample_pages(&self) -> Option<TablePages<'_>> {
        let table = self.samples.file.as_ref()?;
        Some(TablePages { table, cache: self.registry.pages(), id: self.pages_id })
    }

    /// How many points a row of the samples table has.
    pub(super) fn points_of_row(&self, row: usize) -> u32 {
        self.samples.directory.timeline(row).map_or(0, |timeline| self.timelines.count(timeline))
    }

    /// The error of bytes that no writer of ours made.
    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(self.part.dir(), what)
    }

    /// Notes that the part is corrupt, where the error says so.
    pub(super) fn report(&self, error: &StoreError) {
        report(&self.part, error);
    }

    /// Chunks of histograms, as [`Self::numbers`].
    pub(crate) fn histograms(
        self: &Arc<Self>,
        sids: &RoaringBitmap,
        from: i64,
        to: i64,
    ) -> ChunkReader<HistogramChunk> {
        let rows = self.histograms.rows(sids, from, to, &self.timelines);
        let table =
            Table { of: |loaded| &loaded.histograms, columns: histograms::read_columns(), decode: histograms::decode };
        ChunkReader::new(self, table, rows)
    }

    /// Exemplars of `sids` with `from <= time <= to`. The table is small and read whole.
    pub(crate) fn exemplars(&self, sids: &RoaringBitmap, from: i64, to: i64) -> Result<Vec<Exemplar>, StoreError> {
        let Some(table) = &self.exemplars else { return Ok(Vec::new()) };
        exemplars::read(table, |sid, time| sids.contains(sid) && (from..=to).contains(&time))
            .inspect_err(|error| report(&self.part, error))
    }
}

impl ChunkTable {
    fn open(dir: &Path, name: &str, series: usize) -> Result<Self, StoreError> {
        let path = dir.join(format!("{name}.parquet"));
        let Some(file) = TableFile::open(path.clone())? else {
            return Ok(Self { file: None, directory: Directory::default() });
        };
        let (mut sids, mut timelines) = (Vec::with_capacity(file.rows()), Vec::with_capacity(file.rows()));
        for batch in file.read(&[columns::SID, columns::TL], None)? {
            let batch = batch?;
            let rows = Rows { batch: &batch, path: &path };
            sids.extend_from_slice(rows.numbers::<UInt32Type>(columns::SID)?.values());
            timelines.extend_from_slice(rows.numbers::<UInt32Type>(columns::TL)?.values());
        }
        Ok(Self { directory: Directory::new(&sids, timelines, series, &path)?, file: Some(file) })
    }

    fn rows(&self, sids: &RoaringBitmap, from: i64, to: i64, timelines: &Timelines) -> Vec<usize> {
        let rows = sids.iter().flat_map(|sid| self.directory.rows(sid));
        rows.filter(|&(_, timeline)| timelines.overlaps(timeline, from, to)).map(|(row, _)| row).collect()
    }
}

/// How one of the two chunk tables is read.
struct Table<T> {
    of: fn(&Loaded) -> &ChunkTable,
    columns: Vec<&'static str>,
    decode: fn(Rows<'_>, &HeadReader<'_>, &TimelineLists) -> Result<Vec<T>, StoreError>,
}

/// Reads chunks, [`READ_ROWS`] rows at a time. Ends after the first error.
pub(crate) struct ChunkReader<T> {
    loaded: Arc<Loaded>,
    table: Table<T>,
    rows: std::vec::IntoIter<usize>,
    lists: TimelineLists,
    ready: std::vec::IntoIter<T>,
}

impl<T> ChunkReader<T> {
    fn new(loaded: &Arc<Loaded>, table: Table<T>, rows: Vec<usize>) -> Self {
        Self {
            loaded: Arc::clone(loaded),
            table,
            rows: rows.into_iter(),
            lists: TimelineLists::default(),
            ready: Vec::new().into_iter(),
        }
    }

    fn read(&mut self, rows: &[Range<usize>]) -> Result<Vec<T>, StoreError> {
        let loaded = Arc::clone(&self.loaded);
        let Some(file) = &(self.table.of)(&loaded).file else { return Ok(Vec::new()) };
        let mut chunks = Vec::new();
        for batch in file.read(&self.table.columns, Some(rows))? {
            chunks.extend(self.decode(&batch?, file.path())?);
        }
        Ok(chunks)
    }

    fn decode(&mut self, batch: &RecordBatch, path: &Path) -> Result<Vec<T>, StoreError> {
        let rows = Rows { batch, path };
        let head = HeadReader::new(rows)?;
        if self.lists.len() > KEPT_TIMELINES {
            self.lists.clear();
        }
        self.loaded.timelines.load(&head.timelines(), &mut self.lists)?;
        (self.table.decode)(rows, &head, &self.lists)
    }
}

impl<T> Iterator for ChunkReader<T> {
    type Item = Result<T, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.ready.next() {
                return Some(Ok(chunk));
            }
            let rows: Vec<usize> = self.rows.by_ref().take(READ_ROWS).collect();
            if rows.is_empty() {
                return None;
            }
            match self.read(&ranges_of(rows)) {
                Ok(chunks) => self.ready = chunks.into_iter(),
                Err(error) => {
                    report(&self.loaded.part, &error);
                    self.rows = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}
