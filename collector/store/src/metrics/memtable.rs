//! Metric points that are durable in the log but not yet in a part.
//!
//! One thread inserts, any number read. A series keeps its points in order of arrival with a note whether that is
//! also order of time; repeats and late points are settled when it is read. Points of additive series are added up
//! at once, since many agents send the same (series, slot). A frozen memtable gets no more points, which is a
//! promise of its owner (the writer), not a state here.
//!
//! ```text
//! fingerprint ─▶ sid ─▶ HeadSeries { numbers: times │ values │ starts, histograms, exemplars }
//! layers: [0..n0) [n0..n1) …  one SeriesIndex each, rebuilt geometrically, so that a new series costs no full rebuild
//! ```
//! Readers hold the lock for [`LOCK_SERIES`] series at a time, so an insert waits microseconds.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roaring::RoaringBitmap;
use weir_proto::{Fingerprint, HistogramColumns, MetricBatch, SeriesIdentity};

use super::chunk::{Exemplar, HistogramChunk, HistogramPoint, NumberChunk, Starts};
use super::index::SeriesIndex;
use super::merge::{Additive, Column, ColumnBuilder};
use super::registry::SeriesRegistry;

/// Series read per hold of the lock.
const LOCK_SERIES: usize = 256;
/// Exemplars kept per series until the next flush; the newest win.
const SERIES_EXEMPLARS_MAX: usize = 64;
/// Estimated bytes of a series before its first point: identity, labels, map and index entries.
const SERIES_BYTES: u64 = 700;

/// The metrics memtable. See the module.
#[derive(Debug)]
pub(crate) struct MetricMemtable {
    registry: Arc<SeriesRegistry>,
    head: RwLock<Head>,
}

#[derive(Debug)]
struct Head {
    series: Vec<HeadSeries>,
    sids: HashMap<Fingerprint, u32, RandomState>,
    layers: Vec<Arc<Layer>>,
    time_range: Option<(i64, i64)>,
    bytes: u64,
    arrivals: Arrivals,
}

/// The index over a run of sids.
#[derive(Debug)]
pub(crate) struct Layer {
    sids: std::ops::Range<u32>,
    pub(crate) index: Arc<SeriesIndex>,
}

/// What came, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    /// Points taken.
    pub(crate) points: u64,
    /// Points older than the newest one of their series.
    pub(crate) late: u64,
    /// Points that replaced one of the same series and time.
    pub(crate) repeated: u64,
}

#[derive(Debug)]
struct HeadSeries {
    identity: Arc<SeriesIdentity>,
    additive: bool,
    numbers: HeadColumn<f64>,
    histograms: Option<Box<HeadColumn<HistogramPoint>>>,
    exemplars: Vec<Exemplar>,
}

/// Points in order of arrival.
#[derive(Debug)]
struct HeadColumn<V> {
    times: Vec<i64>,
    values: Vec<V>,
    starts: HeadStarts,
    sorted: bool,
}

/// Start times: one for all until they differ.
#[derive(Debug)]
enum HeadStarts {
    All(i64),
    Each(Vec<i64>),
}

impl MetricMemtable {
    pub(crate) fn new(registry: Arc<SeriesRegistry>) -> Self {
        Self {
            registry,
            head: RwLock::new(Head {
                series: Vec::new(),
                sids: HashMap::default(),
                layers: Vec::new(),
                time_range: None,
                bytes: 0,
                arrivals: Arrivals::default(),
            }),
        }
    }

    /// Takes all points of a batch. Rows that point outside of the batch's dictionaries are a reader's defect and
    /// are left out.
    pub(crate) fn insert(&self, batch: &MetricBatch) -> Arrivals {
        let mut head = self.write();
        let before = head.arrivals;
        let sids: Vec<u32> = batch.series.iter().map(|identity| head.sid(identity)).collect();
        head.insert_numbers(batch, &sids);
        head.insert_histograms(&batch.histograms, &sids);
        head.insert_exemplars(batch, &sids);
        let after = head.arrivals;
        Arrivals {
            points: after.points - before.points,
            late: after.late - before.late,
            repeated: after.repeated - before.repeated,
        }
    }

    /// Bytes held, estimated.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.read().bytes
    }

    /// How many series.
    #[must_use]
    pub(crate) fn series_count(&self) -> usize {
        self.read().series.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.read().series.is_empty()
    }

    /// First and last time of all points, exemplars included.
    #[must_use]
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        self.read().time_range
    }

    /// The indices over all series of now, each over its own run of sids.
    pub(crate) fn layers(&self) -> Vec<Arc<Layer>> {
        {
            let head = self.read();
            if head.layers.last().map_or(0, |layer| layer.sids.end) as usize == head.series.len() {
                return head.layers.clone();
            }
        }
        self.write().cover_all_series(&self.registry)
    }

    /// Number points of `sids` with `from <= time <= to`, ordered by (sid, time).
    pub(crate) fn numbers(
        self: &Arc<Self>,
        sids: &RoaringBitmap,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = NumberChunk> + Send + use<> {
        let mut last_times: Option<Arc<[i64]>> = None;
        self.in_holds(sids, move |series, sid, out| {
            let column = series.numbers.between(from, to, series.additive);
            if column.is_empty() {
                return;
            }
            let times = match &last_times {
                Some(times) if times.as_ref() == column.times => Arc::clone(times),
                _ => column.times.as_slice().into(),
            };
            last_times = Some(Arc::clone(&times));
            let starts = Starts::from_each(&times, &column.starts);
            out.push(NumberChunk { sid, starts, times, values: column.values });
        })
    }

    /// Histogram points of `sids` with `from <= time <= to`, ordered by (sid, time).
    pub(crate) fn histograms(
        self: &Arc<Self>,
        sids: &RoaringBitmap,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = HistogramChunk> + Send + use<> {
        self.in_holds(sids, move |series, sid, out| {
            let Some(histograms) = &series.histograms else { return };
            let column = histograms.between(from, to, series.additive);
            if column.is_empty() {
                return;
            }
            let starts = Starts::from_each(&column.times, &column.starts);
            out.push(HistogramChunk { sid, starts, times: column.times.into(), points: column.values });
        })
    }

    /// Exemplars of `sids` with `from <= time <= to`.
    pub(crate) fn exemplars(
        self: &Arc<Self>,
        sids: &RoaringBitmap,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = Exemplar> + Send + use<> {
        self.in_holds(sids, move |series, _, out| {
            out.extend(series.exemplars.iter().filter(|found| (from..=to).contains(&found.time_ns)).cloned());
        })
    }

    /// Everything of one series; empty columns past the last.
    pub(crate) fn series(&self, sid: u32) -> Option<SeriesPoints> {
        let head = self.read();
        let series = head.series.get(sid as usize)?;
        let all = (i64::MIN, i64::MAX);
        Some(SeriesPoints {
            identity: Arc::clone(&series.identity),
            numbers: series.numbers.between(all.0, all.1, series.additive),
            histograms: series
                .histograms
                .as_ref()
                .map_or_else(Column::default, |column| column.between(all.0, all.1, series.additive)),
            exemplars: series.exemplars.clone(),
        })
    }

    /// The sids in the order of [`SeriesOrder`](super::order::compare): by metric, then labels.
    pub(crate) fn sorted_sids(&self) -> Vec<u32> {
        let head = self.read();
        let mut sids: Vec<u32> = (0..).take(head.series.len()).collect();
        sids.sort_unstable_by(|&a, &b| {
            super::order::compare(&head.series[a as usize].identity, &head.series[b as usize].identity)
        });
        sids
    }

    /// Walks `sids`, reading [`LOCK_SERIES`] of them per hold of the lock.
    fn in_holds<T, R>(self: &Arc<Self>, sids: &RoaringBitmap, mut read: R) -> impl Iterator<Item = T> + Send + use<T, R>
    where
        T: Send,
        R: FnMut(&HeadSeries, u32, &mut Vec<T>) + Send,
    {
        let memtable = Arc::clone(self);
        let mut rest = sids.clone().into_iter();
        std::iter::from_fn(move || {
            let first = rest.next()?;
            let mut found = Vec::new();
            let head = memtable.read();
            for sid in std::iter::once(first).chain(rest.by_ref().take(LOCK_SERIES - 1)) {
                if let Some(series) = head.series.get(sid as usize) {
                    read(series, sid, &mut found);
                }
            }
            Some(found)
        })
        .flatten()
    }

    // A panic under this lock would be a defect of ours in pure code; the columns stay usable for readers, so a
    // poisoned lock is taken as it is.
    fn read(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All points of one series.
#[derive(Clone, Debug)]
pub(crate) struct SeriesPoints {
    pub(crate) identity: Arc<SeriesIdentity>,
    pub(crate) numbers: Column<f64>,
    pub(crate) histograms: Column<HistogramPoint>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl Head {
    fn sid(&mut self, identity: &Arc<SeriesIdentity>) -> u32 {
        if let Some(&sid) = self.sids.get(&identity.fingerprint) {
            return sid;
        }
        let sid = u32::try_from(self.series.len()).expect("the byte bound is met long before four billion series");
        self.series.push(HeadSeries {
            identity: Arc::clone(identity),
            additive: identity.is_additive(),
            numbers: HeadColumn::default(),
            histograms: None,
            exemplars: Vec::new(),
        });
        self.sids.insert(identity.fingerprint, sid);
        self.bytes += SERIES_BYTES;
        sid
    }

    fn insert_numbers(&mut self, batch: &MetricBatch, sids: &[u32]) {
        let rows = &batch.numbers;
        for (at, &series) in rows.series.iter().enumerate() {
            let Some(&sid) = sids.get(series as usize) else { continue };
            let head = &mut self.series[sid as usize];
            let (time, start) = (rows.time_ns[at], rows.start_ns[at]);
            let additive = head.additive;
            let placed = head.numbers.push(time, start, rows.value[at], additive);
            self.note(time, placed, head_bytes::<f64>());
        }
    }

    fn insert_histograms(&mut self, rows: &HistogramColumns, sids: &[u32]) {
        for (at, &series) in rows.series.iter().enumerate() {
            let Some(&sid) = sids.get(series as usize) else { continue };
            let Some(layout) = rows.layouts.get(rows.layout[at] as usize) else { continue };
            let counts = &rows.counts[rows.counts_offsets[at] as usize..rows.counts_offsets[at + 1] as usize];
            let point = HistogramPoint {
                count: rows.count[at],
                sum: rows.sum[at],
                min: rows.min[at],
                max: rows.max[at],
                zero_count: rows.zero_count[at],
                layout: layout.clone(),
                counts: counts.into(),
                marks: rows.marks_of(at),
            }
            .trimmed();
            let bytes = head_bytes::<HistogramPoint>() + 8 * point.counts.len() as u64;
            let head = &mut self.series[sid as usize];
            let (time, start) = (rows.time_ns[at], rows.start_ns[at]);
            let additive = head.additive;
            let column = head.histograms.get_or_insert_default();
            let point = column.marked(time, point);
            let placed = column.push(time, start, point, additive);
            self.note(time, placed, bytes);
        }
    }

    fn insert_exemplars(&mut self, batch: &MetricBatch, sids: &[u32]) {
        let rows = &batch.exemplars;
        for (at, &series) in rows.series.iter().enumerate() {
            let Some(&sid) = sids.get(series as usize) else { continue };
            let range = rows.attribute_offsets[at] as usize..rows.attribute_offsets[at + 1] as usize;
            let exemplar = Exemplar {
                sid,
                time_ns: rows.time_ns[at],
                value: rows.value[at],
                trace_id: rows.trace_id[at],
                span_id: rows.span_id[at],
                attributes: rows.attributes[range].to_vec(),
            };
            let kept = &mut self.series[sid as usize].exemplars;
            if kept.contains(&exemplar) {
                continue;
            }
            if kept.len() == SERIES_EXEMPLARS_MAX {
                kept.remove(0);
            } else {
                self.bytes += size_of::<Exemplar>() as u64 + 64 * exemplar.attributes.len() as u64;
            }
            let time = exemplar.time_ns;
            kept.push(exemplar);
            self.widen(time);
        }
    }

    fn note(&mut self, time: i64, placed: Placed, bytes: u64) {
        self.arrivals.points += 1;
        match placed {
            Placed::Last => self.bytes += bytes,
            Placed::Late => {
                self.arrivals.late += 1;
                self.bytes += bytes;
            }
            Placed::Over => self.arrivals.repeated += 1,
            Placed::Added => {}
        }
        self.widen(time);
    }

    fn widen(&mut self, time: i64) {
        let range = self.time_range.get_or_insert((time, time));
        *range = (range.0.min(time), range.1.max(time));
    }

    /// Indexes the series that no layer covers yet, together with the last layers that are not much larger.
    fn cover_all_series(&mut self, registry: &SeriesRegistry) -> Vec<Arc<Layer>> {
        let end = u32::try_from(self.series.len()).expect("sids are u32");
        let mut first = self.layers.last().map_or(0, |layer| layer.sids.end);
        while let Some(last) = self.layers.last()
            && first < end
            && last.sids.len() <= 2 * (end - first) as usize
        {
            first = last.sids.start;
            self.layers.pop();
        }
        if first < end {
            let covered: Vec<_> =
                self.series[first as usize..].iter().map(|series| Arc::clone(&series.identity)).collect();
            let index = Arc::new(SeriesIndex::build(first, registry.intern(&covered)));
            self.layers.push(Arc::new(Layer { sids: first..end, index }));
        }
        self.layers.clone()
    }
}

/// Bytes of a point and its share of spare capacity.
fn head_bytes<V>() -> u64 {
    (16 + size_of::<V>() + size_of::<V>() / 2) as u64
}

/// Where a point went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// After all others.
    Last,
    /// Before a newer one.
    Late,
    /// Over one of the same time.
    Over,
    /// Onto one of the same time.
    Added,
}

impl<V> Default for HeadColumn<V> {
    fn default() -> Self {
        Self { times: Vec::new(), values: Vec::new(), starts: HeadStarts::All(0), sorted: true }
    }
}

impl HeadColumn<HistogramPoint> {
    /// `point` with a note whether it goes on from the one before it. A point that is older than another has none:
    /// who reads compares.
    fn marked(&self, time: i64, point: HistogramPoint) -> HistogramPoint {
        let before = self.values.last().filter(|_| self.sorted && self.times.last().is_some_and(|&last| last < time));
        let goes_on = before.is_some_and(|before| point.goes_on_from(before));
        HistogramPoint { marks: point.marks.with_goes_on(goes_on), ..point }
    }
}

impl<V: Additive> HeadColumn<V> {
    fn push(&mut self, time: i64, start: i64, value: V, additive: bool) -> Placed {
        if self.times.last().is_none_or(|&last| last < time) {
            self.append(time, start, value);
            return Placed::Last;
        }
        if additive {
            return self.add(time, start, value);
        }
        if self.sorted && self.times.last() == Some(&time) {
            let at = self.times.len() - 1;
            self.starts.set(at, self.times.len(), start);
            self.values[at] = value;
            return Placed::Over;
        }
        self.sorted = false;
        self.append(time, start, value);
        Placed::Late
    }

    fn append(&mut self, time: i64, start: i64, value: V) {
        self.starts.push(self.times.len(), start);
        self.times.push(time);
        self.values.push(value);
    }

    /// Additive columns are always sorted: a point is added up where it belongs.
    fn add(&mut self, time: i64, start: i64, value: V) -> Placed {
        match self.times.binary_search(&time) {
            Ok(at) => {
                self.values[at].add(&value);
                let earlier = self.starts.at(at).min(start);
                self.starts.set(at, self.times.len(), earlier);
                Placed::Added
            }
            Err(at) => {
                self.starts.insert(at, self.times.len(), start);
                self.times.insert(at, time);
                self.values.insert(at, value);
                Placed::Late
            }
        }
    }

    /// Points with `from <= time <= to`, sorted, repeats settled.
    fn between(&self, from: i64, to: i64, additive: bool) -> Column<V> {
        if self.sorted {
            let rows = self.times.partition_point(|&time| time < from)..self.times.partition_point(|&time| time <= to);
            return Column {
                times: self.times[rows.clone()].to_vec(),
                starts: rows.clone().map(|at| self.starts.at(at)).collect(),
                values: self.values[rows].to_vec(),
            };
        }
        let mut rows = ColumnBuilder::default();
        for (at, &time) in self.times.iter().enumerate() {
            if (from..=to).contains(&time) {
                rows.push(time, self.starts.at(at), self.values[at].clone());
            }
        }
        rows.finish(additive).0
    }
}

impl HeadStarts {
    fn at(&self, at: usize) -> i64 {
        match self {
            Self::All(start) => *start,
            Self::Each(starts) => starts[at],
        }
    }

    /// Adds the start of point number `len`.
    fn push(&mut self, len: usize, start: i64) {
        self.insert(len, len, start);
    }

    /// Puts a start before point `at` of `len`.
    fn insert(&mut self, at: usize, len: usize, start: i64) {
        match self {
            Self::All(all) if len == 0 => *all = start,
            Self::All(all) if *all == start => {}
            Self::All(_) => self.each(len).insert(at, start),
            Self::Each(starts) => starts.insert(at, start),
        }
    }

    /// Changes the start of point `at` of `len`.
    fn set(&mut self, at: usize, len: usize, start: i64) {
        if self.at(at) != start {
            self.each(len)[at] = start;
        }
    }

    fn each(&mut self, len: usize) -> &mut Vec<i64> {
        if let Self::All(all) = *self {
            *self = Self::Each(vec![all; len]);
        }
        match self {
            Self::Each(starts) => starts,
            Self::All(_) => unreachable!("made Each above"),
        }
    }
}
