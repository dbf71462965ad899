//! Reads the outputs of a look-up, a group at a time: chunks of all partitions ─▶ points ─▶ rows ─▶ one batch.
//!
//! A group is some hundred outputs, so that memory stays that of the groups in work and the engine can begin before
//! the last series is read; its threads read groups side by side. Groups without histograms go through `columns`. Within a partition the chunks of a group lie side by side, since parts are sorted by labels.
//! The bounds of explicit histograms are in their points, and the table of series must be known before the first
//! batch: such groups are read at selection, and kept when they are small, else read again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use weir_promql::labels::Labels;
use weir_promql::source::{BatchReader, Budget, ReadBatch, SourceError};
use weir_proto::HistogramLayout;
use weir_store::{HistogramChunk, NumberChunk, Partition, Snapshot};

use super::batch::BatchBuilder;
use super::buckets::{bound_text, classic_bounds};
use super::columns;
use super::lookup::{Member, Output, View};
use super::matcher::{BOUND, Compiled};
use super::rows::{Point, Reading, Sampled};

/// Outputs of one batch that read histograms: a row of a native histogram takes about a kilobyte.
const GROUP_HISTOGRAMS: usize = 16;
/// Samples of one batch of numbers, about: two megabytes, which a core still holds near itself, and a last batch that
/// keeps one thread from its rest for a millisecond only.
const GROUP_SAMPLES: i64 = 128 << 10;
/// The usual distance of two samples, for that guess.
const INTERVAL_MS: i64 = 15_000;
/// The fewest outputs of a batch: neighbours share pages.
const GROUP_NUMBERS_MIN: i64 = 32;
/// The most.
const GROUP_NUMBERS_MAX: i64 = 512;
/// Points of explicit histograms that are kept from selection to reading: some 50 MB.
const KEPT_POINTS_MAX: usize = 200_000;
/// What a histogram point takes beside its counts.
const HISTOGRAM_POINT_BYTES: u64 = 160;
/// What a number point takes while it is merged, and as a row.
const NUMBER_POINT_BYTES: u64 = 80;

/// Times of interest and how to read them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// First ms.
    pub(crate) start_ms: i64,
    /// Last ms.
    pub(crate) end_ms: i64,
    /// See [`Reading::spacing_ms`].
    pub(crate) spacing_ms: i64,
    /// Buckets of native histograms are not needed.
    pub(crate) stats_only: bool,
}

/// All outputs of a selection with their ids.
pub(crate) struct Plan {
    /// Held so that parts stay readable.
    snapshot: Arc<Snapshot>,
    outputs: Vec<Output>,
    /// Bounds of each output that is buckets; only those whose `le` is asked for.
    bounds: Vec<Arc<[f64]>>,
    /// Ids of each output: one, or one per bound.
    ids: Vec<Range<u32>>,
    /// Outputs that are read together.
    groups: Vec<Range<usize>>,
    window: Window,
    /// Groups that had to be read for their bounds. The mutex guards a look-up.
    kept: Mutex<HashMap<usize, Gathered>>,
}

/// The chunks of a group.
#[derive(Default)]
pub(crate) struct Gathered {
    outputs: Vec<Chunks>,
    points: usize,
    bytes: u64,
}

/// The chunks of one output, in commit order.
#[derive(Default)]
struct Chunks {
    numbers: Vec<(Member, Arc<NumberChunk>)>,
    histograms: Vec<(Member, Arc<HistogramChunk>)>,
}

impl Plan {
    /// Finds the bounds of classic buckets and numbers all series. The labels of the table come with it.
    pub(crate) fn build(
        snapshot: Arc<Snapshot>,
        outputs: Vec<Output>,
        window: Window,
        matchers: &[Compiled],
        budget: &Budget,
    ) -> Result<(Self, Vec<Labels>), SourceError> {
        let mut plan = Self {
            snapshot,
            bounds: vec![Arc::from([]); outputs.len()],
            ids: Vec::with_capacity(outputs.len()),
            groups: grouped(&outputs, &window),
            window,
            kept: Mutex::default(),
            outputs,
        };
        plan.find_bounds(matchers, budget)?;
        let mut labels = Vec::with_capacity(plan.outputs.len());
        for (output, bounds) in plan.outputs.iter().zip(&plan.bounds) {
            let first = next_id(&labels)?;
            if output.buckets {
                labels.extend(bounds.iter().map(|&bound| with_bound(&output.labels, bound)));
            } else {
                labels.push(output.labels.clone());
            }
            plan.ids.push(first..next_id(&labels)?);
        }
        budget.admit_series(labels.len() as u64)?;
        Ok((plan, labels))
    }

    fn find_bounds(&mut self, matchers: &[Compiled], budget: &Budget) -> Result<(), SourceError> {
        let wanted: Vec<&Compiled> = matchers.iter().filter(|matcher| matcher.name.as_ref() == BOUND).collect();
        let wanted = |bound: &f64| wanted.iter().all(|matcher| matcher.accepts(&bound_text(*bound)));
        let mut kept_points = 0;
        for group in 0..self.groups() {
            let range = self.group(group);
            let explicit = self.outputs[range.clone()].iter().any(|output| output.buckets && output.explicit);
            let gathered = if explicit { Some(self.gather(&range.clone().collect::<Vec<_>>(), budget)?) } else { None };
            for (at, output) in range.clone().zip(&self.outputs[range.clone()]) {
                if !output.buckets {
                    continue;
                }
                let mut bounds: BTreeSet<Bound> = BTreeSet::new();
                if let (Some(gathered), true) = (&gathered, output.explicit) {
                    gathered.outputs[at - range.start].add_bounds(&mut bounds);
                }
                if output.exponential {
                    bounds.extend(classic_bounds(&output.unit).iter().map(|&bound| Bound(bound)));
                }
                self.bounds[at] = bounds.into_iter().map(|bound| bound.0).filter(wanted).collect();
            }
            if let Some(gathered) = gathered {
                kept_points += gathered.points;
                if kept_points <= KEPT_POINTS_MAX {
                    lock(&self.kept).insert(group, gathered);
                } else {
                    budget.release(gathered.bytes);
                }
            }
        }
        Ok(())
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The outputs of a group.
    pub(crate) fn group(&self, group: usize) -> Range<usize> {
        self.groups[group].clone()
    }

    /// How the points of an output become rows.
    pub(crate) fn reading(&self, additive: bool) -> Reading {
        self.window.reading(additive)
    }

    /// The number points of each output of a group, as they were sent.
    pub(crate) fn numbers_of(&self, group: usize, budget: &Budget) -> Result<Vec<Vec<Point<f64>>>, SourceError> {
        let gathered = self.gather(&self.group(group).collect::<Vec<_>>(), budget)?;
        let points = gathered.number_points(&self.window).collect();
        budget.release(gathered.bytes);
        Ok(points)
    }

    /// The partitions that members name by their place.
    pub(crate) fn partitions(&self) -> &[Partition] {
        &self.snapshot.metrics
    }

    /// Some outputs.
    pub(crate) fn outputs(&self, outputs: Range<usize>) -> &[Output] {
        &self.outputs[outputs]
    }

    /// The id of an output, or of its first bucket.
    pub(crate) fn first_id(&self, output: usize) -> u32 {
        self.ids[output].start
    }

    /// The times of interest.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// Reads the chunks of some outputs from all partitions.
    pub(crate) fn gather(&self, outputs: &[usize], budget: &Budget) -> Result<Gathered, SourceError> {
        let mut gathered =
            Gathered { outputs: outputs.iter().map(|_| Chunks::default()).collect(), ..Gathered::default() };
        let mut wanted: Vec<Wanted> = (0..self.snapshot.metrics.len()).map(|_| Wanted::default()).collect();
        for (at, output) in outputs.iter().map(|&output| &self.outputs[output]).enumerate() {
            for member in &output.members {
                wanted[member.partition as usize].add(at, *member);
            }
        }
        let (from_ns, to_ns) = self.window.nanoseconds();
        for (partition, wanted) in self.snapshot.metrics.iter().zip(&wanted) {
            if !wanted.numbers.is_empty() {
                let chunks = partition.numbers(&wanted.numbers, from_ns, to_ns);
                chunks
                    .into_iter()
                    .try_for_each(|chunk| gathered.add_numbers(chunk.map_err(storage)?, wanted, budget))?;
            }
            if !wanted.histograms.is_empty() {
                let chunks = partition.histograms(&wanted.histograms, from_ns, to_ns);
                chunks
                    .into_iter()
                    .try_for_each(|chunk| gathered.add_histograms(chunk.map_err(storage)?, wanted, budget))?;
            }
        }
        Ok(gathered)
    }
}

/// What a group asks of one partition.
#[derive(Default)]
struct Wanted {
    numbers: RoaringBitmap,
    histograms: RoaringBitmap,
    outputs: HashMap<u32, Vec<(usize, Member)>>,
}

impl Wanted {
    fn add(&mut self, output: usize, member: Member) {
        if member.view == View::Number { &mut self.numbers } else { &mut self.histograms }.insert(member.sid);
        self.outputs.entry(member.sid).or_default().push((output, member));
    }

    fn of(&self, sid: u32) -> &[(usize, Member)] {
        self.outputs.get(&sid).map_or(&[], Vec::as_slice)
    }
}

impl Gathered {
    /// Bytes of the budget that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number points of each output, as they were sent.
    pub(crate) fn number_points(&self, window: &Window) -> impl Iterator<Item = Vec<Point<f64>>> {
        self.outputs.iter().map(|chunks| chunks.number_points(window))
    }

    fn add_numbers(&mut self, chunk: NumberChunk, wanted: &Wanted, budget: &Budget) -> Result<(), SourceError> {
        self.admit(chunk.values.len(), chunk.values.len() as u64 * NUMBER_POINT_BYTES, budget)?;
        let chunk = Arc::new(chunk);
        for &(at, member) in wanted.of(chunk.sid) {
            self.outputs[at].numbers.push((member, Arc::clone(&chunk)));
        }
        Ok(())
    }

    fn add_histograms(&mut self, chunk: HistogramChunk, wanted: &Wanted, budget: &Budget) -> Result<(), SourceError> {
        let counts: usize = chunk.points.iter().map(|point| point.counts.len()).sum();
        let bytes = chunk.points.len() as u64 * HISTOGRAM_POINT_BYTES + counts as u64 * 8;
        self.admit(chunk.points.len(), bytes, budget)?;
        let chunk = Arc::new(chunk);
        for &(at, member) in wanted.of(chunk.sid) {
            self.outputs[at].histograms.push((member, Arc::clone(&chunk)));
        }
        Ok(())
    }

    fn admit(&mut self, points: usize, bytes: u64, budget: &Budget) -> Result<(), SourceError> {
        if let Err(error) = budget.reserve(bytes) {
            budget.release(self.bytes);
            return Err(error);
        }
        self.points += points;
        self.bytes += bytes;
        Ok(())
    }
}

impl Window {
    /// First and last nanosecond.
    pub(crate) fn nanoseconds(&self) -> (i64, i64) {
        (self.start_ms.saturating_mul(1_000_000), self.end_ms.saturating_mul(1_000_000).saturating_add(999_999))
    }

    pub(crate) fn reading(&self, additive: bool) -> Reading {
        Reading { additive, start_ms: self.start_ms, end_ms: self.end_ms, spacing_ms: self.spacing_ms }
    }
}

impl Chunks {
    fn add_bounds(&self, bounds: &mut BTreeSet<Bound>) {
        let mut last: Option<&Arc<[f64]>> = None;
        for point in self.histograms.iter().flat_map(|chunk| &chunk.1.points) {
            if let HistogramLayout::Explicit { bounds: these } = &point.layout
                && last.is_none_or(|last| !Arc::ptr_eq(last, these))
            {
                bounds.extend(these.iter().map(|&bound| Bound(bound)));
                bounds.insert(Bound(f64::INFINITY));
                last = Some(these);
            }
        }
    }

    /// Points of the faces that are numbers.
    fn number_points(&self, window: &Window) -> Vec<Point<f64>> {
        let (from_ns, to_ns) = window.nanoseconds();
        let total: usize = self.numbers.iter().map(|chunk| chunk.1.values.len()).sum();
        let mut points = Vec::with_capacity(total);
        for (member, chunk) in &self.numbers {
            for (at, (&time_ns, &value)) in chunk.times.iter().zip(&chunk.values).enumerate() {
                if (from_ns..=to_ns).contains(&time_ns) {
                    points.push(member.point(time_ns, chunk.starts.at(&chunk.times, at), value));
                }
            }
        }
        for (member, chunk) in &self.histograms {
            if !matches!(member.view, View::Count | View::Sum) {
                continue;
            }
            for (at, (&time_ns, point)) in chunk.times.iter().zip(&chunk.points).enumerate() {
                let stale = point.sum.to_bits() == weir_proto::batch::STALE_NAN_BITS;
                let value = if member.view == View::Sum || stale { point.sum } else { point.count as f64 };
                let sent = !value.is_nan() || stale;
                if (from_ns..=to_ns).contains(&time_ns) && sent {
                    points.push(member.point(time_ns, chunk.starts.at(&chunk.times, at), value));
                }
            }
        }
        points
    }

    /// Points of the faces that are histograms.
    fn histogram_points(&self, window: &Window) -> Vec<Point<Sampled>> {
        let (from_ns, to_ns) = window.nanoseconds();
        let mut points = Vec::new();
        for (member, chunk) in &self.histograms {
            if !matches!(member.view, View::Native | View::Bucket) {
                continue;
            }
            let stats_only = window.stats_only && member.view == View::Native;
            for (at, (&time_ns, point)) in chunk.times.iter().zip(&chunk.points).enumerate() {
                if (from_ns..=to_ns).contains(&time_ns)
                    && let Some(value) = Sampled::of(point, stats_only)
                {
                    points.push(member.point(time_ns, chunk.starts.at(&chunk.times, at), value));
                }
            }
        }
        points
    }
}

impl Member {
    fn point<V>(&self, time_ns: i64, start_ns: i64, value: V) -> Point<V> {
        Point { time_ns, start_ns, stream: self.stream, rank: self.partition, delta: self.delta, value }
    }
}

/// A plan that is being read, and the budget that it takes from.
pub(crate) struct Opened {
    plan: Plan,
    budget: Arc<Budget>,
}

impl Opened {
    /// Begins to read `plan`.
    pub(crate) fn new(plan: Plan, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { plan, budget })
    }

    /// One reader per group.
    pub(crate) fn readers(self: Arc<Self>) -> impl Iterator<Item = BatchReader> + Send {
        (0..self.plan.groups()).map(move |group| {
            let this = Arc::clone(&self);
            Box::new(move || this.read(group)) as BatchReader
        })
    }

    fn read(&self, group: usize) -> Result<ReadBatch, SourceError> {
        self.budget.check()?;
        let outputs = self.plan.group(group);
        if self.plan.outputs[outputs.start].has_histograms() {
            self.read_histograms(group, outputs)
        } else {
            columns::read(&self.plan, outputs, &self.budget)
        }
    }

    fn read_histograms(&self, group: usize, outputs: Range<usize>) -> Result<ReadBatch, SourceError> {
        let kept = lock(&self.plan.kept).remove(&group);
        let gathered = match kept {
            Some(gathered) => gathered,
            None => self.plan.gather(&outputs.clone().collect::<Vec<_>>(), &self.budget)?,
        };
        let bytes = gathered.bytes;
        let built = self.build(outputs, gathered).and_then(|builder| {
            // The rows are there already, but only those of one group: the next one is not begun where they are too
            // many.
            let more = builder.histogram_bytes();
            self.budget.reserve(more)?;
            Ok(ReadBatch { batch: builder.finish(), reserved: bytes + more })
        });
        built.inspect_err(|_| self.budget.release(bytes))
    }

    fn build(&self, outputs: Range<usize>, gathered: Gathered) -> Result<BatchBuilder, SourceError> {
        let mut builder = BatchBuilder::default();
        for (at, chunks) in outputs.zip(gathered.outputs) {
            self.budget.check()?;
            let (output, window) = (&self.plan.outputs[at], &self.plan.window);
            let reading = window.reading(output.additive);
            let ids = self.plan.ids[at].clone();
            if output.buckets {
                builder.buckets(ids, &self.plan.bounds[at], chunks.histogram_points(window), reading);
            } else {
                builder.mixed(ids.start, chunks.number_points(window), chunks.histogram_points(window), reading);
            }
        }
        Ok(builder)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let kept: u64 = lock(&self.plan.kept).values().map(|gathered| gathered.bytes).sum();
        self.budget.release(kept);
    }
}

/// A bound that sorts; never NaN, which no reader lets in.
#[derive(Clone, Copy, Debug)]
struct Bound(f64);

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Neighbours that are read together: all with histograms, or all without.
fn grouped(outputs: &[Output], window: &Window) -> Vec<Range<usize>> {
    let samples = window.end_ms.saturating_sub(window.start_ms).max(0) / INTERVAL_MS + 1;
    let numbers = (GROUP_SAMPLES / samples).clamp(GROUP_NUMBERS_MIN, GROUP_NUMBERS_MAX);
    let numbers = usize::try_from(numbers).unwrap_or(1);
    let mut groups = Vec::new();
    let mut begin = 0;
    for at in 1..=outputs.len() {
        let full = if outputs[begin].has_histograms() { GROUP_HISTOGRAMS } else { numbers };
        let next = outputs.get(at).map(Output::has_histograms);
        if at - begin == full || next != Some(outputs[begin].has_histograms()) {
            groups.push(begin..at);
            begin = at;
        }
    }
    groups
}

fn with_bound(labels: &Labels, bound: f64) -> Labels {
    let mut pairs: Vec<_> = labels.iter().cloned().collect();
    pairs.push((BOUND.into(), bound_text(bound)));
    Labels::new(pairs)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next_id(labels: &[Labels]) -> Result<u32, SourceError> {
    u32::try_from(labels.len()).map_err(|_| SourceError::Limit("query selects more than 4 billion series".to_owned()))
}

pub(crate) fn storage(error: weir_store::StoreError) -> SourceError {
    SourceError::Storage(error.to_string())
}
