//! The part of Tempo's HTTP API that opens a trace: by id, as protobuf or JSON, at the root and under `/tempo`.
//!
//! Protobuf is OTLP's `TracesData`, which Tempo's own message is wire-compatible with. JSON is OTLP's JSON encoding
//! (ids in hexadecimal) with Tempo's `batches` in place of `resourceSpans`; the second version of the endpoint wraps
//! OTLP's JSON as it is.
//! Source: grafana/tempo docs/sources/tempo/api_docs, pkg/tempopb/tempo.proto.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};
use weir_query::QueryError;
use weir_query::traces::{to_otlp, trace_id_of};

use super::HttpState;
use super::envelope::json_response;

/// What Grafana sends where it can read protobuf.
const PROTOBUF: &str = "application/protobuf";
/// The version of Tempo whose API this is; Grafana chooses features by it.
const TEMPO_VERSION: &str = "2.9.0";

/// The routes, under their full paths.
pub(crate) fn routes() -> Router<Arc<HttpState>> {
    ["", "/tempo"].into_iter().fold(Router::new(), |router, prefix| {
        router
            .route(&format!("{prefix}/api/echo"), get(async || "echo"))
            .route(&format!("{prefix}/api/status/buildinfo"), get(buildinfo))
            .route(&format!("{prefix}/api/traces/{{id}}"), get(trace))
            .route(&format!("{prefix}/api/v2/traces/{{id}}"), get(trace_v2))
    })
}

async fn buildinfo() -> Response {
    let info = json!({
        "version": TEMPO_VERSION, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    });
    json_response(StatusCode::OK, info.to_string())
}

/// `/api/traces/{id}`.
async fn trace(State(state): State<Arc<HttpState>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match find(&state, &id).await {
        Ok(trace) if wants_protobuf(&headers) => protobuf(trace.encode_to_vec()),
        Ok(trace) => json_of(&trace, |mut trace| {
            let batches = trace.get_mut("resourceSpans").map(Value::take).unwrap_or_default();
            json!({ "batches": batches })
        }),
        Err(response) => response,
    }
}

/// `/api/v2/traces/{id}`: the trace with what is known about its completeness.
async fn trace_v2(State(state): State<Arc<HttpState>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match find(&state, &id).await {
        Ok(trace) if wants_protobuf(&headers) => protobuf(TraceByIdResponse { trace: Some(trace) }.encode_to_vec()),
        Ok(trace) => json_of(&trace, |trace| json!({ "trace": trace, "metrics": {} })),
        Err(response) => response,
    }
}

/// `tempopb.TraceByIDResponse`, whose status is COMPLETE where it is left out.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

async fn find(state: &HttpState, id: &str) -> Result<TracesData, Response> {
    let Some(trace_id) = trace_id_of(id) else {
        // Old Grafana asks for trace "0" to see whether this is Tempo, and wants this text.
        return Err(plain(StatusCode::NOT_FOUND, "trace not found in Tempo"));
    };
    let engine = Arc::clone(&state.engine);
    let budget = state.engine.budget();
    let work = move || Ok(engine.trace(trace_id)?.map(|spans| to_otlp(&spans)));
    match state.gate.run(&budget, state.engine.options().timeout, work).await {
        Ok(Some(trace)) => Ok(trace),
        Ok(None) => Err(plain(StatusCode::NOT_FOUND, "trace not found in Tempo")),
        Err(error @ (QueryError::TimedOut(_) | QueryError::Cancelled(_))) => {
            Err(plain(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
        }
        Err(error) => Err(plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains(PROTOBUF))
}

fn protobuf(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned()).into_response()
}

fn json_of(trace: &TracesData, shape: impl FnOnce(Value) -> Value) -> Response {
    match serde_json::to_value(trace) {
        Ok(value) => json_response(StatusCode::OK, shape(value).to_string()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("trace cannot be written as JSON: {error}")),
    }
}
