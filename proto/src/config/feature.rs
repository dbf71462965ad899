//! Parts of PromQL that are off by default, under the names that Prometheus has for them.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

/// A part of PromQL that is switched on by its name. Source: Prometheus docs/feature_flags.md.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum QueryFeature {
    /// Functions that may still change.
    PromqlExperimentalFunctions,
    /// Arithmetic in durations.
    PromqlDurationExpr,
    /// `anchored` and `smoothed`.
    PromqlExtendedRangeSelectors,
    /// `fill`, `fill_left` and `fill_right`.
    PromqlBinopFillModifiers,
    /// Names are dropped at the end of a query.
    PromqlDelayedNameRemoval,
    /// Start timestamps count as resets.
    UseStartTimestamps,
}

impl QueryFeature {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::PromqlExperimentalFunctions,
        Self::PromqlDurationExpr,
        Self::PromqlExtendedRangeSelectors,
        Self::PromqlBinopFillModifiers,
        Self::PromqlDelayedNameRemoval,
        Self::UseStartTimestamps,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromqlExperimentalFunctions => "promql-experimental-functions",
            Self::PromqlDurationExpr => "promql-duration-expr",
            Self::PromqlExtendedRangeSelectors => "promql-extended-range-selectors",
            Self::PromqlBinopFillModifiers => "promql-binop-fill-modifiers",
            Self::PromqlDelayedNameRemoval => "promql-delayed-name-removal",
            Self::UseStartTimestamps => "use-start-timestamps",
        }
    }
}

impl FromStr for QueryFeature {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or_else(|| format!("{name:?} is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigFile, QueryFeature};

    #[test]
    fn a_name_means_the_same_in_a_file_and_in_a_flag() {
        for feature in QueryFeature::ALL {
            let text = format!("weir: {{query: {{enable_features: [{}]}}}}\n", feature.as_str());
            assert_eq!(ConfigFile::parse(&text, |_| None).unwrap().weir.query.enable_features, [feature]);
            assert_eq!(feature.as_str().parse(), Ok(feature));
        }
        let error =
            ConfigFile::parse("weir:\n  query: {enable_features: [agent]}\n", |_| None).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("promql-duration-expr"), "{error}");
        assert!("agent".parse::<QueryFeature>().unwrap_err().contains("promql-duration-expr"));
    }
}
