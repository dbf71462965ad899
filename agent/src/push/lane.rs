//! A lane reads segments of the queue, each from its beginning and in order, and gives out frames.
//!
//! The live lane begins at the segment that is newest when the stream opens and follows the queue for ever. The
//! history lane has a list of older segments, newest first, and ends.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;
use weir_proto::push::Frame;
use weir_wal::{Record, SegmentReader, WalError};

use crate::queue::{Head, Queue};

/// Records that are read from the file at once.
const CHUNK_RECORDS: usize = 32;

/// A chunk has at most about this many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads segments of the queue.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Arc<Queue>,
    head: watch::Receiver<Head>,
    /// Set for the live lane: the next segment is the next newer one. Else the next one is taken from `older`.
    follows: bool,
    older: VecDeque<u64>,
    segment: Option<u64>,
    reader: Option<SegmentReader>,
    chunk: VecDeque<Record>,
    /// The next frame is the first of its segment.
    at_start: bool,
}

/// Both lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What comes now.
    pub(super) live: Lane,
    /// What was left from before.
    pub(super) history: Lane,
    /// The history lane has nothing more.
    pub(super) history_is_done: bool,
}

impl Lanes {
    /// A fresh segment for what comes from now on; everything unacknowledged before it is history.
    pub(super) async fn open(queue: &Arc<Queue>) -> Self {
        // Without room for a file the segment that is there stays the live one; nothing is lost by that.
        let live = match queue.rotate().await {
            Ok(live) => live,
            Err(_) => queue.head().borrow().segment,
        };
        let older = queue.segments().await.into_iter();
        let older = older.filter(|status| status.segment < live && status.unacked > 0).map(|status| status.segment);
        Self {
            live: Lane::live(Arc::clone(queue), live),
            history: Lane::history(Arc::clone(queue), older.collect()),
            history_is_done: false,
        }
    }

    /// Sends an epoch again from its beginning: by the lane that has it at hand, else as history.
    pub(super) fn restart(&mut self, epoch: u64) {
        for lane in [&mut self.live, &mut self.history] {
            if lane.segment == Some(epoch) {
                return lane.restart();
            }
        }
        self.history.add(epoch);
        self.history_is_done = false;
    }
}

impl Lane {
    /// The lane of everything from `segment` on.
    fn live(queue: Arc<Queue>, segment: u64) -> Self {
        Self { follows: true, segment: Some(segment), ..Self::history(queue, VecDeque::new()) }
    }

    /// The lane of `older` segments, in this order.
    fn history(queue: Arc<Queue>, older: VecDeque<u64>) -> Self {
        let head = queue.head();
        let (chunk, reader) = (VecDeque::new(), None);
        Self { queue, head, follows: false, older, segment: None, reader, chunk, at_start: true }
    }

    /// Sends the segment at hand again, from its beginning.
    fn restart(&mut self) {
        self.reader = None;
        self.chunk.clear();
        self.at_start = true;
    }

    /// Sends `segment` next, unless it is waiting to be sent already.
    fn add(&mut self, segment: u64) {
        if !self.older.contains(&segment) {
            self.older.push_front(segment);
        }
    }

    /// The next frame; `None` when there is none at the moment (live) or ever (history).
    ///
    /// # Errors
    /// When a segment cannot be read; the lane then goes on with the next segment.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, WalError> {
        loop {
            if let Some(record) = self.chunk.pop_front() {
                return Ok(Some(self.frame(record)));
            }
            let Some(segment) = self.segment else {
                match self.older.pop_front() {
                    Some(next) => self.enter(Some(next)),
                    None => return Ok(None),
                }
                continue;
            };
            // Looked at before the file: what is sealed now has its last record already.
            let head = *self.head.borrow_and_update();
            let is_newest = segment == head.segment;
            if let Err(error) = self.fill(segment, is_newest.then_some(head.bytes_durable)).await {
                self.restart();
                // The live lane needs a newer segment to go on to.
                if !self.follows || self.queue.rotate().await.is_ok() {
                    self.leave(segment).await;
                }
                return Err(error);
            }
            if self.chunk.is_empty() {
                if is_newest {
                    return Ok(None);
                }
                self.leave(segment).await;
            }
        }
    }

    /// Goes on to the next segment.
    async fn leave(&mut self, segment: u64) {
        if !self.follows {
            return self.enter(None);
        }
        let newer = self.queue.segments().await.into_iter().map(|status| status.segment);
        self.enter(newer.filter(|&newer| newer > segment).min().or(Some(segment)));
    }

    fn enter(&mut self, segment: Option<u64>) {
        if segment != self.segment || segment.is_none() {
            self.segment = segment;
            self.restart();
        }
    }

    /// Reads a chunk of `segment` on a blocking thread; up to `end` if given, else to the segment's end.
    async fn fill(&mut self, segment: u64, end: Option<u64>) -> Result<(), WalError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => match self.queue.reader(segment).await {
                // Acknowledged as a whole, and gone: nothing to send.
                Err(WalError::NoSegment(_)) => return Ok(()),
                opened => opened?,
            },
        };
        let end = match end {
            Some(end) => Some(end),
            None => self.queue.segments().await.into_iter().find_map(|s| (s.segment == segment).then_some(s.bytes)),
        };
        if let Some(end) = end {
            reader.extend(end);
            if reader.offset() >= end {
                self.reader = Some(reader);
                return Ok(());
            }
        }
        let read = tokio::task::spawn_blocking(move || {
            let chunk = read_chunk(&mut reader);
            (reader, chunk)
        });
        let (reader, chunk) = read.await.map_err(|_| WalError::NoSegment(segment))?;
        self.reader = Some(reader);
        self.chunk = chunk?;
        Ok(())
    }

    fn frame(&mut self, record: Record) -> Frame {
        Frame {
            position: record.position,
            epoch: self.segment.unwrap_or_default(),
            epoch_start: std::mem::take(&mut self.at_start),
            payload: record.payload.into(),
            lowest_unacked: self.head.borrow().lowest_unacked,
        }
    }
}

fn read_chunk(reader: &mut SegmentReader) -> Result<VecDeque<Record>, WalError> {
    let (mut chunk, mut bytes) = (VecDeque::new(), 0);
    while chunk.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
        let Some(record) = reader.read()? else { break };
        bytes += record.payload.len();
        chunk.push_back(record);
    }
    Ok(chunk)
}
