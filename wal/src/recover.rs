//! What is found in a directory at start: good segments, torn tails, damage.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tracing::{error, warn};

use crate::error::WalError;
use crate::record::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, put_record, segment_header};
use crate::segment::{Next, Record, SUFFIX, Segment, SegmentReader, sync_dir};

/// Damaged files that are kept for people to look at; older ones make room.
const QUARANTINE_FILES_MAX: usize = 8;

/// Suffix of a damaged file.
const QUARANTINE_SUFFIX: &str = "corrupt";

/// Suffix of a segment that is being written again, not yet one.
const SALVAGE_SUFFIX: &str = "salvage";

/// What [`Wal::open`](crate::Wal::open) found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Segments that hold records.
    pub segments: usize,
    /// Records in them.
    pub records: u64,
    /// Bytes of records that were being written when the process or machine died; nobody was told they were kept.
    pub torn_bytes: u64,
    /// Damaged segments, now set aside.
    pub quarantined: Vec<Quarantined>,
}

/// One damaged segment.
#[derive(Debug)]
pub struct Quarantined {
    /// Where the file is now.
    pub path: PathBuf,
    /// Records before the damage, which are kept as a segment of their own.
    pub records_saved: u64,
    /// Bytes from the damage on.
    pub bytes_lost: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The segments of `dir`, oldest first, and the lowest position that none of them can have given out.
pub(crate) fn recover(dir: &Path, recovery: &mut Recovery) -> Result<(Vec<Segment>, u64), WalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut free = 0;
    // A damaged newest segment may be all that tells how far positions have come.
    for (base, path) in list(dir, QUARANTINE_SUFFIX)? {
        free = free.max(free_after(base, size(&path)?));
    }
    list(dir, SALVAGE_SUFFIX)?.iter().for_each(|(_, draft)| drop(std::fs::remove_file(draft)));
    let found = list(dir, SUFFIX)?;
    let newest = found.last().map(|(base, _)| *base);
    for (base, path) in found {
        let bytes = size(&path)?;
        free = free.max(free_after(base, bytes));
        let scan = scan(&path, base, bytes)?;
        let mut segment = Segment::new(path, base);
        segment.cut(scan.records, scan.end);
        if let Some(bad) = scan.bad {
            let torn = newest == Some(base) && !bad.followed;
            if torn {
                warn!(path = %segment.path.display(), at = scan.end, bytes = bytes - scan.end, "cutting off a torn tail");
                recovery.torn_bytes += bytes - scan.end;
                cut_tail(dir, &segment)?;
            } else {
                recovery.quarantined.push(quarantine(dir, &segment, bytes, bad.reason)?);
            }
        }
        if segment.records > 0 {
            recovery.segments += 1;
            recovery.records += segment.records;
        }
        if segment.path.exists() {
            segments.push(segment);
        }
    }
    bound_quarantine(dir)?;
    Ok((segments, free))
}

struct Scan {
    records: u64,
    end: u64,
    bad: Option<Bad>,
}

struct Bad {
    reason: &'static str,
    followed: bool,
}

fn scan(path: &Path, base: u64, bytes: u64) -> Result<Scan, WalError> {
    let mut reader = match SegmentReader::open(path, base, bytes) {
        Ok(reader) => reader,
        Err(WalError::Corrupt { what, .. }) => {
            // A file that was being created holds nothing; anything more was a segment once.
            let followed = bytes > SEGMENT_HEADER_BYTES as u64;
            return Ok(Scan { records: 0, end: 0, bad: Some(Bad { reason: what, followed }) });
        }
        Err(error) => return Err(error),
    };
    loop {
        let bad = match reader.read_next() {
            Ok(Next::Record(_)) => continue,
            Ok(Next::End) => None,
            Ok(Next::Bad(reason)) => Some(Bad { reason, followed: reader.finds_record_ahead().unwrap_or(true) }),
            // A bad sector is damage too: the log must start.
            Err(_) => Some(Bad { reason: "it cannot be read", followed: true }),
        };
        return Ok(Scan { records: reader.next_position() - base, end: reader.offset(), bad });
    }
}

fn cut_tail(dir: &Path, segment: &Segment) -> Result<(), WalError> {
    if segment.bytes < SEGMENT_HEADER_BYTES as u64 {
        std::fs::remove_file(&segment.path).map_err(|error| WalError::io("removing", &segment.path, error))?;
        return sync_dir(dir);
    }
    let cut = OpenOptions::new().write(true).open(&segment.path).and_then(|file| {
        file.set_len(segment.bytes)?;
        file.sync_all()
    });
    cut.map_err(|error| WalError::io("truncating", &segment.path, error))
}

/// Renames the damaged file and writes its good records again under its name. When that fails (no space), the
/// records are lost with the rest: the log must start.
fn quarantine(dir: &Path, segment: &Segment, bytes: u64, reason: &'static str) -> Result<Quarantined, WalError> {
    let aside = segment.path.with_extension(QUARANTINE_SUFFIX);
    std::fs::rename(&segment.path, &aside).map_err(|error| WalError::io("renaming", &segment.path, error))?;
    let mut records_saved = 0;
    if segment.records > 0 {
        match salvage(&aside, segment) {
            Ok(()) => records_saved = segment.records,
            Err(failure) => error!(path = %aside.display(), %failure, "records before the damage could not be saved"),
        }
    }
    sync_dir(dir)?;
    let bytes_lost = bytes.saturating_sub(segment.bytes);
    error!(path = %aside.display(), reason, records_saved, bytes_lost, "quarantined a damaged segment");
    Ok(Quarantined { path: aside, records_saved, bytes_lost, reason })
}

fn salvage(aside: &Path, segment: &Segment) -> Result<(), WalError> {
    let draft = segment.path.with_extension(SALVAGE_SUFFIX);
    let mut reader = SegmentReader::open(aside, segment.base, segment.bytes)?;
    let written = rewrite(&mut reader, segment.base, &draft).and_then(|()| std::fs::rename(&draft, &segment.path));
    written.map_err(|error| {
        drop(std::fs::remove_file(&draft));
        WalError::io("saving", &segment.path, error)
    })
}

fn rewrite(reader: &mut SegmentReader, base: u64, draft: &Path) -> std::io::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(&segment_header(base))?;
    let mut bytes = Vec::new();
    while let Some(Record { position, payload }) = reader.read().map_err(std::io::Error::other)? {
        bytes.clear();
        put_record(position, &payload, &mut bytes);
        file.write_all(&bytes)?;
    }
    file.sync_all()
}

/// Each record takes at least its header, so no more positions than this were given out.
fn free_after(base: u64, bytes: u64) -> u64 {
    base.saturating_add(bytes / RECORD_HEADER_BYTES as u64 + 1)
}

fn size(path: &Path) -> Result<u64, WalError> {
    Ok(path.metadata().map_err(|error| WalError::io("reading", path, error))?.len())
}

/// Files named by a position, with this suffix, oldest first.
fn list(dir: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>, WalError> {
    let entries = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let paths: Vec<PathBuf> = entries.map_err(|error| WalError::io("listing", dir, error))?;
    let base = |path: &Path| path.file_stem().and_then(OsStr::to_str)?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == suffix))
        .filter_map(|path| Some((base(&path)?, path)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn bound_quarantine(dir: &Path) -> Result<(), WalError> {
    let kept = list(dir, QUARANTINE_SUFFIX)?;
    let surplus = kept.len().saturating_sub(QUARANTINE_FILES_MAX);
    for (_, path) in &kept[..surplus] {
        warn!(path = %path.display(), "removing the oldest damaged segment");
        std::fs::remove_file(path).map_err(|error| WalError::io("removing", path, error))?;
    }
    if surplus > 0 { sync_dir(dir) } else { Ok(()) }
}
