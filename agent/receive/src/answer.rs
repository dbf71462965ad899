//! The bytes of answers: partial_success, and google.rpc.Status with RetryInfo.
//!
//! Four small messages written down here instead of taken from opentelemetry-proto and googleapis: the two Export
//! responses have one shape, and the fields needed of google.rpc are five.
//! Source: opentelemetry/proto/collector/*/v1/*_service.proto, google/rpc/{status,error_details}.proto.

use std::time::Duration;

use prost::Message;
use tonic::Code;
use weir_proto::otlp::Refused;

use crate::receiver::Signal;

/// ExportTraceServiceResponse and ExportMetricsServiceResponse alike.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// google.rpc.Status
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// google.protobuf.Any
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// google.rpc.RetryInfo
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// google.protobuf.Duration
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The Export response as protobuf; empty when all was taken.
pub(crate) fn export_protobuf(refused: &Refused) -> Vec<u8> {
    let partial_success = (refused.count > 0).then(|| PartialSuccess {
        rejected: i64::try_from(refused.count).unwrap_or(i64::MAX),
        error_message: refused.message.clone(),
    });
    ExportResponse { partial_success }.encode_to_vec()
}

/// The Export response as JSON (64-bit integers are strings there).
pub(crate) fn export_json(signal: Signal, refused: &Refused) -> Vec<u8> {
    let rejected = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let answer = match refused.count {
        0 => serde_json::json!({}),
        count => serde_json::json!({
            "partialSuccess": { rejected: count.to_string(), "errorMessage": refused.message }
        }),
    };
    answer.to_string().into_bytes()
}

/// google.rpc.Status as protobuf: the body of HTTP refusals and `grpc-status-details-bin`.
pub(crate) fn status_protobuf(code: Code, message: &str, retry_after: Option<Duration>) -> Vec<u8> {
    let details = retry_after.map(|delay| Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(to_proto(delay)) }.encode_to_vec(),
    });
    RpcStatus { code: code as i32, message: message.to_owned(), details: details.into_iter().collect() }.encode_to_vec()
}

/// google.rpc.Status as JSON.
pub(crate) fn status_json(code: Code, message: &str) -> Vec<u8> {
    serde_json::json!({ "code": code as i32, "message": message }).to_string().into_bytes()
}

fn to_proto(delay: Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(delay.subsec_nanos()).expect("nanoseconds of a second fit in 30 bits"),
    }
}
