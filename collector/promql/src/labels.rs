//! A label set: sorted pairs, cheap to clone, compared as Prometheus compares.

use std::sync::Arc;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Labels sorted by name, each name once, no empty value. Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts, keeps the last of each name, drops empty values.
    #[must_use]
    pub fn new(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.reverse();
        pairs.dedup_by(|earlier, last| earlier.0 == last.0);
        pairs.reverse();
        pairs.retain(|pair| !pair.1.is_empty());
        Self(pairs.into())
    }

    /// The value of `name`; empty when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        match self.0.binary_search_by(|pair| pair.0.as_ref().cmp(name)) {
            Ok(at) => &self.0[at].1,
            Err(_) => "",
        }
    }

    /// The pairs in name order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Arc<str>, Arc<str>)> {
        self.0.iter()
    }

    /// How many labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
