//! OTLP/HTTP: `POST /v1/{traces,metrics}` with protobuf or JSON bodies; answers in the format of the question.
//! Source: opentelemetry.io/docs/specs/otlp (OTLP/HTTP).

use std::sync::Arc;

use ::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, post};
use weir_proto::otlp::Refused;

use crate::answer;
use crate::body::{self, Coding};
use crate::decode::{Format, Payload};
use crate::receiver::{Receiver, Signal, sender_of};
use crate::refusal::{Codes, Refusal};
use crate::sink::{Protocol, Sender, Sink};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// What a sender may compress with, best first.
const CODINGS: HeaderValue = HeaderValue::from_static("zstd, gzip, deflate");

/// The OTLP/HTTP paths in front of `receiver`.
pub fn http_router<S: Sink>(receiver: &Arc<Receiver<S>>) -> Router {
    Router::new()
        .route("/v1/traces", post(traces::<S>))
        .route("/v1/metrics", post(metrics::<S>))
        .route("/v1/logs", any(logs::<S>))
        .with_state(Arc::clone(receiver))
}

async fn traces<S: Sink>(State(receiver): State<Arc<Receiver<S>>>, request: Request) -> Response {
    export(&receiver, Signal::Traces, request).await
}

async fn metrics<S: Sink>(State(receiver): State<Arc<Receiver<S>>>, request: Request) -> Response {
    export(&receiver, Signal::Metrics, request).await
}

async fn logs<S: Sink>(State(receiver): State<Arc<Receiver<S>>>, request: Request) -> Response {
    export(&receiver, Signal::Logs, request).await
}

async fn export<S: Sink>(receiver: &Receiver<S>, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let format = format_of(&parts.headers);
    let protocol = if format == Ok(Format::Json) { Protocol::HttpJson } else { Protocol::HttpProtobuf };
    let mut from = sender_of(&parts, protocol);
    let outcome = match &format {
        Ok(format) => receive(receiver, (signal, *format), (&parts.headers, body), &mut from).await,
        Err(refusal) => Err(refusal.clone()),
    };
    receiver.finish(signal, &outcome, &from);
    match outcome {
        Ok(refused) => success(signal, format.unwrap_or(Format::Protobuf), &refused),
        Err(refusal) => failure(format.ok(), &refusal),
    }
}

async fn receive<S: Sink>(
    receiver: &Receiver<S>,
    (signal, format): (Signal, Format),
    (headers, body): (&HeaderMap, Body),
    from: &mut Sender,
) -> Result<Refused, Refusal> {
    if signal == Signal::Logs {
        return Err(Refusal::NotStored(signal));
    }
    let coding = Coding::of(headers.get(CONTENT_ENCODING))?;
    let mut reservation = receiver.enter();
    let bytes = body::collect(body, receiver.body_limits(), &mut reservation).await?;
    receiver.take(Payload { signal, format, coding, bytes, reservation }, from).await
}

fn format_of(headers: &HeaderMap) -> Result<Format, Refusal> {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(PROTOBUF.as_bytes()) || essence.eq_ignore_ascii_case(b"application/protobuf") {
        return Ok(Format::Protobuf);
    }
    if essence.eq_ignore_ascii_case(JSON.as_bytes()) {
        return Ok(Format::Json);
    }
    Err(Refusal::MediaType { found: String::from_utf8_lossy(essence).into_owned() })
}

fn success(signal: Signal, format: Format, refused: &Refused) -> Response {
    match format {
        Format::Protobuf => respond(StatusCode::OK, PROTOBUF, answer::export_protobuf(refused)),
        Format::Json => respond(StatusCode::OK, JSON, answer::export_json(signal, refused)),
    }
}

/// A refusal in the sender's format, or as text for one whose format we do not know.
fn failure(format: Option<Format>, refusal: &Refusal) -> Response {
    let Codes { http, grpc, retry_after } = refusal.codes();
    let message = refusal.to_string();
    let mut response = match format {
        Some(Format::Protobuf) => respond(http, PROTOBUF, answer::status_protobuf(grpc, &message, retry_after)),
        Some(Format::Json) => respond(http, JSON, answer::status_json(grpc, &message)),
        None => respond(http, "text/plain; charset=utf-8", format!("{message}\n").into_bytes()),
    };
    if let Some(delay) = retry_after {
        // Whole seconds, rounded up: zero would mean "at once".
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    }
    if let Refusal::Encoding { .. } = refusal {
        response.headers_mut().insert(ACCEPT_ENCODING, CODINGS);
    }
    response
}

fn respond(code: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
