//! Prometheus' HTTP API under `/api/v1`: query, query_range, series, labels, label values, metadata, exemplars,
//! format_query, status, and the endpoints that Grafana asks whether or not there is anything to tell.
//! Source: Prometheus 3.14 web/api/v1/api.go.

mod query;
mod render;
mod series;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use weir_promql::source::Budget;
use weir_query::{QueryContext, QueryError};

use super::HttpState;
use super::envelope::{ApiError, ErrorType};
use super::params::Params;

/// The routes, under their full paths.
pub(crate) fn routes() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/v1/query", get(query::query).post(query::query))
        .route("/api/v1/query_range", get(query::query_range).post(query::query_range))
        .route("/api/v1/query_exemplars", get(series::exemplars).post(series::exemplars))
        .route("/api/v1/format_query", get(query::format_query).post(query::format_query))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::labels).post(series::labels))
        .route("/api/v1/label/{name}/values", get(series::label_values))
        .route("/api/v1/metadata", get(series::metadata))
        .route("/api/v1/rules", get(status::rules))
        .route("/api/v1/alerts", get(status::alerts))
        .route("/api/v1/alertmanagers", get(status::alertmanagers))
        .route("/api/v1/targets", get(status::targets))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/api/v1/status/runtimeinfo", get(status::runtimeinfo))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/tsdb", get(status::tsdb))
}

/// The budget and deadline of a request.
struct Admission {
    context: QueryContext,
    timeout: Duration,
}

impl Admission {
    /// From `timeout` and `lookback_delta`; a request may shorten the deadline, not lengthen it.
    fn of(state: &HttpState, params: &Params) -> Result<Self, ApiError> {
        let longest = state.engine.options().timeout;
        let timeout = match params.duration_if_given("timeout")? {
            Some(ms) => longest.min(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            None => longest,
        };
        let lookback_ms = match params.duration_if_given("lookback_delta")? {
            Some(ms) if ms > 0 => Some(ms),
            Some(_) => return Err(ApiError::bad_data("lookback_delta must be positive")),
            None => None,
        };
        Ok(Self { context: QueryContext { budget: state.engine.budget(), lookback_ms }, timeout })
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.context.budget
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Invalid(_) => ErrorType::BadData,
            QueryError::Execution(_) | QueryError::Limit(_) => ErrorType::Execution,
            QueryError::TimedOut(_) => ErrorType::Timeout,
            QueryError::Cancelled(_) => ErrorType::Canceled,
            QueryError::Storage(_) | QueryError::Internal(_) => ErrorType::Internal,
        };
        Self { kind, text: error.to_string() }
    }
}

/// An error of a query, where a query that is no PromQL is a bad parameter.
fn of_query(error: QueryError) -> ApiError {
    match error {
        QueryError::Invalid(text) => ApiError::parameter("query", &text),
        other => other.into(),
    }
}
