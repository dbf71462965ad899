//! The queue's thread: owns the log and the encoder, and commits in groups.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use weir_proto::frame::Encoder;
use weir_proto::{Batch, names};
use weir_receive::SinkError;
use weir_wal::{Wal, WalError};

use super::{COMMIT_AFTER, COMMIT_BYTES, Command, DICTIONARY_BYTES_MAX, FaultHook, Head, refused_dir};

/// How long a sender is asked to wait when the queue is full.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

/// After the disk was full, nothing is tried for this long: encoding what cannot be written only costs.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);

/// Refused records that are kept for people to look at; older ones make room.
const REFUSED_FILES_MAX: usize = 64;

/// Encoded frames are given back beyond this.
const FRAME_BYTES_KEPT: usize = 4 << 20;

/// The thread's state.
pub(super) struct Writer {
    wal: Wal,
    dir: PathBuf,
    encoder: Encoder,
    frame: Vec<u8>,
    /// Appended, not yet durable.
    waiting: Vec<(oneshot::Sender<Result<u64, SinkError>>, u64)>,
    waiting_bytes: u64,
    waiting_since: Option<Instant>,
    disk_full_until: Option<Instant>,
    head: watch::Sender<Head>,
    fault: Option<FaultHook>,
}

impl Writer {
    pub(super) fn new(wal: Wal, dir: PathBuf, fault: Option<FaultHook>) -> (Self, watch::Receiver<Head>) {
        let (head, reader) = watch::channel(Head::default());
        let writer = Self {
            wal,
            dir,
            encoder: Encoder::new().with_dictionary_bytes_max(DICTIONARY_BYTES_MAX),
            frame: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_since: None,
            disk_full_until: None,
            head,
            fault,
        };
        writer.publish();
        (writer, reader)
    }

    /// Until told to close, or until every handle is gone.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut open = true;
        while open && let Some(first) = commands.blocking_recv() {
            let mut next = Some(first);
            while let Some(command) = next {
                if matches!(command, Command::Close) {
                    open = false;
                    commands.close();
                } else {
                    self.obey(command);
                }
                if self.is_due() {
                    self.commit();
                }
                next = commands.try_recv().ok();
            }
            self.commit();
        }
        if let Err(error) = self.wal.close() {
            tracing::error!(%error, "closing the queue failed");
        }
    }

    fn is_due(&self) -> bool {
        self.waiting_bytes >= COMMIT_BYTES || self.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Append { batch, done } => self.append(&batch, done),
            Command::Ack { positions } => self.ack(&positions),
            Command::SetAside { position } => self.set_aside(position),
            Command::Rotate { done } => {
                self.commit();
                let rotated = self.rotate();
                done.send(rotated).ok();
            }
            Command::Segments { done } => drop(done.send(self.wal.segments())),
            Command::Reader { segment, done } => drop(done.send(self.wal.reader(segment))),
            Command::Close => {}
        }
    }

    fn append(&mut self, batch: &Batch, done: oneshot::Sender<Result<u64, SinkError>>) {
        match self.try_append(batch) {
            Ok(position) => {
                self.fault("append");
                self.waiting_since.get_or_insert_with(Instant::now);
                self.waiting_bytes += self.frame.len() as u64;
                self.waiting.push((done, position));
            }
            // A sender that hung up does not hear the answer.
            Err(error) => drop(done.send(Err(error))),
        }
        if self.frame.capacity() > FRAME_BYTES_KEPT {
            self.frame = Vec::new();
        }
    }

    fn try_append(&mut self, batch: &Batch) -> Result<u64, SinkError> {
        if self.wal.total_bytes() >= self.wal.total_bytes_max() {
            return Err(full("bound", "the disk queue has reached its bound"));
        }
        if self.disk_full_until.is_some_and(|until| Instant::now() < until) {
            return Err(full("disk_full", "the disk of the queue is full"));
        }
        if self.wal.needs_rotation() {
            self.commit();
            self.rotate().map_err(|error| self.not_taken(&error))?;
        }
        self.frame.clear();
        self.encoder.encode(batch, &mut self.frame).map_err(|error| {
            metrics::counter!(names::QUEUE_NOT_TAKEN, "reason" => "invalid").increment(1);
            SinkError::Internal { reason: error.to_string() }
        })?;
        let appended = self.wal.append(&self.frame);
        appended.map_err(|error| {
            // The frame's definitions are in no record: the next one must not rely on them.
            self.encoder.restart();
            self.not_taken(&error)
        })
    }

    fn rotate(&mut self) -> Result<u64, WalError> {
        let segment = self.wal.rotate()?;
        self.encoder.restart();
        self.publish();
        Ok(segment)
    }

    /// Makes what waits durable, and says so.
    fn commit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.waiting_bytes);
        self.waiting_since = None;
        match self.wal.sync() {
            Ok(()) => {
                metrics::counter!(names::QUEUE_COMMITS).increment(1);
                metrics::counter!(names::QUEUE_RECORDS).increment(waiting.len() as u64);
                metrics::counter!(names::QUEUE_RECORD_BYTES).increment(bytes);
                self.publish();
                self.fault("before_ack");
                waiting.into_iter().for_each(|(done, position)| drop(done.send(Ok(position))));
                self.fault("after_ack");
            }
            Err(error) => {
                tracing::error!(%error, records = waiting.len(), "the queue could not be synced");
                self.encoder.restart();
                for (done, _) in waiting {
                    let refused = self.not_taken(&error);
                    done.send(Err(refused)).ok();
                }
            }
        }
    }

    fn not_taken(&mut self, error: &WalError) -> SinkError {
        match error {
            WalError::Full { .. } => full("bound", &error.to_string()),
            WalError::DiskFull { .. } => {
                self.disk_full_until = Some(Instant::now() + DISK_FULL_PAUSE);
                full("disk_full", &error.to_string())
            }
            _ => {
                metrics::counter!(names::QUEUE_NOT_TAKEN, "reason" => "io").increment(1);
                SinkError::Unavailable { reason: error.to_string() }
            }
        }
    }

    fn ack(&mut self, positions: &[u64]) {
        let mut acked = 0;
        for &position in positions {
            match self.wal.ack(position) {
                Ok(first) => acked += u64::from(first),
                Err(error) => tracing::warn!(%error, position, "a delivered segment could not be removed"),
            }
        }
        metrics::counter!(names::PUSH_ACKED).increment(acked);
        self.publish();
    }

    fn set_aside(&mut self, position: u64) {
        if self.wal.is_acked(position) {
            return;
        }
        if let Err(error) = self.keep_refused(position) {
            tracing::error!(%error, position, "a refused record could not be kept");
        }
        metrics::counter!(names::QUEUE_SET_ASIDE).increment(1);
        self.ack(&[position]);
    }

    fn keep_refused(&self, position: u64) -> Result<(), WalError> {
        let Some(found) = self.wal.segments().into_iter().find(|status| status.segment <= position) else {
            return Ok(());
        };
        let mut reader = self.wal.reader(found.segment)?;
        while let Some(record) = reader.read()? {
            if record.position == position {
                let dir = refused_dir(&self.dir);
                let kept = keep_file(&dir, position, &record.payload);
                return kept.map_err(|source| WalError::Io { doing: "keeping a refused record in", path: dir, source });
            }
        }
        Ok(())
    }

    fn fault(&self, point: &'static str) {
        if let Some(hook) = &self.fault {
            hook(point);
        }
    }

    fn publish(&self) {
        let newest = self.wal.segments().first().copied();
        let head = Head {
            segment: newest.map_or(0, |newest| newest.segment),
            bytes_durable: newest.map_or(0, |newest| newest.bytes_durable),
            lowest_unacked: self.wal.lowest_unacked(),
            unacked: self.wal.unacked(),
            bytes: self.wal.total_bytes(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge of what a disk holds")]
        {
            metrics::gauge!(names::QUEUE_BYTES).set(head.bytes as f64);
            metrics::gauge!(names::QUEUE_UNACKED).set(head.unacked as f64);
        }
        self.head.send_replace(head);
    }
}

fn full(reason: &'static str, message: &str) -> SinkError {
    metrics::counter!(names::QUEUE_NOT_TAKEN, "reason" => reason).increment(1);
    SinkError::Full { reason: message.to_owned(), retry_after: FULL_RETRY_AFTER }
}

fn keep_file(dir: &Path, position: u64, payload: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut kept: Vec<PathBuf> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    kept.sort_unstable();
    let surplus = (kept.len() + 1).saturating_sub(REFUSED_FILES_MAX);
    for path in &kept[..surplus] {
        tracing::warn!(path = %path.display(), "removing the oldest refused record");
        std::fs::remove_file(path)?;
    }
    std::fs::write(dir.join(format!("{position:020}.frame")), payload)
}
