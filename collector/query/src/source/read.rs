//! Reads the outputs of a look-up, a group at a time: chunks of all partitions ─▶ points ─▶ rows ─▶ one batch.
//!
//! A group is some hundred outputs, so that memory stays that of a group and the engine can begin before the last
//! series is read. Within a partition the chunks of a group lie side by side, since parts are sorted by labels.
//! The bounds of explicit histograms are in their points, and the table of series must be known before the first
//! batch: such groups are read at selection, and kept when they are small, else read again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use weir_promql::labels::Labels;
use weir_promql::source::{Budget, SeriesBatch, SourceError};
use weir_proto::HistogramLayout;
use weir_store::{HistogramChunk, NumberChunk, Snapshot};

use super::batch::BatchBuilder;
use super::buckets::{bound_text, classic_bounds};
use super::lookup::{Member, Output, View};
use super::matcher::{BOUND, Compiled};
use super::rows::{Point, Reading, Sampled};

/// Weight of the outputs of one batch.
const GROUP_WEIGHT: usize = 256;
/// What an output that reads histograms weighs; one that reads numbers weighs 1. A row of a native histogram takes
/// about a kilobyte, a number 24 bytes, but a histogram has fewer rows.
const HISTOGRAM_WEIGHT: usize = 16;
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
    kept: HashMap<usize, Gathered>,
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
    numbers: Vec<(Member, NumberChunk)>,
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
            groups: grouped(&outputs),
            window,
            kept: HashMap::new(),
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
            let gathered = if explicit { Some(self.gather(range.clone(), budget)?) } else { None };
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
                    self.kept.insert(group, gathered);
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
        let gathered = self.gather(self.group(group), budget)?;
        let points = gathered.outputs.iter().map(|chunks| chunks.number_points(&self.window)).collect();
        budget.release(gathered.bytes);
        Ok(points)
    }

    /// Reads the chunks of some outputs from all partitions.
    fn gather(&self, outputs: Range<usize>, budget: &Budget) -> Result<Gathered, SourceError> {
        let mut gathered =
            Gathered { outputs: outputs.clone().map(|_| Chunks::default()).collect(), ..Gathered::default() };
        let mut wanted: Vec<Wanted> = (0..self.snapshot.metrics.len()).map(|_| Wanted::default()).collect();
        for (at, output) in self.outputs[outputs].iter().enumerate() {
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
                    .try_for_each(|chunk| gathered.add_numbers(&chunk.map_err(storage)?, wanted, budget))?;
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
    fn add_numbers(&mut self, chunk: &NumberChunk, wanted: &Wanted, budget: &Budget) -> Result<(), SourceError> {
        self.admit(chunk.values.len(), chunk.values.len() as u64 * NUMBER_POINT_BYTES, budget)?;
        for &(at, member) in wanted.of(chunk.sid) {
            self.outputs[at].numbers.push((member, chunk.clone()));
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
    /// Whether the numbers need neither merging nor summing: one identity, not delta, in time order.
    fn are_plain(&self) -> bool {
        let one = self.numbers.iter().all(|(member, _)| !member.delta && member.stream == self.numbers[0].0.stream);
        let ends_before = |a: &NumberChunk, b: &NumberChunk| match (a.times.last(), b.times.first()) {
            (Some(last), Some(first)) => last < first,
            _ => true,
        };
        one && self.numbers.is_sorted_by(|a, b| ends_before(&a.1, &b.1))
    }

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

/// The batches of a plan, group by group.
pub(crate) struct Batches {
    plan: Plan,
    budget: Arc<Budget>,
    next: usize,
    /// Reserved for the batch that was handed out last; given back when the next one is asked for.
    handed_out: u64,
    failed: bool,
}

impl Batches {
    /// Begins to read `plan`.
    pub(crate) fn new(plan: Plan, budget: Arc<Budget>) -> Self {
        Self { plan, budget, next: 0, handed_out: 0, failed: false }
    }

    fn read(&mut self, group: usize) -> Result<SeriesBatch, SourceError> {
        self.budget.check()?;
        let outputs = self.plan.group(group);
        let gathered = match self.plan.kept.remove(&group) {
            Some(gathered) => gathered,
            None => self.plan.gather(outputs.clone(), &self.budget)?,
        };
        self.handed_out = gathered.bytes;
        let mut builder = BatchBuilder::default();
        for (at, chunks) in outputs.zip(gathered.outputs) {
            self.budget.check()?;
            let (output, window) = (&self.plan.outputs[at], &self.plan.window);
            let reading = window.reading(output.additive);
            let ids = self.plan.ids[at].clone();
            if output.buckets {
                builder.buckets(ids, &self.plan.bounds[at], chunks.histogram_points(window), reading);
            } else if output.explicit || output.exponential {
                builder.mixed(ids.start, chunks.number_points(window), chunks.histogram_points(window), reading);
            } else if chunks.are_plain() {
                builder.plain(ids.start, chunks.numbers.iter().map(|chunk| &chunk.1), window.nanoseconds());
            } else {
                builder.numbers(ids.start, chunks.number_points(window), reading);
            }
        }
        // The rows are there already, but only those of one group: the next one is not begun where they are too many.
        let bytes = builder.histogram_bytes();
        self.budget.reserve(bytes)?;
        self.handed_out += bytes;
        Ok(builder.finish())
    }
}

impl Iterator for Batches {
    type Item = Result<SeriesBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.budget.release(std::mem::take(&mut self.handed_out));
        if self.failed || self.next >= self.plan.groups() {
            return None;
        }
        let group = self.next;
        self.next += 1;
        let batch = self.read(group);
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        let kept: u64 = self.plan.kept.values().map(|gathered| gathered.bytes).sum();
        self.budget.release(kept + self.handed_out);
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

/// Neighbours that are read together.
fn grouped(outputs: &[Output]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut begin, mut total) = (0, 0);
    for (at, output) in outputs.iter().enumerate() {
        total += if output.explicit || output.exponential { HISTOGRAM_WEIGHT } else { 1 };
        if total >= GROUP_WEIGHT {
            groups.push(begin..at + 1);
            (begin, total) = (at + 1, 0);
        }
    }
    if begin < outputs.len() {
        groups.push(begin..outputs.len());
    }
    groups
}

fn with_bound(labels: &Labels, bound: f64) -> Labels {
    let mut pairs: Vec<_> = labels.iter().cloned().collect();
    pairs.push((BOUND.into(), bound_text(bound)));
    Labels::new(pairs)
}

fn next_id(labels: &[Labels]) -> Result<u32, SourceError> {
    u32::try_from(labels.len()).map_err(|_| SourceError::Limit("query selects more than 4 billion series".to_owned()))
}

fn storage(error: weir_store::StoreError) -> SourceError {
    SourceError::Storage(error.to_string())
}
