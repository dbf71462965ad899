//! The edge over real sockets: tonic's client with the prost codec, and HTTP written by hand.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use weir_proto::Batch;

use super::*;

const NOW_NS: u64 = 1_795_000_000_000_000_000;
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Keeps what it takes, or answers with the error that it was given.
#[derive(Default)]
struct Kept {
    error: Option<SinkError>,
    batches: Mutex<Vec<(Batch, Sender)>>,
    refused: Mutex<Vec<(u64, &'static str)>>,
}

impl Sink for Kept {
    async fn accept(&self, batch: Batch, from: &Sender) -> Result<(), SinkError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.batches.lock().unwrap().push((batch, from.clone()));
        Ok(())
    }

    fn refused(&self, _: &Sender, what: &NotTaken<'_>) {
        self.refused.lock().unwrap().push((what.items, what.reason));
    }
}

struct Edge {
    address: SocketAddr,
    sink: Arc<Kept>,
}

impl Edge {
    async fn start(error: Option<SinkError>, settings: ReceiveSettings) -> Self {
        let sink = Arc::new(Kept { error, ..Kept::default() });
        let receiver = Receiver::new(Arc::clone(&sink), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            serve(listener, router(&receiver), ServeSettings::of("test"), std::future::pending()).await
        });
        tasks.detach_all();
        Self { address, sink }
    }

    async fn plain() -> Self {
        Self::start(None, ReceiveSettings::default()).await
    }

    async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        tonic::client::Grpc::new(channel)
    }

    /// Sends `bytes` as they are and reads one answer: (code, headers in lower case, body).
    async fn http(&self, bytes: &[u8]) -> (u16, String, Vec<u8>) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head, answer[end + 4..].to_vec())
    }

    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.http(&request).await
    }

    fn points(&self) -> usize {
        self.sink.batches.lock().unwrap().iter().map(|(batch, _)| batch.metrics.points()).sum()
    }

    fn spans(&self) -> usize {
        self.sink.batches.lock().unwrap().iter().map(|(batch, _)| batch.spans.len()).sum()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) }),
        ..KeyValue::default()
    }
}

fn resource() -> Option<Resource> {
    let attributes = vec![text("service.name", "shop"), text("service.namespace", "web")];
    Some(Resource { attributes, ..Resource::default() })
}

/// `good` points, then `bad` ones without a time.
fn metrics_request(good: usize, bad: usize) -> ExportMetricsServiceRequest {
    let point = |at: usize, time| NumberDataPoint {
        attributes: vec![text("row", &at.to_string())],
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(at as f64)),
        ..NumberDataPoint::default()
    };
    let mut data_points: Vec<_> = (0..good).map(|at| point(at, NOW_NS)).collect();
    data_points.extend((0..bad).map(|at| point(at, 0)));
    let metric =
        Metric { name: "m".into(), data: Some(metric::Data::Gauge(Gauge { data_points })), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn traces_request(good: u8, bad: u8) -> ExportTraceServiceRequest {
    let span = |trace_id: Vec<u8>| Span {
        trace_id,
        span_id: vec![1; 8],
        name: "GET /".into(),
        start_time_unix_nano: NOW_NS,
        end_time_unix_nano: NOW_NS + 5,
        ..Span::default()
    };
    let mut spans: Vec<_> = (1..=good).map(|at| span(vec![at; 16])).collect();
    spans.extend((0..bad).map(|_| span(vec![])));
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }],
    }
}

async fn export<Q, A>(client: &mut tonic::client::Grpc<Channel>, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let path = ::http::uri::PathAndQuery::from_static(path);
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn grpc_takes_points_and_spans_in_every_compression_and_notes_the_sender() {
    let edge = Edge::plain().await;
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = edge.grpc().await;
        if let Some(compression) = compression {
            client = client.send_compressed(compression);
        }
        let answer: ExportMetricsServiceResponse =
            export(&mut client, METRICS, metrics_request(1000, 0)).await.unwrap();
        assert_eq!(answer.partial_success, None);
        let answer: ExportTraceServiceResponse = export(&mut client, TRACES, traces_request(3, 0)).await.unwrap();
        assert_eq!(answer.partial_success, None);
    }
    assert_eq!((edge.points(), edge.spans()), (3000, 9));
    let batches = edge.sink.batches.lock().unwrap();
    let from = &batches[0].1;
    assert_eq!(from.services, ["web/shop".into()]);
    assert_eq!(from.protocol, Protocol::Grpc);
    assert!(from.peer.unwrap().ip().is_loopback());
}

#[tokio::test]
async fn bad_points_are_reported_and_do_not_take_the_good_ones_with_them() {
    let edge = Edge::plain().await;
    let mut client = edge.grpc().await;
    let answer: ExportMetricsServiceResponse = export(&mut client, METRICS, metrics_request(5, 2)).await.unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert!(!partial.error_message.is_empty());
    let answer: ExportTraceServiceResponse = export(&mut client, TRACES, traces_request(4, 1)).await.unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 1);
    assert_eq!((edge.points(), edge.spans()), (5, 4));
    let refused = edge.sink.refused.lock().unwrap();
    assert_eq!(refused.iter().map(|(items, _)| items).collect::<Vec<_>>(), [&2, &1]);
}

#[tokio::test]
async fn grpc_full_is_unavailable_with_retry_info_and_logs_are_unimplemented() {
    let full = SinkError::Full { reason: "queue has 0 bytes left".into(), retry_after: Duration::from_millis(1500) };
    let edge = Edge::start(Some(full), ReceiveSettings::default()).await;
    let mut client = edge.grpc().await;
    let status =
        export::<_, ExportMetricsServiceResponse>(&mut client, METRICS, metrics_request(1, 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "queue has 0 bytes left");
    // google.rpc.Status, whose detail is an Any holding RetryInfo{1 s, 500,000,000 ns}.
    let details = status.details();
    let delay = [0x0a, 0x08, 0x08, 0x01, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    assert!(details.windows(delay.len()).any(|part| part == delay), "{details:02x?}");
    assert!(String::from_utf8_lossy(details).contains("google.rpc.RetryInfo"));
    let status = export::<_, ExportMetricsServiceResponse>(&mut client, LOGS, metrics_request(1, 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("OTEL_LOGS_EXPORTER=none"), "{}", status.message());
}

#[tokio::test]
async fn grpc_messages_over_the_caps_are_permanent_errors() {
    let settings = ReceiveSettings { body_bytes_max: 100_000, decoded_bytes_max: 100_000, ..Default::default() };
    let edge = Edge::start(None, settings).await;
    for client in [edge.grpc().await, edge.grpc().await.send_compressed(CompressionEncoding::Gzip)] {
        let mut client = client;
        let outcome = export::<_, ExportMetricsServiceResponse>(&mut client, METRICS, metrics_request(5000, 0)).await;
        assert_eq!(outcome.unwrap_err().code(), Code::ResourceExhausted);
    }
    assert_eq!(edge.points(), 0);
}

#[tokio::test]
async fn http_takes_every_compression_and_answers_in_protobuf() {
    let edge = Edge::plain().await;
    let body = metrics_request(2000, 1).encode_to_vec();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&body).unwrap();
    let bodies = [
        ("", body.clone()),
        ("content-encoding: gzip\r\n", gzip(&body)),
        ("content-encoding: deflate\r\n", zlib.finish().unwrap()),
        ("content-encoding: zstd\r\n", zstd::encode_all(&body[..], 1).unwrap()),
    ];
    for (encoding, body) in bodies {
        let headers = format!("content-type: application/x-protobuf\r\n{encoding}");
        let (code, head, answer) = edge.post("/v1/metrics", &headers, &body).await;
        assert_eq!(code, 200, "{encoding}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let answer = ExportMetricsServiceResponse::decode(&answer[..]).unwrap();
        assert_eq!(answer.partial_success.unwrap().rejected_data_points, 1);
    }
    assert_eq!(edge.points(), 8000);
}

#[tokio::test]
async fn http_takes_chunked_bodies_without_a_length() {
    let edge = Edge::plain().await;
    let body = gzip(&traces_request(7, 0).encode_to_vec());
    let mut request = b"POST /v1/traces HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
        content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n\r\n"
        .to_vec();
    for chunk in body.chunks(11) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let (code, ..) = edge.http(&request).await;
    assert_eq!((code, edge.spans()), (200, 7));
}

#[tokio::test]
async fn http_takes_json_and_answers_in_json() {
    let edge = Edge::plain().await;
    let body =
        br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"curl"}}]},
        "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"hand",
        "startTimeUnixNano":"1795000000000000000","endTimeUnixNano":"1795000000500000000","kind":2}]}]}]}"#;
    let (code, head, answer) = edge.post("/v1/traces", "content-type: application/json; charset=utf-8\r\n", body).await;
    assert_eq!((code, &answer[..]), (200, &b"{}"[..]));
    assert!(head.contains("content-type: application/json"));
    {
        let batches = edge.sink.batches.lock().unwrap();
        assert_eq!(batches[0].0.spans.duration_ns, [500_000_000]);
        assert_eq!(batches[0].1.services, ["curl".into()]);
        assert_eq!(batches[0].1.protocol, Protocol::HttpJson);
    }
    let (code, _, answer) =
        edge.post("/v1/traces", "content-type: application/json\r\n", b"{\"resourceSpans\":3}").await;
    assert_eq!(code, 400);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["message"].as_str().unwrap().contains("line 1 column"), "{answer}");
}

#[tokio::test]
async fn http_refusals_say_what_to_do() {
    let edge = Edge::plain().await;
    let protobuf = "content-type: application/x-protobuf\r\n";
    let garbage = [0xff_u8; 40];
    let (code, head, answer) = edge.post("/v1/metrics", protobuf, &garbage).await;
    assert_eq!(code, 400);
    assert!(head.contains("content-type: application/x-protobuf"));
    assert_eq!(answer[..2], [8, 3], "google.rpc.Status with code INVALID_ARGUMENT");
    let (code, head, answer) = edge.post("/v1/metrics", "content-type: text/plain\r\n", &garbage).await;
    assert_eq!(code, 415);
    assert!(head.contains("text/plain"));
    assert!(String::from_utf8(answer).unwrap().contains("send application/x-protobuf"));
    let brotli = format!("{protobuf}content-encoding: br\r\n");
    let (code, head, _) = edge.post("/v1/metrics", &brotli, &garbage).await;
    assert_eq!(code, 415);
    assert!(head.contains("accept-encoding: zstd, gzip, deflate"));
    let (code, _, answer) = edge.post("/v1/logs", protobuf, &garbage).await;
    assert_eq!(code, 404);
    assert!(String::from_utf8_lossy(&answer).contains("OTEL_LOGS_EXPORTER=none"));
    let (code, ..) = edge.http(b"GET /v1/traces HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").await;
    assert_eq!(code, 405);
    let (code, _, answer) = edge.post("/v1/metrics", protobuf, b"").await;
    assert_eq!((code, answer.len()), (200, 0), "an empty request is a good one");
    let reasons: Vec<_> = edge.sink.refused.lock().unwrap().iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, ["malformed", "media_type", "encoding", "not_stored"]);
}

#[tokio::test]
async fn http_full_is_503_with_retry_after_rounded_up_and_caps_are_413() {
    let full = SinkError::Full { reason: "queue is full".into(), retry_after: Duration::from_millis(1200) };
    let settings = ReceiveSettings { body_bytes_max: 1000, decoded_bytes_max: 20_000, ..Default::default() };
    let edge = Edge::start(Some(full), settings).await;
    let protobuf = "content-type: application/x-protobuf\r\n";
    let (code, head, _) = edge.post("/v1/metrics", protobuf, &metrics_request(1, 0).encode_to_vec()).await;
    assert_eq!(code, 503);
    assert!(head.contains("retry-after: 2"), "{head}");
    let (code, ..) = edge.post("/v1/metrics", protobuf, &metrics_request(500, 0).encode_to_vec()).await;
    assert_eq!(code, 413, "as sent");
    let zipped = zstd::encode_all(&vec![0_u8; 1 << 20][..], 1).unwrap();
    let headers = format!("{protobuf}content-encoding: zstd\r\n");
    let (code, ..) = edge.post("/v1/metrics", &headers, &zipped).await;
    assert_eq!(code, 413, "decompressed");
}

#[tokio::test]
async fn requests_over_the_byte_budget_are_told_to_wait_and_one_that_never_fits_is_not() {
    let edge = Edge::start(None, ReceiveSettings { in_flight_bytes_max: 4000, ..Default::default() }).await;
    let protobuf = "content-type: application/x-protobuf\r\n";
    let (code, ..) = edge.post("/v1/metrics", protobuf, &[0xff; 2001]).await;
    assert_eq!(code, 413, "more than half of the budget");
    // Two bodies that stay in flight.
    let head =
        format!("POST /v1/metrics HTTP/1.1\r\nhost: weir\r\n{protobuf}content-length: 2000\r\n\r\n").into_bytes();
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = TcpStream::connect(edge.address).await.unwrap();
        connection.write_all(&head).await.unwrap();
        connection.write_all(&[0xff; 1900]).await.unwrap();
        open.push(connection);
    }
    // Until both have arrived, what is asked is only malformed.
    let answer = loop {
        let (code, head, _) = edge.post("/v1/metrics", protobuf, &[0xff; 1900]).await;
        if code != 400 {
            break (code, head);
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.0, 503);
    assert!(answer.1.contains("retry-after: 1"), "{}", answer.1);
}

/// Nothing, a part of a word, half a head: each is cut in time. A connection between two requests is let go quietly.
#[tokio::test]
async fn heads_that_never_end_are_cut() {
    let sink = Arc::new(Kept::default());
    let receiver = Receiver::new(Arc::clone(&sink), ReceiveSettings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        ServeSettings { head_timeout: Duration::from_millis(100), connections_max: 4, ..ServeSettings::of("test") };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { serve(listener, router(&receiver), settings, std::future::pending()).await });
    let mut hanging = Vec::new();
    for words in [&b""[..], b"PRI * HTT", b"GET / HTTP/1.1\r\nhost: we", b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(words).await.unwrap();
        hanging.push(connection);
    }
    // The fifth of four is closed at once.
    let mut fifth = TcpStream::connect(address).await.unwrap();
    assert_eq!(fifth.read(&mut [0; 9]).await.unwrap_or(0), 0);
    for mut connection in hanging {
        let mut heard = Vec::new();
        connection.read_to_end(&mut heard).await.ok();
        assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&heard));
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let settings = ReceiveSettings { body_timeout: Duration::from_millis(50), ..Default::default() };
    let edge = Edge::start(None, settings).await;
    let head =
        b"POST /v1/metrics HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
        content-length: 100\r\n\r\nabc";
    let (code, ..) = edge.http(head).await;
    assert_eq!(code, 408);
}

#[tokio::test]
async fn serving_ends_after_stop_once_open_requests_are_answered() {
    let sink = Arc::new(Kept::default());
    let receiver = Receiver::new(Arc::clone(&sink), ReceiveSettings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        serve(listener, router(&receiver), ServeSettings::of("test"), async { stopped.await.unwrap_or(()) }).await;
    });
    let body = traces_request(2, 0).encode_to_vec();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: weir\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // It says so when it waits for the body.
    let mut waits = [0; 25];
    connection.read_exact(&mut waits).await.unwrap();
    assert_eq!(&waits, b"HTTP/1.1 100 Continue\r\n\r\n");
    stop.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    connection.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(sink.batches.lock().unwrap()[0].0.spans.len(), 2);
}

#[tokio::test]
async fn garbage_on_the_port_harms_only_its_own_connection() {
    let edge = Edge::plain().await;
    let mut client = edge.grpc().await;
    // Bytes of a small generator: plain noise, noise behind a TLS hello, an HTTP/2 preface with noise for frames.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for head in
        [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n"]
    {
        let mut connection = TcpStream::connect(edge.address).await.unwrap();
        let bytes: Vec<u8> = head.iter().copied().chain((0..4096).map(|_| noise())).collect();
        connection.write_all(&bytes).await.ok();
        connection.shutdown().await.ok();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.ok();
    }
    // A gRPC body whose length lies, through HTTP/1.
    let path =
        format!("POST {TRACES} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: application/grpc\r\n");
    for body in [&b"\0\xff\xff\xff\xff"[..], b"\x07\0\0\0\x01a", b"\0\0"] {
        let mut request = format!("{path}content-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        let (code, head, _) = edge.http(&request).await;
        assert_eq!(code, 200, "a gRPC refusal is in its headers");
        assert!(head.contains("grpc-status: 3"), "{head}");
    }
    let answer: ExportTraceServiceResponse = export(&mut client, TRACES, traces_request(3, 0)).await.unwrap();
    assert_eq!(answer.partial_success, None);
    assert_eq!(edge.spans(), 3);
}
