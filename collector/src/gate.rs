//! What is answered before the log is replayed: the sockets listen at once, so that nobody is told "connection
//! refused", and every request is told to come back.
//!
//! `/-/healthy` is 200 from the start, everything else 503 with `Retry-After` (gRPC: UNAVAILABLE), until
//! [`Gate::open`] puts the real router in.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

/// How long a sender or browser should wait while the log is replayed, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Stands before a router that is not there yet.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<OnceLock<Router>>);

impl Gate {
    /// The router to serve from the start.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }

    /// Lets requests through to `router`. Only the first call counts.
    pub(crate) fn open(&self, router: Router) {
        // A second call would be a second start, which there is not.
        let _first = self.0.set(router);
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let Some(router) = gate.0.get() else { return wait(&request) };
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn wait(request: &Request) -> Response {
    let words = "starting: the write-ahead log is being replayed";
    if request.uri().path() == "/-/healthy" {
        return (StatusCode::OK, "Weir is Healthy.\n").into_response();
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/grpc") {
        return tonic::Status::unavailable(words).into_http::<Body>();
    }
    if request.uri().path().starts_with("/api") {
        let body = format!("{{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"{words}\"}}");
        let headers =
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::RETRY_AFTER, RETRY_AFTER)];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response();
    }
    // A browser comes back by itself.
    let headers = [(header::RETRY_AFTER, RETRY_AFTER), (header::REFRESH, RETRY_AFTER)];
    (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{words}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(router: &Router, path: &str, kind: &'static str) -> Response {
        let request = Request::builder().uri(path).header(header::CONTENT_TYPE, kind).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn everyone_is_told_to_wait_until_it_opens() {
        let gate = Gate::default();
        let router = gate.router();
        assert_eq!(ask(&router, "/-/healthy", "").await.status(), StatusCode::OK);
        let early = ask(&router, "/api/v1/query", "").await;
        assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(early.headers()[header::RETRY_AFTER], "1");
        let grpc = ask(&router, "/weir.push.v1.Push/Stream", "application/grpc").await;
        assert_eq!(grpc.headers()["grpc-status"], "14");
        gate.open(Router::new().fallback(|| async { "open" }));
        assert_eq!(ask(&router, "/api/v1/query", "").await.status(), StatusCode::OK);
    }
}
