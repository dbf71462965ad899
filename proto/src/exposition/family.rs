//! The family that the lines of a page belong to: what the last `# TYPE`, `# UNIT` and `# HELP` said.

use crate::identity::{MetricKind, Temporality};

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum FamilyType {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

/// A metric family: the samples called `name`, or `name` with a suffix of the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: FamilyType,
    pub(super) unit: String,
}

/// A label whose value is a number with one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberLabel {
    Le,
    Quantile,
}

impl NumberLabel {
    /// The label's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Le => "le",
            Self::Quantile => "quantile",
        }
    }
}

impl FamilyType {
    /// The type called `word` in a `# TYPE` line.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "untyped" | "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

impl Family {
    /// What the sample `name` is, when this is the last family that was described.
    pub(super) fn kind_of(&self, name: &str) -> MetricKind {
        let Some(suffix) = name.strip_prefix(self.name.as_str()).filter(|_| !self.name.is_empty()) else {
            return MetricKind::Unknown;
        };
        match (self.kind, suffix) {
            (FamilyType::Counter, "" | "_total")
            | (FamilyType::Histogram, "_bucket" | "_sum" | "_count")
            | (FamilyType::Summary, "_sum" | "_count") => MetricKind::Counter,
            (FamilyType::Gauge | FamilyType::StateSet | FamilyType::Summary, "")
            | (FamilyType::Info, "" | "_info")
            | (FamilyType::GaugeHistogram, "_bucket" | "_gsum" | "_gcount")
            | (FamilyType::Counter | FamilyType::Histogram | FamilyType::Summary, "_created") => MetricKind::Gauge,
            _ => MetricKind::Unknown,
        }
    }

    /// The label of the sample `name` whose value is a number.
    pub(super) fn number_label(&self, name: &str) -> Option<NumberLabel> {
        let suffix = name.strip_prefix(self.name.as_str())?;
        match (self.kind, suffix) {
            (FamilyType::Histogram | FamilyType::GaugeHistogram, "_bucket") => Some(NumberLabel::Le),
            (FamilyType::Summary, "") => Some(NumberLabel::Quantile),
            _ => None,
        }
    }
}

/// What a point of a scraped kind covers.
pub(super) fn temporality(kind: MetricKind) -> Temporality {
    if kind == MetricKind::Counter { Temporality::Cumulative } else { Temporality::Unspecified }
}
