//! What happens at the start: the lock, the manifests, the log, what is left over.
//!
//! Never refuses but for a directory that another process holds or that cannot be written at all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::delivered::Taken;
use crate::error::StoreError;
use crate::log::{Log, Logged};
use crate::manifest::Commit;
use crate::shared::Shared;

/// Takes the data directory for this process, for as long as the file is open.
pub(crate) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("weir.lock");
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|error| StoreError::io(&path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { format!("process {}", holder.trim()) } else { "another process".to_owned() };
            return Err(StoreError::Locked { path: dir.to_owned(), holder });
        }
        Err(error) => return Err(StoreError::io(&path, error.into())),
    }
    // Only for the message above; the lock holds without it, on a full disk too.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "the lock file does not name this process");
    }
    Ok(file)
}

/// Replays the log into the memtables: what was taken, and the log to go on with.
pub(crate) fn replay(shared: &Shared) -> Result<(Log, Taken), StoreError> {
    let floors = [shared.metrics.manifest().wal_floor(), shared.spans.manifest().wal_floor()];
    let mut taken = Taken::default();
    taken.merge(shared.metrics.manifest().taken());
    taken.merge(shared.spans.manifest().taken());
    let [metrics_floor, spans_floor] = floors;
    let dir = shared.options.dir.join("wal");
    let mut log = Log::open(dir, shared.options.wal_bytes_max, metrics_floor.max(spans_floor))?;
    log.release_below(metrics_floor.min(spans_floor))?;
    let now = shared.options.clock.now_ns();
    let (mut records, mut bound_met) = (0_u64, false);
    log.replay(|Logged { position, delivery, mut batch }| {
        records += 1;
        if let Some(delivery) = &delivery {
            taken.insert(delivery, now);
        }
        if position < metrics_floor {
            batch.metrics = Default::default();
        }
        if position < spans_floor {
            batch.spans = Default::default();
        }
        shared.insert(batch);
        // A log may hold more than memory may: what has been read so far becomes parts on the way.
        if shared.memtable_bytes() > shared.tuning().memtable_bytes_max / 2 {
            bound_met = true;
            let entries = taken.to_entries().into();
            shared.freeze_all(position + 1, &entries);
            if let Err(error) = shared.flush() {
                tracing::error!(%error, "replaying on in memory, past its bound");
            }
        }
        Ok(())
    })?;
    if records > 0 {
        tracing::info!(records, bound_met, "replayed the log");
    }
    // Positions never go back unless somebody emptied the log's folder; then the floors must, or records to come
    // would be taken for flushed ones.
    let next = log.next_position();
    for (floor, manifest) in
        [(metrics_floor, &mut shared.metrics.manifest()), (spans_floor, &mut shared.spans.manifest())]
    {
        if floor > next {
            manifest.commit(Commit { wal_floor: Some(next), ..Commit::default() })?;
        }
    }
    taken.forget_silent(now);
    Ok((log, taken))
}

/// Removes folders of parts that no manifest knows: the work of a flush or merge that did not reach its commit. When
/// a manifest was damaged they are set aside instead, since it may have known them.
pub(crate) fn remove_orphans(root: &Path, signal: &str, live: &HashSet<PathBuf>, sound: bool) {
    for dir in part_dirs(&root.join(signal)) {
        if live.contains(&dir) {
            continue;
        }
        if sound {
            tracing::info!(part = %dir.display(), "removing a part that was never committed");
            if let Err(error) = std::fs::remove_dir_all(&dir) {
                tracing::warn!(part = %dir.display(), %error, "and could not");
            }
        } else {
            set_aside(root, signal, &dir);
        }
    }
}

/// Moves a part's folder out of the way, keeping its bytes.
pub(crate) fn set_aside(root: &Path, signal: &str, dir: &Path) {
    let quarantine = root.join("quarantine");
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let to = quarantine.join(format!("{signal}-{name}"));
    let moved = std::fs::create_dir_all(&quarantine).and_then(|()| std::fs::rename(dir, &to));
    match moved {
        Ok(()) => tracing::error!(part = %dir.display(), to = %to.display(), "part set aside"),
        Err(error) => tracing::error!(part = %dir.display(), %error, "part could not be set aside"),
    }
}

/// The folders of parts below a signal's folder: `{day}/L…` and `{day}/{tenant}/L…`.
pub(crate) fn part_dirs(signal_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for day in dirs(signal_dir) {
        for inner in dirs(&day) {
            if is_part(&inner) {
                found.push(inner);
            } else {
                found.extend(dirs(&inner).into_iter().filter(|dir| is_part(dir)));
            }
        }
    }
    found
}

fn is_part(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let level = name.strip_prefix('L').and_then(|rest| rest.split_once('-')).map(|(level, _)| level);
    level.is_some_and(|level| level.parse::<u8>().is_ok())
}

fn dirs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
