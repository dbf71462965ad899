//! Makes parts: one per day from a memtable, one from several neighbours of a day.
//!
//! A merge walks its inputs series by series in their common order and holds the points of one series at a time.
//! Inputs come in commit order, and repeats are settled as every reader settles them, so the answer does not change.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::chunk::{Exemplar, HistogramChunk, NumberChunk};
use super::memtable::{MetricMemtable, SeriesPoints};
use super::merge::{Column, merge_histograms, merge_numbers};
use super::order;
use super::read::{ChunkReader, Loaded, MetricPart};
use super::write::{PartPlace, PartWriter};
use crate::error::StoreError;
use crate::part::{DAY_NS, PartEntry, day_name};

/// Writes what a memtable holds as one part per UTC day under the data directory `root`, each synced. The
/// commit to come gives them their order.
pub(crate) fn write_parts(
    root: &Path,
    memtable: &MetricMemtable,
    new_id: &mut dyn FnMut() -> String,
) -> Result<Vec<PartEntry>, StoreError> {
    let sids = memtable.sorted_sids();
    let mut entries = Vec::new();
    for day in days_of(memtable, &sids) {
        let place = PartPlace { root, day: &day_name(day), level: 0, id: new_id() };
        let mut writer = PartWriter::create(&place)?;
        for points in sids.iter().filter_map(|&sid| memtable.series(sid)) {
            writer.push(&points.between(day * DAY_NS, (day + 1).saturating_mul(DAY_NS)))?;
        }
        if let Some(entry) = writer.finish()? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The days with points. Mostly one, found without a look at any series.
fn days_of(memtable: &MetricMemtable, sids: &[u32]) -> BTreeSet<i64> {
    let Some((first, last)) = memtable.time_range() else { return BTreeSet::new() };
    let (first, last) = (first.div_euclid(DAY_NS), last.div_euclid(DAY_NS));
    if last - first <= 1 {
        return (first..=last).collect();
    }
    let mut days = BTreeSet::new();
    for points in sids.iter().filter_map(|&sid| memtable.series(sid)) {
        let exemplars = points.exemplars.iter().map(|exemplar| &exemplar.time_ns);
        let times = points.numbers.times.iter().chain(&points.histograms.times).chain(exemplars);
        days.extend(times.map(|time| time.div_euclid(DAY_NS)));
    }
    days
}

/// Makes one part of `inputs`, which are neighbours of one day in commit order.
pub(crate) fn merge_parts(
    root: &Path,
    inputs: &[Arc<MetricPart>],
    level: u8,
    id: String,
) -> Result<Option<PartEntry>, StoreError> {
    let Some(last) = inputs.last() else { return Ok(None) };
    let day = &last.part().entry().day;
    let mut cursors = inputs.iter().map(|input| Cursor::open(&input.load()?)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = PartWriter::create(&PartPlace { root, day, level, id })?;
    while let Some(points) = next_series(&mut cursors)? {
        writer.push(&points)?;
    }
    let order = inputs.iter().map(|input| input.part().entry().order).max().unwrap_or(0);
    Ok(writer.finish()?.map(|entry| PartEntry { order, ..entry }))
}

/// All points of the first series that any cursor stands at.
fn next_series(cursors: &mut [Cursor]) -> Result<Option<SeriesPoints>, StoreError> {
    let heads = cursors.iter().filter_map(Cursor::identity);
    let Some(first) = heads.min_by(|a, b| order::compare(a, b)).map(Arc::clone) else { return Ok(None) };
    let (mut numbers, mut histograms, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    for cursor in cursors.iter_mut() {
        if cursor.identity().is_some_and(|identity| identity.fingerprint == first.fingerprint) {
            cursor.take(&mut numbers, &mut histograms, &mut exemplars)?;
        }
    }
    let additive = first.is_additive();
    Ok(Some(SeriesPoints {
        numbers: merge_numbers(&numbers, additive),
        histograms: merge_histograms(histograms, additive),
        exemplars: in_order(exemplars),
        identity: first,
    }))
}

/// Exemplars by time, each once.
fn in_order(mut exemplars: Vec<Exemplar>) -> Vec<Exemplar> {
    exemplars.sort_by_key(|exemplar| (exemplar.time_ns, exemplar.trace_id, exemplar.span_id));
    exemplars.dedup_by(|later, earlier| Exemplar { sid: earlier.sid, ..later.clone() } == *earlier);
    exemplars
}

/// Walks the series of one part.
struct Cursor {
    loaded: Arc<Loaded>,
    sid: u32,
    numbers: Peekable<ChunkReader<NumberChunk>>,
    histograms: Peekable<ChunkReader<HistogramChunk>>,
    exemplars: Peekable<std::vec::IntoIter<Exemplar>>,
}

impl Cursor {
    fn open(loaded: &Arc<Loaded>) -> Result<Self, StoreError> {
        let all: &RoaringBitmap = loaded.index.all();
        let (from, to) = (i64::MIN, i64::MAX);
        Ok(Self {
            sid: 0,
            numbers: loaded.numbers(all, from, to).peekable(),
            histograms: loaded.histograms(all, from, to).peekable(),
            exemplars: loaded.exemplars(all, from, to)?.into_iter().peekable(),
            loaded: Arc::clone(loaded),
        })
    }

    /// The series it stands at; none at the end.
    fn identity(&self) -> Option<&Arc<weir_proto::SeriesIdentity>> {
        ((self.sid as usize) < self.loaded.index.len()).then(|| self.loaded.index.identity(self.sid))
    }

    /// Moves the points of its series out and steps on.
    fn take(
        &mut self,
        numbers: &mut Vec<NumberChunk>,
        histograms: &mut Vec<HistogramChunk>,
        exemplars: &mut Vec<Exemplar>,
    ) -> Result<(), StoreError> {
        let sid = self.sid;
        while let Some(chunk) = self.numbers.next_if(|chunk| chunk.as_ref().map_or(true, |chunk| chunk.sid == sid)) {
            numbers.push(chunk?);
        }
        while let Some(chunk) = self.histograms.next_if(|chunk| chunk.as_ref().map_or(true, |chunk| chunk.sid == sid)) {
            histograms.push(chunk?);
        }
        while let Some(exemplar) = self.exemplars.next_if(|exemplar| exemplar.sid == sid) {
            exemplars.push(exemplar);
        }
        self.sid += 1;
        Ok(())
    }
}

impl SeriesPoints {
    /// Its points with `from <= time < to`.
    fn between(self, from: i64, to: i64) -> Self {
        Self {
            numbers: self.numbers.between(from, to),
            histograms: self.histograms.between(from, to),
            exemplars: in_order(
                self.exemplars.into_iter().filter(|found| (from..to).contains(&found.time_ns)).collect(),
            ),
            identity: self.identity,
        }
    }
}

impl<V: Clone> Column<V> {
    fn between(self, from: i64, to: i64) -> Self {
        let rows = self.rows_between(from, to);
        if rows.len() == self.len() {
            return self;
        }
        Self {
            times: self.times[rows.clone()].to_vec(),
            starts: self.starts[rows.clone()].to_vec(),
            values: self.values[rows].to_vec(),
        }
    }
}
