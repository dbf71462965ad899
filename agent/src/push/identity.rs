//! Who this agent is: 128 random bits in the file `agent-id` of the data directory, written once.
//!
//! ```text
//! agent-id: {id, 32 hex digits} {inode of this very file}
//! ```
//! The collector knows a batch by (agent id, position). A copied data directory would give two agents one identity, and
//! one would lose data as repeats; a directory restored from a backup would give out positions a second time. A copy has
//! another inode, so it is noticed and gets an identity of its own. A disk that is cloned whole is not noticed.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Name of the file.
const FILE: &str = "agent-id";

/// 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgentId(pub [u8; 16]);

/// The identity cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[error("agent id in {path}: {source}")]
pub struct IdentityError {
    /// The file.
    path: PathBuf,
    /// What went wrong.
    source: io::Error,
}

impl AgentId {
    /// The identity kept in `dir`, made there if there is none. A file that holds something else, or was copied here, is
    /// set aside, since the agent must start; what was sent and not acknowledged under the old identity may then be
    /// stored twice.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the system has no randomness.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        Self::load_or_create_at(dir, &path).map_err(|source| IdentityError { path, source })
    }

    fn load_or_create_at(dir: &Path, path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let (id, inode) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
                match Self::parse(id) {
                    Some(id) if inode.parse() == Ok(std::fs::metadata(path)?.ino()) => return Ok(id),
                    // Of a version that did not look.
                    Some(id) if inode.is_empty() => return id.keep(dir, path),
                    Some(_) => {
                        tracing::error!(path = %path.display(), "this data directory is a copy: the agent gets an identity \
                            of its own, and what the copied queue still holds is stored a second time");
                        std::fs::rename(path, path.with_extension("copied"))?;
                    }
                    None => {
                        tracing::error!(path = %path.display(), "the agent id is damaged; a new one is made");
                        std::fs::rename(path, path.with_extension("corrupt"))?;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                std::fs::rename(path, path.with_extension("corrupt"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(io::Error::other)?;
        Self(bits).keep(dir, path)
    }

    /// Writes the file; a rename keeps its inode.
    fn keep(self, dir: &Path, path: &Path) -> io::Result<Self> {
        let draft = path.with_extension("new");
        let mut file = File::create(&draft)?;
        writeln!(file, "{self} {}", file.metadata()?.ino())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(dir)?.sync_all()?;
        Ok(self)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let made = AgentId::load_or_create(&data).unwrap();
        assert_eq!(AgentId::load_or_create(&data).unwrap(), made);
        let other = AgentId::load_or_create(&dir.path().join("other")).unwrap();
        assert_ne!(made, other);
    }

    #[test]
    fn a_copy_of_the_directory_is_another_agent_and_a_moved_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [first, moved, copy] = ["first", "moved", "copy"].map(|name| dir.path().join(name));
        let made = AgentId::load_or_create(&first).unwrap();
        std::fs::rename(&first, &moved).unwrap();
        assert_eq!(AgentId::load_or_create(&moved).unwrap(), made);
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(moved.join(FILE), copy.join(FILE)).unwrap();
        let other = AgentId::load_or_create(&copy).unwrap();
        assert_ne!(other, made);
        assert_eq!(AgentId::load_or_create(&copy).unwrap(), other, "once");
        assert!(copy.join("agent-id.copied").exists());
    }

    #[test]
    fn an_identity_of_the_first_version_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), format!("{}\n", AgentId([7; 16]))).unwrap();
        for _ in 0..2 {
            assert_eq!(AgentId::load_or_create(dir.path()).unwrap(), AgentId([7; 16]));
        }
        assert!(std::fs::read_to_string(dir.path().join(FILE)).unwrap().contains(' '));
    }

    #[test]
    fn a_damaged_identity_is_set_aside() {
        for damage in [&b"not an id"[..], b"", &[0xff; 32]] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), damage).unwrap();
            let made = AgentId::load_or_create(dir.path()).unwrap();
            assert_eq!(AgentId::load_or_create(dir.path()).unwrap(), made);
            assert!(dir.path().join("agent-id.corrupt").exists());
        }
    }
}
