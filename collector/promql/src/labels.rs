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

/// Labels that describe the metric itself; an operation that makes another quantity of it drops them.
pub(crate) const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

impl Labels {
    fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Without name, type and unit.
    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.filtered(|name| !METADATA.contains(&name))
    }

    /// Without the metric's name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// Only these labels.
    #[must_use]
    pub fn keep(&self, names: &[Arc<str>]) -> Self {
        self.filtered(|name| names.iter().any(|wanted| &**wanted == name))
    }

    /// All but these labels.
    #[must_use]
    pub fn drop(&self, names: &[Arc<str>]) -> Self {
        self.filtered(|name| !names.iter().any(|unwanted| &**unwanted == name))
    }

    /// With one label set, or removed when the value is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.iter().filter(|pair| &*pair.0 != name).cloned().collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|pair| &*pair.0 < name);
            pairs.insert(at, (Arc::from(name), Arc::from(value)));
        }
        Self(pairs.into())
    }

    /// The metric's name; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value(METRIC_NAME)
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        Self::new(pairs.into_iter().collect())
    }
}

/// As Prometheus shows them in messages: `{__name__="up", job="x"}`.
impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let value = crate::print::Quoted(value);
            if crate::print::is_plain_label(name) {
                write!(f, "{comma}{name}={value}")?;
            } else {
                write!(f, "{comma}{}={value}", crate::print::Quoted(name))?;
            }
        }
        f.write_str("}")
    }
}
