//! Selections that several selectors read from: the first one reads from the source and keeps the batches, the others
//! take those, cut to what they look at.
//!
//! ```text
//! first selector  ── select ──▶ source ──batches──▶ evaluated, and kept
//! the other ones                          kept ──batches──▶ evaluated; the last one lets go
//! ```
//! Kept batches count against the query's budget like everything else, and may take a quarter of it at most: past
//! that they are let go at once, and each of the others reads for itself, as if nothing were shared.
//!
//! Nothing waits here. Selectors that share are evaluated one after the other ([`crate::plan::Binary::sequential`]);
//! if one should come while another still reads, it reads for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Context;
use super::scan::{Cover, Held, Opened, Supply, ask};
use crate::error::QueryError;
use crate::plan::SharedRead;
use crate::source::{Budget, SelectHints, SelectRequest, SeriesTable};

/// Which part of the budget kept batches may take.
const SHARE: u64 = 4;

/// All shared selections of a query.
pub(crate) struct Reads(Vec<Arc<Read>>);

struct Read {
    plan: SharedRead,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

enum State {
    /// Nobody came yet.
    Untouched,
    /// Being read, or too large to keep, or all have read it.
    Apart,
    Kept(Kept),
}

struct Kept {
    series: Arc<SeriesTable>,
    projected: bool,
    batches: Arc<Pile>,
    /// How many selectors have not come yet.
    left: usize,
}

/// Batches with the bytes reserved for them.
pub(super) struct Pile {
    pub(super) held: Vec<Arc<Held>>,
    /// What they take.
    bytes: u64,
    /// The part of it that is reserved here; the source has reserved the rest for as long as a batch is held.
    reserved: u64,
    samples: u64,
    budget: Arc<Budget>,
}

impl Drop for Pile {
    fn drop(&mut self) {
        self.budget.release(self.reserved);
    }
}

impl Reads {
    pub(crate) fn new(plans: Vec<SharedRead>, budget: &Arc<Budget>) -> Self {
        let read = |plan| Arc::new(Read { plan, budget: Arc::clone(budget), state: Mutex::new(State::Untouched) });
        Self(plans.into_iter().map(read).collect())
    }
}

/// Opens a shared selection for a selector; none where it must read for itself.
pub(super) fn open(context: &Context<'_>, read: u32, cover: Cover) -> Result<Option<Opened>, QueryError> {
    let Some(read) = context.reads.0.get(read as usize) else { return Ok(None) };
    let plan = &read.plan;
    let cut = (cover != plan.cover).then_some(cover);
    {
        let mut state = read.lock();
        match std::mem::replace(&mut *state, State::Apart) {
            State::Untouched => {}
            State::Apart => return Ok(None),
            State::Kept(mut kept) => {
                let (series, batches) = (Arc::clone(&kept.series), Arc::clone(&kept.batches));
                let projected = kept.projected;
                kept.left -= 1;
                if kept.left > 0 {
                    *state = State::Kept(kept);
                }
                return Ok(Some(Opened::shared(series, projected, Supply::Kept(batches, 0), cut)));
            }
        }
    }
    let request = SelectRequest {
        matchers: plan.matchers.clone(),
        start_ms: plan.cover.from_ms,
        end_ms: plan.cover.to_ms,
        hints: SelectHints {
            function: plan.function,
            step_ms: plan.step_ms,
            range_ms: plan.range_ms,
            labels_needed: None,
            histogram_stats_only: plan.stats_only,
        },
    };
    let (series, batches, projected) = ask(context, request, plan.projection.as_ref())?;
    let keeper = Keeper::new(Arc::clone(read), Arc::clone(&series), projected);
    Ok(Some(Opened::shared(series, projected, Supply::source(batches, Some(keeper)), cut)))
}

impl Read {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what the first selector reads.
pub(super) struct Keeper {
    read: Arc<Read>,
    series: Arc<SeriesTable>,
    projected: bool,
    batches: Pile,
}

impl Keeper {
    fn new(read: Arc<Read>, series: Arc<SeriesTable>, projected: bool) -> Self {
        let budget = Arc::clone(&read.budget);
        Self { read, series, projected, batches: Pile { held: Vec::new(), bytes: 0, reserved: 0, samples: 0, budget } }
    }

    /// Keeps one more; false when that is too much, and then the keeper should be dropped.
    pub(super) fn keep(&mut self, held: &Arc<Held>) -> bool {
        let kept = &mut self.batches;
        let (bytes_max, samples_max) = kept.budget.maxima();
        let bytes = kept.bytes + held.batch.bytes();
        let samples = kept.samples + held.batch.t_ms.len() as u64;
        let fits = bytes <= bytes_max / SHARE && samples <= samples_max / SHARE;
        let reserved = held.batch.bytes().saturating_sub(held.reserved);
        if !fits || kept.budget.reserve(reserved).is_err() {
            return false;
        }
        kept.bytes = bytes;
        kept.reserved += reserved;
        kept.samples = samples;
        kept.held.push(Arc::clone(held));
        true
    }

    /// All was read: the others may have it.
    pub(super) fn finish(self) {
        let Self { read, series, projected, batches } = self;
        let left = read.plan.uses - 1;
        *read.lock() = State::Kept(Kept { series, projected, batches: Arc::new(batches), left });
    }
}
