//! Warnings and infos that an evaluation leaves beside its answer, each with the position it speaks of.
//!
//! Prometheus keys annotations by their text without the position: the same complaint about two places is shown
//! once, at the first. One of them, the forced monotonicity of classic histograms, widens instead of repeating.

use std::collections::BTreeMap;

use crate::position::Span;
use crate::print::{Quoted, format_g, format_g_precision};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// Good to know.
    Info,
}

/// How far classic buckets had to be bent, over all samples that share a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Monotonicity {
    pub(crate) t_first_ms: i64,
    pub(crate) t_last_ms: i64,
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) difference_max: f64,
    pub(crate) samples: u64,
}

impl Monotonicity {
    fn widen(&mut self, other: &Self) {
        self.t_first_ms = self.t_first_ms.min(other.t_first_ms);
        self.t_last_ms = self.t_last_ms.max(other.t_last_ms);
        self.bucket_min = self.bucket_min.min(other.bucket_min);
        self.bucket_max = self.bucket_max.max(other.bucket_max);
        self.difference_max = self.difference_max.max(other.difference_max);
        self.samples += other.samples;
    }

    fn describe(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_g(self.bucket_min),
            format_g(self.bucket_max),
            format_g_precision(self.difference_max, 2),
            self.samples,
            crate::calendar::rfc3339_seconds(self.t_first_ms / 1000),
            crate::calendar::rfc3339_seconds(self.t_last_ms / 1000),
        )
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    span: Option<Span>,
    monotonicity: Option<Monotonicity>,
}

/// A set of annotations. Cheap when empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    entries: BTreeMap<(Severity, String), Entry>,
}

impl Annotations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a text that is not about the query's own text (a warning of the storage).
    pub fn add_storage_warning(&mut self, text: String) {
        self.insert(Severity::Warning, text, Entry { span: None, monotonicity: None });
    }

    pub(crate) fn warn(&mut self, text: String, span: Span) {
        let text = format!("PromQL warning: {text}");
        self.insert(Severity::Warning, text, Entry { span: Some(span), monotonicity: None });
    }

    pub(crate) fn info(&mut self, text: String, span: Span) {
        let text = format!("PromQL info: {text}");
        self.insert(Severity::Info, text, Entry { span: Some(span), monotonicity: None });
    }

    pub(crate) fn forced_monotonicity(&mut self, metric: &str, span: Span, what: Monotonicity) {
        let text = with_metric(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
            metric,
        );
        self.insert(Severity::Info, text, Entry { span: Some(span), monotonicity: Some(what) });
    }

    fn insert(&mut self, severity: Severity, text: String, entry: Entry) {
        match self.entries.entry((severity, text)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(entry);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let kept = place.get_mut();
                kept.span = match (kept.span, entry.span) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                if let (Some(ours), Some(theirs)) = (kept.monotonicity.as_mut(), entry.monotonicity.as_ref()) {
                    ours.widen(theirs);
                }
            }
        }
    }

    /// Takes over all of `other`.
    pub fn merge(&mut self, other: Self) {
        if self.entries.is_empty() {
            *self = other;
            return;
        }
        for ((severity, text), entry) in other.entries {
            self.insert(severity, text, entry);
        }
    }

    /// The texts of one severity as Prometheus shows them, sorted, with `(line:column)` in `query`.
    #[must_use]
    pub fn texts(&self, severity: Severity, query: &str) -> Vec<String> {
        self.entries
            .iter()
            .filter(|((kind, _), _)| *kind == severity)
            .map(|((_, text), entry)| {
                let details = entry.monotonicity.as_ref().map(Monotonicity::describe).unwrap_or_default();
                match entry.span {
                    Some(span) => format!("{text}{details} ({})", span.line_column(query)),
                    None => format!("{text}{details}"),
                }
            })
            .collect()
    }

    /// Warnings and infos for an answer, at most `limit` of each (0 for all), as Prometheus' HTTP API cuts them.
    #[must_use]
    pub fn as_strings(&self, query: &str, limit: usize) -> (Vec<String>, Vec<String>) {
        let cut = |severity: Severity, word: &str| {
            let mut texts = self.texts(severity, query);
            if limit > 0 && texts.len() > limit {
                let more = texts.len() - limit;
                texts.truncate(limit);
                texts.push(format!("{more} more {word} annotations omitted"));
            }
            texts
        };
        (cut(Severity::Warning, "warning"), cut(Severity::Info, "info"))
    }
}

fn with_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {}", Quoted(metric)) }
}

/// What two histograms were being combined for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combining {
    Addition,
    Subtraction,
    Aggregation,
}

impl Combining {
    fn word(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Prometheus' texts, one function each (util/annotations/annotations.go).
impl Annotations {
    pub(crate) fn invalid_quantile(&mut self, q: f64, span: Span) {
        self.warn(format!("quantile value should be between 0 and 1, got {}", format_g(q)), span);
    }

    pub(crate) fn invalid_ratio(&mut self, ratio: f64, to: f64, span: Span) {
        let (ratio, to) = (format_g(ratio), format_g(to));
        self.warn(format!("ratio value should be between -1 and 1, got {ratio}, capping to {to}"), span);
    }

    pub(crate) fn bad_bucket_label(&mut self, metric: &str, value: &str, span: Span) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", Quoted(value));
        self.warn(with_metric(&text, metric), span);
    }

    pub(crate) fn mixed_floats_histograms(&mut self, metric: &str, span: Span) {
        self.warn(format!("encountered a mix of histograms and floats for metric name {}", Quoted(metric)), span);
    }

    pub(crate) fn mixed_floats_histograms_aggregation(&mut self, span: Span) {
        self.warn("encountered a mix of histograms and floats for aggregation".to_owned(), span);
    }

    pub(crate) fn mixed_classic_native(&mut self, metric: &str, span: Span) {
        self.warn(with_metric("vector contains a mix of classic and native histograms", metric), span);
    }

    pub(crate) fn not_a_counter(&mut self, metric: &str, span: Span) {
        self.warn(format!("this native histogram metric is not a counter: {}", Quoted(metric)), span);
    }

    pub(crate) fn not_a_gauge(&mut self, metric: &str, span: Span) {
        self.warn(format!("this native histogram metric is not a gauge: {}", Quoted(metric)), span);
    }

    pub(crate) fn mixed_exponential_custom(&mut self, metric: &str, span: Span) {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(format!("{text} {}", Quoted(metric)), span);
    }

    pub(crate) fn incompatible_layout(&mut self, operator: &str, span: Span) {
        self.warn(format!("incompatible bucket layout encountered for binary operator {operator}"), span);
    }

    pub(crate) fn sort_in_range_query(&mut self, span: Span) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.warn(text.to_owned(), span);
    }

    pub(crate) fn reset_collision(&mut self, combining: Combining, span: Span) {
        self.warn(format!("conflicting counter resets during histogram {}", combining.word()), span);
    }

    pub(crate) fn start_time_overlap(&mut self, metric: &str, span: Span) {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        self.warn(format!("{text} {}", Quoted(metric)), span);
    }

    pub(crate) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(format!("{text} {}", Quoted(metric)), span);
    }

    pub(crate) fn incompatible_types(&mut self, left: &str, operator: &str, right: &str, span: Span) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(format!("{text} {}: {left} {operator} {right}", Quoted(operator)), span);
    }

    pub(crate) fn histogram_ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.info(format!("ignored histogram in {aggregation} aggregation"), span);
    }

    pub(crate) fn histogram_ignored_in_range(&mut self, metric: &str, span: Span) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.info(format!("{text} {}", Quoted(metric)), span);
    }

    pub(crate) fn quantile_nan_result(&mut self, metric: &str, span: Span) {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        self.info(with_metric(text, metric), span);
    }

    pub(crate) fn quantile_nan_skew(&mut self, metric: &str, span: Span) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(with_metric(text, metric), span);
    }

    pub(crate) fn fraction_nan(&mut self, metric: &str, span: Span) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(with_metric(text, metric), span);
    }

    pub(crate) fn mismatched_bounds(&mut self, combining: Combining, span: Span) {
        self.info(format!("mismatched custom buckets were reconciled during {}", combining.word()), span);
    }
}
