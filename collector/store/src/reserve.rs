//! Room kept free for the next flush: a file of zeros that is given up when the disk is full.
//!
//! A log that has filled its disk can only be released by a flush, and a flush needs a tenth of the log's bytes.
//! Without the reserve, a store whose own log met the end of the disk could never get away from there.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// A share of the log's bound, and its own bound: what a flush of full memtables needs, compressed.
const WAL_SHARE: u64 = 32;
const BYTES_MAX: u64 = 32 << 20;

/// The file. Everything about it is best effort: the store works without.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, wal_bytes_max: u64) -> Self {
        Self { path: dir.join("reserve"), bytes: (wal_bytes_max / WAL_SHARE).min(BYTES_MAX) }
    }

    /// Takes the room, if there is any.
    pub(crate) fn take(&self) {
        if self.path.metadata().is_ok_and(|found| found.len() == self.bytes) || self.bytes == 0 {
            return;
        }
        let taken = File::create(&self.path).and_then(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.bytes).map_err(std::io::Error::from)
        });
        if let Err(error) = taken {
            tracing::debug!(%error, "no room could be reserved for a flush");
            self.give_up();
        }
    }

    /// Frees the room; whether there was any.
    pub(crate) fn give_up(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }
}
