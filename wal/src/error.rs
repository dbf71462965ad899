//! What can go wrong, and what the caller must do about it.

use std::io;
use std::path::{Path, PathBuf};

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the call.
    Invalid,
    /// Wait until there is room, then try again.
    Full,
    /// Try again.
    Unavailable,
    /// Stop and keep the bytes.
    Corrupt,
}

/// Everything that a log refuses.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The log has reached its bound.
    #[error("log {dir} is full: {bytes} bytes of at most {bytes_max}")]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// Bytes that it holds.
        bytes: u64,
        /// Its bound.
        bytes_max: u64,
    },
    /// The disk has no room, or the quota is used up.
    #[error("no space left while {doing} {path}")]
    DiskFull {
        /// What was attempted.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// An operation on a file failed.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what was written.
    #[error("segment {path} is damaged at byte {at}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Offset of the record.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The payload cannot be a record.
    #[error("a record of {bytes} bytes cannot be kept; 1 to {bytes_max} can")]
    BadSize {
        /// Bytes of the payload.
        bytes: usize,
        /// What a record may have.
        bytes_max: usize,
    },
    /// There is no segment to append to.
    #[error("the active segment must be rotated first")]
    MustRotate,
    /// No segment has this number.
    #[error("there is no segment {0}")]
    NoSegment(u64),
    /// Another process has the directory.
    #[error("log {0} is in use by another process")]
    InUse(PathBuf),
}

impl WalError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } | Self::DiskFull { .. } => ErrorKind::Full,
            Self::Io { .. } | Self::InUse(_) => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::BadSize { .. } | Self::MustRotate | Self::NoSegment(_) => ErrorKind::Invalid,
        }
    }

    /// The error for a failed operation on `path`.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let path = path.to_owned();
        if full { Self::DiskFull { doing, path } } else { Self::Io { doing, path, source } }
    }
}
