//! Which parts are live: a log of commits per signal, and their sum in memory.
//!
//! ```text
//! catalog/{signal}/{version:020}           one commit, put if absent
//! catalog/{signal}/{version:020}.snapshot  the sum of all commits up to this one, every hundred
//!
//! file: "weir-manifest 1 {crc32 of the rest, hex}\n" then JSON
//! commit {version, added: [PartEntry], removed: [id], wal_floor, taken: [{agent, floor, ranges, seen_ns}]}
//! ```
//! The rule of a commit: **every part that it removes must still be live**. That alone makes it safe that flush,
//! compaction and retention commit without knowing of each other. A commit also carries the log position below which
//! everything of its signal is in parts, and the positions of agents taken by then.
//!
//! Recovery never refuses: a file whose checksum is wrong is renamed `*.corrupt` and left out, loudly, and whoever
//! opened the manifest is told not to delete what it does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::delivered::TakenEntry;
use crate::durable;
use crate::error::StoreError;
use crate::part::{PartEntry, Signal};

const FORMAT: &str = "weir-manifest 1";
/// Commits from one snapshot to the next.
const SNAPSHOT_EVERY: u64 = 100;
/// Snapshots kept, with the commits after the older one.
const SNAPSHOTS_KEPT: u64 = 2;

/// The live parts of one signal.
#[derive(Debug)]
pub(crate) struct Manifest {
    signal: Signal,
    dir: PathBuf,
    sum: Sum,
}

/// All commits up to a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    version: u64,
    live: BTreeMap<String, PartEntry>,
    wal_floor: u64,
    taken: Arc<Vec<TakenEntry>>,
}

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// Given by [`Manifest::commit`].
    #[serde(default)]
    pub(crate) version: u64,
    /// Parts that become live; an `order` of 0 becomes the commit's version.
    #[serde(default)]
    pub(crate) added: Vec<PartEntry>,
    /// Ids of parts that are live no more.
    #[serde(default)]
    pub(crate) removed: Vec<String>,
    /// The new floor, when it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wal_floor: Option<u64>,
    /// The new taken positions, when they moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<Arc<Vec<TakenEntry>>>,
}

impl Manifest {
    /// Reads the manifest of `signal` under the data directory `root`. The second answer is false when a file was
    /// damaged, so that what is unknown must not be deleted.
    pub(crate) fn open(root: &Path, signal: Signal) -> Result<(Self, bool), StoreError> {
        let dir = root.join("catalog").join(signal.as_str());
        durable::create_dir_all(root, &dir)?;
        let files = Files::list(&dir)?;
        let mut sound = true;
        let mut sum = Sum::default();
        for &version in files.snapshots.iter().rev() {
            match read::<Sum>(&snapshot_path(&dir, version)) {
                Ok(found) => {
                    sum = found;
                    break;
                }
                Err(error) => {
                    set_aside(&snapshot_path(&dir, version), &error);
                    // Nothing is lost while the commits before it are there.
                    sound &= files.commits.first().is_some_and(|&first| first <= 1);
                }
            }
        }
        let since = sum.version;
        for version in files.commits.into_iter().filter(|&version| version > since) {
            let path = commit_path(&dir, version);
            match read::<Commit>(&path) {
                Ok(commit) => {
                    sound &= version == sum.version + 1;
                    sum.apply(Commit { version, ..commit });
                }
                Err(error) => {
                    set_aside(&path, &error);
                    sound = false;
                    sum.version = version;
                }
            }
        }
        Ok((Self { signal, dir, sum }, sound))
    }

    /// The live parts, oldest data first.
    pub(crate) fn live(&self) -> Vec<PartEntry> {
        let mut live: Vec<_> = self.sum.live.values().cloned().collect();
        live.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        live
    }

    /// The log position below which everything is in parts.
    pub(crate) fn wal_floor(&self) -> u64 {
        self.sum.wal_floor
    }

    /// The positions of agents that were taken at the last flush.
    pub(crate) fn taken(&self) -> &[TakenEntry] {
        &self.sum.taken
    }

    /// Makes a change durable: the parts that it added, with their final order.
    pub(crate) fn commit(&mut self, mut commit: Commit) -> Result<Vec<PartEntry>, StoreError> {
        if let Some(gone) = commit.removed.iter().find(|id| !self.sum.live.contains_key(*id)) {
            return Err(StoreError::Invalid(format!("part {gone} is not live any more")));
        }
        commit.version = self.sum.version + 1;
        for entry in commit.added.iter_mut().filter(|entry| entry.order == 0) {
            entry.order = commit.version;
        }
        let path = commit_path(&self.dir, commit.version);
        if !durable::put_if_absent(&path, &to_bytes(&commit)?)? {
            return Err(StoreError::Internal(format!("{}: another process has committed here", path.display())));
        }
        let added = commit.added.clone();
        self.sum.apply(commit);
        if self.sum.version.is_multiple_of(SNAPSHOT_EVERY) {
            // The commit stands without it; the next hundred will try again.
            if let Err(error) = self.write_snapshot() {
                tracing::warn!(signal = self.signal.as_str(), %error, "no manifest snapshot was written");
            }
        }
        Ok(added)
    }

    fn write_snapshot(&self) -> Result<(), StoreError> {
        durable::put_if_absent(&snapshot_path(&self.dir, self.sum.version), &to_bytes(&self.sum)?)?;
        let Some(needed) = self.sum.version.checked_sub((SNAPSHOTS_KEPT - 1) * SNAPSHOT_EVERY) else { return Ok(()) };
        let files = Files::list(&self.dir)?;
        if !files.snapshots.contains(&needed) {
            return Ok(());
        }
        let commits = files.commits.into_iter().map(|version| (version, commit_path(&self.dir, version)));
        let snapshots = files.snapshots.into_iter().map(|version| (version + 1, snapshot_path(&self.dir, version)));
        for (_, path) in commits.chain(snapshots).filter(|(version, _)| *version <= needed) {
            std::fs::remove_file(&path).map_err(|error| StoreError::io(&path, error))?;
        }
        Ok(())
    }
}

impl Sum {
    fn apply(&mut self, commit: Commit) {
        for id in &commit.removed {
            self.live.remove(id);
        }
        self.live.extend(commit.added.into_iter().map(|entry| (entry.id.clone(), entry)));
        self.wal_floor = commit.wal_floor.unwrap_or(self.wal_floor);
        if let Some(taken) = commit.taken {
            self.taken = taken;
        }
        self.version = commit.version;
    }
}

/// Versions of the files in a manifest's folder, ascending.
#[derive(Default)]
struct Files {
    commits: Vec<u64>,
    snapshots: Vec<u64>,
}

impl Files {
    fn list(dir: &Path) -> Result<Self, StoreError> {
        let mut files = Self::default();
        for file in std::fs::read_dir(dir).map_err(|error| StoreError::io(dir, error))? {
            let path = file.map_err(|error| StoreError::io(dir, error))?.path();
            let version = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            match (version, path.extension().and_then(|extension| extension.to_str())) {
                (Some(version), None) => files.commits.push(version),
                (Some(version), Some("snapshot")) => files.snapshots.push(version),
                // What a crash left half written was never committed.
                (_, Some("tmp")) => std::fs::remove_file(&path).map_err(|error| StoreError::io(&path, error))?,
                _ => {}
            }
        }
        files.commits.sort_unstable();
        files.snapshots.sort_unstable();
        Ok(files)
    }
}

fn commit_path(dir: &Path, version: u64) -> PathBuf {
    dir.join(format!("{version:020}"))
}

fn snapshot_path(dir: &Path, version: u64) -> PathBuf {
    dir.join(format!("{version:020}.snapshot"))
}

fn to_bytes(content: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_string(content)
        .map_err(|error| StoreError::Internal(format!("a manifest entry cannot be written as JSON: {error}")))?;
    Ok(format!("{FORMAT} {:08x}\n{json}", crc32fast::hash(json.as_bytes())).into_bytes())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = std::fs::read(path).map_err(|error| StoreError::io(path, error))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| StoreError::corrupt(path, error))?;
    let (head, json) = text.split_once('\n').ok_or_else(|| StoreError::corrupt(path, "it has one line only"))?;
    let crc = head.strip_prefix(FORMAT).map(str::trim);
    if crc != Some(&format!("{:08x}", crc32fast::hash(json.as_bytes()))) {
        return Err(StoreError::corrupt(path, format_args!("its checksum is not that of its head ({head:?})")));
    }
    serde_json::from_str(json).map_err(|error| StoreError::corrupt(path, error))
}

fn set_aside(path: &Path, error: &StoreError) {
    tracing::error!(%error, "a manifest file is damaged and was set aside");
    metrics::counter!(weir_proto::names::STORE_MANIFEST_CORRUPT).increment(1);
    let mut aside = path.as_os_str().to_owned();
    aside.push(".corrupt");
    if let Err(error) = std::fs::rename(path, &aside) {
        tracing::error!(path = %path.display(), %error, "and could not be renamed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str) -> PartEntry {
        PartEntry { id: id.to_owned(), ..PartEntry::default() }
    }

    fn ids(manifest: &Manifest) -> Vec<String> {
        manifest.live().into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn commits_add_up_and_survive_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let (mut manifest, sound) = Manifest::open(root.path(), Signal::Metrics).unwrap();
        assert!(sound && manifest.live().is_empty());
        for id in ["a", "b", "c"] {
            let added = manifest.commit(Commit { added: vec![part(id)], ..Commit::default() }).unwrap();
            assert_ne!(added[0].order, 0);
        }
        let merged = PartEntry { order: 2, ..part("ab") };
        let removed = vec!["a".to_owned(), "b".to_owned()];
        manifest.commit(Commit { added: vec![merged], removed: removed.clone(), ..Commit::default() }).unwrap();
        let again = manifest.commit(Commit { added: vec![part("ab2")], removed, ..Commit::default() });
        assert_eq!(again.unwrap_err().kind(), crate::ErrorKind::Invalid, "a second compactor is refused");
        manifest.commit(Commit { wal_floor: Some(7), ..Commit::default() }).unwrap();
        let (reopened, sound) = Manifest::open(root.path(), Signal::Metrics).unwrap();
        assert!(sound);
        assert_eq!(reopened.sum, manifest.sum);
        assert_eq!((ids(&reopened), reopened.wal_floor()), (vec!["ab".to_owned(), "c".to_owned()], 7));
    }

    #[test]
    fn snapshots_replace_old_commits() {
        let root = tempfile::tempdir().unwrap();
        let (mut manifest, _) = Manifest::open(root.path(), Signal::Traces).unwrap();
        for version in 1..=250_u64 {
            manifest.commit(Commit { added: vec![part(&format!("{version:03}"))], ..Commit::default() }).unwrap();
        }
        let files = Files::list(&manifest.dir).unwrap();
        assert_eq!((files.snapshots, files.commits.first(), files.commits.len()), (vec![100, 200], Some(&101), 150));
        let (reopened, sound) = Manifest::open(root.path(), Signal::Traces).unwrap();
        assert!(sound);
        assert_eq!(reopened.sum, manifest.sum);
        // A damaged snapshot costs nothing while the one before it and its commits are there.
        std::fs::write(snapshot_path(&manifest.dir, 200), b"weir-manifest 1 00000000\n{}").unwrap();
        let (reopened, _) = Manifest::open(root.path(), Signal::Traces).unwrap();
        assert_eq!(reopened.sum, manifest.sum);
    }

    /// Commits as flush, compaction and retention make them.
    fn golden_commits() -> [Commit; 3] {
        let file = |name: &str| crate::part::PartFile { name: name.to_owned(), bytes: 1234, crc32: 0xdead_beef };
        let entry = PartEntry {
            id: "01JD0000000000000000000001".to_owned(),
            path: "metrics/2026-11-22/L0-01JD0000000000000000000001".to_owned(),
            day: "2026-11-22".to_owned(),
            time_min_ns: 1_795_348_800_000_000_000,
            time_max_ns: 1_795_349_400_000_000_001,
            rows: 10,
            series: 2,
            bytes: 2468,
            services: Some(vec!["shop/cart".to_owned(), "é".to_owned()]),
            files: vec![file("samples.parquet"), file("series.parquet")],
            ..PartEntry::default()
        };
        let merged = PartEntry {
            id: "01JD0000000000000000000002".to_owned(),
            path: "metrics/2026-11-22/default/L1-01JD0000000000000000000002".to_owned(),
            level: 1,
            order: 1,
            services: None,
            ..entry.clone()
        };
        let mut taken = crate::delivered::Taken::default();
        let delivery = crate::options::Delivery { agent: [0xab; 16], position: 7, lowest_unacked: 5 };
        taken.insert(&delivery, 1_795_348_800_000_000_000);
        let removed = vec![entry.id.clone()];
        [
            Commit {
                added: vec![entry],
                wal_floor: Some(1 << 40),
                taken: Some(Arc::new(taken.to_entries())),
                ..Commit::default()
            },
            Commit { added: vec![merged.clone()], removed, ..Commit::default() },
            Commit { removed: vec![merged.id], ..Commit::default() },
        ]
    }

    /// A catalog of the first version is in the tree: it opens, from its commits and from its snapshot, and the same
    /// bytes are written today. `UPDATE=1` writes it anew, which only a change that old catalogs survive may do.
    #[test]
    fn a_catalog_of_the_first_version_is_read_and_written() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/manifest-v1");
        let today = tempfile::tempdir().unwrap();
        let (mut manifest, _) = Manifest::open(today.path(), Signal::Metrics).unwrap();
        let mut sums = Vec::new();
        for commit in golden_commits() {
            manifest.commit(commit).unwrap();
            sums.push(manifest.sum.clone());
            if manifest.sum.version == 2 {
                manifest.write_snapshot().unwrap();
            }
        }
        let names = [commit_path, commit_path, commit_path, snapshot_path];
        let names: Vec<_> =
            names.iter().zip([1, 2, 3, 2]).map(|(path, version)| path(Path::new(""), version)).collect();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&kept).unwrap();
            for name in &names {
                std::fs::copy(manifest.dir.join(name), kept.join(name)).unwrap();
            }
        }
        for name in &names {
            let [written, golden] = [&manifest.dir, &kept].map(|dir| std::fs::read_to_string(dir.join(name)).unwrap());
            assert_eq!(written, golden, "{}", name.display());
        }
        // From the commits alone, and from the snapshot with the commit after it.
        for (files, expected) in
            [(&names[..3], &sums[2]), (&names[..2], &sums[1]), (&names[3..], &sums[1]), (&names[2..], &sums[2])]
        {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("catalog/metrics");
            std::fs::create_dir_all(&dir).unwrap();
            for name in files {
                std::fs::copy(kept.join(name), dir.join(name)).unwrap();
            }
            let (opened, sound) = Manifest::open(root.path(), Signal::Metrics).unwrap();
            assert!(sound, "{files:?}");
            assert_eq!(&opened.sum, expected, "{files:?}");
        }
        assert_eq!((sums[2].wal_floor, sums[2].live.len(), sums[1].live.len()), (1 << 40, 0, 1));
    }

    #[test]
    fn a_damaged_commit_is_set_aside_and_told() {
        let root = tempfile::tempdir().unwrap();
        let (mut manifest, _) = Manifest::open(root.path(), Signal::Metrics).unwrap();
        for id in ["a", "b", "c"] {
            manifest.commit(Commit { added: vec![part(id)], ..Commit::default() }).unwrap();
        }
        std::fs::write(commit_path(&manifest.dir, 2), b"garbage").unwrap();
        let (mut reopened, sound) = Manifest::open(root.path(), Signal::Metrics).unwrap();
        assert!(!sound);
        assert_eq!(ids(&reopened), ["a", "c"]);
        reopened.commit(Commit { added: vec![part("d")], ..Commit::default() }).unwrap();
        assert!(root.path().join("catalog/metrics/00000000000000000002.corrupt").exists());
    }
}
