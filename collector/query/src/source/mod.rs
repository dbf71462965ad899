//! The store as PromQL sees it: matchers go in, series with their samples come out.
//!
//! ```text
//! SelectRequest ─▶ matcher (compiled) ─▶ lookup: partitions' indexes, aliases ─▶ outputs {labels ◀ members}
//!                                         read: groups of outputs, by whichever thread takes one
//!                                         columns: cumulative numbers, decoded straight into a batch
//!                                         rows: merge, add up, delta ─▶ cumulative, ns ─▶ ms
//!                                         buckets: explicit and exponential ─▶ classic, native
//! SeriesBatch ◀──────────────────────────  columns, batch
//! ```
//! A source is one snapshot: every selection of one query sees the same data. A part that cannot be read is named
//! in a warning, and the rest is answered.

pub(crate) mod alias;
mod batch;
mod buckets;
mod columns;
mod exemplars;
mod listing;
pub(crate) mod lookup;
pub(crate) mod matcher;
pub(crate) mod raw;
mod read;
mod rows;
mod target_info;

use std::sync::Arc;

use weir_promql::source::{
    BatchReader, Budget, ReadBatch, Readers, SelectHints, SelectRequest, Selection, SeriesSource, SeriesTable,
    SourceError,
};
use weir_store::Snapshot;

pub use exemplars::{Exemplar, SeriesExemplars};
pub use listing::{MetricMetadata, Span};

use lookup::Lookup;
use matcher::Compiled;
use read::{Opened, Plan, Window};
use target_info::TargetInfo;

/// Derived series need at least this many rows in a window; more only cost.
const ROWS_PER_WINDOW: i64 = 16;
/// Rows closer than this are not worth thinning.
const SPACING_MS_MIN: i64 = 10_000;
/// An instant query over less than this is not thinned at all.
const INSTANT_RANGE_MS: i64 = 3_600_000;
/// Rows in the one window of a long instant query.
const ROWS_PER_INSTANT_WINDOW: i64 = 240;

/// One snapshot as a source of series.
#[derive(Clone, Debug)]
pub struct StoreSource {
    snapshot: Arc<Snapshot>,
}

impl StoreSource {
    /// Reads from `snapshot`, and keeps it.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot }
    }

    /// Looks `matchers` up in all partitions that overlap the window. Texts are warnings.
    fn look_up(
        &self,
        matchers: &[Compiled],
        window: &Window,
        budget: &Budget,
    ) -> Result<(Vec<lookup::Output>, Vec<String>), SourceError> {
        let (from_ns, to_ns) = window.nanoseconds();
        let (mut lookup, mut warnings) = (Lookup::new(matchers), Vec::new());
        for (at, partition) in (0u32..).zip(&self.snapshot.metrics) {
            budget.check()?;
            if !partition.overlaps(from_ns, to_ns) {
                continue;
            }
            match partition.series_index() {
                Ok(index) => lookup.partition(at, &index),
                Err(error) => {
                    warnings.push(format!("a part could not be read and is missing from the answer: {error}"))
                }
            }
            budget.admit_series(lookup.len())?;
        }
        Ok((lookup.into_outputs(), warnings))
    }
}

impl SeriesSource for StoreSource {
    /// As [`Self::select_readers`], one batch after another.
    fn select(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Selection, SourceError> {
        let Readers { series, batches, warnings } = self.select_readers(request, budget)?;
        let budget = Arc::clone(budget);
        let batches = batches.map(move |reader| {
            // Whoever reads one by one keeps no account of bytes; the next batch is as large.
            reader().map(|read| {
                budget.release(read.reserved);
                read.batch
            })
        });
        Ok(Selection { series, batches: Box::new(batches), warnings })
    }

    fn select_readers(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Readers, SourceError> {
        let matchers = Compiled::all(&request.matchers)?;
        let window = Window {
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            spacing_ms: spacing_ms(&request.hints),
            stats_only: request.hints.histogram_stats_only,
        };
        let (outputs, warnings) = self.look_up(&matchers, &window, budget)?;
        let info = TargetInfo::find(&self.snapshot, &matchers, &window, budget)?;
        let (plan, mut labels) = Plan::build(Arc::clone(&self.snapshot), outputs, window, &matchers, budget)?;
        let first = labels.len();
        let info_batch = info.append_to(&mut labels)?;
        debug_assert!(labels.len() >= first, "the table only grows");
        let info_batch = info_batch.map(|batch| Box::new(move || Ok(ReadBatch { batch, reserved: 0 })) as BatchReader);
        let readers = Opened::new(plan, Arc::clone(budget)).readers().chain(info_batch);
        Ok(Readers { series: Arc::new(SeriesTable { labels }), batches: Box::new(readers), warnings })
    }
}

/// How far apart rows of derived series may be, so that 24 hours of five-second slots are not 17,000 histograms.
/// A divisor of the step, so that cells and windows end together.
fn spacing_ms(hints: &SelectHints) -> i64 {
    if hints.step_ms <= 0 {
        let spacing = hints.range_ms / ROWS_PER_INSTANT_WINDOW;
        return if hints.range_ms > INSTANT_RANGE_MS { spacing } else { 0 };
    }
    let widest = if hints.range_ms > 0 { hints.range_ms / ROWS_PER_WINDOW } else { hints.step_ms };
    if widest < SPACING_MS_MIN || hints.step_ms < SPACING_MS_MIN {
        return 0;
    }
    hints.step_ms / ((hints.step_ms + widest - 1) / widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_divides_the_step_and_leaves_enough_rows() {
        let spacing = |step_ms, range_ms| spacing_ms(&SelectHints { step_ms, range_ms, ..SelectHints::default() });
        assert_eq!(spacing(0, 300_000), 0);
        assert_eq!(spacing(0, 86_400_000), 360_000);
        assert_eq!(spacing(15_000, 60_000), 0);
        assert_eq!(spacing(120_000, 480_000), 30_000);
        assert_eq!(spacing(60_000, 0), 60_000);
    }
}
