//! Reads the series of a selector on all threads and hands each, whole, to what wants it.
//!
//! ```text
//! source ─readers, one at a time─▶ thread that is free: reads its batch ─▶ pieces ─▶ whichever thread is free
//! ```
//! A piece is some thousand samples. Results are put back into the order of series.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::shared::{self, Keeper, Pile};
use super::{Context, Grid, sorted};
use crate::error::QueryError;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;
use crate::plan::{Extent, Projection, Select};
use crate::source::{BatchReader, Budget, ReadBatch, Readers, SelectHints, SelectRequest, SeriesBatch, SeriesTable};

/// The bits of the NaN that marks the end of a series.
pub(crate) const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

#[inline]
pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// Samples in a piece: enough that handing it out costs nothing beside its evaluation.
const PIECE_SAMPLES: u32 = 16_384;

/// Below this many series a query is not worth a second thread.
const SERIES_SEQUENTIAL: usize = 8;

/// One series as it was read.
pub(crate) struct Found<'a> {
    pub(crate) id: u32,
    pub(crate) labels: &'a Labels,
    pub(crate) times: &'a [i64],
    /// Floats; 0 where a row is a histogram.
    pub(crate) values: &'a [f64],
    pub(crate) starts: Option<&'a [i64]>,
    /// By row: 0 for a float, else one more than the index of its histogram.
    pub(crate) histogram_rows: Option<&'a [u32]>,
    pub(crate) histograms: &'a [Arc<FloatHistogram>],
}

impl Found<'_> {
    /// The histogram of a row.
    #[inline]
    pub(crate) fn histogram(&self, row: usize) -> Option<&Arc<FloatHistogram>> {
        match self.histogram_rows?[row] {
            0 => None,
            index => self.histograms.get(index as usize - 1),
        }
    }
}

/// The milliseconds that a selection covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// What a selector looks at over all times of a grid; `ranged` for the argument of a function over a range.
pub(crate) fn cover(select: &Select, grid: &Grid, lookback_ms: i64, ranged: bool) -> Cover {
    let lookback = |wanted: bool| if wanted { lookback_ms } else { 0 };
    let before = if ranged { select.range_ms } else { lookback_ms };
    let (before, behind) = (
        before.saturating_add(lookback(ranged && select.extent != Extent::Plain)),
        lookback(select.extent == Extent::Smoothed),
    );
    Cover {
        from_ms: select.end(grid.start_ms).saturating_sub(before).saturating_add(1),
        to_ms: select.end(grid.last()).saturating_add(behind),
    }
}

/// The series of a selector, opened.
pub(crate) struct Opened {
    pub(crate) series: Arc<SeriesTable>,
    /// Whether labels may be missing, so that rows need a serial number.
    pub(crate) projected: bool,
    supply: Supply,
    /// Only these samples, where the selection covers more.
    cut: Option<Cover>,
}

impl Opened {
    /// A selection that others share; `cut` where it covers more than this selector looks at.
    pub(super) fn shared(series: Arc<SeriesTable>, projected: bool, supply: Supply, cut: Option<Cover>) -> Self {
        Self { series, projected, supply, cut }
    }

    /// What tells the rows of a series from those of others, see [`super::Row::serial`].
    pub(crate) fn serial(&self, id: u32) -> u32 {
        if self.projected { id + 1 } else { 0 }
    }
}

/// Where batches come from.
pub(super) enum Supply {
    /// The source.
    Source(Source),
    /// What another selector has read.
    Kept(Arc<Pile>, usize),
}

/// Batches of the source, which several threads read; kept for other selectors where they share.
pub(super) struct Source {
    readers: Option<BatchReaders>,
    keeper: Option<Keeper>,
    /// How many batches are being read.
    reading: usize,
}

/// The next batch.
enum Next {
    Unread(BatchReader),
    Read(Arc<Held>),
}

impl Supply {
    /// Batches of the source.
    pub(super) fn source(readers: BatchReaders, keeper: Option<Keeper>) -> Self {
        Self::Source(Source { readers: Some(readers), keeper, reading: 0 })
    }

    fn next(&mut self) -> Option<Next> {
        match self {
            Self::Kept(pile, next) => {
                *next += 1;
                pile.held.get(*next - 1).map(|held| Next::Read(Arc::clone(held)))
            }
            Self::Source(source) => source.next().map(Next::Unread),
        }
    }

    /// Notes that a batch was read.
    fn was_read(&mut self, held: &Arc<Held>) {
        if let Self::Source(source) = self {
            source.was_read(held);
        }
    }
}

impl Source {
    fn next(&mut self) -> Option<BatchReader> {
        let reader = self.readers.as_mut()?.next();
        match &reader {
            Some(_) => self.reading += 1,
            None => {
                self.readers = None;
                self.finish();
            }
        }
        reader
    }

    fn was_read(&mut self, held: &Arc<Held>) {
        self.reading -= 1;
        if self.keeper.as_mut().is_some_and(|keeper| !keeper.keep(held)) {
            self.keeper = None;
        }
        self.finish();
    }

    /// Hands over what was kept, once the last batch was read.
    fn finish(&mut self) {
        if self.readers.is_none() && self.reading == 0 {
            self.keeper.take().into_iter().for_each(Keeper::finish);
        }
    }
}

/// Opens the series of a selector.
pub(crate) fn open(
    context: &Context<'_>,
    select: &Select,
    cover: Cover,
    function: &'static str,
    step_ms: i64,
) -> Result<Opened, QueryError> {
    if let Some(read) = select.shared
        && let Some(opened) = shared::open(context, read, cover)?
    {
        return Ok(opened);
    }
    let request = SelectRequest {
        matchers: select.matchers.clone(),
        start_ms: cover.from_ms,
        end_ms: cover.to_ms,
        hints: SelectHints {
            function,
            step_ms,
            range_ms: select.range_ms,
            labels_needed: None,
            histogram_stats_only: select.stats_only,
        },
    };
    let (series, batches, projected) = ask(context, request, select.projection.as_ref())?;
    Ok(Opened { series, projected, supply: Supply::source(batches, None), cut: None })
}

/// Asks the source, with a projection at first.
pub(super) fn ask(
    context: &Context<'_>,
    mut request: SelectRequest,
    projection: Option<&Projection>,
) -> Result<(Arc<SeriesTable>, BatchReaders, bool), QueryError> {
    if let Some(projection) = projection {
        request.hints.labels_needed = Some(projection.labels.iter().cloned().collect());
    }
    let mut selection = context.source.select_readers(&request, &context.budget)?;
    let mut projected = projection.is_some();
    let unwanted = |labels: &Labels| {
        projection.is_some_and(|projection| projection.missing.iter().any(|name| !labels.value(name).is_empty()))
    };
    if selection.series.labels.iter().any(unwanted) {
        // Series that a label tells apart which is written above, or goes with the name: nothing may be left out.
        projected = false;
        request.hints.labels_needed = None;
        selection = context.source.select_readers(&request, &context.budget)?;
    }
    let Readers { series, batches, warnings } = selection;
    context.budget.admit_series(series.labels.len() as u64)?;
    if !warnings.is_empty() {
        context.note(|notes| warnings.into_iter().for_each(|warning| notes.add_storage_warning(warning)));
    }
    Ok((series, batches, projected))
}

/// Some series of a batch.
type Piece = (Arc<Held>, Range<usize>);

/// A batch that counts as held for as long as any thread works on it.
pub(super) struct Held {
    pub(super) batch: SeriesBatch,
    /// Bytes that the source has reserved for it.
    pub(super) reserved: u64,
    budget: Arc<Budget>,
}

impl Held {
    fn new(read: ReadBatch, budget: &Arc<Budget>) -> Result<Self, QueryError> {
        let samples = read.batch.t_ms.len() as u64;
        if let Err(error) = budget.hold_samples(samples) {
            budget.release(read.reserved);
            return Err(error.into());
        }
        budget.count_read(samples);
        Ok(Self { batch: read.batch, reserved: read.reserved, budget: Arc::clone(budget) })
    }

    /// Ranges of series of about [`PIECE_SAMPLES`] each.
    fn pieces(&self) -> Vec<Range<usize>> {
        let (series, offsets) = (self.batch.ids.len(), &self.batch.offsets);
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in 1..=series {
            if to == series || offsets[to] - offsets[from] >= PIECE_SAMPLES {
                pieces.push(from..to);
                from = to;
            }
        }
        pieces
    }

    fn found<'a>(&'a self, at: usize, labels: &'a [Labels], cut: Option<Cover>) -> Option<Found<'a>> {
        let batch = &self.batch;
        let mut rows = batch.offsets[at] as usize..batch.offsets[at + 1] as usize;
        let id = batch.ids[at];
        if let Some(Cover { from_ms, to_ms }) = cut {
            let times = &batch.t_ms[rows.clone()];
            let first = rows.start;
            rows = first + times.partition_point(|t| *t < from_ms)..first + times.partition_point(|t| *t <= to_ms);
            if rows.is_empty() {
                return None;
            }
        }
        Some(Found {
            id,
            labels: labels.get(id as usize)?,
            times: &batch.t_ms[rows.clone()],
            values: &batch.value[rows.clone()],
            starts: batch.start_ms.as_ref().map(|starts| &starts[rows.clone()]),
            histogram_rows: batch.histograms.as_ref().map(|histograms| &histograms.row[rows]),
            histograms: batch.histograms.as_ref().map_or(&[], |histograms| &histograms.values),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.drop_samples(self.batch.t_ms.len() as u64);
        self.budget.release(self.reserved);
    }
}

/// Unread batches, as the source hands them out.
pub(super) type BatchReaders = Box<dyn Iterator<Item = BatchReader> + Send>;

/// Where threads get their pieces from. A thread that finds none takes the next batch, reads it where that was not
/// done yet, and shares its pieces.
struct Feed<'a> {
    batches: Mutex<Option<Supply>>,
    pieces: Mutex<VecDeque<Piece>>,
    /// The thread that asks for the next batch, one more than its index.
    asking: AtomicUsize,
    budget: &'a Arc<Budget>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed<'_> {
    fn next(&self) -> Result<Option<Piece>, QueryError> {
        loop {
            if let Some(piece) = lock(&self.pieces).pop_front() {
                return Ok(Some(piece));
            }
            let me = rayon::current_thread_index().map_or(0, |index| index + 1);
            if me != 0 && self.asking.load(Ordering::Relaxed) == me {
                // The source itself works on these threads and this one, while it waits for others, was given a
                // share of ours: what it waits for must not wait for it.
                return Ok(None);
            }
            match self.next_batch(me) {
                // While this thread waited for its turn, the one before it may have read.
                None => return Ok(lock(&self.pieces).pop_front()),
                Some(Next::Read(held)) => self.share(&held),
                Some(Next::Unread(reader)) => {
                    let held = Arc::new(Held::new(reader()?, self.budget)?);
                    lock(&self.batches).iter_mut().for_each(|supply| supply.was_read(&held));
                    self.share(&held);
                }
            }
        }
    }

    /// The next batch. A source that reads one after another reads in here.
    fn next_batch(&self, me: usize) -> Option<Next> {
        let mut batches = lock(&self.batches);
        self.asking.store(me, Ordering::Relaxed);
        let next = batches.as_mut().and_then(Supply::next);
        self.asking.store(0, Ordering::Relaxed);
        next
    }

    fn share(&self, held: &Arc<Held>) {
        lock(&self.pieces).extend(held.pieces().into_iter().map(|piece| (Arc::clone(held), piece)));
    }

    fn close(&self) {
        *lock(&self.batches) = None;
        lock(&self.pieces).clear();
    }
}

/// Folds every series into an accumulator; each thread has its own, and they are joined at the end.
pub(crate) fn fold<A: Send>(
    context: &Context<'_>,
    opened: Opened,
    fresh: impl Fn() -> A + Sync + Send,
    add: impl Fn(&mut A, &Found<'_>) -> Result<(), QueryError> + Sync + Send,
    join: impl Fn(A, A) -> A + Sync + Send,
) -> Result<Option<A>, QueryError> {
    let Opened { series, supply, cut, .. } = opened;
    let labels = series.labels.as_slice();
    let few = labels.len() <= SERIES_SEQUENTIAL;
    let threads = if few { 1 } else { rayon::current_num_threads() };
    let feed = Feed {
        batches: Mutex::new(Some(supply)),
        pieces: Mutex::default(),
        asking: AtomicUsize::new(0),
        budget: &context.budget,
    };
    let work = || -> Result<Option<A>, QueryError> {
        let mut into = None;
        while let Some((held, piece)) = feed.next()? {
            let into = into.get_or_insert_with(&fresh);
            for (at, found) in piece.filter_map(|at| held.found(at, labels, cut)).enumerate() {
                context.check_at(at)?;
                add(into, &found)?;
            }
        }
        Ok(into)
    };
    if threads == 1 {
        return work();
    }
    let worker = |_| work().inspect_err(|_| feed.close());
    let folded: Result<Vec<Option<A>>, QueryError> = (0..threads).into_par_iter().with_max_len(1).map(worker).collect();
    Ok(folded?.into_iter().flatten().reduce(join))
}

/// Makes something of every series, in the order of series.
pub(crate) fn collect<R: Send>(
    context: &Context<'_>,
    opened: Opened,
    make: impl Fn(&Found<'_>) -> Result<Option<R>, QueryError> + Sync + Send,
) -> Result<Vec<(u32, R)>, QueryError> {
    let add = |into: &mut Vec<(u32, R)>, found: &Found<'_>| {
        if let Some(made) = make(found)? {
            into.push((found.id, made));
        }
        Ok(())
    };
    let join = |mut a: Vec<(u32, R)>, mut b: Vec<(u32, R)>| {
        a.append(&mut b);
        a
    };
    let mut all = fold(context, opened, Vec::new, add, join)?.unwrap_or_default();
    if !all.is_sorted_by_key(|(id, _)| *id) {
        all = sorted(&context.budget, all, |a, b| a.0.cmp(&b.0))?;
    }
    Ok(all)
}
