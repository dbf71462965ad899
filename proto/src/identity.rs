//! Who a series is: name, unit, kind, temporality, resource, scope and attributes, and the 128-bit
//! [`Fingerprint`] over all of them.
//!
//! The fingerprint is xxh3-128, unkeyed, over canonical bytes, the same on every machine and for ever; golden
//! vectors in the tests below hold it. It is recomputed where it is needed, never stored beside labels.
//!
//! ```text
//! canonical bytes, all lengths u32 little-endian
//! ┌──────┬──────┬──────┬────────────┬───────────────┬───────────────────────────┬────────────┐
//! │ name │ unit │ kind │ temporality│ resource attrs│ scope name, version, attrs│ point attrs│
//! │ len+b│ len+b│  u8  │     u8     │ n, (key,value)│ len+b, len+b, n,(key,val.)│ n,(key,val)│
//! └──────┴──────┴──────┴────────────┴───────────────┴───────────────────────────┴────────────┘
//! value = type tag u8, then len+bytes (string, bytes), u8 (bool), 8 bytes (int, double bits), n + values (array, map)
//! ```

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::attribute::{Attributes, Value};
use crate::exposition::SCOPE_SCRAPE;
use crate::remote_write::SCOPE_REMOTE_WRITE;
use crate::semconv;

/// The identity of a series as a number: xxh3-128 over the canonical bytes above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u128);

/// What a metric is. A monotonic and a non-monotonic OTLP sum are two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge = 0,
    /// A monotonic sum.
    Counter = 1,
    /// A sum that may fall.
    UpDownCounter = 2,
    /// A histogram with explicit bounds.
    Histogram = 3,
    /// A histogram with exponential bounds, or a native one of Prometheus, whose bounds may also be custom.
    ExponentialHistogram = 4,
    /// One quantile of a summary; the `quantile` attribute says which.
    SummaryQuantile = 5,
    /// The `_sum` of a summary.
    SummarySum = 6,
    /// The `_count` of a summary.
    SummaryCount = 7,
    /// A scraped sample without a `# TYPE`.
    Unknown = 8,
}

/// What a point's value covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Temporality {
    /// Gauges and the like: no interval.
    Unspecified = 0,
    /// Since the last point.
    Delta = 1,
    /// Since the start time.
    Cumulative = 2,
}

/// Who sends: the attributes of an OTLP Resource. Compared by content; clone the `Arc` around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Resource {
    /// Sorted attributes.
    pub attributes: Attributes,
}

/// Which library made it: an OTLP InstrumentationScope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Scope name; empty when none was sent.
    pub name: Arc<str>,
    /// Scope version; empty when none was sent.
    pub version: Arc<str>,
    /// Sorted attributes.
    pub attributes: Attributes,
}

/// One series as it was sent, before any translation.
#[derive(Clone, Debug)]
pub struct SeriesIdentity {
    /// xxh3-128 over everything below.
    pub fingerprint: Fingerprint,
    /// Metric name as sent (`http.server.request.duration`).
    pub name: Arc<str>,
    /// UCUM unit as sent; empty when none.
    pub unit: Arc<str>,
    /// What it is.
    pub kind: MetricKind,
    /// What a point covers.
    pub temporality: Temporality,
    /// Who sends.
    pub resource: Arc<Resource>,
    /// Which library.
    pub scope: Arc<Scope>,
    /// Point attributes, sorted.
    pub attributes: Attributes,
}

impl Resource {
    /// xxh3-64 over the canonical bytes of the attributes: the key of the stored table `resources`, the same on every
    /// machine.
    #[must_use]
    pub fn id(&self) -> i64 {
        let mut bytes = Vec::with_capacity(256);
        put_attributes(&mut bytes, &self.attributes);
        xxh3_64(&bytes).cast_signed()
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self { name: "".into(), version: "".into(), attributes: Attributes::default() }
    }
}

/// The parts of an identity whose fingerprint is not known yet.
#[derive(Clone, Debug)]
pub struct SeriesParts {
    /// Metric name as sent.
    pub name: Arc<str>,
    /// UCUM unit as sent.
    pub unit: Arc<str>,
    /// What it is.
    pub kind: MetricKind,
    /// What a point covers.
    pub temporality: Temporality,
    /// Who sends.
    pub resource: Arc<Resource>,
    /// Which library.
    pub scope: Arc<Scope>,
    /// Point attributes, sorted.
    pub attributes: Attributes,
}

impl SeriesIdentity {
    /// Computes the fingerprint of `parts`.
    #[must_use]
    pub fn new(parts: SeriesParts) -> Self {
        let SeriesParts { name, unit, kind, temporality, resource, scope, attributes } = parts;
        let mut bytes = Vec::with_capacity(256);
        put_bytes(&mut bytes, name.as_bytes());
        put_bytes(&mut bytes, unit.as_bytes());
        bytes.push(kind as u8);
        bytes.push(temporality as u8);
        put_attributes(&mut bytes, &resource.attributes);
        put_bytes(&mut bytes, scope.name.as_bytes());
        put_bytes(&mut bytes, scope.version.as_bytes());
        put_attributes(&mut bytes, &scope.attributes);
        put_attributes(&mut bytes, &attributes);
        let fingerprint = Fingerprint(xxh3_128(&bytes));
        Self { fingerprint, name, unit, kind, temporality, resource, scope, attributes }
    }

    /// Whether points of one instant add up instead of replacing each other: RED and service graph deltas,
    /// which every agent sends for its own share.
    #[must_use]
    pub fn is_additive(&self) -> bool {
        self.temporality == Temporality::Delta && self.scope.name.as_ref() == semconv::SCOPE_RED
    }

    /// Whether it was scraped or remote-written: its name and labels are Prometheus' own, and there is no
    /// `target_info`, suffix or other face of it but what was sent.
    #[must_use]
    pub fn has_prometheus_names(&self) -> bool {
        let scope = self.scope.name.as_ref();
        scope == SCOPE_SCRAPE || scope == SCOPE_REMOTE_WRITE
    }

    /// Whether points are histograms rather than numbers.
    #[must_use]
    pub fn is_histogram(&self) -> bool {
        matches!(self.kind, MetricKind::Histogram | MetricKind::ExponentialHistogram)
    }
}

impl MetricKind {
    /// The kind with this number, as stored and sent.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Gauge,
            1 => Self::Counter,
            2 => Self::UpDownCounter,
            3 => Self::Histogram,
            4 => Self::ExponentialHistogram,
            5 => Self::SummaryQuantile,
            6 => Self::SummarySum,
            7 => Self::SummaryCount,
            8 => Self::Unknown,
            _ => return None,
        })
    }

    /// The text of the `type` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::UpDownCounter => "updowncounter",
            Self::Histogram => "histogram",
            Self::ExponentialHistogram => "exponentialhistogram",
            Self::SummaryQuantile => "summary_quantile",
            Self::SummarySum => "summary_sum",
            Self::SummaryCount => "summary_count",
            Self::Unknown => "unknown",
        }
    }
}

impl Temporality {
    /// The temporality with this number, as OTLP counts them.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unspecified,
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => return None,
        })
    }

    /// The text of the `temporality` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
        }
    }
}

fn put_len(bytes: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("readers cap attribute sizes far below 4 GiB");
    bytes.extend_from_slice(&len.to_le_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put_len(bytes, content.len());
    bytes.extend_from_slice(content);
}

fn put_attributes(bytes: &mut Vec<u8>, attributes: &Attributes) {
    put_len(bytes, attributes.len());
    for pair in attributes {
        put_bytes(bytes, pair.key.as_bytes());
        put_value(bytes, &pair.value);
    }
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Empty => bytes.push(0),
        Value::String(text) => {
            bytes.push(1);
            put_bytes(bytes, text.as_bytes());
        }
        Value::Bool(truth) => bytes.extend_from_slice(&[2, u8::from(*truth)]),
        Value::Int(number) => {
            bytes.push(3);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Value::Double(number) => {
            bytes.push(4);
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Bytes(content) => {
            bytes.push(5);
            put_bytes(bytes, content);
        }
        Value::Array(values) => {
            bytes.push(6);
            put_len(bytes, values.len());
            values.iter().for_each(|inner| put_value(bytes, inner));
        }
        Value::Map(pairs) => {
            bytes.push(7);
            put_len(bytes, pairs.len());
            for pair in pairs.iter() {
                put_bytes(bytes, pair.key.as_bytes());
                put_value(bytes, &pair.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::KeyValue;

    fn parts() -> SeriesParts {
        SeriesParts {
            name: "http.server.request.duration".into(),
            unit: "s".into(),
            kind: MetricKind::Histogram,
            temporality: Temporality::Cumulative,
            resource: Arc::new(Resource {
                attributes: Attributes::new(vec![
                    KeyValue::new("service.name", "cart"),
                    KeyValue::new("process.pid", 4_711_i64),
                ]),
            }),
            scope: Arc::new(Scope { name: "lib".into(), version: "1.2".into(), attributes: Attributes::default() }),
            attributes: Attributes::new(vec![KeyValue::new("http.route", "/cart/{id}"), KeyValue::new("ok", true)]),
        }
    }

    fn fingerprint(change: impl FnOnce(&mut SeriesParts)) -> u128 {
        let mut parts = parts();
        change(&mut parts);
        SeriesIdentity::new(parts).fingerprint.0
    }

    #[test]
    fn the_canonical_bytes_are_those_of_the_picture() {
        let mut bytes = Vec::new();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        text(&mut bytes, "http.server.request.duration");
        text(&mut bytes, "s");
        bytes.extend_from_slice(&[3, 2]);
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        text(&mut bytes, "process.pid");
        bytes.extend_from_slice(&[3, 0x67, 0x12, 0, 0, 0, 0, 0, 0]);
        text(&mut bytes, "service.name");
        bytes.push(1);
        text(&mut bytes, "cart");
        text(&mut bytes, "lib");
        text(&mut bytes, "1.2");
        bytes.extend_from_slice(&[0, 0, 0, 0]);
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        text(&mut bytes, "http.route");
        bytes.push(1);
        text(&mut bytes, "/cart/{id}");
        text(&mut bytes, "ok");
        bytes.extend_from_slice(&[2, 1]);
        assert_eq!(fingerprint(|_| {}), xxh3_128(&bytes));
    }

    /// These numbers are on disk and on the wire: a change here makes every stored series a stranger to itself.
    #[test]
    fn golden_fingerprints_never_change() {
        let nested: Arc<[Value]> = [Value::Int(-1), Value::Empty, Value::Map([KeyValue::new("k", "v")].into())].into();
        let cases: [(u128, u128); 6] = [
            (fingerprint(|_| {}), 0xcd519e0e_bf939a31_bc1598d7_0f0e8e93),
            (fingerprint(|parts| parts.unit = "ms".into()), 0xd49c7d7e_0cd134f3_99d78a64_6fbbd888),
            (fingerprint(|parts| parts.temporality = Temporality::Delta), 0xc01047fd_47297245_cae73919_8512afdc),
            (fingerprint(|parts| parts.attributes = Attributes::default()), 0x9a51705a_2c0f9571_23825ef8_b0330d5a),
            (
                fingerprint(|parts| parts.attributes = Attributes::new(vec![KeyValue::new("a", Value::Array(nested))])),
                0xebe05aed_5e817c84_6cb5bdb4_6cbeb338,
            ),
            (
                fingerprint(|parts| {
                    parts.attributes = Attributes::new(vec![
                        KeyValue::new("bytes", Value::Bytes([0, 255].into())),
                        KeyValue::new("double", 0.5),
                        KeyValue::new("nan", f64::NAN),
                    ])
                }),
                0x42fb24a8_24bfb619_29197be7_93120532,
            ),
        ];
        for (at, (found, golden)) in cases.into_iter().enumerate() {
            assert_eq!(format!("{found:#034x}"), format!("{golden:#034x}"), "case {at}");
        }
    }

    #[test]
    fn every_part_tells_series_apart_and_the_order_of_attributes_does_not() {
        let all = [
            fingerprint(|_| {}),
            fingerprint(|parts| parts.name = "other".into()),
            fingerprint(|parts| parts.unit = "".into()),
            fingerprint(|parts| parts.kind = MetricKind::Counter),
            fingerprint(|parts| parts.temporality = Temporality::Delta),
            fingerprint(|parts| parts.resource = Arc::default()),
            fingerprint(|parts| parts.scope = Arc::default()),
            fingerprint(|parts| parts.attributes = Attributes::new(vec![KeyValue::new("ok", "true")])),
            fingerprint(|parts| parts.attributes = Attributes::new(vec![KeyValue::new("ok", true)])),
        ];
        let mut distinct = all.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        let turned = vec![KeyValue::new("ok", true), KeyValue::new("http.route", "/cart/{id}")];
        assert_eq!(fingerprint(|parts| parts.attributes = Attributes::new(turned)), all[0]);
    }
}
