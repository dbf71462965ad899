//! Files and folders that survive a power cut: what is written is synced, and so is the folder that names it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::StoreError;

/// Creates `dir` below `root`, syncing the parents of whatever is new.
pub(crate) fn create_dir_all(root: &Path, dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    if dir != root
        && let Some(parent) = dir.parent()
    {
        create_dir_all(root, parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(StoreError::io(dir, error)),
    }
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::io(dir, error))
}

/// Writes a file that must not exist, whole or not at all: `Ok(false)` when it does exist.
pub(crate) fn put_if_absent(path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    let linked = write().and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(StoreError::io(path, error)),
    }
    removed.map_err(|error| StoreError::io(&temporary, error))?;
    let synced = path.parent().map_or(Ok(()), sync_dir);
    if synced.is_err() {
        // Whoever called will try again under the same name.
        fs::remove_file(path).map_err(|error| StoreError::io(path, error))?;
    }
    synced.map(|()| true)
}

/// Length and CRC-32 of a file.
pub(crate) fn checksum(path: &Path) -> Result<(u64, u32), StoreError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        let mut length = 0_u64;
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                return Ok((length, hasher.finalize()));
            }
            hasher.update(&buffer[..n]);
            length += n as u64;
        }
    };
    read().map_err(|error| StoreError::io(path, error))
}
