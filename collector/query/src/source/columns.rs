//! Numbers of a group of outputs, decoded once, straight into the columns of a batch.
//!
//! ```text
//! outputs ─▶ rows of parts (unread), chunks of memtables ─▶ pieces of each output, in time order
//!             ├─ one identity, cumulative, no overlap: room is made, then each part's rows are decoded into it
//!             └─ the rest: points ─▶ rows (`rows`), which merge and add up
//! ```
//! Times are copied from the timelines that a part keeps decoded; values are written where they stay.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_promql::source::{Budget, ReadBatch, SeriesBatch, SourceError};
use weir_store::{NumberChunk, NumberRows, Partition, StoreError};

use super::lookup::{Output, View};
use super::read::{Plan, Window, storage};
use super::rows::{Row, rows_of};

const NS_PER_MS: i64 = 1_000_000;
/// What a sample takes in a batch: time and value.
const SAMPLE_BYTES: u64 = 16;
/// What its start time takes beside.
const START_BYTES: u64 = 8;
/// No output wants this row.
const UNWANTED: usize = usize::MAX;

/// Bytes of a budget that are given back when nobody takes them over.
struct Reserved<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Reserved<'_> {
    fn add(&mut self, bytes: u64) -> Result<(), SourceError> {
        self.budget.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    fn take(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// Some samples of one output in time order.
struct Piece {
    first_ms: i64,
    last_ms: i64,
    samples: usize,
    from: From,
}

/// Where a piece is.
#[derive(Clone, Copy)]
enum From {
    /// A row of a part.
    Row { part: usize, row: usize },
    /// A chunk of a memtable.
    Held(usize),
}

/// A chunk of a memtable, with its times as the batch shows them.
struct Held {
    times: Arc<[i64]>,
    points: Range<usize>,
    chunk: NumberChunk,
}

/// Times that series of one target share.
struct Converted {
    ns: Arc<[i64]>,
    ms: Arc<[i64]>,
}

/// What is known of a group before any value is read.
#[derive(Default)]
struct Pieces {
    parts: Vec<NumberRows>,
    held: Vec<Held>,
    /// By output of the group; none where its points have to be merged.
    outputs: Vec<Option<Vec<Piece>>>,
}

/// Reads the numbers of `outputs`, none of which has histograms.
pub(crate) fn read(plan: &Plan, outputs: Range<usize>, budget: &Budget) -> Result<ReadBatch, SourceError> {
    let pieces = Pieces::find(plan, outputs.clone(), budget)?;
    let merged = pieces.merge_rest(plan, outputs.clone(), budget)?;
    let mut reserved = Reserved { budget, bytes: 0 };
    let samples = |at: usize| match &pieces.outputs[at] {
        Some(pieces) => pieces.iter().map(|piece| piece.samples).sum::<usize>(),
        None => merged[at].len(),
    };
    let total: usize = (0..outputs.len()).map(samples).sum();
    reserved.add(total as u64 * SAMPLE_BYTES)?;
    let mut batch = Columns { t_ms: vec![0; total], value: vec![0.0; total], starts: Vec::new(), samples: total };
    let mut slots: Vec<Vec<usize>> = pieces.parts.iter().map(|part| vec![UNWANTED; part.as_slice().len()]).collect();
    let (mut ids, mut offsets, mut end) = (Vec::with_capacity(outputs.len()), vec![0], 0);
    for (at, output) in outputs.enumerate() {
        let begin = end;
        for piece in pieces.outputs[at].iter().flatten() {
            match piece.from {
                From::Row { part, row } => {
                    slots[part][row] = end;
                    let row = &pieces.parts[part].as_slice()[row];
                    batch.t_ms[end..end + piece.samples].copy_from_slice(&row.times.as_ms()[row.points.clone()]);
                }
                From::Held(held) => batch.write_held(end, &pieces.held[held], &mut reserved)?,
            }
            end += piece.samples;
        }
        for row in &merged[at] {
            batch.write_row(end, row, &mut reserved)?;
            end += 1;
        }
        if end > begin {
            ids.push(plan.first_id(output));
            offsets.push(u32::try_from(end).map_err(|_| too_many())?);
        }
    }
    for (part, slots) in pieces.parts.iter().zip(&slots) {
        budget.check()?;
        batch.decode(part, slots, &mut reserved)?;
    }
    let Columns { t_ms, value, starts, .. } = batch;
    let start_ms = (!starts.is_empty()).then_some(starts);
    let batch = SeriesBatch { ids, offsets, t_ms, value, start_ms, histograms: None };
    Ok(ReadBatch { batch, reserved: reserved.take() })
}

fn too_many() -> SourceError {
    SourceError::Limit("a group of series has more than 4 billion samples; ask for a shorter range".to_owned())
}

/// The columns of a batch while they are filled.
struct Columns {
    t_ms: Vec<i64>,
    value: Vec<f64>,
    /// Empty until a start time is known.
    starts: Vec<i64>,
    samples: usize,
}

impl Columns {
    fn write_row(&mut self, at: usize, row: &Row<f64>, reserved: &mut Reserved<'_>) -> Result<(), SourceError> {
        self.t_ms[at] = row.t_ms;
        self.value[at] = row.value;
        if row.start_ms != 0 {
            self.starts(reserved)?[at] = row.start_ms;
        }
        Ok(())
    }

    fn write_held(&mut self, at: usize, held: &Held, reserved: &mut Reserved<'_>) -> Result<(), SourceError> {
        let (chunk, points) = (&held.chunk, held.points.clone());
        let slot = at..at + points.len();
        self.t_ms[slot.clone()].copy_from_slice(&held.times[points.clone()]);
        self.value[slot.clone()].copy_from_slice(&chunk.values[points.clone()]);
        if chunk.starts != weir_store::Starts::Constant(0) {
            for (start, at) in self.starts(reserved)?[slot].iter_mut().zip(points) {
                *start = chunk.starts.at(&chunk.times, at).div_euclid(NS_PER_MS);
            }
        }
        Ok(())
    }

    /// Decodes the rows of a part that have a slot.
    fn decode(&mut self, part: &NumberRows, slots: &[usize], reserved: &mut Reserved<'_>) -> Result<(), SourceError> {
        let wanted: Vec<usize> = (0..slots.len()).filter(|&row| slots[row] != UNWANTED).collect();
        let mut refused = None;
        let read = part.read(&wanted, &mut |row, values| {
            let points = part.as_slice()[row].points.clone();
            let slot = slots[row]..slots[row] + points.len();
            let mut sound = values.write(points.clone(), &mut self.value[slot.clone()]);
            if values.has_starts() {
                match self.starts(reserved) {
                    Ok(starts) => sound &= values.write_starts(points, &mut starts[slot]),
                    Err(error) => refused = Some(error),
                }
            }
            match (sound, &refused) {
                (true, None) => Ok(()),
                (true, Some(_)) => Err(StoreError::Full("the query's memory".to_owned())),
                (false, _) => Err(part.bad_row()),
            }
        });
        match refused {
            Some(error) => Err(error),
            None => read.map_err(storage),
        }
    }

    fn starts(&mut self, reserved: &mut Reserved<'_>) -> Result<&mut [i64], SourceError> {
        if self.starts.is_empty() {
            reserved.add(self.samples as u64 * START_BYTES)?;
            self.starts = vec![0; self.samples];
        }
        Ok(&mut self.starts)
    }
}

impl Pieces {
    fn find(plan: &Plan, outputs: Range<usize>, budget: &Budget) -> Result<Self, SourceError> {
        let mut pieces = Self::default();
        let mut wanted: Vec<Vec<(u32, usize)>> = vec![Vec::new(); plan.partitions().len()];
        for (at, output) in plan.outputs(outputs).iter().enumerate() {
            pieces.outputs.push(is_cumulative(output).then(Vec::new));
            if is_cumulative(output) {
                output.members.iter().for_each(|member| wanted[member.partition as usize].push((member.sid, at)));
            }
        }
        for (partition, mut wanted) in plan.partitions().iter().zip(wanted) {
            if wanted.is_empty() {
                continue;
            }
            budget.check()?;
            wanted.sort_unstable();
            pieces.add(partition, &wanted, &plan.window())?;
        }
        for output in &mut pieces.outputs {
            let apart = output.as_mut().is_some_and(|pieces| {
                pieces.sort_by_key(|piece| piece.first_ms);
                pieces.is_sorted_by(|before, after| before.last_ms < after.first_ms)
            });
            if !apart {
                *output = None;
            }
        }
        Ok(pieces)
    }

    /// Adds what `partition` has of the (sid, output) in `wanted`, which are sorted.
    fn add(&mut self, partition: &Partition, wanted: &[(u32, usize)], window: &Window) -> Result<(), SourceError> {
        // Sorted, so that the bitmap only grows at its end.
        let sids: RoaringBitmap = wanted.iter().map(|one| one.0).collect();
        let (from_ns, to_ns) = window.nanoseconds();
        let mut of = OutputOf { wanted, at: 0 };
        if let Some(rows) = partition.number_rows(&sids, from_ns, to_ns).map_err(storage)? {
            for (row, found) in rows.as_slice().iter().enumerate() {
                let ms = &found.times.as_ms()[found.points.clone()];
                let from = From::Row { part: self.parts.len(), row };
                self.push(of.sid(found.sid), ms, found.times.is_ascending(), from);
            }
            self.parts.push(rows);
            return Ok(());
        }
        let mut last: Option<Converted> = None;
        for chunk in partition.numbers(&sids, from_ns, to_ns) {
            let chunk = chunk.map_err(storage)?;
            let times = match &last {
                Some(last) if Arc::ptr_eq(&last.ns, &chunk.times) => Arc::clone(&last.ms),
                _ => chunk.times.iter().map(|ns| ns.div_euclid(NS_PER_MS)).collect(),
            };
            last = Some(Converted { ns: Arc::clone(&chunk.times), ms: Arc::clone(&times) });
            let within =
                times.partition_point(|&ms| ms < window.start_ms)..times.partition_point(|&ms| ms <= window.end_ms);
            let ms = &times[within.clone()];
            let ascending = ms.is_sorted_by(|a, b| a < b);
            self.push(of.sid(chunk.sid), ms, ascending, From::Held(self.held.len()));
            self.held.push(Held { points: within, times, chunk });
        }
        Ok(())
    }

    fn push(&mut self, outputs: &[(u32, usize)], ms: &[i64], ascending: bool, from: From) {
        let (&[(_, output)], true) = (outputs, ascending) else {
            outputs.iter().for_each(|&(_, output)| self.outputs[output] = None);
            return;
        };
        if let (Some(pieces), Some(&first_ms), Some(&last_ms)) = (&mut self.outputs[output], ms.first(), ms.last()) {
            pieces.push(Piece { first_ms, last_ms, samples: ms.len(), from });
        }
    }

    /// The rows of the outputs that have no pieces, empty for the others.
    fn merge_rest(
        &self,
        plan: &Plan,
        outputs: Range<usize>,
        budget: &Budget,
    ) -> Result<Vec<Vec<Row<f64>>>, SourceError> {
        let mut merged = vec![Vec::new(); self.outputs.len()];
        let rest: Vec<usize> = (0..merged.len()).filter(|&at| self.outputs[at].is_none()).collect();
        if rest.is_empty() {
            return Ok(merged);
        }
        let all: Vec<usize> = rest.iter().map(|at| outputs.start + at).collect();
        let gathered = plan.gather(&all, budget)?;
        for (at, points) in rest.into_iter().zip(gathered.number_points(&plan.window())) {
            let additive = plan.outputs(outputs.clone())[at].additive;
            merged[at] = rows_of(points, plan.window().reading(additive));
        }
        budget.release(gathered.bytes());
        Ok(merged)
    }
}

/// Whether its samples are numbers of one sender that need no adding up.
fn is_cumulative(output: &Output) -> bool {
    let stream = output.members.first().map(|member| member.stream);
    let plain =
        |member: &super::lookup::Member| member.view == View::Number && !member.delta && Some(member.stream) == stream;
    output.members.iter().all(plain)
}

/// Finds outputs by ascending sid.
struct OutputOf<'a> {
    wanted: &'a [(u32, usize)],
    at: usize,
}

impl<'a> OutputOf<'a> {
    fn sid(&mut self, sid: u32) -> &'a [(u32, usize)] {
        while self.wanted.get(self.at).is_some_and(|one| one.0 < sid) {
            self.at += 1;
        }
        let rest = &self.wanted[self.at..];
        &rest[..rest.iter().take_while(|one| one.0 == sid).count()]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_promql::source::{MatchOp, Matcher};
    use weir_proto::batch::STALE_NAN_BITS;
    use weir_proto::identity::SeriesParts;
    use weir_proto::{
        Attributes, Batch, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality,
    };
    use weir_store::{Clock, Store, StoreOptions, Tuning};

    use super::super::StoreSource;
    use super::super::matcher::Compiled;
    use super::*;

    const START_MS: i64 = 1_795_305_600_000;

    struct Noon;

    impl Clock for Noon {
        fn now_ns(&self) -> i64 {
            (START_MS + 43_200_000) * NS_PER_MS
        }
    }

    /// SplitMix64.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % bound
        }
    }

    fn series(number: u64) -> Arc<SeriesIdentity> {
        // Every seventh is a delta; 20 and 21 are one series in PromQL, sent under two units.
        let delta = number % 7 == 3;
        let shown = if number == 21 { 20 } else { number };
        Arc::new(SeriesIdentity::new(SeriesParts {
            name: "m_total".into(),
            unit: if number == 21 { "1" } else { "" }.into(),
            kind: MetricKind::Counter,
            temporality: if delta { Temporality::Delta } else { Temporality::Cumulative },
            resource: Arc::new(Resource::default()),
            scope: Arc::new(Scope::default()),
            attributes: Attributes::new(vec![KeyValue::new("n", shown.to_string())]),
        }))
    }

    /// Points of one partition: gaps, ns, equal ms, start changes, stale markers, all digits, and some of an hour
    /// before.
    fn batch(chance: &mut Chance, hour: u64) -> MetricBatch {
        let mut batch = MetricBatch::default();
        for number in 0..24 {
            if chance.below(6) > 0 {
                batch.series.push(series(number));
                push_points(&mut batch, chance, number, hour);
            }
        }
        batch
    }

    fn push_points(batch: &mut MetricBatch, chance: &mut Chance, number: u64, hour: u64) {
        let row = u32::try_from(batch.series.len() - 1).unwrap();
        let (mut value, mut start_ms) = (0.0, if number.is_multiple_of(5) { START_MS } else { 0 });
        for tick in 0..120 {
            if number % 4 == 1 && chance.below(8) == 0 {
                continue;
            }
            let back = if number % 6 == 2 && chance.below(30) == 0 { 3_600_000 } else { 0 };
            let ns = if number.is_multiple_of(3) { chance.below(900_000) } else { 0 };
            let at_ms = START_MS + i64::try_from(hour * 3_600_000 + tick * 30_000).unwrap() - back;
            let points = if number == 8 && chance.below(20) == 0 { 2 } else { 1 };
            if number.is_multiple_of(5) && chance.below(60) == 0 {
                (value, start_ms) = (0.0, at_ms - 1_000);
            }
            value += if number == 11 { chance.below(1 << 50) as f64 / 1e14 } else { chance.below(9) as f64 / 10.0 };
            for again in 0..points {
                let time_ns = at_ms * NS_PER_MS + i64::try_from(ns + again * 1_000).unwrap();
                let delta_start = time_ns - 30_000 * NS_PER_MS;
                let numbers = &mut batch.numbers;
                numbers.series.push(row);
                numbers.time_ns.push(time_ns);
                numbers.start_ns.push(if number % 7 == 3 { delta_start } else { start_ms * NS_PER_MS });
                numbers.value.push(if chance.below(40) == 0 { f64::from_bits(STALE_NAN_BITS) } else { value });
            }
        }
    }

    fn rows_of_batch(batch: &SeriesBatch) -> Vec<(u32, i64, i64, u64)> {
        let mut rows = Vec::new();
        for (at, &id) in batch.ids.iter().enumerate() {
            for row in batch.offsets[at] as usize..batch.offsets[at + 1] as usize {
                let start = batch.start_ms.as_ref().map_or(0, |starts| starts[row]);
                rows.push((id, batch.t_ms[row], start, batch.value[row].to_bits()));
            }
        }
        rows
    }

    /// The batches of `source` by this module, and the same by merging every point.
    fn both_ways(source: &StoreSource, from_ms: i64, to_ms: i64) -> [Vec<(u32, i64, i64, u64)>; 2] {
        let budget = Arc::new(Budget::new(1 << 30, 1 << 30, 1 << 20));
        let name = Matcher { name: "__name__".into(), op: MatchOp::Equal, value: "m_total".into() };
        let matchers = Compiled::all(&[name]).unwrap();
        let window = Window { start_ms: from_ms, end_ms: to_ms, spacing_ms: 0, stats_only: false };
        let outputs = source.look_up(&matchers, &window, &budget).unwrap().0;
        let (plan, _) = Plan::build(Arc::clone(&source.snapshot), outputs, window, &matchers, &budget).unwrap();
        let (mut direct, mut merged) = (Vec::new(), Vec::new());
        for group in 0..plan.groups() {
            let outputs = plan.group(group);
            let read = read(&plan, outputs.clone(), &budget).unwrap();
            direct.extend(rows_of_batch(&read.batch));
            budget.release(read.reserved);
            for (at, points) in outputs.clone().zip(plan.numbers_of(group, &budget).unwrap()) {
                let reading = window.reading(plan.outputs(outputs.clone())[at - outputs.start].additive);
                let rows = rows_of(points, reading).into_iter();
                merged.extend(rows.map(|row| (plan.first_id(at), row.t_ms, row.start_ms, row.value.to_bits())));
            }
        }
        budget.reserve(1 << 30).expect("all that was reserved was given back");
        [direct, merged]
    }

    #[test]
    fn what_is_decoded_in_place_is_what_merging_every_point_gives() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for seed in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let day = Duration::from_secs(86_400);
            let options = StoreOptions {
                tuning: Tuning { metrics_flush_interval: day, compact_interval: day, ..Tuning::default() },
                ..StoreOptions::new(dir.path(), Arc::new(Noon))
            };
            let store = Store::open(options).unwrap();
            let mut chance = Chance(seed);
            for hour in 0..6 {
                let metrics = batch(&mut chance, hour);
                runtime.block_on(store.append(Batch { metrics, ..Batch::default() }, None)).unwrap();
                if hour < 5 {
                    store.flush().unwrap();
                }
                if hour == 3 && seed % 2 == 0 {
                    store.compact().unwrap();
                }
                let source = StoreSource::new(store.snapshot());
                let ends = [(0, i64::MAX / NS_PER_MS), (START_MS + 1_234_567, START_MS + 12_345_678)];
                for (from_ms, to_ms) in ends {
                    let [direct, merged] = both_ways(&source, from_ms, to_ms);
                    assert!(!merged.is_empty() || hour == 0, "seed {seed}");
                    assert_eq!(direct, merged, "seed {seed}, hour {hour}");
                }
            }
        }
    }
}
