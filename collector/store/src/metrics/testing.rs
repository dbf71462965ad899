//! What several tests of metrics build.

use std::sync::Arc;

use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, KeyValue, MetricKind, Resource, Scope, SeriesIdentity, Temporality};

/// A scraped gauge with string attributes.
pub(crate) fn series(name: &str, attributes: &[(&str, &str)]) -> Arc<SeriesIdentity> {
    series_of(name, attributes, MetricKind::Gauge, Temporality::Unspecified)
}

/// A series of any kind with string attributes.
pub(crate) fn series_of(
    name: &str,
    attributes: &[(&str, &str)],
    kind: MetricKind,
    temporality: Temporality,
) -> Arc<SeriesIdentity> {
    let attributes: Attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, *value)).collect();
    Arc::new(SeriesIdentity::new(SeriesParts {
        name: name.into(),
        unit: "".into(),
        kind,
        temporality,
        resource: Arc::new(Resource::default()),
        scope: Arc::new(Scope::default()),
        attributes,
    }))
}
