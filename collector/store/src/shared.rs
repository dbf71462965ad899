//! What the writer, the flusher, the compactor and readers share: the two lanes and the counters.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use weir_proto::Batch;

use crate::delivered::TakenEntry;
use crate::error::{ErrorKind, StoreError};
use crate::lane::{Lane, Table};
use crate::metrics::read::MetricPart;
use crate::metrics::registry::SeriesRegistry;
use crate::options::{StoreOptions, Tuning};
use crate::part::Signal;
use crate::recover;
use crate::reserve::Reserve;
use crate::snapshot::{Partition, Snapshot};
use crate::traces::{SpanPart, TracesView};

/// State with more than one user; each field says who may change it by its own lock.
pub(crate) struct Shared {
    pub(crate) options: StoreOptions,
    /// That of the options, as it is now; read in a few instructions, changed by a reload.
    tuning: RwLock<Tuning>,
    pub(crate) metrics: Lane<MetricPart>,
    pub(crate) spans: Lane<SpanPart>,
    pub(crate) counters: Counters,
    reserve: Reserve,
    ids: Mutex<ulid::Generator>,
    /// Held for its lock on the data directory.
    _lock: File,
}

/// Figures that outlive a flush.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) closed: AtomicBool,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) points: AtomicU64,
    pub(crate) points_late: AtomicU64,
    pub(crate) points_repeated: AtomicU64,
    pub(crate) spans: AtomicU64,
    pub(crate) batches_repeated: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    /// Why the last flush or compaction failed; none once one has succeeded.
    pub(crate) trouble: Mutex<Option<String>>,
}

impl Shared {
    /// Opens the data directory, but for its log.
    pub(crate) fn open(options: StoreOptions) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&options.dir).map_err(|error| StoreError::io(&options.dir, error))?;
        let lock = recover::lock(&options.dir)?;
        let registry = Arc::new(SeriesRegistry::new(options.promotion.clone()));
        let (metrics, metrics_sound) = Lane::<MetricPart>::open(&options, &registry)?;
        let (spans, spans_sound) = Lane::<SpanPart>::open(&options, &registry)?;
        remove_orphans(&options, &metrics, metrics_sound);
        remove_orphans(&options, &spans, spans_sound);
        let reserve = Reserve::new(&options.dir, options.wal_bytes_max);
        reserve.take();
        Ok(Self {
            reserve,
            tuning: RwLock::new(options.tuning),
            options,
            metrics,
            spans,
            counters: Counters::default(),
            ids: Mutex::new(ulid::Generator::new()),
            _lock: lock,
        })
    }

    /// Puts a durable batch into the memtables.
    pub(crate) fn insert(&self, batch: Batch) {
        let arrivals = self.metrics.active().insert(&batch.metrics);
        let spans = batch.spans.len() as u64;
        self.spans.active().insert(batch.spans);
        self.counters.points.fetch_add(arrivals.points, Ordering::Relaxed);
        self.counters.points_late.fetch_add(arrivals.late, Ordering::Relaxed);
        self.counters.points_repeated.fetch_add(arrivals.repeated, Ordering::Relaxed);
        self.counters.spans.fetch_add(spans, Ordering::Relaxed);
    }

    /// What may change, as it is now.
    pub(crate) fn tuning(&self) -> Tuning {
        *self.tuning.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it.
    pub(crate) fn retune(&self, tuning: Tuning) {
        *self.tuning.write().unwrap_or_else(PoisonError::into_inner) = tuning;
    }

    /// Bytes of all memtables.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.metrics.memtable_bytes().1 + self.spans.memtable_bytes().1
    }

    /// Whether memory or log have come half way to their bounds.
    pub(crate) fn flush_is_due(&self) -> bool {
        let active = self.metrics.memtable_bytes().0 + self.spans.memtable_bytes().0;
        let log = self.counters.wal_bytes.load(Ordering::Relaxed);
        active > self.tuning().memtable_bytes_max / 2 || log > self.options.wal_bytes_max / 2
    }

    /// Freezes both signals' memtables: everything below the log position `wal_floor` is in them or before them.
    pub(crate) fn freeze_all(&self, wal_floor: u64, taken: &Arc<Vec<TakenEntry>>) {
        self.metrics.freeze(wal_floor, taken);
        self.spans.freeze(wal_floor, taken);
    }

    /// Makes parts of everything frozen, on a full disk with the room that was kept for this.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let mut both = self.flush_lanes();
        if both.as_ref().is_err_and(|error| error.kind() == ErrorKind::Full) && self.reserve.give_up() {
            both = self.flush_lanes();
        }
        if both.is_err() {
            self.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
        }
        self.note(&both);
        both
    }

    /// A failure of one signal does not keep the other from trying.
    fn flush_lanes(&self) -> Result<(), StoreError> {
        let metrics = self.metrics.flush(&self.options, &mut || self.new_id());
        let spans = self.spans.flush(&self.options, &mut || self.new_id());
        metrics.and(spans)
    }

    /// Takes room for the next flush again, once the log has given some back.
    pub(crate) fn take_reserve(&self) {
        self.reserve.take();
    }

    /// Keeps the reason of a failure for the status.
    pub(crate) fn note(&self, result: &Result<(), StoreError>) {
        let trouble = result.as_ref().err().map(ToString::to_string);
        *self.counters.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Log records below this one are in parts.
    pub(crate) fn released(&self) -> u64 {
        self.metrics.released().min(self.spans.released())
    }

    /// A name for a part, sorted by when it was made.
    pub(crate) fn new_id(&self) -> String {
        let ms = u64::try_from(self.options.clock.now_ns() / 1_000_000).unwrap_or(0);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // More than 2^80 parts in one millisecond do not happen.
        ids.generate_from_datetime(time).unwrap_or_else(|_| ulid::Ulid::from_datetime(time)).to_string()
    }

    /// Everything stored, as of now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let metrics = self.metrics.look(|live| {
            let parts = live.parts.iter().map(Partition::of_part);
            let memtables = live.frozen.iter().map(|frozen| &frozen.memtable).chain([&live.active]);
            let memtables: Vec<_> = memtables.map(Arc::clone).collect();
            (parts.collect::<Vec<_>>(), memtables)
        });
        let (mut partitions, memtables) = metrics;
        partitions.extend(memtables.iter().flat_map(Partition::of_memtable));
        let traces = self.spans.look(|live| TracesView {
            memtables: live
                .frozen
                .iter()
                .map(|frozen| &frozen.memtable)
                .chain([&live.active])
                .map(Arc::clone)
                .collect(),
            parts: live.parts.iter().map(Arc::clone).collect(),
        });
        Snapshot { metrics: partitions, traces }
    }
}

fn remove_orphans<T: Table>(options: &StoreOptions, lane: &Lane<T>, sound: bool) {
    let live: HashSet<PathBuf> = lane.look(|live| live.parts.iter().map(|part| part.part().dir().to_owned()).collect());
    let signal: Signal = T::SIGNAL;
    recover::remove_orphans(&options.dir, signal.as_str(), &live, sound);
}
