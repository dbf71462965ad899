//! Times and weighs `weir_proto::frame`: bytes, and nanoseconds to encode and decode, per number point and per span,
//! beside OTLP protobuf with zstd-1 of the same data in the same run. Ratios hold on a noisy machine, nanoseconds do
//! not.
//!
//! `cargo run --release --bin frame`
//!
//! The data: 5,000 series with 6 attributes, half random doubles and half counters, seen tick after tick; spans with
//! 12 attributes of which 3 never repeat, random ids, four spans to a trace, an event on every fourth.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as t;
use prost::Message;
use weir_proto::Batch;
use weir_proto::frame::{Decoder, Encoder};
use weir_proto::otlp::{MetricsReader, ReaderLimits, TracesReader};

/// Requests of one epoch; the first [`WARM`] carry definitions and are not counted.
const TICKS: u64 = 12;
const WARM: usize = 4;
/// Each epoch is encoded and decoded this often; the fastest counts.
const ROUNDS: usize = 15;
const RESOURCES: u64 = 20;
const METRICS: u64 = 10;
const POINTS: u64 = 25;
const START_NS: u64 = 1_700_000_000_000_000_000;

/// What one way of sending costs.
struct Cost {
    name: &'static str,
    bytes: f64,
    encode_ns: f64,
    decode_ns: f64,
}

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let requests: Vec<_> = (0..TICKS).map(numbers).collect();
    let mut reader = MetricsReader::new(ReaderLimits::default());
    let batches = requests.iter().map(|request| {
        let mut batch = Batch::default();
        reader.read(&request.encode_to_vec(), &mut batch.metrics)?;
        Ok(batch)
    });
    let batches = batches.collect::<anyhow::Result<Vec<_>>>()?;
    let points = (RESOURCES * METRICS * POINTS) as f64;
    let mut reader = MetricsReader::new(ReaderLimits::default());
    let read = |body: &[u8]| {
        let mut batch = Batch::default();
        reader.read(body, &mut batch.metrics).expect("the bench's own bytes are good");
        batch
    };
    let costs = [frames(&batches, points)?, otlp(&requests, points)?, otlp_read(&requests, points, read)?];
    table(&mut out, &format!("number points, 6 attributes, {points} a frame"), &costs)?;

    for count in [512_u64, 8192] {
        let requests: Vec<_> = (0..TICKS).map(|tick| spans(tick, count)).collect();
        let mut reader = TracesReader::new(ReaderLimits::default());
        let batches = requests.iter().map(|request| {
            let mut batch = Batch::default();
            reader.read(&request.encode_to_vec(), &mut batch.spans)?;
            Ok(batch)
        });
        let batches = batches.collect::<anyhow::Result<Vec<_>>>()?;
        let mut reader = TracesReader::new(ReaderLimits::default());
        let read = |body: &[u8]| {
            let mut batch = Batch::default();
            reader.read(body, &mut batch.spans).expect("the bench's own bytes are good");
            batch
        };
        let each = count as f64;
        let costs = [frames(&batches, each)?, otlp(&requests, each)?, otlp_read(&requests, each, read)?];
        table(&mut out, &format!("spans, 12 attributes, {count} a frame"), &costs)?;
    }
    Ok(())
}

/// An epoch of frames.
fn frames(batches: &[Batch], rows: f64) -> anyhow::Result<Cost> {
    let (mut bytes, mut encode_ns, mut decode_ns) = (0, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut encoding, mut decoding) = (0.0, 0.0);
        bytes = 0;
        for (tick, batch) in batches.iter().enumerate() {
            let mut frame = Vec::new();
            let began = Instant::now();
            encoder.encode(batch, &mut frame)?;
            let encoded = began.elapsed();
            let began = Instant::now();
            let back = black_box(decoder.decode(&frame)?);
            let decoded = began.elapsed();
            drop(back);
            if tick >= WARM {
                bytes += frame.len();
                encoding += encoded.as_secs_f64();
                decoding += decoded.as_secs_f64();
            }
        }
        encode_ns = encode_ns.min(encoding);
        decode_ns = decode_ns.min(decoding);
    }
    Ok(cost("weir frame", bytes, encode_ns, decode_ns, rows * (batches.len() - WARM) as f64))
}

/// OTLP as peers send and take it: prost and zstd-1 on both sides.
fn otlp<M: Message + Default>(requests: &[M], rows: f64) -> anyhow::Result<Cost> {
    let (mut bytes, mut encode_ns, mut decode_ns) = (0, f64::MAX, f64::MAX);
    let (mut zstd, mut unzstd) = (zstd::bulk::Compressor::new(1)?, zstd::bulk::Decompressor::new()?);
    for _ in 0..ROUNDS {
        let (mut encoding, mut decoding) = (0.0, 0.0);
        bytes = 0;
        for request in &requests[WARM..] {
            let began = Instant::now();
            let body = request.encode_to_vec();
            let sent = zstd.compress(&body)?;
            encoding += began.elapsed().as_secs_f64();
            let began = Instant::now();
            let taken = unzstd.decompress(&sent, body.len())?;
            drop(black_box(M::decode(taken.as_slice())?));
            decoding += began.elapsed().as_secs_f64();
            bytes += sent.len();
        }
        encode_ns = encode_ns.min(encoding);
        decode_ns = decode_ns.min(decoding);
    }
    Ok(cost("otlp, prost, zstd-1", bytes, encode_ns, decode_ns, rows * (requests.len() - WARM) as f64))
}

/// OTLP taken by our own reader into the same batch that a frame gives.
fn otlp_read<M: Message>(requests: &[M], rows: f64, mut read: impl FnMut(&[u8]) -> Batch) -> anyhow::Result<Cost> {
    let mut decode_ns = f64::MAX;
    let (mut bytes, mut unzstd) = (0, zstd::bulk::Decompressor::new()?);
    for _ in 0..ROUNDS {
        let mut decoding = 0.0;
        bytes = 0;
        for (tick, request) in requests.iter().enumerate() {
            let body = request.encode_to_vec();
            let sent = zstd::bulk::compress(&body, 1)?;
            let began = Instant::now();
            let batch = black_box(read(&unzstd.decompress(&sent, body.len())?));
            let decoded = began.elapsed();
            drop(batch);
            if tick >= WARM {
                bytes += sent.len();
                decoding += decoded.as_secs_f64();
            }
        }
        decode_ns = decode_ns.min(decoding);
    }
    Ok(cost("otlp, weir's reader, zstd-1", bytes, f64::NAN, decode_ns, rows * (requests.len() - WARM) as f64))
}

fn cost(name: &'static str, bytes: usize, encode_s: f64, decode_s: f64, rows: f64) -> Cost {
    Cost { name, bytes: bytes as f64 / rows, encode_ns: encode_s / rows * 1e9, decode_ns: decode_s / rows * 1e9 }
}

fn table(out: &mut impl Write, title: &str, costs: &[Cost]) -> anyhow::Result<()> {
    writeln!(out, "{title}")?;
    for Cost { name, bytes, encode_ns, decode_ns } in costs {
        let encode = if encode_ns.is_nan() { "       ".to_owned() } else { format!("{encode_ns:7.0}") };
        writeln!(out, "  {name:<28} {bytes:7.2} B  encode {encode} ns  decode {decode_ns:7.0} ns")?;
    }
    Ok(())
}

/// Mixes a number so that it looks random.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn resource(number: u64) -> Option<Resource> {
    let attributes = vec![
        text("service.name", format!("service-{number}")),
        text("service.instance.id", format!("{:016x}", mix(number))),
        text("k8s.pod.name", format!("service-{number}-5c9f8d7b6-x2x4z")),
        text("k8s.namespace.name", "production".to_owned()),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "go.opentelemetry.io/contrib".to_owned(), ..Default::default() })
}

fn attributes(row: u64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", ["GET", "POST", "PUT"][row as usize % 3].to_owned()),
        text("http.response.status_code", (200 + row % 5).to_string()),
        text("http.route", format!("/api/v1/items/{row}/{{id}}")),
        text("network.protocol.version", "1.1".to_owned()),
        text("server.address", format!("10.0.{row}.1")),
        text("url.scheme", "https".to_owned()),
    ]
}

fn numbers(tick: u64) -> ExportMetricsServiceRequest {
    let point = |number: u64, metric: u64, row: u64| {
        let series = (number * METRICS + metric) * POINTS + row;
        let value = if series.is_multiple_of(2) {
            (mix(series ^ (tick << 32)) >> 11) as f64 / (1_u64 << 53) as f64
        } else {
            (mix(series) % 100_000 + tick * (mix(series + 1) % 300)) as f64
        };
        m::NumberDataPoint {
            attributes: attributes(row),
            start_time_unix_nano: START_NS,
            time_unix_nano: START_NS + tick * 15_000_000_000 + number * 1_000_003,
            value: Some(m::number_data_point::Value::AsDouble(value)),
            ..Default::default()
        }
    };
    let metric = |number: u64, metric: u64| m::Metric {
        name: format!("http.server.metric.{metric}"),
        unit: "s".to_owned(),
        data: Some(m::metric::Data::Sum(m::Sum {
            data_points: (0..POINTS).map(|row| point(number, metric, row)).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    let resource_metrics = (0..RESOURCES).map(|number| m::ResourceMetrics {
        resource: resource(number),
        scope_metrics: vec![m::ScopeMetrics {
            scope: scope(),
            metrics: (0..METRICS).map(|at| metric(number, at)).collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }
}

fn spans(tick: u64, count: u64) -> ExportTraceServiceRequest {
    let span = |row: u64| {
        let unique = tick * count + row;
        let trace = unique / 4;
        let mut attributes = attributes(mix(unique) % 25);
        attributes.extend([
            text("url.path", format!("/api/v1/items/{}", mix(unique) % 1_000_000)),
            text("client.address", format!("10.1.{}.{}", mix(unique) >> 8 & 255, mix(unique) & 255)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".to_owned()),
            text("http.request.id", format!("{:016x}", mix(unique ^ 0xabcd))),
            text("thread.name", format!("worker-{}", mix(unique) % 16)),
            text("server.port", "443".to_owned()),
        ]);
        let start = START_NS + tick * 1_000_000_000 + row * 1_000_000_000 / count + mix(unique) % 1_000_000;
        let event = t::span::Event {
            time_unix_nano: start + mix(unique) % 100_000,
            name: "exception".to_owned(),
            attributes: vec![text("exception.type", "java.io.IOException".to_owned())],
            ..Default::default()
        };
        let trace_id = (u128::from(mix(trace)) << 64 | u128::from(mix(trace ^ 0x5555))).to_be_bytes().to_vec();
        let parent = if unique.is_multiple_of(4) { Vec::new() } else { mix(unique - 1).to_be_bytes().to_vec() };
        t::Span {
            trace_id,
            span_id: mix(unique).to_be_bytes().to_vec(),
            parent_span_id: parent,
            name: format!("GET /api/v1/items/{}", mix(unique) % 25),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 100_000 + mix(unique) % 5_000_000,
            attributes,
            events: if row.is_multiple_of(4) { vec![event] } else { Vec::new() },
            ..Default::default()
        }
    };
    let scope_spans =
        vec![t::ScopeSpans { scope: scope(), spans: (0..count).map(span).collect(), ..Default::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![t::ResourceSpans { resource: resource(1), scope_spans, ..Default::default() }],
    }
}
