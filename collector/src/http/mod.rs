//! Everything that answers over HTTP on 9347 but OTLP: Prometheus' API, Tempo's trace by id, our own API, the page,
//! health, our metrics. [`router`] gives the routes; whoever wires the process binds the socket.
//!
//! ```text
//! /api/v1/*            prometheus   ┐
//! /api/traces, /tempo  tempo        ├─▶ params ─▶ gate (20 at a time, deadline) ─▶ weir_query::Engine on a blocking thread
//! /api/weir/v1/*       weir         ┘                                               └─▶ envelope, render ─▶ gzip
//! /-/healthy, /-/ready, /metrics
//! /, /services/…       page (embedded files)
//! ```
//! Queries never run on the threads that serve sockets, so a heavy one delays no ingest and no health check.

mod envelope;
mod gate;
mod number;
mod page;
mod params;
mod prometheus;
mod tempo;
mod weir;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, Method, StatusCode, header};
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use weir_query::Engine;

use gate::Gate;

/// What the answers are made from.
pub struct HttpState {
    /// Answers queries.
    pub engine: Arc<Engine>,
    /// Nanoseconds since the epoch.
    pub now_ns: Box<dyn Fn() -> i64 + Send + Sync>,
    /// Whether the log is replayed and writes are taken; else why not.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Our own metrics in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether the configuration was last loaded well, and when it was, ms.
    pub config: Box<dyn Fn() -> (bool, i64) + Send + Sync>,
    /// Who sends what, how fresh, what was refused: the body of `arrivals`.
    pub arrivals: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    started_ms: i64,
    gate: Gate,
}

impl HttpState {
    /// Answers from `engine`, at the time that `now_ns` tells; ready at once, without metrics and arrivals.
    #[must_use]
    pub fn new(engine: Arc<Engine>, now_ns: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let started_ms = now_ns().div_euclid(1_000_000);
        Self {
            engine,
            started_ms,
            config: Box::new(move || (true, started_ms)),
            now_ns: Box::new(now_ns),
            ready: Box::new(|| Ok(())),
            metrics: Box::new(String::new),
            arrivals: Box::new(|| serde_json::json!({ "senders": [], "refused": [] })),
            gate: Gate::default(),
        }
    }

    fn now_ms(&self) -> i64 {
        (self.now_ns)().div_euclid(1_000_000)
    }
}

/// All routes, with compression and CORS.
pub fn router(state: Arc<HttpState>) -> Router {
    let apis = prometheus::routes().merge(tempo::routes()).layer(cross_origin());
    apis.merge(weir::routes())
        .route("/-/healthy", get(async || "Weir is healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(page::fallback)
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"))
        .layer(CompressionLayer::new())
        .with_state(state)
}

/// As Prometheus answers other origins; our own API is for our own page only.
/// Source: Prometheus util/httputil/cors.go.
fn cross_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers([header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE, header::ORIGIN])
        .expose_headers([HeaderName::from_static("date")])
}

async fn ready(State(state): State<Arc<HttpState>>) -> Response {
    match (state.ready)() {
        Ok(()) => "Weir is ready.\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    let text = (state.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
