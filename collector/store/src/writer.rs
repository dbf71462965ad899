//! The one thread that writes: log, sync, memtables, answers.
//!
//! ```text
//! append ─┐                     ┌─ group: frame, WAL append (each batch as it comes)
//! append ─┼─▶ bounded channel ─▶┤  until GROUP_BYTES, or GROUP_WAIT after the last sync
//! append ─┘                     └─ one fdatasync ─▶ dedup noted, memtables ─▶ answers
//! freeze, release, stop ────────── between groups, so that a log position divides memtables cleanly
//! ```
//! The thread runs a runtime of its own only to wait for a message or a moment, whichever comes first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use weir_proto::Batch;
use weir_proto::names;

use crate::delivered::Taken;
use crate::error::StoreError;
use crate::log::Log;
use crate::maintain::Wake;
use crate::options::{Appended, Delivery};
use crate::shared::Shared;

/// Bytes of log after which a group is synced at once.
const GROUP_BYTES: u64 = 1 << 20;
/// The least time from one sync to the next, unless a group is large.
const GROUP_WAIT: Duration = Duration::from_millis(5);

/// What the writer is asked.
pub(crate) enum Command {
    /// Store a batch.
    Append(Box<Append>),
    /// Freeze the memtables; `None` of a signal that is not due.
    Freeze { metrics: bool, spans: bool, done: SyncSender<()> },
    /// Forget what is in parts.
    Release { done: SyncSender<()> },
    /// Sync what is there and end.
    Stop,
}

/// A batch to store, and who waits for it.
pub(crate) struct Append {
    pub(crate) batch: Batch,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) answer: oneshot::Sender<Result<Appended, StoreError>>,
    /// Its share of the bytes that may wait.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    taken: Taken,
    commands: mpsc::Receiver<Command>,
    flusher: SyncSender<Wake>,
    last_sync: Instant,
}

/// Batches appended since the last sync.
#[derive(Default)]
struct Group {
    stored: Vec<Append>,
    /// Repeats of batches of this very group: durable when they are.
    repeats: Vec<Append>,
    bytes: u64,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (log, taken): (Log, Taken),
        commands: mpsc::Receiver<Command>,
        flusher: SyncSender<Wake>,
    ) -> Self {
        shared.counters.wal_bytes.store(log.bytes(), Ordering::Relaxed);
        Self { shared, log, taken, commands, flusher, last_sync: Instant::now() }
    }

    /// Runs until told to stop, or nobody can tell it anything any more.
    pub(crate) fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(%error, "the store's writer has no timer and cannot run"),
        }
    }

    async fn serve(mut self) {
        let mut next = self.commands.recv().await;
        while let Some(command) = next {
            let follows = match command {
                Command::Append(append) => self.serve_group(append).await,
                Command::Freeze { metrics, spans, done } => {
                    self.freeze(metrics, spans);
                    // Whoever asked may have gone; the memtables are frozen all the same.
                    done.try_send(()).ok();
                    None
                }
                Command::Release { done } => {
                    self.release();
                    done.try_send(()).ok();
                    None
                }
                Command::Stop => break,
            };
            next = match follows {
                Some(command) => Some(command),
                None => self.commands.recv().await,
            };
        }
    }

    /// Takes batches until the group is full or its time has come, and commits it. Gives back the command that
    /// ended it, if one did.
    async fn serve_group(&mut self, first: Box<Append>) -> Option<Command> {
        let mut group = Group::default();
        self.take(*first, &mut group);
        let due = self.last_sync + GROUP_WAIT;
        let mut follows = None;
        while group.bytes < GROUP_BYTES {
            match tokio::time::timeout_at(due, self.commands.recv()).await {
                Ok(Some(Command::Append(append))) => self.take(*append, &mut group),
                Ok(Some(other)) => {
                    follows = Some(other);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.commit(group);
        follows
    }

    /// Appends one batch to the log, or answers it at once.
    fn take(&mut self, append: Append, group: &mut Group) {
        if let Some(delivery) = &append.delivery {
            if self.taken.contains(delivery) {
                self.shared.counters.batches_repeated.fetch_add(1, Ordering::Relaxed);
                metrics::counter!(names::STORE_BATCHES_REPEATED).increment(1);
                return answer(append, Ok(Appended::Repeated));
            }
            let same = |other: &Append| {
                other.delivery.is_some_and(|other| (other.agent, other.position) == (delivery.agent, delivery.position))
            };
            if group.stored.iter().any(same) {
                group.repeats.push(append);
                return;
            }
            if self.taken.is_full(delivery) {
                let reason = "this agent has left too many holes in its positions";
                return answer(append, Err(StoreError::Full(reason.to_owned())));
            }
        }
        let full = self.shared.tuning().memtable_bytes_max;
        if self.shared.memtable_bytes() > full {
            self.wake_flusher(Wake::Due);
            let reason = format!("memtables hold more than {} MiB; flushing", full >> 20);
            return answer(append, Err(StoreError::Full(reason)));
        }
        match self.log.append(&append.batch, append.delivery.as_ref()) {
            Ok(bytes) => {
                self.shared.options.fault("append");
                group.bytes += bytes;
                group.stored.push(append);
            }
            Err(error) => {
                self.wake_flusher(Wake::Full);
                answer(append, Err(error));
            }
        }
    }

    /// Makes a group durable, visible, and answered.
    fn commit(&mut self, group: Group) {
        let synced = if group.stored.is_empty() { Ok(()) } else { self.log.sync() };
        self.last_sync = Instant::now();
        if let Err(error) = synced {
            tracing::error!(%error, batches = group.stored.len(), "the log could not be synced");
            self.wake_flusher(Wake::Full);
            for append in group.stored.into_iter().chain(group.repeats) {
                answer(append, Err(error.clone()));
            }
            return;
        }
        self.shared.options.fault("before_ack");
        let now = self.shared.options.clock.now_ns();
        let mut answers = Vec::with_capacity(group.stored.len());
        for mut append in group.stored {
            if let Some(delivery) = &append.delivery {
                self.taken.insert(delivery, now);
            }
            self.shared.insert(std::mem::take(&mut append.batch));
            answers.push((append, Appended::Stored));
        }
        answers.extend(group.repeats.into_iter().map(|append| (append, Appended::Repeated)));
        for (append, appended) in answers {
            answer(append, Ok(appended));
        }
        self.shared.options.fault("after_ack");
        self.shared.counters.wal_bytes.store(self.log.bytes(), Ordering::Relaxed);
        if self.shared.flush_is_due() {
            self.wake_flusher(Wake::Due);
        }
    }

    fn wake_flusher(&self, wake: Wake) {
        // A full channel means that it is awake already.
        drop(self.flusher.try_send(wake));
    }

    fn freeze(&mut self, metrics: bool, spans: bool) {
        // A segment of its own per flush, so that the flush frees all that it covers.
        if let Err(error) = self.log.rotate() {
            tracing::warn!(%error, "the log could not begin a segment");
        }
        let floor = self.log.next_position();
        self.taken.forget_silent(self.shared.options.clock.now_ns());
        let taken = self.taken.to_entries().into();
        if metrics {
            self.shared.metrics.freeze(floor, &taken);
        }
        if spans {
            self.shared.spans.freeze(floor, &taken);
        }
    }

    fn release(&mut self) {
        if let Err(error) = self.log.release_below(self.shared.released()) {
            tracing::warn!(%error, "a log segment that is no longer needed could not be removed");
        }
        self.shared.counters.wal_bytes.store(self.log.bytes(), Ordering::Relaxed);
    }
}

fn answer(append: Append, result: Result<Appended, StoreError>) {
    if let Err(error) = &result {
        metrics::counter!(names::STORE_REFUSED_BATCHES, "reason" => format!("{:?}", error.kind()).to_lowercase())
            .increment(1);
    }
    drop(append.permit);
    // Whoever waited may have gone; the batch is what it is.
    drop(append.answer.send(result));
}
