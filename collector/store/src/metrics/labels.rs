//! The PromQL face of a series: the canonical names it answers to and its labels.

use std::sync::Arc;

use weir_proto::{MetricKind, SeriesIdentity};

/// A series as PromQL sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesLabels {
    /// Canonical name, without `_bucket`, `_count` or `_sum`.
    pub name: Arc<str>,
    /// Labels but the name, sorted.
    pub labels: Arc<[(Arc<str>, Arc<str>)]>,
}

impl SeriesLabels {
    /// Every canonical `__name__` of a series of `kind`: an explicit histogram is three metrics.
    #[must_use]
    pub fn names(&self, kind: MetricKind) -> Vec<Arc<str>> {
        match kind {
            MetricKind::Histogram => {
                ["_bucket", "_count", "_sum"].iter().map(|suffix| format!("{}{suffix}", self.name).into()).collect()
            }
            _ => vec![Arc::clone(&self.name)],
        }
    }
}

/// Translates an identity.
#[must_use]
pub(crate) fn labels_of(identity: &SeriesIdentity) -> SeriesLabels {
    let mut labels: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for pair in &identity.attributes {
        if let Some(text) = pair.value.as_str() {
            labels.push((pair.key.replace('.', "_").into(), text.into()));
        }
    }
    labels.sort();
    SeriesLabels { name: identity.name.replace('.', "_").into(), labels: labels.into() }
}
