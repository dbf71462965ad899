//! Label sets sorted into groups by some of their labels, without making a label set per series: groups are found by
//! hash and compared label by label.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

use super::Context;
use crate::error::QueryError;
use crate::labels::{Labels, METRIC_NAME};

/// Which labels tell groups apart.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// Only these, sorted.
    By(Vec<Arc<str>>),
    /// All but these and the metric's name.
    Without(Vec<Arc<str>>),
    /// All.
    Whole,
}

impl Key {
    fn counts(&self, name: &str) -> bool {
        match self {
            Self::By(_) | Self::Whole => true,
            Self::Without(names) => name != METRIC_NAME && !names.iter().any(|unwanted| &**unwanted == name),
        }
    }

    fn hash(&self, labels: &Labels, hasher: &foldhash::fast::FixedState) -> u64 {
        let mut state = hasher.build_hasher();
        match self {
            Self::By(names) => {
                for name in names {
                    state.write(labels.value(name).as_bytes());
                    state.write_u8(0xff);
                }
            }
            Self::Without(_) | Self::Whole => {
                for (name, value) in labels.iter().filter(|(name, _)| self.counts(name)) {
                    state.write(name.as_bytes());
                    state.write_u8(0xff);
                    state.write(value.as_bytes());
                    state.write_u8(0xff);
                }
            }
        }
        state.finish()
    }

    fn equal(&self, a: &Labels, b: &Labels) -> bool {
        match self {
            Self::By(names) => names.iter().all(|name| a.value(name) == b.value(name)),
            Self::Whole => a == b,
            Self::Without(_) => {
                let counted = |labels: &'_ Labels| -> Vec<(Arc<str>, Arc<str>)> {
                    labels.iter().filter(|(name, _)| self.counts(name)).cloned().collect()
                };
                counted(a) == counted(b)
            }
        }
    }

    /// The labels that a group has in common.
    pub(crate) fn labels(&self, member: &Labels) -> Labels {
        match self {
            Self::By(names) => member.keep(names),
            Self::Without(names) => member.drop(names).without_name(),
            Self::Whole => member.clone(),
        }
    }
}

/// Groups found so far.
pub(crate) struct Groups {
    key: Key,
    hasher: foldhash::fast::FixedState,
    table: HashTable<(u64, u32)>,
    /// A member of each group.
    members: Vec<Labels>,
}

impl Groups {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, hasher: foldhash::fast::FixedState::default(), table: HashTable::new(), members: Vec::new() }
    }

    /// The group of a label set; a new one when there is none yet.
    pub(crate) fn group(&mut self, labels: &Labels) -> u32 {
        let hash = self.key.hash(labels, &self.hasher);
        let (key, members) = (&self.key, &self.members);
        let found = self.table.find(hash, |(other, at)| *other == hash && key.equal(&members[*at as usize], labels));
        if let Some((_, at)) = found {
            return *at;
        }
        let at = self.members.len() as u32;
        self.members.push(labels.clone());
        self.table.insert_unique(hash, (hash, at), |(hash, _)| *hash);
        at
    }

    /// The groups of many label sets.
    pub(crate) fn of_all<'a>(
        &mut self,
        context: &Context<'_>,
        all: impl Iterator<Item = &'a Labels>,
    ) -> Result<Vec<u32>, QueryError> {
        let group = |(at, labels)| {
            context.check_at(at)?;
            Ok(self.group(labels))
        };
        all.enumerate().map(group).collect()
    }

    /// The group of a label set, if there is one.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let hash = self.key.hash(labels, &self.hasher);
        let equal = |entry: &(u64, u32)| entry.0 == hash && self.key.equal(&self.members[entry.1 as usize], labels);
        self.table.find(hash, equal).map(|(_, at)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The labels that a group has in common.
    pub(crate) fn labels(&self, group: usize) -> Labels {
        self.key.labels(&self.members[group])
    }
}
