//! OTLP/JSON, for people with curl and for browsers: parsed into the generated messages and written as protobuf, so
//! that only one reader decides what a point is. Costs some microseconds per point; SDKs send protobuf by default.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::receiver::Signal;
use crate::refusal::Refusal;

/// The protobuf form of a JSON body.
///
/// # Errors
/// Malformed, with line and column; `NotStored` for logs.
pub(crate) fn to_protobuf(signal: Signal, body: &[u8]) -> Result<Bytes, Refusal> {
    match signal {
        Signal::Traces => transcode::<ExportTraceServiceRequest>(body),
        Signal::Metrics => transcode::<ExportMetricsServiceRequest>(body),
        Signal::Logs => Err(Refusal::NotStored(signal)),
    }
}

fn transcode<M: Message + serde::de::DeserializeOwned>(body: &[u8]) -> Result<Bytes, Refusal> {
    let message: M = serde_json::from_slice(body)
        .map_err(|error| Refusal::Malformed { message: format!("the body is not OTLP JSON: {error}") })?;
    Ok(message.encode_to_vec().into())
}
