//! The log itself: the active segment, the sealed ones, and the bound over all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tracing::warn;

use crate::error::WalError;
use crate::record::{PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, put_record};
use crate::recover::{Recovery, recover};
use crate::segment::{Segment, SegmentReader, create, empty, rename, sync_dir};

/// Positions that a restart leaves out, beyond those that the last segment can have given out.
const RESTART_GAP: u64 = 1 << 16;

/// Scratch kept between appends; a larger record's is given back.
const SCRATCH_BYTES_KEPT: usize = 4 << 20;

/// The bounds of a log.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// A segment of at least this many bytes asks to be rotated. Larger: fewer files, coarser deletion.
    pub segment_bytes_max: u64,
    /// All segments together; past it, appends are refused as full. Larger: longer outages survived.
    pub total_bytes_max: u64,
    /// Where positions begin in an empty directory. Give something that grows (the time, shifted), so that positions
    /// stay unique even when somebody empties the directory.
    pub first_position: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes_max: 16 << 20, total_bytes_max: 1 << 30, first_position: 0 }
    }
}

/// One segment, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Position of its first record: its number.
    pub segment: u64,
    /// Records in it.
    pub records: u64,
    /// Records not acked yet.
    pub unacked: u64,
    /// Length of its file.
    pub bytes: u64,
    /// How much of that is durable, and so may be read.
    pub bytes_durable: u64,
    /// Whether appends go to it.
    pub is_active: bool,
}

/// A log in one directory. See the crate's header.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    /// Held for its lock.
    _lock: File,
    options: WalOptions,
    /// By first position. The last one is active when `active` is set.
    segments: BTreeMap<u64, Segment>,
    active: Option<Active>,
    total_bytes: u64,
    /// The lowest position that was never given out.
    next_position: u64,
    scratch: Vec<u8>,
}

/// The open file of the newest segment.
#[derive(Debug)]
struct Active {
    file: File,
    base: u64,
    durable_records: u64,
    durable_bytes: u64,
    /// An operation failed such that nothing may be appended any more.
    broken: bool,
    /// The disk had no room for the last record.
    cramped: bool,
}

impl Wal {
    /// Opens or creates the log in `dir`, reading every record once. Begins a new segment; where there is no space
    /// for it, the log opens all the same and [`Self::needs_rotation`].
    ///
    /// # Errors
    /// When the directory cannot be used at all: not created, not listed, or in use by another process.
    pub fn open(dir: &Path, options: WalOptions) -> Result<(Self, Recovery), WalError> {
        std::fs::create_dir_all(dir).map_err(|error| WalError::io("creating", dir, error))?;
        let lock = File::open(dir).map_err(|error| WalError::io("opening", dir, error))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| WalError::InUse(dir.to_owned()))?;
        let mut recovery = Recovery::default();
        let (found, free) = recover(dir, &mut recovery)?;
        let next_position = if free == 0 { options.first_position } else { free.saturating_add(RESTART_GAP) };
        let mut wal = Self {
            dir: dir.to_owned(),
            _lock: lock,
            options,
            total_bytes: found.iter().map(|segment| segment.bytes).sum(),
            segments: found.into_iter().map(|segment| (segment.base, segment)).collect(),
            active: None,
            next_position,
            scratch: Vec::new(),
        };
        if let Err(error) = wal.rotate() {
            warn!(dir = %dir.display(), %error, "opened a log without a segment to append to");
        }
        Ok((wal, recovery))
    }

    /// Whether [`Self::rotate`] must or should come before the next append: the active segment is full, or broken,
    /// or there is none. A caller whose payloads depend on their segment looks here before it makes one.
    #[must_use]
    pub fn needs_rotation(&self) -> bool {
        let Some(active) = &self.active else { return true };
        let segment = &self.segments[&active.base];
        // Acked records in the way of new ones: rotation gives their space back.
        let in_the_way = active.cramped && segment.records > 0 && segment.is_acked();
        active.broken || in_the_way || segment.bytes >= self.options.segment_bytes_max
    }

    /// Appends a record to the active segment: its position. Durable after [`Self::sync`].
    ///
    /// # Errors
    /// [`WalError::Full`] or [`WalError::DiskFull`] when there is no room, [`WalError::MustRotate`] without a usable
    /// segment, [`WalError::BadSize`], or the file's error. Nothing was appended then.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, WalError> {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return Err(WalError::BadSize { bytes: payload.len(), bytes_max: PAYLOAD_BYTES_MAX });
        }
        let Some(active) = self.active.as_mut().filter(|active| !active.broken) else {
            return Err(WalError::MustRotate);
        };
        let length = (RECORD_HEADER_BYTES + payload.len()) as u64;
        if self.total_bytes + length > self.options.total_bytes_max {
            let (bytes, bytes_max) = (self.total_bytes, self.options.total_bytes_max);
            return Err(WalError::Full { dir: self.dir.clone(), bytes, bytes_max });
        }
        let Some(segment) = self.segments.get_mut(&active.base) else { return Err(WalError::MustRotate) };
        let position = self.next_position;
        self.scratch.clear();
        put_record(position, payload, &mut self.scratch);
        let written = active.file.write_all_at(&self.scratch, segment.bytes);
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        if let Err(error) = written {
            // A part may have been written. If it cannot be cut off, the segment ends here.
            active.broken = active.file.set_len(segment.bytes).is_err();
            let error = WalError::io("writing", &segment.path, error);
            active.cramped = matches!(error, WalError::DiskFull { .. });
            return Err(error);
        }
        active.cramped = false;
        segment.records += 1;
        segment.bytes += length;
        self.total_bytes += length;
        self.next_position += 1;
        Ok(position)
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When the system cannot say that it is: the records since the last good sync are then cut off, and the
    /// segment needs rotation.
    pub fn sync(&mut self) -> Result<(), WalError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let Some(segment) = self.segments.get_mut(&active.base) else { return Ok(()) };
        if active.durable_bytes == segment.bytes {
            return Ok(());
        }
        if let Err(error) = active.file.sync_data() {
            // Linux drops dirty pages that it failed to write; asking again would be answered with success.
            active.broken = true;
            self.total_bytes -= segment.bytes - active.durable_bytes;
            segment.cut(active.durable_records, active.durable_bytes);
            drop(active.file.set_len(segment.bytes));
            return Err(WalError::io("syncing", &segment.path, error));
        }
        (active.durable_records, active.durable_bytes) = (segment.records, segment.bytes);
        Ok(())
    }

    /// Syncs and seals the active segment and begins a new one: its number. An empty active segment stays.
    ///
    /// # Errors
    /// When the old cannot be synced or the new not created; the log is then as it was.
    pub fn rotate(&mut self) -> Result<u64, WalError> {
        if let Some(active) = self.active.as_ref().filter(|active| !active.broken) {
            if self.segments[&active.base].records == 0 {
                return Ok(active.base);
            }
            self.sync()?;
        }
        // After an append that was cut off, the newest segment may end below a position given out; and the name
        // must be one that no file has.
        let newest = self.segments.keys().next_back().copied();
        let base = newest.map_or(self.next_position, |newest| self.next_position.max(newest + 1));
        let (file, path) = match create(&self.dir, base) {
            Err(error @ WalError::DiskFull { .. }) => self.recycle(base, error)?,
            created => created?,
        };
        let durable_bytes = SEGMENT_HEADER_BYTES as u64;
        self.active = Some(Active { file, base, durable_records: 0, durable_bytes, broken: false, cramped: false });
        self.segments.insert(base, Segment::new(path, base));
        self.next_position = base;
        self.total_bytes += durable_bytes;
        self.remove_acked()?;
        Ok(base)
    }

    /// A segment made of the newest one, when that is acked and the disk has no room for another file. The name goes
    /// first: whatever a crash leaves behind, the name says how far positions have come.
    fn recycle(&mut self, base: u64, full: WalError) -> Result<(File, PathBuf), WalError> {
        let Some(acked) = self.segments.values().next_back().filter(|newest| newest.is_acked()) else {
            return Err(full);
        };
        let (old, bytes) = (acked.base, acked.bytes);
        let path = rename(&self.dir, acked, base)?;
        self.active = None;
        self.segments.remove(&old);
        self.total_bytes -= bytes;
        self.next_position = base;
        let file = empty(&path, base).map_err(|error| WalError::io("recycling", &path, error))?;
        Ok((file, path))
    }

    /// Forgets the record at `position`; a sealed segment goes with its last one. Unknown positions are ignored.
    /// `true` when this ack is the first of a known record.
    ///
    /// # Errors
    /// When a segment's file cannot be removed; the ack counts all the same.
    pub fn ack(&mut self, position: u64) -> Result<bool, WalError> {
        let Some((_, segment)) = self.segments.range_mut(..=position).next_back() else { return Ok(false) };
        let first = segment.ack(position);
        if first && segment.is_acked() {
            self.remove_acked()?;
        }
        Ok(first)
    }

    /// Forgets every record below `position`.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn ack_below(&mut self, position: u64) -> Result<(), WalError> {
        for segment in self.segments.range_mut(..position).map(|(_, segment)| segment) {
            for at in segment.base..position.min(segment.base + segment.records) {
                segment.ack(at);
            }
        }
        self.remove_acked()
    }

    /// Whether the record at `position` is acked, or is in no segment.
    #[must_use]
    pub fn is_acked(&self, position: u64) -> bool {
        let segment = self.segments.range(..=position).next_back().map(|(_, segment)| segment);
        segment.is_none_or(|segment| position >= segment.base + segment.records || segment.has_acked(position))
    }

    /// Every position below this one is acked or was never kept.
    #[must_use]
    pub fn lowest_unacked(&self) -> u64 {
        self.segments.values().find_map(Segment::lowest_unacked).unwrap_or(self.next_position)
    }

    /// The lowest position that was never given out.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// All segments, newest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentStatus> {
        self.segments.values().rev().map(|segment| self.status(segment)).collect()
    }

    /// The segment with this number, if it is still there.
    #[must_use]
    pub fn segment(&self, segment: u64) -> Option<SegmentStatus> {
        self.segments.get(&segment).map(|segment| self.status(segment))
    }

    /// The segment that appends go to.
    #[must_use]
    pub fn active_segment(&self) -> Option<u64> {
        self.active.as_ref().map(|active| active.base)
    }

    /// A reader over the durable records of a segment.
    ///
    /// # Errors
    /// [`WalError::NoSegment`] when it is gone, or the file's error.
    pub fn reader(&self, segment: u64) -> Result<SegmentReader, WalError> {
        let found = self.segments.get(&segment).ok_or(WalError::NoSegment(segment))?;
        SegmentReader::open(&found.path, found.base, self.status(found).bytes_durable)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The bound of [`Self::total_bytes`].
    #[must_use]
    pub fn total_bytes_max(&self) -> u64 {
        self.options.total_bytes_max
    }

    /// Records not acked yet.
    #[must_use]
    pub fn unacked(&self) -> u64 {
        self.segments.values().map(Segment::unacked).sum()
    }

    /// Syncs, and leaves nothing to be delivered again if all is acked.
    ///
    /// # Errors
    /// As [`Self::sync`] and [`Self::rotate`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.sync()?;
        let newest = self.segments.values().next_back();
        if newest.is_some_and(|segment| segment.records > 0 && segment.is_acked()) {
            self.rotate()?;
        }
        Ok(())
    }

    fn status(&self, segment: &Segment) -> SegmentStatus {
        let active = self.active.as_ref().filter(|active| active.base == segment.base);
        SegmentStatus {
            segment: segment.base,
            records: segment.records,
            unacked: segment.unacked(),
            bytes: segment.bytes,
            bytes_durable: active.map_or(segment.bytes, |active| active.durable_bytes),
            is_active: active.is_some(),
        }
    }

    /// Removes acked segments, all but the newest: its name keeps positions from being used again.
    fn remove_acked(&mut self) -> Result<(), WalError> {
        let newest = self.segments.keys().next_back().copied();
        let acked: Vec<u64> = self
            .segments
            .values()
            .filter(|segment| segment.is_acked() && Some(segment.base) != newest)
            .map(|segment| segment.base)
            .collect();
        if acked.is_empty() {
            return Ok(());
        }
        for base in acked {
            let segment = &self.segments[&base];
            match std::fs::remove_file(&segment.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(WalError::io("removing", &segment.path, error));
                }
                _ => {}
            }
            self.total_bytes -= segment.bytes;
            self.segments.remove(&base);
        }
        sync_dir(&self.dir)
    }
}
