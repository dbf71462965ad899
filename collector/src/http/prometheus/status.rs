//! What clients ask before they ask anything: who is there, and lists that are empty here. Rules are evaluated
//! elsewhere; until they are, their lists are empty rather than missing, which Grafana takes for a broken source.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;
use weir_promql::labels::METRIC_NAME;
use weir_query::Span;

use super::super::HttpState;
use super::super::envelope::{Answer, ApiError};
use super::super::params::{Params, TIME_MAX_MS, TIME_MIN_MS};
use super::Admission;

/// The version of Prometheus whose API this is; clients choose features by it.
const PROMETHEUS_VERSION: &str = "3.14.0";
/// Entries of each list of `status/tsdb`.
const TOP: usize = 10;

pub(super) async fn buildinfo() -> Answer {
    answer(&json!({
        "application": "weir",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
        "version": PROMETHEUS_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) async fn runtimeinfo(State(state): State<Arc<HttpState>>) -> Answer {
    let (reloaded, config_ms) = (state.config)();
    answer(&json!({
        "startTime": rfc3339(state.started_ms),
        "CWD": "",
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "serverTime": rfc3339(state.now_ms()),
        "reloadConfigSuccess": reloaded,
        "lastConfigTime": rfc3339(config_ms),
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention(state.engine.retention_ms()),
    }))
}

pub(super) async fn flags(State(state): State<Arc<HttpState>>) -> Answer {
    let options = state.engine.options();
    answer(&json!({
        "query.lookback-delta": format!("{}s", options.lookback_ms / 1000),
        "query.max-concurrency": super::super::gate::QUERIES_MAX.to_string(),
        "query.max-samples": options.samples_max.to_string(),
        "query.timeout": format!("{}s", options.timeout.as_secs()),
    }))
}

pub(super) async fn config() -> Answer {
    answer(&json!({ "yaml": "" }))
}

pub(super) async fn rules() -> Answer {
    answer(&json!({ "groups": [] }))
}

pub(super) async fn alerts() -> Answer {
    answer(&json!({ "alerts": [] }))
}

pub(super) async fn alertmanagers() -> Answer {
    answer(&json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}

pub(super) async fn targets() -> Answer {
    answer(&json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }))
}

/// `status/tsdb`: how many series there are, and of which metrics.
pub(super) async fn tsdb(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let limit = params.limit("limit")?.unwrap_or(TOP);
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || {
        let span = Span { start_ms: TIME_MIN_MS, end_ms: TIME_MAX_MS };
        let source = engine.source();
        let labels = source.label_names(&[], span, &budget)?.0;
        Ok((source.cardinality(METRIC_NAME, &budget)?, labels.len()))
    };
    let (mut metrics, labels) = state.gate.run(admission.budget(), admission.timeout, work).await?;
    let series: u64 = metrics.iter().map(|metric| metric.1).sum();
    metrics.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let top: Vec<_> =
        metrics.iter().take(limit).map(|(name, value)| json!({ "name": name.as_ref(), "value": value })).collect();
    Ok(answer(&json!({
        "headStats": {
            "numSeries": series, "numLabelPairs": labels, "chunkCount": 0, "minTime": 0, "maxTime": 0,
        },
        "seriesCountByMetricName": top,
        "labelValueCountByLabelName": [],
        "memoryInBytesByLabelName": [],
        "seriesCountByLabelValuePair": [],
    })))
}

fn answer(data: &serde_json::Value) -> Answer {
    Answer::new(data.to_string())
}

/// Milliseconds as `2026-11-22T10:00:00Z`.
fn rfc3339(ms: i64) -> String {
    let (days, seconds) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    // Source: Howard Hinnant, chrono-compatible date algorithms (civil_from_days).
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How long data is kept, as a person reads it.
fn retention(ms: i64) -> String {
    if ms == 0 { "for ever".to_owned() } else { format!("{}d", ms / 86_400_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_800_000 + 45_296_000), "2024-02-29T12:34:56Z");
    }
}
