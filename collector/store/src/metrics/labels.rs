//! The canonical names of a series: what `__name__` may be.

use std::sync::Arc;

use weir_proto::MetricKind;
use weir_proto::prometheus::Translated;

/// Every canonical `__name__` of a series of `kind`: an explicit histogram is three metrics.
pub(crate) fn canonical_names(labels: &Translated, kind: MetricKind) -> Vec<Arc<str>> {
    match kind {
        MetricKind::Histogram => {
            ["_bucket", "_count", "_sum"].iter().map(|suffix| format!("{}{suffix}", labels.name).into()).collect()
        }
        _ => vec![Arc::clone(&labels.name)],
    }
}
