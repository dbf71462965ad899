//! One line per service: is it well, how much does it do, how fast.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use roaring::RoaringBitmap;
use serde::Serialize;
use weir_promql::engine::QueryRange;
use weir_promql::labels::METRIC_NAME;
use weir_promql::source::{MatchOp, Matcher};
use weir_proto::prometheus::job;
use weir_proto::{Value, semconv};
use weir_store::Partition;

use super::{by_label, seconds, series_by_label};
use crate::engine::{Engine, QueryContext};
use crate::error::QueryError;
use crate::source::Span;

/// RED of every request: the translation of `traces.span.metrics.duration`, spans that answer somebody.
const REQUESTS: &str = r#"traces_span_metrics_duration_seconds{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"}"#;
/// The failed ones.
const FAILED: &str = r#"traces_span_metrics_duration_seconds{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER",status_code="STATUS_CODE_ERROR"}"#;
/// Window of the figures that say how a service is now.
const NOW: &str = "5m";
/// The same in seconds.
const NOW_SECONDS: f64 = 300.0;
/// The same in ns.
const NOW_NS: i64 = 300_000_000_000;
/// Points of RED come about this often; a rate over less proves nothing.
const POINT_SECONDS: f64 = 15.0;
/// Points of a sparkline.
const SPARKLINE_POINTS: i64 = 40;
/// From this part of failed requests on, a service is in trouble; the thresholds of the dashboards.
const ERROR_RATIO_BAD: f64 = 0.05;
/// From this part on it is worth a look.
const ERROR_RATIO_WARN: f64 = 0.01;
/// With fewer requests than this a ratio proves little: bad is only a warning.
const REQUESTS_MIN: f64 = 20.0;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Answers.
    Ok,
    /// Some requests fail.
    Warn,
    /// Many fail.
    Bad,
    /// Nothing to judge by.
    Unknown,
}

/// One service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceRow {
    /// `service.name`.
    pub name: String,
    /// `service.namespace`; empty when none.
    pub namespace: String,
    /// Its `job` label.
    pub service: String,
    /// Versions seen in the range, sorted.
    pub versions: Vec<String>,
    /// How it is.
    pub health: Health,
    /// Why, in words.
    pub reason: String,
    /// Requests per second now.
    pub rate: Option<f64>,
    /// Part of them that fails.
    pub error_ratio: Option<f64>,
    /// 95 of 100 are faster.
    pub p95_seconds: Option<f64>,
    /// Requests per second over the range, (unix seconds, value).
    pub sparkline: Vec<(f64, f64)>,
    /// Unix seconds of its newest point in the range.
    pub last_seen: Option<f64>,
}

/// Who a service is, and in which versions it was seen.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    namespace: String,
    versions: BTreeSet<String>,
    sends_spans: bool,
    last_ns: Option<i64>,
    /// Its first request of the window of [`NOW`].
    first_ns: Option<i64>,
}

impl Engine {
    /// Every service with data in the range, by name.
    ///
    /// # Errors
    /// When a query meets a limit or data cannot be read.
    pub fn services(&self, span: Span, context: &QueryContext) -> Result<Vec<ServiceRow>, QueryError> {
        let seen = self.seen_services(span, context)?;
        let at = span.end_ms;
        let job = |query: &str| by_label(self, query, "job", at, context);
        let rates = job(&format!("sum by (job) (histogram_count(rate({REQUESTS}[{NOW}])))"))?;
        let failures = job(&format!("sum by (job) (histogram_count(rate({FAILED}[{NOW}])))"))?;
        let p95 = job(&format!("histogram_quantile(0.95, sum by (job) (rate({REQUESTS}[{NOW}])))"))?;
        let mut lines = self.sparklines(span, context)?;
        let rows = seen.into_iter().map(|(service, seen)| {
            let rate = rates.get(&service).copied();
            let ratio =
                rate.filter(|rate| *rate > 0.0).map(|rate| failures.get(&service).copied().unwrap_or(0.0) / rate);
            let (health, reason) = verdict(&seen, rate, ratio, at);
            let rate = rate.map(|rate| rate * NOW_SECONDS / known_seconds(seen.first_ns, at));
            ServiceRow {
                versions: seen.versions.into_iter().collect(),
                health,
                reason,
                rate,
                error_ratio: ratio,
                p95_seconds: p95.get(&service).copied(),
                sparkline: lines.remove(&service).unwrap_or_default(),
                last_seen: seen.last_ns.map(|ns| seconds(ns / 1_000_000)),
                name: seen.name,
                namespace: seen.namespace,
                service,
            }
        });
        Ok(rows.collect())
    }

    fn sparklines(&self, span: Span, context: &QueryContext) -> Result<HashMap<String, Vec<(f64, f64)>>, QueryError> {
        let step_ms = ((span.end_ms - span.start_ms) / SPARKLINE_POINTS).max(5_000);
        let window_seconds = (2 * step_ms / 1000).max(60);
        let query = format!("sum by (job) (histogram_count(rate({REQUESTS}[{window_seconds}s])))");
        let range = QueryRange { start_ms: span.start_ms, end_ms: span.end_ms, step_ms };
        series_by_label(self, &query, "job", range, context)
    }

    /// Services by their `job` label, from what series exist; targets that were scraped or
    /// remote-written are not services.
    fn seen_services(&self, span: Span, context: &QueryContext) -> Result<BTreeMap<String, Seen>, QueryError> {
        let mut services: BTreeMap<String, Seen> = BTreeMap::new();
        let (from_ns, to_ns) = (span.start_ms.saturating_mul(1_000_000), span.end_ms.saturating_mul(1_000_000));
        let snapshot = self.snapshot();
        for partition in snapshot.metrics.iter().rev().filter(|partition| partition.overlaps(from_ns, to_ns)) {
            context.budget.check()?;
            let Ok(index) = partition.series_index() else { continue };
            let mut spans_of: HashMap<String, RoaringBitmap> = HashMap::new();
            let mut others_of: HashMap<String, RoaringBitmap> = HashMap::new();
            for sid in index.all() {
                let identity = index.identity(sid);
                let attributes = &identity.resource.attributes;
                let Some(service) = job(attributes).filter(|_| !identity.has_prometheus_names()) else {
                    continue;
                };
                let text = |key: &str| attributes.find(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let seen = services.entry(service.to_string()).or_default();
                seen.name = text(semconv::SERVICE_NAME);
                seen.namespace = text(semconv::SERVICE_NAMESPACE);
                let version = text(semconv::SERVICE_VERSION);
                if !version.is_empty() {
                    seen.versions.insert(version);
                }
                let is_red = identity.name.as_ref() == semconv::RED_DURATION;
                seen.sends_spans |= is_red;
                let of = if is_red { &mut spans_of } else { &mut others_of };
                of.entry(service.to_string()).or_default().insert(sid);
            }
            // The series of a service lie in several partitions, and some of them ended: its newest point is in any.
            let newest = partition.time_range().1;
            for (service, seen) in services.iter_mut().filter(|(_, seen)| seen.last_ns.is_none_or(|last| last < newest))
            {
                let sids = spans_of.get(service).or_else(|| others_of.get(service));
                let after = (seen.last_ns.map_or(from_ns, |last| last + 1), to_ns);
                seen.last_ns = seen.last_ns.max(sids.and_then(|sids| last_time(partition, sids, after)));
            }
            let now_ns = (to_ns.saturating_sub(NOW_NS), to_ns);
            for (service, sids) in spans_of.iter().filter(|_| partition.overlaps(now_ns.0, now_ns.1)) {
                let first = first_time(partition, sids, now_ns);
                let seen = services.entry(service.clone()).or_default();
                seen.first_ns = first.into_iter().chain(seen.first_ns).min();
            }
        }
        services.retain(|_, seen| seen.last_ns.is_some());
        Ok(services)
    }
}

/// The newest point of `sids` within the range; a part that cannot be read has none.
fn last_time(partition: &Partition, sids: &RoaringBitmap, (from_ns, to_ns): (i64, i64)) -> Option<i64> {
    let newest = |times: &[i64]| times.iter().rev().find(|time| (from_ns..=to_ns).contains(*time)).copied();
    let numbers =
        partition.numbers(sids, from_ns, to_ns).filter_map(Result::ok).filter_map(|chunk| newest(&chunk.times));
    let histograms =
        partition.histograms(sids, from_ns, to_ns).filter_map(Result::ok).filter_map(|chunk| newest(&chunk.times));
    numbers.chain(histograms).max()
}

/// The first histogram of `sids` within the range; a part that cannot be read has none.
fn first_time(partition: &Partition, sids: &RoaringBitmap, (from_ns, to_ns): (i64, i64)) -> Option<i64> {
    let chunks = partition.histograms(sids, from_ns, to_ns).filter_map(Result::ok);
    chunks.filter_map(|chunk| chunk.times.iter().find(|time| (from_ns..=to_ns).contains(*time)).copied()).min()
}

/// How much of the window of [`NOW`] a service has been known for: `rate` divides by all of it, which reads low for one
/// that has just come.
fn known_seconds(first_ns: Option<i64>, at_ms: i64) -> f64 {
    let known = first_ns.map_or(NOW_SECONDS, |first_ns| seconds(at_ms - first_ns / 1_000_000));
    // Whoever sends steadily has its first point a little after the window's begin.
    if known + POINT_SECONDS >= NOW_SECONDS { NOW_SECONDS } else { known.max(POINT_SECONDS) }
}

/// How a service is, in words.
fn verdict(seen: &Seen, rate: Option<f64>, ratio: Option<f64>, at_ms: i64) -> (Health, String) {
    if !seen.sends_spans {
        return (Health::Unknown, "sends metrics, but no spans to judge its requests by".to_owned());
    }
    let Some(ratio) = ratio else {
        let silent = seen.last_ns.map_or(0, |ns| (at_ms - ns / 1_000_000).max(0) / 60_000);
        let reason = match silent {
            0..=5 => "no requests in the last 5 minutes".to_owned(),
            minutes => format!("no spans for {minutes} minutes"),
        };
        return (Health::Unknown, reason);
    };
    let percent = ratio * 100.0;
    let enough = rate.unwrap_or(0.0) * NOW_SECONDS >= REQUESTS_MIN;
    match ratio {
        ratio if ratio >= ERROR_RATIO_BAD && enough => (Health::Bad, format!("{percent:.1} % of requests fail")),
        ratio if ratio >= ERROR_RATIO_WARN => (Health::Warn, format!("{percent:.1} % of requests fail")),
        ratio if ratio > 0.0 => (Health::Ok, format!("{percent:.2} % of requests fail")),
        _ => (Health::Ok, "no request failed in the last 5 minutes".to_owned()),
    }
}

/// The matcher of a metric's name.
pub(super) fn named(name: &str) -> Matcher {
    Matcher { name: METRIC_NAME.into(), op: MatchOp::Equal, value: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_has_just_come_is_judged_by_the_time_it_is_known() {
        let at_ms = 1_000_000;
        let known = |seconds_ago: i64| known_seconds(Some((at_ms - seconds_ago * 1000) * 1_000_000), at_ms);
        assert_eq!([3, 60, 290, 300].map(known), [15.0, 60.0, 300.0, 300.0]);
        assert_eq!(known_seconds(None, at_ms), 300.0);
    }

    #[test]
    fn a_verdict_needs_events() {
        let seen = Seen { sends_spans: true, last_ns: Some(0), ..Seen::default() };
        assert_eq!(verdict(&seen, Some(10.0), Some(0.5), 0).0, Health::Bad);
        assert_eq!(verdict(&seen, Some(0.01), Some(0.5), 0).0, Health::Warn);
        assert_eq!(verdict(&seen, Some(10.0), Some(0.0), 0).0, Health::Ok);
        assert_eq!(verdict(&seen, None, None, 720_000), (Health::Unknown, "no spans for 12 minutes".to_owned()));
        assert_eq!(verdict(&Seen::default(), None, None, 0).0, Health::Unknown);
    }
}
