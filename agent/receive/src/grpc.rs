//! OTLP/gRPC: the three unary Export methods, their framing read by hand (the crate's header says why).
//!
//! ```text
//! request body            ┌──────────────┬──────────────┬─────────┐
//! (one message, unary)    │ compressed u8│ length u32 BE│ message │   compression named by `grpc-encoding`
//!                         └──────────────┴──────────────┴─────────┘
//! answer                  the same with an Export response, then trailers `grpc-status: 0`;
//!                         a refusal has headers only: `grpc-status`, `grpc-message`, `grpc-status-details-bin`
//! ```
//! Source: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use weir_proto::otlp::Refused;

use crate::answer;
use crate::body::{self, Coding};
use crate::decode::{Format, Payload};
use crate::receiver::{Receiver, Signal, sender_of};
use crate::refusal::{Codes, Refusal};
use crate::sink::{Protocol, Sender, Sink};

const FRAME_HEADER_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const CODINGS: HeaderValue = HeaderValue::from_static("zstd,gzip,deflate,identity");

/// The OTLP/gRPC methods in front of `receiver`, to be served on its own or beside other tonic services
/// (`Routes::into_axum_router().merge(…)`).
pub fn grpc_router<S: Sink>(receiver: &Arc<Receiver<S>>) -> Router {
    Router::new()
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(traces::<S>))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(metrics::<S>))
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", post(logs::<S>))
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
    let mut from = sender_of(&parts, Protocol::Grpc);
    let outcome = receive(receiver, signal, (&parts.headers, body), &mut from).await;
    receiver.finish(signal, &outcome, &from);
    match outcome {
        Ok(refused) => success(&refused),
        Err(refusal) => failure(&refusal),
    }
}

async fn receive<S: Sink>(
    receiver: &Receiver<S>,
    signal: Signal,
    (headers, body): (&HeaderMap, Body),
    from: &mut Sender,
) -> Result<Refused, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/grpc") {
        return Err(Refusal::MediaType { found: String::from_utf8_lossy(content_type).into_owned() });
    }
    if signal == Signal::Logs {
        return Err(Refusal::NotStored(signal));
    }
    let coding = Coding::of(headers.get(GRPC_ENCODING))?;
    let mut reservation = receiver.enter();
    let frame = body::collect(body, receiver.body_limits(), &mut reservation).await?;
    let (compressed, bytes) = unframe(frame)?;
    let coding = if compressed { coding } else { Coding::Identity };
    receiver.take(Payload { signal, format: Format::Protobuf, coding, bytes, reservation }, from).await
}

/// Whether the one message of a unary request is compressed, and the message.
fn unframe(mut frame: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |message: String| Refusal::Malformed { message };
    let Some((head, _)) = frame.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(malformed(format!("a gRPC message header has 5 bytes, {} came", frame.len())));
    };
    let [flag, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    let message = frame.split_off(FRAME_HEADER_BYTES);
    if message.len() != length {
        return Err(malformed(format!("the gRPC message announces {length} bytes, {} came", message.len())));
    }
    match flag {
        0 => Ok((false, message)),
        1 => Ok((true, message)),
        other => Err(malformed(format!("{other} is not a gRPC compression flag"))),
    }
}

fn success(refused: &Refused) -> Response {
    let message = answer::export_protobuf(refused);
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("an answer holds one short message"));
    frame.put_slice(&message);
    let trailers = async { Some(Ok::<_, Infallible>(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from(0))]))) };
    let mut response = Response::new(Body::new(Full::new(frame.freeze()).with_trailers(trailers)));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

fn failure(refusal: &Refusal) -> Response {
    let Codes { grpc, retry_after, .. } = refusal.codes();
    let message = refusal.to_string();
    let details = answer::status_protobuf(grpc, &message, retry_after);
    let mut response = tonic::Status::with_details(grpc, message, details.into()).into_http::<Body>();
    if let Refusal::Encoding { .. } = refusal {
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, CODINGS);
    }
    response
}
