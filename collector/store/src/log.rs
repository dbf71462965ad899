//! The write-ahead log of batches: frames in a [`Wal`], each segment an epoch of its own.
//!
//! ```text
//! record: ┌────────┬─────────────────────────────────────────────┬───────┐
//!         │ tag u8 │ agent 16 B, position u64, lowest unacked u64 │ frame │   tag 0: no delivery, and no such bytes
//!         │ 0 or 1 │ (little-endian)                              │       │   tag 1: as drawn
//!         └────────┴─────────────────────────────────────────────┴───────┘
//! ```
//! A frame that was made but not kept would leave a hole in its epoch, so every failure starts a new one.

use std::path::PathBuf;

use weir_proto::Batch;
use weir_proto::frame::{Decoder, Encoder, FrameError};
use weir_proto::read::ErrorKind as FrameErrorKind;
use weir_wal::{Wal, WalError, WalOptions};

use crate::error::StoreError;
use crate::options::Delivery;

const TAG_PLAIN: u8 = 0;
const TAG_DELIVERED: u8 = 1;
const DELIVERY_BYTES: usize = 16 + 8 + 8;
/// Small enough that a flush frees most of what it covers, large enough that dictionaries pay.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// The log. One owner: the writer thread.
#[derive(Debug)]
pub(crate) struct Log {
    wal: Wal,
    encoder: Encoder,
    dir: PathBuf,
    payload: Vec<u8>,
}

/// One batch of the log.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) position: u64,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) batch: Batch,
}

impl Log {
    /// Opens the log in `dir`; positions begin at least at `first_position`.
    pub(crate) fn open(dir: PathBuf, bytes_max: u64, first_position: u64) -> Result<Self, StoreError> {
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(bytes_max / 8).max(1);
        let options = WalOptions { segment_bytes_max, total_bytes_max: bytes_max, first_position };
        let (wal, recovery) = Wal::open(&dir, options).map_err(|error| log_error(&dir, &error))?;
        if recovery.torn_bytes > 0 {
            tracing::warn!(bytes = recovery.torn_bytes, "cut off what was being written to the log when it stopped");
        }
        for found in &recovery.quarantined {
            tracing::error!(path = %found.path.display(), bytes_lost = found.bytes_lost, reason = found.reason,
                "a log segment is damaged and was set aside");
            metrics::counter!(weir_proto::names::STORE_WAL_SEGMENTS_CORRUPT).increment(1);
        }
        Ok(Self { wal, encoder: Encoder::new(), dir, payload: Vec::new() })
    }

    /// Appends a batch: its bytes. Durable after [`Self::sync`].
    pub(crate) fn append(&mut self, batch: &Batch, delivery: Option<&Delivery>) -> Result<u64, StoreError> {
        if self.wal.needs_rotation() {
            self.rotate()?;
        }
        self.payload.clear();
        match delivery {
            None => self.payload.push(TAG_PLAIN),
            Some(delivery) => {
                self.payload.push(TAG_DELIVERED);
                self.payload.extend_from_slice(&delivery.agent);
                self.payload.extend_from_slice(&delivery.position.to_le_bytes());
                self.payload.extend_from_slice(&delivery.lowest_unacked.to_le_bytes());
            }
        }
        self.encoder.encode(batch, &mut self.payload).map_err(|error| match error.kind() {
            FrameErrorKind::Invalid => StoreError::Invalid(error.to_string()),
            _ => StoreError::Internal(error.to_string()),
        })?;
        match self.wal.append(&self.payload) {
            Ok(_) => Ok(self.payload.len() as u64),
            Err(error) => {
                self.encoder.restart();
                Err(log_error(&self.dir, &error))
            }
        }
    }

    /// Makes everything appended durable; if that fails, none of it since the last time is kept.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.wal.sync().map_err(|error| {
            self.encoder.restart();
            log_error(&self.dir, &error)
        })
    }

    /// Begins a new segment.
    pub(crate) fn rotate(&mut self) -> Result<(), StoreError> {
        self.encoder.restart();
        self.wal.rotate().map(drop).map_err(|error| log_error(&self.dir, &error))
    }

    /// The position of the next record.
    pub(crate) fn next_position(&self) -> u64 {
        self.wal.next_position()
    }

    /// Forgets everything below `position`.
    pub(crate) fn release_below(&mut self, position: u64) -> Result<(), StoreError> {
        self.wal.ack_below(position).map_err(|error| log_error(&self.dir, &error))
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.wal.total_bytes()
    }

    /// Reads every batch that is there, oldest first. A record that cannot be read ends its segment, loudly.
    pub(crate) fn replay(&self, mut each: impl FnMut(Logged) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut segments = self.wal.segments();
        segments.reverse();
        for segment in segments.into_iter().filter(|segment| segment.records > 0) {
            let mut reader = self.wal.reader(segment.segment).map_err(|error| log_error(&self.dir, &error))?;
            let mut decoder = Decoder::new();
            loop {
                let record = match reader.read() {
                    Ok(Some(record)) => record,
                    Ok(None) => break,
                    Err(error) => {
                        unreadable(segment.segment, &error);
                        break;
                    }
                };
                match parse(&record.payload, &mut decoder) {
                    Ok((delivery, batch)) => each(Logged { position: record.position, delivery, batch })?,
                    Err(error) => unreadable(segment.segment, &error),
                }
            }
        }
        Ok(())
    }
}

fn unreadable(segment: u64, error: &dyn std::fmt::Display) {
    tracing::error!(segment, %error, "a record of the log cannot be read and is left out");
    metrics::counter!(weir_proto::names::STORE_WAL_RECORDS_UNREADABLE).increment(1);
}

fn parse(payload: &[u8], decoder: &mut Decoder) -> Result<(Option<Delivery>, Batch), FrameError> {
    let (tag, rest) = payload.split_first().ok_or(FrameError::Truncated { at: 0 })?;
    if *tag != TAG_DELIVERED {
        return Ok((None, decoder.decode(rest)?));
    }
    let (head, frame) = rest.split_at_checked(DELIVERY_BYTES).ok_or(FrameError::Truncated { at: rest.len() })?;
    let (agent, numbers) = head.split_at(16);
    let (position, lowest_unacked) = numbers.split_at(8);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("split at eight"));
    let delivery = Delivery {
        agent: agent.try_into().expect("split at sixteen"),
        position: number(position),
        lowest_unacked: number(lowest_unacked),
    };
    Ok((Some(delivery), decoder.decode(frame)?))
}

fn log_error(dir: &std::path::Path, error: &WalError) -> StoreError {
    match error.kind() {
        weir_wal::ErrorKind::Full => StoreError::Full(error.to_string()),
        weir_wal::ErrorKind::Invalid => StoreError::Invalid(error.to_string()),
        weir_wal::ErrorKind::Corrupt => StoreError::corrupt(dir, error),
        weir_wal::ErrorKind::Unavailable => StoreError::io(dir, std::io::Error::other(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::testing::{push_number, series};

    const FIRST: u64 = 1_000;

    fn batch(value: f64) -> Batch {
        let mut batch = Batch::default();
        push_number(&mut batch.metrics, &series("level", &[("tank", "a")]), 5, 1_795_348_800_000_000_000, value);
        batch
    }

    /// Batches of direct senders and of an agent; the second frame refers to the first one's dictionary.
    fn records() -> [(Option<Delivery>, Batch); 3] {
        let delivery = Delivery { agent: *b"sixteen bytes id", position: 1 << 40, lowest_unacked: (1 << 40) - 3 };
        [(None, batch(1.5)), (Some(delivery), batch(2.5)), (None, batch(-0.0))]
    }

    fn replayed(dir: &Path) -> Vec<(u64, Option<Delivery>, u64)> {
        let mut found = Vec::new();
        let log = Log::open(dir.to_path_buf(), 1 << 20, FIRST).unwrap();
        log.replay(|logged| {
            let numbers = &logged.batch.metrics.numbers;
            assert_eq!((numbers.time_ns[0], numbers.start_ns[0]), (1_795_348_800_000_000_000, 5));
            found.push((logged.position, logged.delivery, numbers.value[0].to_bits()));
            Ok(())
        })
        .unwrap();
        found
    }

    /// A segment of the first version is in the tree: it is replayed, and the same is written today. Its frames are
    /// small enough to stand uncompressed. `UPDATE=1` writes it anew, which only a change that old logs survive may do.
    #[test]
    fn a_log_of_the_first_version_is_replayed_and_written() {
        let name = format!("{FIRST:020}.wal");
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/log-v1").join(&name);
        let today = tempfile::tempdir().unwrap();
        let mut log = Log::open(today.path().to_path_buf(), 1 << 20, FIRST).unwrap();
        for (delivery, batch) in &records() {
            log.append(batch, delivery.as_ref()).unwrap();
        }
        log.sync().unwrap();
        drop(log);
        let written = std::fs::read(today.path().join(&name)).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
            std::fs::write(&kept, &written).unwrap();
        }
        let golden = std::fs::read(&kept).unwrap();
        assert_eq!(written, golden, "what is written today");
        let old = tempfile::tempdir().unwrap();
        std::fs::write(old.path().join(&name), golden).unwrap();
        let expected: Vec<_> = (FIRST..)
            .zip(records())
            .map(|(position, (delivery, batch))| (position, delivery, batch.metrics.numbers.value[0].to_bits()))
            .collect();
        assert_eq!(replayed(old.path()), expected);
    }
}
