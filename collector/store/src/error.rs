//! Why the store refused or failed, and what the caller should do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a caller must do with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Fix the request; never retry.
    Invalid,
    /// Slow down and retry.
    Full,
    /// Retry.
    Unavailable,
    /// Stop and keep the bytes.
    Corrupt,
    /// The store is shut down.
    Closed,
    /// A defect of ours.
    Internal,
}

/// A failure of the store. Cheap to clone, since one failed sync answers many writers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another process has the data directory.
    #[error("data directory {} is in use by {holder}; one process may open it", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// Stored bytes are not what was written.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A bound was met.
    #[error("{0}")]
    Full(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    Invalid(String),
    /// The store is shut down.
    #[error("the store is shut down")]
    Closed,
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl StoreError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Unavailable,
            },
            Self::Locked { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Full(_) => ErrorKind::Full,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Closed => ErrorKind::Closed,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// A failure of the file system at `path`.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source: Arc::new(source) }
    }

    /// Bytes at `path` that are not what was written.
    pub fn corrupt(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { path: path.into(), reason: reason.to_string() }
    }

    /// A failure of the Parquet library on the file at `path`: the disk's fault when it wraps an I/O error, else
    /// the bytes'.
    #[must_use]
    pub fn parquet(path: &Path, error: parquet::errors::ParquetError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(link) = cause {
            if let Some(source) = link.downcast_ref::<io::Error>() {
                let code = source.raw_os_error();
                let copy = code
                    .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error);
                return Self::io(path, copy);
            }
            cause = link.source();
        }
        // Some layers keep only the text of what the system said.
        let text = error.to_string();
        if text.contains(DISK_FULL) {
            return Self::io(path, io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Self::corrupt(path, text)
    }
}

/// How the standard library ends the text of ENOSPC on Linux.
const DISK_FULL: &str = "(os error 28)";
