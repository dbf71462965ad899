//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0, into the same way as everything else.
//!
//! ```text
//! request ─▶ which message? (Content-Type) ─▶ body, within a budget of bytes ─▶ snappy: declared size, then decode
//!         ─▶ weir_proto::remote_write ─▶ ingest (WAL, fsync) ─▶ 204, or 400 with what was left out of it
//! ```
//! | answer | |
//! |---|---|
//! | 204 | everything is durable |
//! | 400 | the request cannot be read, or parts of it were left out and the rest is durable; the same request never helps |
//! | 415 | another message or another compression |
//! | 503 | no room, or not the time: come again, `Retry-After` says when |
//!
//! An answer to 2.0 always tells how much was written, in `X-Prometheus-Remote-Write-{Samples,Histograms,Exemplars}-Written`.
//! Source: prometheus.io/docs/specs/prw/remote_write_spec and remote_write_spec_2_0; Prometheus storage/remote/write_handler.go.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_proto::remote_write::{self, Message, Outcome};
use weir_proto::{Batch, MetricBatch, names};

use crate::ingest::Ingest;

/// Most bytes of a request after decompression; Prometheus' bound. Senders send some hundred kilobytes.
const DECODED_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a request as sent: snappy makes nothing much longer.
const BODY_BYTES_MAX: usize = DECODED_BYTES_MAX;
/// Bytes of all requests in flight, as sent and decoded. A request at its largest takes half of it.
const IN_FLIGHT_BYTES_MAX: usize = 128 << 20;
/// What one permit of the budget stands for.
const PERMIT_BYTES: usize = 4 << 10;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a sender waits when there is no room: about what a flush takes.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

const PROTOBUF: &str = "application/x-protobuf";
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// The edge in front of ingest.
struct Edge {
    ingest: Arc<Ingest>,
    budget: Arc<Semaphore>,
}

/// Why nothing of a request was stored.
#[derive(Debug)]
enum Refusal {
    /// Never send it again.
    Invalid(String),
    /// Another content type or encoding.
    Unsupported(String),
    /// Send it again later.
    Later(String),
    /// A defect of ours; worth another try.
    Internal(String),
}

/// The path, in front of `ingest`.
pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    let budget = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX / PERMIT_BYTES));
    Router::new().route("/api/v1/write", post(write)).with_state(Arc::new(Edge { ingest, budget }))
}

async fn write(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let message = match message_of(&parts.headers) {
        Ok(message) => message,
        Err(refusal) => return edge.refuse(None, &refusal),
    };
    match edge.take(message, &parts.headers, body).await {
        Ok(outcome) => edge.accept(message, &outcome),
        Err(refusal) => edge.refuse(Some(message), &refusal),
    }
}

impl Edge {
    async fn take(&self, message: Message, headers: &HeaderMap, body: Body) -> Result<Outcome, Refusal> {
        check_encoding(headers)?;
        let collected = tokio::time::timeout(BODY_TIMEOUT, self.collect(body)).await;
        let (compressed, mut held) =
            collected.map_err(|_| Refusal::Later("the body did not arrive in time".to_owned()))??;
        let decoded_bytes = decoded_bytes(&compressed)?;
        held.push(self.reserve(decoded_bytes)?);
        let read = tokio::task::spawn_blocking(move || read(message, &compressed, decoded_bytes)).await;
        let (metrics, outcome) = read.map_err(|error| Refusal::Internal(format!("the reader failed: {error}")))??;
        if metrics.points() > 0 {
            self.ingest.take_written(Batch { metrics, ..Batch::default() }).await.map_err(|error| {
                let text = error.to_string();
                match error.kind() {
                    weir_store::ErrorKind::Invalid => Refusal::Invalid(text),
                    weir_store::ErrorKind::Internal => Refusal::Internal(text),
                    _ => Refusal::Later(text),
                }
            })?;
        }
        drop(held);
        Ok(outcome)
    }

    /// The body, and what it holds of the budget.
    async fn collect(&self, mut body: Body) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), Refusal> {
        let too_large = || Refusal::Invalid(format!("the body is larger than the {BODY_BYTES_MAX} bytes allowed"));
        if body.size_hint().exact().is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
            return Err(too_large());
        }
        let (mut collected, mut held) = (BytesMut::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::Invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            held.push(self.reserve(data.len())?);
            collected.extend_from_slice(&data);
        }
        Ok((collected.freeze(), held))
    }

    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let full = |_| Refusal::Later(format!("full: {IN_FLIGHT_BYTES_MAX} bytes of requests are in flight"));
        Arc::clone(&self.budget).try_acquire_many_owned(permits).map_err(full)
    }

    /// Answers a request of which all or some was stored.
    fn accept(&self, message: Message, outcome: &Outcome) -> Response {
        for (kind, taken) in
            [("sample", outcome.samples), ("histogram", outcome.histograms), ("exemplar", outcome.exemplars)]
        {
            counter!(names::REMOTE_WRITE_WRITTEN, "kind" => kind).increment(taken);
        }
        for &(reason, count) in &outcome.refused.reasons {
            counter!(names::REMOTE_WRITE_REFUSED, "reason" => reason).increment(count);
            self.ingest.note_not_written(reason, count, &outcome.refused.message);
        }
        let complete = outcome.refused.reasons.is_empty();
        count_request(Some(message), if complete { "ok" } else { "partial" });
        let mut response = if complete {
            StatusCode::NO_CONTENT.into_response()
        } else {
            let others = outcome.refused.reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
            let text = format!("{} (left out: {})\n", outcome.refused.message, others.collect::<Vec<_>>().join(", "));
            (StatusCode::BAD_REQUEST, text).into_response()
        };
        tell_written(&mut response, message, outcome);
        response
    }

    fn refuse(&self, message: Option<Message>, refusal: &Refusal) -> Response {
        let (status, reason, text) = match refusal {
            Refusal::Invalid(text) => (StatusCode::BAD_REQUEST, "invalid", text),
            Refusal::Unsupported(text) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", text),
            Refusal::Later(text) => (StatusCode::SERVICE_UNAVAILABLE, "full", text),
            Refusal::Internal(text) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", text),
        };
        count_request(message, reason);
        self.ingest.note_not_written(reason, 0, text);
        let mut response = (status, format!("{text}\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if let Some(message) = message {
            tell_written(&mut response, message, &Outcome::default());
        }
        response
    }
}

fn count_request(message: Option<Message>, outcome: &'static str) {
    let version = match message {
        Some(Message::V1) => "1.0",
        Some(Message::V2) => "2.0",
        None => "unknown",
    };
    counter!(names::REMOTE_WRITE_REQUESTS, "version" => version, "outcome" => outcome).increment(1);
}

fn tell_written(response: &mut Response, message: Message, outcome: &Outcome) {
    if message == Message::V2 {
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN, outcome.samples.into());
        headers.insert(HISTOGRAMS_WRITTEN, outcome.histograms.into());
        headers.insert(EXEMPLARS_WRITTEN, outcome.exemplars.into());
    }
}

/// Which message the sender says it is; the first version where it says nothing, as Prometheus takes it.
fn message_of(headers: &HeaderMap) -> Result<Message, Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Message::V1) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = text.split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(PROTOBUF)) {
        return Err(Refusal::Unsupported(format!("content type {text:?} is not {PROTOBUF}")));
    }
    let proto = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim() == "proto");
    match proto.map(|(_, value)| value.trim().trim_matches('"')) {
        None | Some(MESSAGE_V1) => Ok(Message::V1),
        Some(MESSAGE_V2) => Ok(Message::V2),
        Some(other) => Err(Refusal::Unsupported(format!("message {other:?} is neither {MESSAGE_V1} nor {MESSAGE_V2}"))),
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"") => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case(b"snappy") => Ok(()),
        Some(other) => {
            Err(Refusal::Unsupported(format!("encoding {:?} is not snappy", String::from_utf8_lossy(other))))
        }
    }
}

/// The size that the first bytes declare, checked before anything is allocated.
fn decoded_bytes(compressed: &[u8]) -> Result<usize, Refusal> {
    let declared = snap::raw::decompress_len(compressed).map_err(|error| not_snappy(&error))?;
    if declared > DECODED_BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "{declared} bytes after decompression are more than the {DECODED_BYTES_MAX} allowed; send smaller requests"
        )));
    }
    Ok(declared)
}

fn read(message: Message, compressed: &[u8], decoded_bytes: usize) -> Result<(MetricBatch, Outcome), Refusal> {
    let mut body = vec![0; decoded_bytes];
    let written = snap::raw::Decoder::new().decompress(compressed, &mut body).map_err(|error| not_snappy(&error))?;
    let mut metrics = MetricBatch::default();
    let outcome = remote_write::read(message, &body[..written], &mut metrics);
    outcome.map(|outcome| (metrics, outcome)).map_err(|error| Refusal::Invalid(error.to_string()))
}

fn not_snappy(error: &snap::Error) -> Refusal {
    Refusal::Invalid(format!("the body is not a block of snappy: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(content_type: &'static str) -> Result<Message, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        message_of(&headers)
    }

    #[test]
    fn the_content_type_says_which_message() {
        assert_eq!(message_of(&HeaderMap::new()).unwrap(), Message::V1);
        assert_eq!(asked("application/x-protobuf").unwrap(), Message::V1);
        assert_eq!(asked("application/x-protobuf;proto=prometheus.WriteRequest").unwrap(), Message::V1);
        assert_eq!(asked("application/x-protobuf; proto=io.prometheus.write.v2.Request").unwrap(), Message::V2);
        for wrong in ["application/json", "application/x-protobuf;proto=io.prometheus.write.v3.Request"] {
            assert!(matches!(asked(wrong), Err(Refusal::Unsupported(_))), "{wrong}");
        }
    }

    #[test]
    fn a_declared_size_past_the_bound_is_refused_before_it_is_allocated() {
        // A varint of 2^32 - 1, and nothing behind it.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(decoded_bytes(&bomb), Err(Refusal::Invalid(text)) if text.contains("allowed")));
        assert!(matches!(decoded_bytes(b""), Ok(0)));
        let good = snap::raw::Encoder::new().compress_vec(&[7; 100]).unwrap();
        assert_eq!(decoded_bytes(&good).unwrap(), 100);
        assert!(matches!(read(Message::V2, &good[..good.len() - 1], 100), Err(Refusal::Invalid(_))));
    }
}
