//! One signal's way from memory to parts: its memtables, its live parts, its manifest.
//!
//! ```text
//! active ── freeze (writer) ─▶ frozen … frozen ── flush: write parts, commit, swap ─▶ parts ── compact, retire
//!                                                                                       └─ retired: on disk until
//!                                                                                          grace is over, nobody reads
//! ```
//! [`Table`] is what differs between metrics and traces. Whoever changes what readers see does it in one hold of
//! `live`, so a point is never absent and never there twice.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::delivered::TakenEntry;
use crate::error::StoreError;
use crate::manifest::{Commit, Manifest};
use crate::metrics::memtable::MetricMemtable;
use crate::metrics::read::MetricPart;
use crate::metrics::registry::SeriesRegistry;
use crate::options::{StoreOptions, WorkKind};
use crate::part::{Part, PartEntry, Signal};
use crate::traces::{SpanMemtable, SpanPart};
use crate::{metrics as metric_tables, traces};

/// What a signal's memtables and parts can do.
pub(crate) trait Table: Send + Sync + Sized + 'static {
    const SIGNAL: Signal;
    type Memtable: Send + Sync;

    fn memtable(registry: &Arc<SeriesRegistry>) -> Self::Memtable;
    fn memtable_bytes(memtable: &Self::Memtable) -> u64;
    fn is_empty(memtable: &Self::Memtable) -> bool;
    fn open(part: Arc<Part>, registry: &Arc<SeriesRegistry>) -> Arc<Self>;
    fn part(&self) -> &Arc<Part>;
    fn write(
        root: &Path,
        memtable: &Self::Memtable,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Vec<PartEntry>, StoreError>;
    fn merge(root: &Path, inputs: &[Arc<Self>], level: u8, id: String) -> Result<Option<PartEntry>, StoreError>;
}

impl Table for MetricPart {
    const SIGNAL: Signal = Signal::Metrics;
    type Memtable = MetricMemtable;

    fn memtable(registry: &Arc<SeriesRegistry>) -> MetricMemtable {
        MetricMemtable::new(Arc::clone(registry))
    }

    fn memtable_bytes(memtable: &MetricMemtable) -> u64 {
        memtable.bytes()
    }

    fn is_empty(memtable: &MetricMemtable) -> bool {
        memtable.is_empty()
    }

    fn open(part: Arc<Part>, registry: &Arc<SeriesRegistry>) -> Arc<Self> {
        Self::new(part, Arc::clone(registry))
    }

    fn part(&self) -> &Arc<Part> {
        Self::part(self)
    }

    fn write(
        root: &Path,
        memtable: &MetricMemtable,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Vec<PartEntry>, StoreError> {
        metric_tables::write_parts(root, memtable, new_id)
    }

    fn merge(root: &Path, inputs: &[Arc<Self>], level: u8, id: String) -> Result<Option<PartEntry>, StoreError> {
        metric_tables::merge_parts(root, inputs, level, id)
    }
}

impl Table for SpanPart {
    const SIGNAL: Signal = Signal::Traces;
    type Memtable = SpanMemtable;

    fn memtable(_: &Arc<SeriesRegistry>) -> SpanMemtable {
        SpanMemtable::default()
    }

    fn memtable_bytes(memtable: &SpanMemtable) -> u64 {
        memtable.bytes()
    }

    fn is_empty(memtable: &SpanMemtable) -> bool {
        memtable.rows() == 0
    }

    fn open(part: Arc<Part>, _: &Arc<SeriesRegistry>) -> Arc<Self> {
        Arc::new(Self::new(part))
    }

    fn part(&self) -> &Arc<Part> {
        Self::part(self)
    }

    fn write(
        root: &Path,
        memtable: &SpanMemtable,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Vec<PartEntry>, StoreError> {
        // The commit gives the order.
        traces::write_parts(root, memtable, 0, new_id)
    }

    fn merge(root: &Path, inputs: &[Arc<Self>], level: u8, id: String) -> Result<Option<PartEntry>, StoreError> {
        for input in inputs {
            input.part().verify()?;
        }
        traces::merge_parts(root, inputs, level, id)
    }
}

/// One signal.
pub(crate) struct Lane<T: Table> {
    registry: Arc<SeriesRegistry>,
    live: RwLock<Live<T>>,
    manifest: Mutex<Manifest>,
    /// Held by whoever flushes; frozen memtables go in their order.
    flushing: Mutex<()>,
    retired: Mutex<Vec<(i64, Arc<Part>)>>,
    /// Log records below this one have nothing of this signal that is not in parts.
    released: AtomicU64,
}

/// What readers see, oldest data first.
pub(crate) struct Live<T: Table> {
    pub(crate) parts: Vec<Arc<T>>,
    pub(crate) frozen: VecDeque<Frozen<T>>,
    pub(crate) active: Arc<T::Memtable>,
}

/// A memtable that gets no more, and the commit that will follow it.
pub(crate) struct Frozen<T: Table> {
    pub(crate) memtable: Arc<T::Memtable>,
    wal_floor: u64,
    taken: Arc<Vec<TakenEntry>>,
}

impl<T: Table> Lane<T> {
    /// Opens the manifest; the second answer is false when it was damaged.
    pub(crate) fn open(options: &StoreOptions, registry: &Arc<SeriesRegistry>) -> Result<(Self, bool), StoreError> {
        let (manifest, sound) = Manifest::open(&options.dir, T::SIGNAL)?;
        let open = |entry| T::open(Part::new(&options.dir, entry), registry);
        let lane = Self {
            registry: Arc::clone(registry),
            live: RwLock::new(Live {
                parts: manifest.live().into_iter().map(open).collect(),
                frozen: VecDeque::new(),
                active: Arc::new(T::memtable(registry)),
            }),
            released: AtomicU64::new(manifest.wal_floor()),
            manifest: Mutex::new(manifest),
            flushing: Mutex::new(()),
            retired: Mutex::new(Vec::new()),
        };
        Ok((lane, sound))
    }

    /// The manifest, for what only the start needs.
    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        // Commits leave it whole or untouched, so a poisoned lock is taken as it is.
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is live. Short: readers and the writer wait.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Live<T>) -> R) -> R {
        look(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Live<T>) -> R) -> R {
        change(&mut self.live.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The memtable to insert into.
    pub(crate) fn active(&self) -> Arc<T::Memtable> {
        self.look(|live| Arc::clone(&live.active))
    }

    /// Bytes of the active memtable, and of all.
    pub(crate) fn memtable_bytes(&self) -> (u64, u64) {
        self.look(|live| {
            let active = T::memtable_bytes(&live.active);
            let frozen: u64 = live.frozen.iter().map(|frozen| T::memtable_bytes(&frozen.memtable)).sum();
            (active, active + frozen)
        })
    }

    /// Freezes the active memtable: everything below the log position `wal_floor` is in it or before it.
    pub(crate) fn freeze(&self, wal_floor: u64, taken: &Arc<Vec<TakenEntry>>) {
        self.change(|live| {
            if T::is_empty(&live.active) {
                if live.frozen.is_empty() {
                    self.released.fetch_max(wal_floor, Ordering::AcqRel);
                }
                return;
            }
            let fresh = Arc::new(T::memtable(&self.registry));
            let memtable = std::mem::replace(&mut live.active, fresh);
            live.frozen.push_back(Frozen { memtable, wal_floor, taken: Arc::clone(taken) });
        });
    }

    /// Log records below this one are not needed for this signal.
    pub(crate) fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    /// Makes parts of all frozen memtables, each with a commit of its own. Stops at the first failure; what is
    /// frozen stays so, and readable.
    pub(crate) fn flush(&self, options: &StoreOptions, new_id: &mut dyn FnMut() -> String) -> Result<(), StoreError> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((memtable, wal_floor, taken)) = self.look(|live| {
            let first = live.frozen.front()?;
            Some((Arc::clone(&first.memtable), first.wal_floor, Arc::clone(&first.taken)))
        }) {
            let added = options.observed((WorkKind::Flush, T::SIGNAL, 0), || {
                let commit = Commit { wal_floor: Some(wal_floor), taken: Some(taken), ..Commit::default() };
                self.flush_one(options, &memtable, commit, new_id)
            })?;
            self.change(|live| {
                live.frozen.pop_front();
                let open = |entry| T::open(Part::new(&options.dir, entry), &self.registry);
                live.parts.extend(added.into_iter().map(open));
            });
            self.released.fetch_max(wal_floor, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Writes a memtable's parts and makes them live with `commit`.
    fn flush_one(
        &self,
        options: &StoreOptions,
        memtable: &T::Memtable,
        commit: Commit,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Vec<PartEntry>, StoreError> {
        let mut begun = Vec::new();
        let written = T::write(&options.dir, memtable, &mut || {
            let id = new_id();
            begun.push(id.clone());
            id
        });
        let written = written.inspect_err(|_| remove_begun(&options.dir, T::SIGNAL, &begun))?;
        options.fault("flush");
        let added = written.into_iter().map(|entry| PartEntry { order: 0, ..entry }).collect();
        let committed = self.manifest().commit(Commit { added, ..commit });
        let added = committed.inspect_err(|_| remove_begun(&options.dir, T::SIGNAL, &begun))?;
        options.fault("commit");
        Ok(added)
    }

    /// Replaces live parts by one (or none), if they are all still live.
    pub(crate) fn replace(
        &self,
        options: &StoreOptions,
        removed: &[Arc<T>],
        added: Option<PartEntry>,
    ) -> Result<(), StoreError> {
        let ids = removed.iter().map(|part| part.part().entry().id.clone()).collect();
        let commit = Commit { added: added.into_iter().collect(), removed: ids, ..Commit::default() };
        let added = self.manifest().commit(commit)?;
        let now = options.clock.now_ns();
        self.change(|live| {
            live.parts.retain(|part| !removed.iter().any(|gone| Arc::ptr_eq(gone, part)));
            live.parts.extend(added.into_iter().map(|entry| T::open(Part::new(&options.dir, entry), &self.registry)));
            live.parts.sort_by(|a, b| {
                let (a, b) = (a.part().entry(), b.part().entry());
                (a.order, &a.id).cmp(&(b.order, &b.id))
            });
        });
        let gone = removed.iter().map(|part| (now, Arc::clone(part.part())));
        self.retired().extend(gone);
        Ok(())
    }

    /// Lets go of the parts that were replaced before `before_ns`; their folders go with their last reader.
    pub(crate) fn drop_retired(&self, before_ns: i64) {
        self.retired().retain(|(since, part)| {
            let keep = *since > before_ns;
            if !keep && !part.is_corrupt() {
                part.doom();
            }
            keep
        });
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(i64, Arc<Part>)>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes folders of parts that did not come to be, so that a full disk is not full of them.
pub(crate) fn remove_begun(root: &Path, signal: Signal, ids: &[String]) {
    let signal_dir = root.join(signal.as_str());
    for dir in crate::recover::part_dirs(&signal_dir) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ids.iter().any(|id| name.ends_with(id.as_str()))
            && let Err(error) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!(part = %dir.display(), %error, "a part that was not finished could not be removed");
        }
    }
}
