//! One segment: its file, which of its records are acked, and reading it in order.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::record::{
    RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, check_segment_header, record_header, segment_header,
};

/// Suffix of a segment file.
pub(crate) const SUFFIX: &str = "wal";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Given at append, never used again.
    pub position: u64,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// What is known about a segment without looking at its file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Position of the first record; the segment's number.
    pub(crate) base: u64,
    /// How many records there are; their positions are `base..base + records`.
    pub(crate) records: u64,
    /// Length of the file as far as it is good.
    pub(crate) bytes: u64,
    acked: Vec<u64>,
    acked_count: u64,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, base: u64) -> Self {
        let bytes = SEGMENT_HEADER_BYTES as u64;
        Self { path, base, records: 0, bytes, acked: Vec::new(), acked_count: 0 }
    }

    /// Counts the ack of `position`, once; `false` when it was counted before or is not in the segment.
    pub(crate) fn ack(&mut self, position: u64) -> bool {
        let Some(at) = position.checked_sub(self.base).filter(|&at| at < self.records) else { return false };
        let (word, bit) = ((at / 64) as usize, 1_u64 << (at % 64));
        if self.acked.len() <= word {
            self.acked.resize(word + 1, 0);
        }
        if self.acked[word] & bit != 0 {
            return false;
        }
        self.acked[word] |= bit;
        self.acked_count += 1;
        true
    }

    pub(crate) fn is_acked(&self) -> bool {
        self.acked_count == self.records
    }

    pub(crate) fn unacked(&self) -> u64 {
        self.records - self.acked_count
    }

    pub(crate) fn lowest_unacked(&self) -> Option<u64> {
        if self.is_acked() {
            return None;
        }
        let word = self.acked.iter().position(|&word| word != u64::MAX).unwrap_or(self.acked.len());
        let bit = self.acked.get(word).map_or(0, |word| word.trailing_ones());
        Some(self.base + word as u64 * 64 + u64::from(bit))
    }

    pub(crate) fn has_acked(&self, position: u64) -> bool {
        let Some(at) = position.checked_sub(self.base) else { return false };
        self.acked.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Everything from record number `records` on was not kept after all.
    pub(crate) fn cut(&mut self, records: u64, bytes: u64) {
        (self.records, self.bytes) = (records, bytes);
    }
}

/// The name of the segment that begins with `base`.
pub(crate) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.{SUFFIX}"))
}

/// Creates the file of a segment and makes it durable, with its name.
pub(crate) fn create(dir: &Path, base: u64) -> Result<(File, PathBuf), WalError> {
    let path = path_of(dir, base);
    let created = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let mut file = created.map_err(|error| WalError::io("creating", &path, error))?;
    let written = file.write_all(&segment_header(base)).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Nothing is in it; without this a full disk would collect empty files.
        drop(std::fs::remove_file(&path));
        return Err(WalError::io("creating", &path, error));
    }
    sync_dir(dir)?;
    Ok((file, path))
}

/// Gives the file of `segment` the name of a segment that begins with `base`.
pub(crate) fn rename(dir: &Path, segment: &Segment, base: u64) -> Result<PathBuf, WalError> {
    let path = path_of(dir, base);
    std::fs::rename(&segment.path, &path).map_err(|error| WalError::io("renaming", &segment.path, error))?;
    sync_dir(dir)?;
    Ok(path)
}

/// Makes the file at `path` an empty segment that begins with `base`, in the space that it has.
pub(crate) fn empty(path: &Path, base: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_len(0)?;
    file.write_all_at(&segment_header(base), 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes creations, renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), WalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| WalError::io("syncing directory", dir, error))
}

/// Reads the records of one segment in order. Independent of the log: it may be moved to another thread.
#[derive(Debug)]
pub struct SegmentReader {
    file: File,
    path: PathBuf,
    at: u64,
    end: u64,
    next_position: u64,
}

/// What stands at the reader's place.
pub(crate) enum Next {
    Record(Record),
    End,
    /// No record, though there are bytes.
    Bad(&'static str),
}

impl SegmentReader {
    /// Opens the file of the segment that begins with `base`, to be read up to byte `end`.
    pub(crate) fn open(path: &Path, base: u64, end: u64) -> Result<Self, WalError> {
        let file = File::open(path).map_err(|error| WalError::io("opening", path, error))?;
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let corrupt = |what| WalError::Corrupt { path: path.to_owned(), at: 0, what };
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt("header is cut off")),
            read => read.map_err(|error| WalError::io("reading", path, error))?,
        }
        check_segment_header(&header, base).map_err(corrupt)?;
        Ok(Self { file, path: path.to_owned(), at: SEGMENT_HEADER_BYTES as u64, end, next_position: base })
    }

    /// The segment has grown: records up to byte `end` may be read (see [`SegmentStatus::bytes_durable`]).
    ///
    /// [`SegmentStatus::bytes_durable`]: crate::SegmentStatus::bytes_durable
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Position of the record that [`Self::read`] gives next.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// Offset of the first byte that was not read yet.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else than was written.
    pub fn read(&mut self) -> Result<Option<Record>, WalError> {
        match self.read_next()? {
            Next::Record(record) => Ok(Some(record)),
            Next::End => Ok(None),
            Next::Bad(what) => Err(WalError::Corrupt { path: self.path.clone(), at: self.at, what }),
        }
    }

    pub(crate) fn read_next(&mut self) -> Result<Next, WalError> {
        let left = self.end - self.at;
        if left == 0 {
            return Ok(Next::End);
        }
        let mut header = [0; RECORD_HEADER_BYTES];
        if left < header.len() as u64 {
            return Ok(Next::Bad("record header is cut off"));
        }
        self.read_at(&mut header, self.at)?;
        let header: RecordHeader = record_header(&header).expect("sixteen bytes are a record header");
        if !header.is_plausible() {
            return Ok(Next::Bad("record of an impossible length"));
        }
        if header.bytes as u64 > left - RECORD_HEADER_BYTES as u64 {
            return Ok(Next::Bad("record is cut off"));
        }
        if header.position != self.next_position {
            return Ok(Next::Bad("record of another position"));
        }
        let mut payload = vec![0; header.bytes];
        self.read_at(&mut payload, self.at + RECORD_HEADER_BYTES as u64)?;
        if !header.matches(&payload) {
            return Ok(Next::Bad("checksum of a record does not match"));
        }
        self.at += (RECORD_HEADER_BYTES + header.bytes) as u64;
        self.next_position += 1;
        Ok(Next::Record(Record { position: header.position, payload }))
    }

    /// Whether a whole record stands anywhere behind the reader's place: then what is there is no torn tail.
    pub(crate) fn finds_record_ahead(&self) -> Result<bool, WalError> {
        /// How many records may be missing before the one that is found.
        const SKIPPED_MAX: u64 = 1 << 20;
        let length = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let mut rest = vec![0; length];
        self.read_at(&mut rest, self.at)?;
        let expected = self.next_position..self.next_position.saturating_add(SKIPPED_MAX);
        for from in 1..length {
            let Some(header) = record_header(&rest[from..]) else { break };
            if !expected.contains(&header.position) || !header.is_plausible() {
                continue;
            }
            let payload = from + RECORD_HEADER_BYTES;
            if rest.get(payload..payload + header.bytes).is_some_and(|payload| header.matches(payload)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), WalError> {
        self.file.read_exact_at(into, at).map_err(|error| WalError::io("reading", &self.path, error))
    }
}
