//! Our side over what a collector stores: appended as scrapes, flushed every ten minutes, merged as the compactor
//! merges, read through `weir_query`'s source.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Result;
use weir_proto::{Batch, MetricBatch};
use weir_query::StoreSource;
use weir_store::{Clock, Signal, Store, StoreOptions, Tuning};

use crate::data::{INTERVAL_MS, SLICE, Series};

/// Rows of one append.
const ROWS: usize = 20_000;
/// Scrapes between two flushes: ten minutes.
const SCRAPES: usize = 40;

/// A clock that stands where the samples end.
struct Stopped(AtomicI64);

impl Clock for Stopped {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed) * 1_000_000
    }
}

/// A store in a folder.
pub(crate) struct Stored {
    store: Store,
    clock: Arc<Stopped>,
    runtime: tokio::runtime::Runtime,
}

impl Stored {
    /// Opens it; `now_ms` for the end of its samples.
    pub(crate) fn open(dir: &Path, now_ms: i64) -> Result<Self> {
        let clock = Arc::new(Stopped(AtomicI64::new(now_ms)));
        let options = StoreOptions {
            tuning: Tuning {
                metrics_flush_interval: Duration::from_secs(86_400),
                compact_interval: Duration::from_secs(86_400),
                ..Tuning::default()
            },
            compact_grace: Duration::ZERO,
            ..StoreOptions::new(dir, Arc::clone(&clock) as Arc<dyn Clock>)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { store: Store::open(options)?, clock, runtime })
    }

    /// Appends a slice that begins at `start_ms`.
    pub(crate) fn add(&mut self, start_ms: i64, series: &[Series], values: &[Vec<f64>]) -> Result<()> {
        let chunks: Vec<(usize, usize)> =
            (0..series.len()).step_by(ROWS).map(|from| (from, (from + ROWS).min(series.len()))).collect();
        for (at, beat) in (0..SLICE).zip((start_ms..).step_by(INTERVAL_MS as usize)) {
            for (from, to) in &chunks {
                let mut metrics = MetricBatch::default();
                for (row, one) in series[*from..*to].iter().enumerate() {
                    metrics.series.push(Arc::clone(&one.identity));
                    metrics.numbers.series.push(u32::try_from(row)?);
                    metrics.numbers.start_ns.push(0);
                    metrics.numbers.time_ns.push((beat + one.offset_ms) * 1_000_000);
                    metrics.numbers.value.push(values[from + row][at]);
                }
                let batch = Batch { metrics, ..Batch::default() };
                self.runtime.block_on(self.store.append(batch, None))?;
            }
            if (at + 1) % SCRAPES == 0 {
                self.clock.0.store(beat + INTERVAL_MS, Ordering::Relaxed);
                self.store.flush()?;
            }
        }
        self.store.compact()?;
        Ok(())
    }

    /// What is stored, as series.
    pub(crate) fn source(&self) -> StoreSource {
        StoreSource::new(self.store.snapshot())
    }

    /// Parts and their bytes.
    pub(crate) fn parts(&self) -> (u64, u64) {
        let status = self.store.status();
        let metrics = status.parts.iter().filter(|parts| parts.signal == Signal::Metrics);
        metrics.fold((0, 0), |(parts, bytes), more| (parts + more.parts, bytes + more.bytes))
    }

    /// Closes it.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.store.shutdown()?)
    }
}
