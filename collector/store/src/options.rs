//! What the store is told when it is opened, and the small types of its append.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_proto::prometheus::Promotion;

use crate::error::StoreError;
use crate::part::{PartEntry, Signal};

/// Tells the time. The store never asks the system itself.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the epoch.
    fn now_ns(&self) -> i64;
}

/// Called at named points of the write path, so that a test can kill the process there: `append`, `before_ack`,
/// `after_ack`, `flush`, `commit`, `compact`.
pub type FaultHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// How a store behaves.
#[derive(Clone)]
pub struct StoreOptions {
    /// The data directory; made when absent. One process at a time.
    pub dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which resource attributes are PromQL labels.
    pub promotion: Promotion,
    /// What may change while the store is open.
    pub tuning: Tuning,
    /// Most bytes of the write-ahead log; past it an append is Full. Half of it starts a flush.
    pub wal_bytes_max: u64,
    /// How long the files of a replaced part stay on disk, for readers outside this process.
    pub compact_grace: Duration,
    /// Where tests break in.
    pub fault: Option<FaultHook>,
    /// Told of every flush and merge.
    pub on_work: Option<WorkObserver>,
}

/// What may change while a store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long metrics stay in memory before they become a part. Longer chunks are smaller on disk (10 minutes
    /// of 15 s samples cost twice the bytes of 2 hours until compaction), but a restart replays more.
    pub metrics_flush_interval: Duration,
    /// How long spans stay in memory before they become a part.
    pub traces_flush_interval: Duration,
    /// Most bytes of both memtables, frozen ones included; past it an append is Full. Half of it starts a flush.
    pub memtable_bytes_max: u64,
    /// Metrics older than this are dropped, by whole parts.
    pub metrics_retention: Duration,
    /// Spans older than this are dropped, by whole parts.
    pub traces_retention: Duration,
    /// How often the compactor looks for work.
    pub compact_interval: Duration,
}

/// Told of work that was done. Called on the thread that did it.
pub type WorkObserver = Arc<dyn Fn(&Work<'_>) + Send + Sync>;

/// Which work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A memtable became parts.
    Flush,
    /// Parts became one.
    Compact,
}

/// One flush of one memtable, or one merge.
#[derive(Clone, Debug)]
pub struct Work<'a> {
    /// Which.
    pub kind: WorkKind,
    /// Of which signal.
    pub signal: Signal,
    /// When it began and ended, ns.
    pub time_ns: (i64, i64),
    /// Parts that went in: 0 for a flush.
    pub parts_in: usize,
    /// What came out, or why nothing did.
    pub outcome: Result<&'a [PartEntry], &'a StoreError>,
}

impl Default for Tuning {
    /// That of an ordinary collector.
    fn default() -> Self {
        Self {
            metrics_flush_interval: Duration::from_secs(600),
            traces_flush_interval: Duration::from_secs(60),
            memtable_bytes_max: 512 << 20,
            metrics_retention: Duration::from_secs(30 * 86_400),
            traces_retention: Duration::from_secs(7 * 86_400),
            compact_interval: Duration::from_secs(30),
        }
    }
}

impl StoreOptions {
    /// The defaults of an ordinary collector over `dir`.
    pub fn new(dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            dir: dir.into(),
            clock,
            promotion: Promotion::default(),
            tuning: Tuning::default(),
            wal_bytes_max: 1 << 30,
            compact_grace: Duration::from_secs(600),
            fault: None,
            on_work: None,
        }
    }

    /// Does `work` and tells the observer what became of it.
    pub(crate) fn observed(
        &self,
        (kind, signal, parts_in): (WorkKind, Signal, usize),
        work: impl FnOnce() -> Result<Vec<PartEntry>, StoreError>,
    ) -> Result<Vec<PartEntry>, StoreError> {
        let Some(tell) = &self.on_work else { return work() };
        let begun = self.clock.now_ns();
        let outcome = work();
        let time_ns = (begun, self.clock.now_ns());
        tell(&Work { kind, signal, time_ns, parts_in, outcome: outcome.as_deref() });
        outcome
    }

    pub(crate) fn fault(&self, point: &'static str) {
        if let Some(hook) = &self.fault {
            hook(point);
        }
    }
}

/// Which batch this is: the same (agent, position) is stored once, however often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The agent's 128 random bits.
    pub agent: [u8; 16],
    /// Its queue position.
    pub position: u64,
    /// Every position of this agent below this one is acknowledged or given up.
    pub lowest_unacked: u64,
}

/// What became of a batch. Both mean: it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was stored now.
    Stored,
    /// It was stored before and has been dropped now.
    Repeated,
}
