//! A part: one folder of Parquet tables, the output of one flush or one compaction.
//!
//! ```text
//! {dir}/{signal}/{day}/L0-{ulid}/{table}.parquet              fresh, all tenants
//! {dir}/{signal}/{day}/{tenant}/L{n}-{ulid}/{table}.parquet   compacted
//! ```
//! A part is immutable. [`Part`] is the live handle: whoever holds it can read its files. When the last holder of
//! a part that was replaced or retired lets go, its folder is removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::StoreError;

/// What a part holds; each signal has its own tables and its own manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Metric points.
    Metrics,
    /// Spans.
    Traces,
}

/// What the manifest knows about a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Sortable unique name, the `part` column of its tables.
    pub id: String,
    /// Folder, relative to the data directory, with forward slashes.
    pub path: String,
    /// UTC day of all its rows, `2026-11-22`.
    pub day: String,
    /// 0 for a flush, higher for each merge.
    pub level: u8,
    /// Commit number of the newest data in it: of two points of one series and time the higher order wins. A merge
    /// of neighbours takes the highest of its inputs.
    pub order: u64,
    /// Earliest time of any row, ns.
    pub time_min_ns: i64,
    /// Latest time of any row, ns.
    pub time_max_ns: i64,
    /// Points or spans.
    pub rows: u64,
    /// Series or traces.
    pub series: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Services with rows in it, sorted, when they are few enough to list; for pruning. Rows without one make it
    /// list the empty name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Its files.
    #[serde(default)]
    pub files: Vec<PartFile>,
}

/// One file of a part. Parquet as we write it has no checksums of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Name within the part's folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// CRC-32 of the whole file.
    pub crc32: u32,
}

/// Services listed of a part; with more of them there is no list.
pub(crate) const SERVICES_MAX: usize = 256;

/// A part that can be read.
#[derive(Debug)]
pub struct Part {
    entry: PartEntry,
    dir: PathBuf,
    fate: AtomicU8,
}

const LIVE: u8 = 0;
const DOOMED: u8 = 1;
const CORRUPT: u8 = 2;

impl Signal {
    /// Both, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Metrics, Self::Traces];

    /// The folder and the name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

impl PartEntry {
    /// The folder of a fresh part, relative to the data directory.
    #[must_use]
    pub fn path_of(signal: Signal, day: &str, level: u8, id: &str) -> String {
        if level == 0 {
            format!("{}/{day}/L0-{id}", signal.as_str())
        } else {
            format!("{}/{day}/{TENANT}/L{level}-{id}", signal.as_str())
        }
    }

    /// Notes the files of `dir` with their lengths and checksums.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn seal(&mut self, dir: &Path) -> Result<(), StoreError> {
        self.files.clear();
        for file in std::fs::read_dir(dir).map_err(|error| StoreError::io(dir, error))? {
            let path = file.map_err(|error| StoreError::io(dir, error))?.path();
            let (bytes, crc32) = durable::checksum(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.files.push(PartFile { name, bytes, crc32 });
        }
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        self.bytes = self.files.iter().map(|file| file.bytes).sum();
        Ok(())
    }

    /// Whether rows with `from <= time <= to` may be in it.
    #[must_use]
    pub fn overlaps(&self, from_ns: i64, to_ns: i64) -> bool {
        self.time_min_ns <= to_ns && from_ns <= self.time_max_ns
    }
}

/// The only tenant until tenants are told apart.
pub const TENANT: &str = "default";

impl Part {
    /// The handle of `entry` under the data directory `root`.
    #[must_use]
    pub fn new(root: &Path, entry: PartEntry) -> Arc<Self> {
        let dir = root.join(&entry.path);
        Arc::new(Self { entry, dir, fate: AtomicU8::new(LIVE) })
    }

    /// What the manifest knows.
    #[must_use]
    pub fn entry(&self) -> &PartEntry {
        &self.entry
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one of its tables (`spans` for `spans.parquet`).
    #[must_use]
    pub fn table(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.parquet"))
    }

    /// Compares every file with the checksum in the manifest.
    ///
    /// # Errors
    /// Corrupt with the first file that differs; Unavailable when one cannot be read.
    pub fn verify(&self) -> Result<(), StoreError> {
        for file in &self.entry.files {
            let path = self.dir.join(&file.name);
            let found = match durable::checksum(&path) {
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Err(StoreError::corrupt(&path, "the file is gone"));
                }
                other => other?,
            };
            if found != (file.bytes, file.crc32) {
                let reason = format!(
                    "{} bytes with CRC {:08x}, but {} bytes with CRC {:08x} were written",
                    found.0, found.1, file.bytes, file.crc32
                );
                return Err(StoreError::corrupt(&path, reason));
            }
        }
        Ok(())
    }

    /// Notes that a table could not be read as it was written. The compactor takes the part out of the manifest and
    /// moves its folder aside; the bytes are kept.
    pub fn report_corrupt(&self, error: &StoreError) {
        if self.fate.swap(CORRUPT, Ordering::Relaxed) != CORRUPT {
            tracing::error!(part = %self.entry.path, %error, "part is corrupt and will be set aside");
            metrics::counter!(weir_proto::names::STORE_PARTS_CORRUPT).increment(1);
        }
    }

    /// Whether a read has found it corrupt.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.fate.load(Ordering::Relaxed) == CORRUPT
    }

    /// Removes the folder once nobody holds the part any more.
    pub(crate) fn doom(&self) {
        self.fate.store(DOOMED, Ordering::Relaxed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.fate.load(Ordering::Relaxed) == DOOMED
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(part = %self.entry.path, %error, "a replaced part could not be removed; the next start will");
        }
    }
}

/// Nanoseconds in a day.
pub(crate) const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// The UTC day that is `day` days after 1970-01-01, as `2026-11-22`.
/// Source: days to civil, Howard Hinnant's "chrono-compatible low-level date algorithms".
pub(crate) fn day_name(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_civil_names() {
        for (day, name) in [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (20_779, "2026-11-22")] {
            assert_eq!(day_name(day), name);
        }
    }

    #[test]
    fn a_changed_byte_is_found() {
        let root = tempfile::tempdir().unwrap();
        let mut entry = PartEntry { path: "metrics/2026-11-22/L0-x".to_owned(), ..PartEntry::default() };
        let dir = root.path().join(&entry.path);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("series.parquet"), b"abc").unwrap();
        entry.seal(&dir).unwrap();
        let part = Part::new(root.path(), entry);
        part.verify().unwrap();
        std::fs::write(dir.join("series.parquet"), b"abd").unwrap();
        assert_eq!(part.verify().unwrap_err().kind(), crate::ErrorKind::Corrupt);
        std::fs::remove_file(dir.join("series.parquet")).unwrap();
        assert_eq!(part.verify().unwrap_err().kind(), crate::ErrorKind::Corrupt);
    }
}
