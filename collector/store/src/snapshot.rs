//! A consistent view of everything stored: what is in memory and what is in parts, in commit order.
//!
//! A snapshot holds its parts' files alive. It is taken in nanoseconds and may be kept for a whole query; newer
//! points of the active memtable may appear in it, none disappears.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::error::StoreError;
use crate::metrics::memtable::{Layer, MetricMemtable};
use crate::metrics::read::{Loaded, MetricPart};
use crate::metrics::{Exemplar, HistogramChunk, NumberChunk, NumberRows, SeriesIndex};
use crate::part::Part;
use crate::traces::TracesView;

/// Chunks as they are read; an error ends the stream of one partition, not the query.
pub type Chunks<T> = Box<dyn Iterator<Item = Result<T, StoreError>> + Send>;

/// What is stored, as of one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Metrics in commit order: of two points of one series and time the one in the later partition wins, or they
    /// add up ([`SeriesIdentity::is_additive`](weir_proto::SeriesIdentity::is_additive)).
    pub metrics: Vec<Partition>,
    /// Spans.
    pub traces: TracesView,
}

/// A run of series with their points: a part, or the part of a memtable that one index covers. Sids mean something
/// only within their partition.
#[derive(Clone, Debug)]
pub struct Partition {
    source: Source,
    time_range: (i64, i64),
}

#[derive(Clone, Debug)]
enum Source {
    Memtable { memtable: Arc<MetricMemtable>, layer: Arc<Layer> },
    Part(Arc<MetricPart>),
}

impl Partition {
    /// The partitions of a memtable; none when it is empty.
    pub(crate) fn of_memtable(memtable: &Arc<MetricMemtable>) -> impl Iterator<Item = Self> {
        let time_range = memtable.time_range().unwrap_or((i64::MAX, i64::MIN));
        memtable
            .layers()
            .into_iter()
            .map(move |layer| Self { source: Source::Memtable { memtable: Arc::clone(memtable), layer }, time_range })
    }

    /// The partition of a part.
    pub(crate) fn of_part(part: &Arc<MetricPart>) -> Self {
        let entry = part.part().entry();
        Self { source: Source::Part(Arc::clone(part)), time_range: (entry.time_min_ns, entry.time_max_ns) }
    }

    /// Its part; none for memory.
    #[must_use]
    pub fn part(&self) -> Option<&Arc<Part>> {
        match &self.source {
            Source::Memtable { .. } => None,
            Source::Part(part) => Some(part.part()),
        }
    }

    /// First and last time of any point, ns.
    #[must_use]
    pub fn time_range(&self) -> (i64, i64) {
        self.time_range
    }

    /// Whether points with `from <= time <= to` may be in it.
    #[must_use]
    pub fn overlaps(&self, from_ns: i64, to_ns: i64) -> bool {
        self.time_range.0 <= to_ns && from_ns <= self.time_range.1
    }

    /// Its series. Loaded from disk at the first call.
    ///
    /// # Errors
    /// When the part cannot be read.
    pub fn series_index(&self) -> Result<Arc<SeriesIndex>, StoreError> {
        match &self.source {
            Source::Memtable { layer, .. } => Ok(Arc::clone(&layer.index)),
            Source::Part(part) => Ok(Arc::clone(&part.load()?.index)),
        }
    }

    /// Number points of `sids`, ordered by (sid, time). Chunks of a part are given whole, so points outside of
    /// `from <= time <= to` may be among them.
    #[must_use]
    pub fn numbers(&self, sids: &RoaringBitmap, from_ns: i64, to_ns: i64) -> Chunks<NumberChunk> {
        match &self.source {
            Source::Memtable { memtable, .. } => Box::new(memtable.numbers(sids, from_ns, to_ns).map(Ok)),
            Source::Part(part) => loaded(part, |part| Box::new(part.numbers(sids, from_ns, to_ns))),
        }
    }

    /// The rows of a part with number points of `sids` in `from <= time <= to`, cut to whole ms, for a reader that
    /// decodes them into columns of its own. None for memory, whose points are there already: see [`Self::numbers`].
    ///
    /// # Errors
    /// When the part cannot be read.
    pub fn number_rows(
        &self,
        sids: &RoaringBitmap,
        from_ns: i64,
        to_ns: i64,
    ) -> Result<Option<NumberRows>, StoreError> {
        match &self.source {
            Source::Memtable { .. } => Ok(None),
            Source::Part(part) => part.load()?.number_rows(sids, from_ns, to_ns).map(Some),
        }
    }

    /// Histogram points of `sids`, as [`Self::numbers`].
    #[must_use]
    pub fn histograms(&self, sids: &RoaringBitmap, from_ns: i64, to_ns: i64) -> Chunks<HistogramChunk> {
        match &self.source {
            Source::Memtable { memtable, .. } => Box::new(memtable.histograms(sids, from_ns, to_ns).map(Ok)),
            Source::Part(part) => loaded(part, |part| Box::new(part.histograms(sids, from_ns, to_ns))),
        }
    }

    /// Exemplars of `sids` with `from <= time <= to`.
    #[must_use]
    pub fn exemplars(&self, sids: &RoaringBitmap, from_ns: i64, to_ns: i64) -> Chunks<Exemplar> {
        match &self.source {
            Source::Memtable { memtable, .. } => Box::new(memtable.exemplars(sids, from_ns, to_ns).map(Ok)),
            Source::Part(part) => loaded(part, |part| match part.exemplars(sids, from_ns, to_ns) {
                Ok(found) => Box::new(found.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }),
        }
    }
}

/// Chunks of a part that may have to be loaded first.
fn loaded<T: Send + 'static>(part: &MetricPart, read: impl FnOnce(&Arc<Loaded>) -> Chunks<T>) -> Chunks<T> {
    match part.load() {
        Ok(part) => read(&part),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}
