//! Series, label names and label values, without reading samples where the index knows.
//!
//! A listing sees canonical names only. Only series whose partition overlaps the time span are listed, which may be
//! a little more than those with samples in it, as in Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_promql::labels::{Labels, METRIC_NAME};
use weir_promql::source::{Budget, MatchOp, Matcher, SourceError};
use weir_proto::prometheus::TARGET_INFO;
use weir_proto::remote_write::HELP;
use weir_proto::{MetricKind, Value};
use weir_store::SeriesIndex;

use super::StoreSource;
use super::matcher::{BOUND, Compiled};
use super::read::{Plan, Window};
use super::target_info::TargetInfo;

/// Every kind of metric.
const KINDS: [MetricKind; 9] = [
    MetricKind::Gauge,
    MetricKind::Counter,
    MetricKind::UpDownCounter,
    MetricKind::Histogram,
    MetricKind::ExponentialHistogram,
    MetricKind::SummaryQuantile,
    MetricKind::SummarySum,
    MetricKind::SummaryCount,
    MetricKind::Unknown,
];

/// A span of time in ms, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First ms.
    pub start_ms: i64,
    /// Last ms.
    pub end_ms: i64,
}

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricMetadata {
    /// Canonical name; of an explicit histogram without `_bucket`, `_count` or `_sum`.
    pub name: Arc<str>,
    /// Type in Prometheus' words.
    pub kind: &'static str,
    /// Unit as sent.
    pub unit: Arc<str>,
    /// Help text; empty but for what came by remote write 2.0.
    pub help: Arc<str>,
}

/// What was listed, and what could not be.
pub(crate) type Listed<T> = Result<(T, Vec<String>), SourceError>;

impl StoreSource {
    /// The label sets that one of `selectors` finds, sorted.
    ///
    /// # Errors
    /// When a limit of the budget is met or the data cannot be read.
    pub fn series(&self, selectors: &[Vec<Matcher>], span: Span, budget: &Arc<Budget>) -> Listed<Vec<Labels>> {
        let window = Window::from(span);
        let (mut found, mut warnings) = (BTreeSet::new(), Vec::new());
        for selector in selectors {
            let matchers = Compiled::all(selector)?;
            let (outputs, more) = self.look_up(&matchers, &window, budget)?;
            warnings.extend(more);
            let (plan, labels) = Plan::build(Arc::clone(&self.snapshot), outputs, window, &matchers, budget)?;
            drop(super::read::Opened::new(plan, Arc::clone(budget)));
            found.extend(labels);
            found.extend(TargetInfo::find(&self.snapshot, &matchers, &window, budget)?.into_labels());
        }
        Ok((found.into_iter().collect(), warnings))
    }

    /// Names of all labels of the series that one of `selectors` finds, or of all series where there is none.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn label_names(&self, selectors: &[Vec<Matcher>], span: Span, budget: &Arc<Budget>) -> Listed<Vec<Arc<str>>> {
        if !selectors.is_empty() {
            let (series, warnings) = self.series(selectors, span, budget)?;
            let names: BTreeSet<_> =
                series.iter().flat_map(|labels| labels.iter().map(|label| Arc::clone(&label.0))).collect();
            return Ok((names.into_iter().collect(), warnings));
        }
        self.union(span, budget, |index, names| {
            names.extend(index.label_names());
            if index.label_values(METRIC_NAME).iter().any(|name| name.ends_with("_bucket")) {
                names.insert(BOUND.into());
            }
        })
    }

    /// Values of the label `name`, as [`Self::label_names`].
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        span: Span,
        budget: &Arc<Budget>,
    ) -> Listed<Vec<Arc<str>>> {
        if selectors.is_empty() && name != BOUND {
            let (mut values, warnings) =
                self.union(span, budget, |index, values| values.extend(index.label_values(name)))?;
            if name == METRIC_NAME && !self.target_info(span, budget)?.is_empty() {
                values.push(TARGET_INFO.into());
                values.sort_unstable();
                values.dedup();
            }
            return Ok((values, warnings));
        }
        let every_bucket = [vec![Matcher { name: METRIC_NAME.into(), op: MatchOp::Regex, value: ".+_bucket".into() }]];
        let selectors = if selectors.is_empty() { &every_bucket } else { selectors };
        let (series, warnings) = self.series(selectors, span, budget)?;
        let values: BTreeSet<&str> =
            series.iter().map(|labels| labels.value(name)).filter(|value| !value.is_empty()).collect();
        Ok((values.into_iter().map(Arc::from).collect(), warnings))
    }

    /// What is known of every metric, or of `metric` alone where it is not empty.
    ///
    /// # Errors
    /// When the query is cancelled or the data cannot be read.
    pub fn metadata(&self, metric: &str, budget: &Budget) -> Result<Vec<MetricMetadata>, SourceError> {
        let mut found: BTreeSet<MetricMetadata> = BTreeSet::new();
        for partition in &self.snapshot.metrics {
            budget.check()?;
            let Ok(index) = partition.series_index() else { continue };
            for (name, sids) in index.values_with_series(METRIC_NAME) {
                found.extend(
                    described(&index, name, sids).filter(|one| metric.is_empty() || one.name.as_ref() == metric),
                );
            }
        }
        Ok(found.into_iter().collect())
    }

    /// How many series have each value of a label, over all partitions that hold them; a series that lies in
    /// several counts once in the largest.
    ///
    /// # Errors
    /// When the query is cancelled.
    pub fn cardinality(&self, label: &str, budget: &Budget) -> Result<Vec<(Arc<str>, u64)>, SourceError> {
        let mut counts: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for partition in &self.snapshot.metrics {
            budget.check()?;
            let Ok(index) = partition.series_index() else { continue };
            for (value, sids) in index.values_with_series(label) {
                let count = counts.entry(Arc::clone(value)).or_default();
                *count = (*count).max(sids.len());
            }
        }
        Ok(counts.into_iter().collect())
    }

    fn target_info(&self, span: Span, budget: &Budget) -> Result<Vec<Labels>, SourceError> {
        let matcher = Matcher { name: METRIC_NAME.into(), op: MatchOp::Equal, value: TARGET_INFO.into() };
        Ok(TargetInfo::find(&self.snapshot, &Compiled::all(&[matcher])?, &Window::from(span), budget)?.into_labels())
    }

    fn union(
        &self,
        span: Span,
        budget: &Budget,
        mut add: impl FnMut(&SeriesIndex, &mut BTreeSet<Arc<str>>),
    ) -> Listed<Vec<Arc<str>>> {
        let (from_ns, to_ns) = Window::from(span).nanoseconds();
        let (mut all, mut warnings) = (BTreeSet::new(), Vec::new());
        for partition in self.snapshot.metrics.iter().filter(|partition| partition.overlaps(from_ns, to_ns)) {
            budget.check()?;
            match partition.series_index() {
                Ok(index) => add(&index, &mut all),
                Err(error) => {
                    warnings.push(format!("a part could not be read and is missing from the answer: {error}"))
                }
            }
        }
        Ok((all.into_iter().collect(), warnings))
    }
}

impl From<Span> for Window {
    fn from(span: Span) -> Self {
        Self { start_ms: span.start_ms, end_ms: span.end_ms, spacing_ms: 0, stats_only: true }
    }
}

/// One entry for each kind of metric that `sids`, all called `name`, hold.
fn described<'a>(
    index: &'a SeriesIndex,
    name: &'a Arc<str>,
    sids: &'a RoaringBitmap,
) -> impl Iterator<Item = MetricMetadata> + 'a {
    KINDS.into_iter().filter_map(move |kind| {
        let entry = sids.iter().map(|sid| index.entry(sid)).find(|entry| entry.identity.kind == kind)?;
        // An explicit histogram is one metric with three names.
        let shown = if kind == MetricKind::Histogram { &entry.labels.name } else { name };
        let unit = Arc::clone(&entry.identity.unit);
        let help = entry.identity.scope.attributes.find(HELP).filter(|_| entry.identity.has_prometheus_names());
        let help = help.and_then(Value::as_str).unwrap_or_default().into();
        Some(MetricMetadata { name: Arc::clone(shown), kind: prometheus_type(kind), unit, help })
    })
}

/// A kind in Prometheus' words.
fn prometheus_type(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Gauge | MetricKind::UpDownCounter => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Histogram | MetricKind::ExponentialHistogram => "histogram",
        MetricKind::SummaryQuantile | MetricKind::SummarySum | MetricKind::SummaryCount => "summary",
        MetricKind::Unknown => "unknown",
    }
}
