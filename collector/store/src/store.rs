//! The store's handle: what others call.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};
use weir_proto::Batch;

use crate::error::StoreError;
use crate::lane::{Lane, Table};
use crate::maintain::{Compactor, Flusher, Wake};
use crate::options::{Appended, Delivery, StoreOptions, Tuning};
use crate::part::Signal;
use crate::recover;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::writer::{Append, Command, Writer};

/// Batches that may wait for the writer.
const WAITING_MAX: usize = 1_024;
/// Kibibytes of batches that may wait for the writer; more wait outside, where they hold their sender back.
const WAITING_KIB_MAX: u32 = 128 << 10;
/// Requests that may wait for flusher or compactor.
const WAKES_MAX: usize = 16;

/// A store. Cheap to clone; ends with [`Self::shutdown`], or, without a flush, when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
    waiting: Arc<Semaphore>,
    writer: mpsc::Sender<Command>,
    flusher: SyncSender<Wake>,
    compactor: SyncSender<Wake>,
    /// Emptied by whoever stops the store.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The store in figures.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Bytes of all memtables.
    pub memtable_bytes: u64,
    /// Their bound.
    pub memtable_bytes_max: u64,
    /// Series with points in the active memtable.
    pub memtable_series: u64,
    /// Bytes of the write-ahead log on disk.
    pub wal_bytes: u64,
    /// Its bound.
    pub wal_bytes_max: u64,
    /// Metric points taken since the start, replayed ones included.
    pub points: u64,
    /// Points older than the newest one of their series.
    pub points_late: u64,
    /// Points that replaced one of the same series and time.
    pub points_repeated: u64,
    /// Spans taken since the start, replayed ones included.
    pub spans: u64,
    /// Batches that had been stored before.
    pub batches_repeated: u64,
    /// Flushes that failed.
    pub flush_failures: u64,
    /// Why the last flush failed; none when it did not.
    pub trouble: Option<String>,
    /// Live parts by signal.
    pub parts: Vec<PartsStatus>,
}

/// Live parts of one signal.
#[derive(Clone, Debug)]
pub struct PartsStatus {
    /// Which.
    pub signal: Signal,
    /// How many parts.
    pub parts: u64,
    /// How many files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Points or spans.
    pub rows: u64,
    /// Earliest and latest time of any row, ns.
    pub time_range_ns: Option<(i64, i64)>,
}

impl Store {
    /// Opens the store in `options.dir`, replaying its log. Blocks.
    ///
    /// # Errors
    /// Locked when another process has the directory; else what the disk said. Damage is set aside, not an error.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::open(options)?);
        let log = recover::replay(&shared)?;
        let (writer, commands) = mpsc::channel(WAITING_MAX);
        let (flusher, flusher_wakes) = sync_channel(WAKES_MAX);
        let (compactor, compactor_wakes) = sync_channel(WAKES_MAX);
        let running = Running {
            waiting: Arc::new(Semaphore::new(WAITING_KIB_MAX as usize)),
            writer: writer.clone(),
            flusher: flusher.clone(),
            compactor,
            threads: Mutex::new(Vec::new()),
            shared: Arc::clone(&shared),
        };
        let write = Writer::new(Arc::clone(&shared), log, commands, flusher);
        running.spawn("weir-store-writer", move || write.run())?;
        let flush = Flusher { shared: Arc::clone(&shared), wakes: flusher_wakes, writer };
        running.spawn("weir-store-flusher", move || flush.run())?;
        let compact = Compactor { shared, wakes: compactor_wakes };
        running.spawn("weir-store-compactor", move || compact.run())?;
        Ok(Self { running: Arc::new(running) })
    }

    /// Stores a batch. Resolves once it is durable (group commit), and visible to every later snapshot. When the
    /// future is dropped the batch may or may not be stored.
    ///
    /// # Errors
    /// Full at a bound or on a full disk; Invalid for a batch that cannot be encoded; Closed after shutdown;
    /// otherwise what the disk said. The batch was not stored then.
    pub async fn append(&self, batch: Batch, delivery: Option<Delivery>) -> Result<Appended, StoreError> {
        let running = &self.running;
        if running.shared.counters.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let kib = u32::try_from(bytes_of(&batch) >> 10).unwrap_or(u32::MAX).clamp(1, WAITING_KIB_MAX);
        let permit = Arc::clone(&running.waiting).acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let append = Box::new(Append { batch, delivery, answer, permit });
        running.writer.send(Command::Append(append)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Everything stored, as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.running.shared.snapshot())
    }

    /// Makes parts of everything in memory. Blocks.
    ///
    /// # Errors
    /// When a part or its commit cannot be written; everything stays in memory and in the log then.
    pub fn flush(&self) -> Result<(), StoreError> {
        ask(&self.running.flusher)
    }

    /// Merges parts until none are worth merging, drops what is past retention, removes what was replaced before
    /// the grace period. Blocks.
    ///
    /// # Errors
    /// When a part cannot be read or written; the parts stay as they are then.
    pub fn compact(&self) -> Result<(), StoreError> {
        ask(&self.running.compactor)
    }

    /// Goes on with `tuning`. What is due sooner by it is done at once.
    pub fn retune(&self, tuning: Tuning) {
        self.running.shared.retune(tuning);
        // Full queues of wakes: they will look at it when they get there.
        self.running.flusher.try_send(Wake::Due).ok();
        self.running.compactor.try_send(Wake::Due).ok();
    }

    /// What may change, as it is now.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        self.running.shared.tuning()
    }

    /// The store in figures.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let shared = &self.running.shared;
        let counters = &shared.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        StoreStatus {
            memtable_bytes: shared.memtable_bytes(),
            memtable_bytes_max: shared.tuning().memtable_bytes_max,
            memtable_series: shared.metrics.active().series_count() as u64,
            wal_bytes: read(&counters.wal_bytes),
            wal_bytes_max: shared.options.wal_bytes_max,
            points: read(&counters.points),
            points_late: read(&counters.points_late),
            points_repeated: read(&counters.points_repeated),
            spans: read(&counters.spans),
            batches_repeated: read(&counters.batches_repeated),
            flush_failures: read(&counters.flush_failures),
            trouble: counters.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            parts: vec![parts_status(&shared.metrics), parts_status(&shared.spans)],
        }
    }

    /// Takes no more batches, makes parts of what is in memory, and ends the threads. Blocks.
    ///
    /// # Errors
    /// When the last flush failed; everything is in the log then, and the next start has it.
    pub fn shutdown(self) -> Result<(), StoreError> {
        self.running.shared.counters.closed.store(true, Ordering::Release);
        let flushed = self.flush();
        self.running.stop();
        flushed
    }
}

impl Running {
    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::io(&self.shared.options.dir, error))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Ends the threads: flusher and compactor after what they are doing, then the writer.
    fn stop(&self) {
        self.shared.counters.closed.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let writer = self.writer.clone();
        self.flusher.send(Wake::Stop).ok();
        self.compactor.send(Wake::Stop).ok();
        let mut threads = threads.into_iter();
        let write = threads.next();
        for thread in threads {
            join(thread);
        }
        // The channel may be full of batches; the writer empties it.
        let mut stop = Command::Stop;
        while let Err(mpsc::error::TrySendError::Full(back)) = writer.try_send(stop) {
            stop = back;
            std::thread::yield_now();
        }
        if let Some(write) = write {
            join(write);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store has panicked");
    }
}

fn ask(thread: &SyncSender<Wake>) -> Result<(), StoreError> {
    let (answer, answered) = sync_channel(1);
    thread.send(Wake::Now(answer)).map_err(|_| StoreError::Closed)?;
    answered.recv().map_err(|_| StoreError::Closed)?
}

fn parts_status<T: Table>(lane: &Lane<T>) -> PartsStatus {
    lane.look(|live| {
        let mut status = PartsStatus { signal: T::SIGNAL, parts: 0, files: 0, bytes: 0, rows: 0, time_range_ns: None };
        for part in &live.parts {
            let entry = part.part().entry();
            status.parts += 1;
            status.files += entry.files.len() as u64;
            status.bytes += entry.bytes;
            status.rows += entry.rows;
            let (min, max) = status.time_range_ns.unwrap_or((entry.time_min_ns, entry.time_max_ns));
            status.time_range_ns = Some((min.min(entry.time_min_ns), max.max(entry.time_max_ns)));
        }
        status
    })
}

/// About how many bytes a batch takes while it waits.
fn bytes_of(batch: &Batch) -> u64 {
    let metrics = &batch.metrics;
    let bytes = metrics.series.len() * 16
        + metrics.numbers.series.len() * 28
        + metrics.histograms.series.len() * 72
        + metrics.histograms.counts.len() * 8
        + metrics.exemplars.series.len() * 64
        + batch.spans.len() * 160
        + batch.spans.attributes.len() * 4
        + batch.spans.key_values.len() * 64;
    bytes as u64
}
