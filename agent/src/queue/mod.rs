//! The disk queue: what stands between a sender's success and the collector's ack.
//!
//! ```text
//!  Batcher ─ append ─▶┐               ┌──────── thread "weir-queue" ────────┐
//!  push ─ ack, reader ┼─▶ commands ──▶│ encode ─▶ Wal::append … ─▶ fdatasync│─▶ answers (durable)
//!                     ┘   (bounded)   └─────────────────────────────────────┘─▶ head (watch): how far push may read
//! ```
//! In: batches, acks. Out: positions once durable; readers over segments. The thread owns the log and the encoder;
//! nobody else touches the files but readers, which read behind [`Head`]. One segment is one epoch: a fresh encoder
//! per segment, so that a segment can be sent alone.
//!
//! Group commit: while one sync runs, the next records gather; a commit is never held back to wait for more, and
//! never grows past [`COMMIT_BYTES`] or [`COMMIT_AFTER`]. Memory: at most [`COMMANDS_MAX`] batches wait here. A full
//! queue or disk answers Full and takes nothing; what is taken is never dropped.

mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use weir_proto::{Batch, names};
use weir_receive::SinkError;
use weir_wal::{SegmentReader, SegmentStatus, Wal, WalError, WalOptions};

use crate::batch::Durable;
use writer::Writer;

/// Commands waiting for the thread. The batcher has two appends under way, push a handful of acks.
const COMMANDS_MAX: usize = 32;

/// A commit has at most about this many bytes, so that the first of its senders does not wait for all.
const COMMIT_BYTES: u64 = 1 << 20;

/// A commit takes no more records this long after its first.
const COMMIT_AFTER: Duration = Duration::from_millis(5);

/// Segments are of this size: small enough that little is sent again after a reconnect, large enough that a
/// dictionary is worth its bytes.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// A tenth of the queue at most is one segment, so that acks free space early.
const SEGMENTS_MIN: u64 = 10;

/// The queue's dictionary restarts past this; it is most of the agent's memory for series.
const DICTIONARY_BYTES_MAX: usize = 32 << 20;

/// Positions per second that a clock reading leaves room for (see [`WalOptions::first_position`]).
const POSITIONS_PER_SECOND_BITS: u32 = 20;

/// Where and how much.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The queue's own directory.
    pub dir: PathBuf,
    /// Past this, senders are told to wait.
    pub bytes_max: u64,
}

/// Called at the points where a crash test wants to die.
pub type FaultHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// How far the queue is durable. Published after every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The newest segment.
    pub segment: u64,
    /// How much of it may be read.
    pub bytes_durable: u64,
    /// Every position below is acked.
    pub lowest_unacked: u64,
    /// Records not acked.
    pub unacked: u64,
    /// Bytes of the whole queue.
    pub bytes: u64,
}

/// The disk queue's handle. Share it in an `Arc`.
#[derive(Debug)]
pub struct Queue {
    commands: mpsc::Sender<Command>,
    head: watch::Receiver<Head>,
    /// Taken once, by [`Queue::close`]. A lock of a few instructions; a channel would need a task to own it.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is asked.
enum Command {
    Append { batch: Box<Batch>, done: oneshot::Sender<Result<u64, SinkError>> },
    Ack { positions: Vec<u64> },
    SetAside { position: u64 },
    Rotate { done: oneshot::Sender<Result<u64, WalError>> },
    Segments { done: oneshot::Sender<Vec<SegmentStatus>> },
    Reader { segment: u64, done: oneshot::Sender<Result<SegmentReader, WalError>> },
    Close,
}

impl Queue {
    /// Opens the queue and starts its thread. Blocking: every kept record is read once. `now_ns` is the wall clock.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(settings: &QueueSettings, now_ns: i64) -> Result<Self, WalError> {
        Self::open_with_fault(settings, now_ns, None)
    }

    /// The same, with a hook that crash tests die in: it is called with `append` (appended, not synced),
    /// `before_ack` (durable, nobody told) and `after_ack` (the senders are told).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_fault(settings: &QueueSettings, now_ns: i64, fault: Option<FaultHook>) -> Result<Self, WalError> {
        let seconds = u64::try_from(now_ns / 1_000_000_000).unwrap_or(0);
        let options = WalOptions {
            segment_bytes_max: SEGMENT_BYTES_MAX.min(settings.bytes_max / SEGMENTS_MIN),
            total_bytes_max: settings.bytes_max,
            first_position: seconds << POSITIONS_PER_SECOND_BITS,
        };
        let (wal, recovery) = Wal::open(&settings.dir, options)?;
        metrics::counter!(names::QUEUE_TORN_BYTES).increment(recovery.torn_bytes);
        metrics::counter!(names::QUEUE_QUARANTINED).increment(recovery.quarantined.len() as u64);
        let lost = recovery.quarantined.iter().map(|damaged| damaged.bytes_lost).sum();
        metrics::counter!(names::QUEUE_QUARANTINED_BYTES).increment(lost);
        if recovery.records > 0 {
            let (records, segments, bytes) = (recovery.records, recovery.segments, wal.total_bytes());
            tracing::info!(records, segments, bytes, "the queue holds records of before");
        }
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let (writer, head) = Writer::new(wal, settings.dir.clone(), fault);
        let thread = std::thread::Builder::new()
            .name("weir-queue".into())
            .spawn(move || writer.run(waiting))
            .map_err(|source| WalError::Io { doing: "starting the thread of", path: settings.dir.clone(), source })?;
        Ok(Self { commands, head, thread: Mutex::new(Some(thread)) })
    }

    /// Appends `batch`: its position, once durable.
    ///
    /// # Errors
    /// Full at the queue's bound or on a full disk, Unavailable when the disk fails, Internal for a batch that cannot
    /// be encoded, Closed after [`Self::close`]. Not cancel safe: a dropped future may have appended.
    pub async fn append(&self, batch: Batch) -> Result<u64, SinkError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Append { batch: Box::new(batch), done }).await.ok_or(SinkError::Closed)?;
        answer.await.unwrap_or(Err(SinkError::Closed))
    }

    /// Forgets acked records. Best effort: what is not forgotten is sent again, and dropped by the receiver.
    pub async fn ack(&self, positions: Vec<u64>) {
        self.send(Command::Ack { positions }).await;
    }

    /// Moves a record that no collector will take out of the queue, into a file beside it.
    pub async fn set_aside(&self, position: u64) {
        self.send(Command::SetAside { position }).await;
    }

    /// Begins a new segment, and with it an epoch: its number. An empty segment stays.
    ///
    /// # Errors
    /// When there is no room for a file.
    pub async fn rotate(&self) -> Result<u64, WalError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Rotate { done }).await;
        answer.await.unwrap_or(Err(WalError::MustRotate))
    }

    /// All segments, newest first.
    pub async fn segments(&self) -> Vec<SegmentStatus> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Segments { done }).await;
        answer.await.unwrap_or_default()
    }

    /// A reader over the durable records of a segment. It reads from files: use it on a blocking thread.
    ///
    /// # Errors
    /// When the segment is gone or cannot be opened.
    pub async fn reader(&self, segment: u64) -> Result<SegmentReader, WalError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Reader { segment, done }).await;
        answer.await.unwrap_or(Err(WalError::NoSegment(segment)))
    }

    /// How far the queue is durable; changes after every commit.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// Makes what waits durable and ends the thread. Appends are refused from here on.
    pub async fn close(&self) {
        self.send(Command::Close).await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the queue's thread has panicked");
            }
        }
    }

    async fn send(&self, command: Command) -> Option<()> {
        self.commands.send(command).await.ok()
    }
}

impl Durable for Queue {
    async fn append(&self, batch: Batch) -> Result<(), SinkError> {
        Self::append(self, batch).await.map(|_| ())
    }
}

/// Where records that were refused for good are kept.
fn refused_dir(dir: &Path) -> PathBuf {
    dir.join("refused")
}

#[cfg(test)]
pub(crate) mod tests;
