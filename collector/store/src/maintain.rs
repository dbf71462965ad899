//! The flusher and the compactor: two threads, so that a long merge never holds up a flush.
//!
//! ```text
//! flusher    every interval of a signal, when woken by the writer, when asked: freeze (by the writer) ─▶ parts ─▶
//!            release the log
//! compactor  every interval, when asked: set corrupt parts aside ─▶ retention ─▶ merges ─▶ delete what was replaced
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir_proto::names;

use crate::error::StoreError;
use crate::lane::{Lane, Table, remove_begun};
use crate::metrics::read::MetricPart;
use crate::options::WorkKind;
use crate::recover;
use crate::shared::Shared;
use crate::tiers;
use crate::writer::Command;

/// After a flush failed (the disk is full), this long until the next attempt.
const RETRY: Duration = Duration::from_secs(2);
/// Bytes of series, indices and directories of parts kept in memory.
const LOADED_BYTES_MAX: u64 = 256 << 20;

/// What wakes the flusher or the compactor.
pub(crate) enum Wake {
    /// A bound is near; nothing to do when it is not any more.
    Due,
    /// The disk is full; a flush would release the log.
    Full,
    /// Do it now and answer.
    Now(SyncSender<Result<(), StoreError>>),
    /// End.
    Stop,
}

/// Flushes.
pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wakes: Receiver<Wake>,
    pub(crate) writer: mpsc::Sender<Command>,
}

impl Flusher {
    pub(crate) fn run(self) {
        let start = Instant::now();
        let (mut metrics_last, mut spans_last, mut last_flush) = (start, start, start);
        let mut retry_at: Option<Instant> = None;
        loop {
            let tuning = self.shared.tuning();
            let metrics_due = metrics_last + tuning.metrics_flush_interval;
            let spans_due = spans_last + tuning.traces_flush_interval;
            let next = retry_at.map_or(metrics_due.min(spans_due), |retry| retry.min(metrics_due).min(spans_due));
            let wait = next.saturating_duration_since(Instant::now());
            let mut asker = None;
            let all = match self.wakes.recv_timeout(wait) {
                // Wakes that queued up during a flush are mostly answered by it.
                Ok(Wake::Due) => self.shared.flush_is_due() && retry_at.is_none(),
                Ok(Wake::Full) => last_flush.elapsed() >= RETRY,
                Ok(Wake::Now(from)) => {
                    asker = Some(from);
                    true
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => false,
            };
            let now = Instant::now();
            let all = all || retry_at.is_some_and(|at| at <= now);
            let (metrics, spans) = (all || metrics_due <= now, all || spans_due <= now);
            if !metrics && !spans {
                continue;
            }
            let flushed = self.flush(metrics, spans);
            last_flush = Instant::now();
            retry_at = flushed.is_err().then(|| last_flush + RETRY);
            if metrics {
                metrics_last = last_flush;
            }
            if spans {
                spans_last = last_flush;
            }
            if let Some(asker) = asker {
                asker.try_send(flushed).ok();
            }
        }
    }

    fn flush(&self, metrics: bool, spans: bool) -> Result<(), StoreError> {
        let (done, frozen) = sync_channel(1);
        self.writer.blocking_send(Command::Freeze { metrics, spans, done }).map_err(|_| StoreError::Closed)?;
        frozen.recv().map_err(|_| StoreError::Closed)?;
        let flushed = self.shared.flush();
        if let Err(error) = &flushed {
            tracing::error!(%error, "flush failed; what is in memory stays there and in the log");
            metrics::counter!(names::STORE_FLUSH_FAILURES).increment(1);
        }
        let (done, released) = sync_channel(1);
        self.writer.blocking_send(Command::Release { done }).map_err(|_| StoreError::Closed)?;
        released.recv().map_err(|_| StoreError::Closed)?;
        if flushed.is_ok() {
            self.shared.take_reserve();
        }
        flushed
    }
}

/// Compacts, retires, deletes.
pub(crate) struct Compactor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wakes: Receiver<Wake>,
}

impl Compactor {
    pub(crate) fn run(self) {
        loop {
            let asker = match self.wakes.recv_timeout(self.shared.tuning().compact_interval) {
                Ok(Wake::Now(asker)) => Some(asker),
                Ok(Wake::Due | Wake::Full) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let done = self.pass();
            if let Err(error) = &done {
                tracing::error!(%error, "compaction failed; the parts stay as they are");
                metrics::counter!(names::STORE_COMPACTION_FAILURES).increment(1);
            }
            if let Some(asker) = asker {
                asker.try_send(done).ok();
            }
        }
    }

    fn pass(&self) -> Result<(), StoreError> {
        let tuning = self.shared.tuning();
        let metrics = self.tend(&self.shared.metrics, tuning.metrics_retention);
        let spans = self.tend(&self.shared.spans, tuning.traces_retention);
        self.trim();
        metrics.and(spans)
    }

    fn tend<T: Table>(&self, lane: &Lane<T>, retention: Duration) -> Result<(), StoreError> {
        let options = &self.shared.options;
        let now = options.clock.now_ns();
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.set_corrupt_aside(lane)?;
        let oldest = now.saturating_sub(ns(retention));
        for old in
            lane.look(|live| live.parts.iter().filter(|part| ended(part, oldest)).map(Arc::clone).collect::<Vec<_>>())
        {
            tracing::info!(part = %old.part().entry().path, "older than retention; removed");
            lane.replace(options, &[old], None)?;
        }
        while let Some((inputs, level)) = tiers::choose(&lane.look(|live| live.parts.clone()), now) {
            let id = self.shared.new_id();
            let merged = options.observed((WorkKind::Compact, T::SIGNAL, inputs.len()), || {
                let merged = T::merge(&options.dir, &inputs, level, id.clone());
                Ok(merged.inspect_err(|_| remove_begun(&options.dir, T::SIGNAL, &[id]))?.into_iter().collect())
            });
            if matches!(merged, Err(StoreError::Corrupt { .. })) {
                // The input that was found corrupt goes; the others are tried again.
                if self.set_corrupt_aside(lane)? {
                    continue;
                }
            }
            let merged = merged?;
            options.fault("compact");
            lane.replace(options, &inputs, merged.into_iter().next())?;
            metrics::counter!(names::STORE_MERGES, "signal" => T::SIGNAL.as_str()).increment(1);
        }
        lane.drop_retired(now.saturating_sub(ns(options.compact_grace)));
        Ok(())
    }

    /// Takes corrupt parts out of the manifest and moves their folders aside; whether there were any.
    fn set_corrupt_aside<T: Table>(&self, lane: &Lane<T>) -> Result<bool, StoreError> {
        let corrupt: Vec<_> =
            lane.look(|live| live.parts.iter().filter(|part| part.part().is_corrupt()).map(Arc::clone).collect());
        for part in &corrupt {
            lane.replace(&self.shared.options, std::slice::from_ref(part), None)?;
            recover::set_aside(&self.shared.options.dir, T::SIGNAL.as_str(), part.part().dir());
        }
        Ok(!corrupt.is_empty())
    }

    /// Lets go of what is loaded of the parts that were not asked for longest.
    fn trim(&self) {
        let mut parts: Vec<Arc<MetricPart>> = self.shared.metrics.look(|live| live.parts.clone());
        parts.sort_by_key(|part| std::cmp::Reverse(part.last_use()));
        let mut kept = 0;
        for part in parts {
            kept += part.loaded_bytes();
            if kept > LOADED_BYTES_MAX {
                part.unload();
            }
        }
    }
}

fn ended<T: Table>(part: &Arc<T>, oldest_ns: i64) -> bool {
    part.part().entry().time_max_ns < oldest_ns
}
