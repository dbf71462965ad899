//! Our own API under `/api/weir/v1`: what the page and the command line read.
//!
//! Times are unix seconds, ids hexadecimal, 64-bit numbers that may pass 2^53 text; `start` and `end` everywhere, the
//! last hour where they are absent. A failure is `{"error": text}`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_query::traces::{TraceKind, trace_id_of, waterfall};
use weir_query::{Engine, QueryContext, QueryError, Span, SqlAnswer};

use super::HttpState;
use super::envelope::{ApiError, ErrorType, json_response};
use super::number::push_text;
use super::params::{Params, body_of};

/// Range where a request names none, ms.
const RANGE_MS: i64 = 3_600_000;
/// Traces of a list where a request names no limit.
const LIST_LIMIT: usize = 20;
/// Most traces of a list.
const LIST_LIMIT_MAX: usize = 1_000;

/// The routes, under their full paths.
pub(crate) fn routes() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/weir/v1/services", get(services))
        .route("/api/weir/v1/services/{name}/traces", get(traces_of))
        .route("/api/weir/v1/traces/{id}", get(trace))
        .route("/api/weir/v1/hosts", get(hosts))
        .route("/api/weir/v1/dashboards/service", get(service_dashboard))
        .route("/api/weir/v1/dashboards/host", get(host_dashboard))
        .route("/api/weir/v1/grafana/service", get(service_grafana))
        .route("/api/weir/v1/grafana/host", get(host_grafana))
        .route("/api/weir/v1/why", get(why))
        .route("/api/weir/v1/arrivals", get(arrivals))
        .route("/api/weir/v1/sql", post(sql))
}

/// A failure, as this API shows it.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json_response(self.0, json!({ "error": self.1 }).to_string())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error.kind.status(), error.text)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        ApiError::from(error).into()
    }
}

type Answered = Result<Json<Value>, Failure>;

async fn services(State(state): State<Arc<HttpState>>, params: Params) -> Answered {
    let span = span(&state, &params)?;
    let services = ask(&state, move |engine, context| engine.services(span, context)).await?;
    Ok(Json(json!({ "services": services })))
}

async fn hosts(State(state): State<Arc<HttpState>>, params: Params) -> Answered {
    let span = span(&state, &params)?;
    let hosts = ask(&state, move |engine, context| engine.hosts(span, context)).await?;
    Ok(Json(json!({ "hosts": hosts })))
}

async fn traces_of(State(state): State<Arc<HttpState>>, Path(name): Path<String>, params: Params) -> Answered {
    let kind: TraceKind = params.value("kind").parse().map_err(|text: String| ApiError::bad_data(text))?;
    let limit = params.limit("limit")?.unwrap_or(LIST_LIMIT).min(LIST_LIMIT_MAX);
    let span = span(&state, &params)?;
    let range_ns = (span.start_ms.saturating_mul(1_000_000), span.end_ms.saturating_mul(1_000_000));
    let traces = ask(&state, move |engine, _| engine.traces_of(&name, kind, range_ns, limit)).await?;
    Ok(Json(json!({ "traces": traces })))
}

async fn trace(State(state): State<Arc<HttpState>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let Some(trace_id) = trace_id_of(&id) else {
        return Err(ApiError::bad_data(format!("{id:?} is not a trace id: 32 hexadecimal digits")).into());
    };
    let trace = ask(&state, move |engine, _| engine.trace(trace_id)).await?;
    match trace.as_ref().and_then(waterfall) {
        Some(trace) => {
            let text = serde_json::to_string(&trace).map_err(|error| internal(&error))?;
            Ok(json_response(StatusCode::OK, text))
        }
        None => Err(Failure(StatusCode::NOT_FOUND, format!("no span of trace {id} is stored here"))),
    }
}

async fn why(State(state): State<Arc<HttpState>>, params: Params) -> Answered {
    let (span, query) = (span(&state, &params)?, params.value("query").to_owned());
    let why = ask(&state, move |engine, context| engine.why(&query, span, context)).await?;
    Ok(Json(json!(why)))
}

async fn arrivals(State(state): State<Arc<HttpState>>) -> Json<Value> {
    Json((state.arrivals)())
}

async fn service_dashboard(params: Params) -> Answered {
    let service = wanted(&params, "service")?;
    rendered(&weir_dashboards::service().render(&[("service", service)]))
}

async fn host_dashboard(params: Params) -> Answered {
    let host = wanted(&params, "host")?;
    rendered(&weir_dashboards::host().render(&[("host", host)]))
}

async fn service_grafana(params: Params) -> Answered {
    let service = wanted(&params, "service")?;
    Ok(Json(weir_dashboards::grafana(&weir_dashboards::service().with_value("service", service))))
}

async fn host_grafana(params: Params) -> Answered {
    let host = wanted(&params, "host")?;
    Ok(Json(weir_dashboards::grafana(&weir_dashboards::host().with_value("host", host))))
}

/// The body of a SQL request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlRequest {
    query: String,
}

async fn sql(State(state): State<Arc<HttpState>>, request: Request) -> Result<Response, Failure> {
    let body = body_of(request).await?;
    let request: SqlRequest = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_data(format!("the body is {{\"query\": \"SELECT …\"}}: {error}")))?;
    let answer = ask(&state, move |engine, context| engine.sql(&request.query, &context.budget)).await?;
    Ok(json_response(StatusCode::OK, sql_json(&answer)?))
}

/// Columns and rows; the rows are JSON already.
fn sql_json(answer: &SqlAnswer) -> Result<String, Failure> {
    let columns = serde_json::to_string(&answer.columns).map_err(|error| internal(&error))?;
    let mut out = format!("{{\"columns\":{columns},\"rows\":{}", answer.rows);
    if answer.truncated {
        out.push_str(",\"truncated\":true,\"warning\":");
        push_text(&mut out, "rows were cut at the limit; add LIMIT or aggregate");
    }
    out.push('}');
    Ok(out)
}

fn rendered(dashboard: &weir_dashboards::Dashboard) -> Answered {
    serde_json::to_value(dashboard).map(Json).map_err(|error| internal(&error))
}

/// Runs a question through the gate.
async fn ask<T: Send + 'static>(
    state: &HttpState,
    work: impl FnOnce(&Engine, &QueryContext) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, Failure> {
    let budget = state.engine.budget();
    let (engine, context) =
        (Arc::clone(&state.engine), QueryContext { budget: Arc::clone(&budget), lookback_ms: None });
    let timeout: Duration = state.engine.options().timeout;
    Ok(state.gate.run(&budget, timeout, move || work(&engine, &context)).await?)
}

/// `start` and `end`; the last hour where they are absent.
fn span(state: &HttpState, params: &Params) -> Result<Span, ApiError> {
    let end_ms = params.time_or("end", state.now_ms())?;
    let start_ms = params.time_or("start", end_ms - RANGE_MS)?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end must not be before start"));
    }
    Ok(Span { start_ms, end_ms })
}

fn wanted<'a>(params: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    match params.value(name) {
        "" => Err(ApiError::bad_data(format!("parameter {name} is missing"))),
        value => Ok(value),
    }
}

fn internal(error: &serde_json::Error) -> Failure {
    Failure(ErrorType::Internal.status(), format!("the answer cannot be written as JSON: {error}"))
}
