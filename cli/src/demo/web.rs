//! HTTP in and out, each with its span, semantic conventions 1.37 and the trace context in the headers.

use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use reqwest::Method;

use super::telemetry::{Call, duration_histogram};

static SERVED: LazyLock<Histogram<f64>> = LazyLock::new(|| duration_histogram("http.server.request.duration"));
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap_or_default());

/// Middleware: a SERVER span and a point of `http.server.request.duration` around every request.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(request.headers())));
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let method = request.method().to_string();
    let attributes = vec![
        KeyValue::new("http.request.method", method.clone()),
        KeyValue::new("http.route", route.clone()),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ];
    let call = Call::begin(SpanKind::Server, format!("{method} {route}"), attributes, &parent);
    request.extensions_mut().insert(call.context().clone());
    let response = next.run(request).await;
    let status = response.status();
    call.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        call.fail(status.as_str(), status.canonical_reason().unwrap_or("server error"));
    }
    let seconds = call.end();
    let point = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
    ];
    SERVED.record(seconds, &point);
    response
}

/// Calls `http://{address}{path}` under `context` with a CLIENT span; gives the status.
pub(super) async fn call(method: Method, address: &str, path: &str, context: &Context) -> anyhow::Result<u16> {
    let (host, port) = address.split_once(':').unwrap_or((address, "80"));
    let attributes = vec![
        KeyValue::new("http.request.method", method.to_string()),
        KeyValue::new("server.address", host.to_owned()),
        KeyValue::new("server.port", port.parse::<i64>().unwrap_or(80)),
        KeyValue::new("url.full", format!("http://{address}{path}")),
    ];
    let call = Call::begin(SpanKind::Client, method.to_string(), attributes, context);
    let mut request = CLIENT.request(method, format!("http://{address}{path}"));
    let mut headers = reqwest::header::HeaderMap::new();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(call.context(), &mut HeaderInjector(&mut headers));
    });
    request = request.headers(headers);
    let answer = request.send().await;
    match &answer {
        Ok(response) => {
            let status = response.status();
            call.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if status.is_client_error() || status.is_server_error() {
                call.fail(status.as_str(), status.canonical_reason().unwrap_or("error"));
            }
        }
        Err(error) => call.fail("connect", &error.to_string()),
    }
    call.end();
    Ok(answer?.status().as_u16())
}
