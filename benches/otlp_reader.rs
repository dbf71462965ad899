//! Times `weir_proto::otlp`: points and spans per second on one thread, beside prost's decoding of the same bytes in
//! the same run. Ratios hold on a noisy machine, nanoseconds do not.
//!
//! `cargo run --release --bin otlp_reader`

use std::hint::black_box;
use std::io::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as t;
use prost::Message;
use weir_proto::otlp::{MetricsReader, ReaderLimits, TracesReader};
use weir_proto::{MetricBatch, SpanBatch};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each line is timed.
const ROUND: Duration = Duration::from_millis(700);
const RESOURCES: u64 = 20;
const METRICS: u64 = 10;
const POINTS: u64 = 25;
const SPANS: u64 = 512;

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let numbers: Vec<Vec<u8>> = (0..8).map(|tick| numbers(RESOURCES, tick)).collect();
    let points = (RESOURCES * METRICS * POINTS) as f64;
    let size = numbers[0].len() as f64 / points;
    writeln!(out, "number points: {points} a request, {size:.0} B each")?;
    let prost = time(|tick| drop(black_box(ExportMetricsServiceRequest::decode(&numbers[tick % 8][..]))));
    let mut reader = MetricsReader::new(ReaderLimits::default());
    let known = time(|tick| metrics(&mut reader, &numbers[tick % 8]));
    let first = time(|tick| metrics(&mut MetricsReader::new(ReaderLimits::default()), &numbers[tick % 8]));
    line(&mut out, "prost decode", points, prost, prost)?;
    line(&mut out, "weir, series known", points, known, prost)?;
    line(&mut out, "weir, first sight", points, first, prost)?;

    // A million series come in forty requests, as from forty senders; each tick visits every series once.
    for (requests, name) in [(4, "weir, 100 k series known"), (40, "weir, 1 M series known")] {
        let bodies: Vec<_> = (0..requests).map(|at| numbers_of(at * 100..(at + 1) * 100, 1)).collect();
        let mut reader = MetricsReader::new(ReaderLimits { series_remembered_max: 2_000_000, ..Default::default() });
        let known = time(|_| bodies.iter().for_each(|body| metrics(&mut reader, body)));
        line(&mut out, name, points * 5.0 * requests as f64, known, prost * 5.0 * requests as f64)?;
    }

    let histograms: Vec<Vec<u8>> = (0..4).map(histograms).collect();
    let points = (RESOURCES * POINTS) as f64;
    writeln!(out, "explicit histograms: {:.0} B each", histograms[0].len() as f64 / points)?;
    let prost = time(|tick| drop(black_box(ExportMetricsServiceRequest::decode(&histograms[tick % 4][..]))));
    let mut reader = MetricsReader::new(ReaderLimits::default());
    let known = time(|tick| metrics(&mut reader, &histograms[tick % 4]));
    line(&mut out, "prost decode", points, prost, prost)?;
    line(&mut out, "weir", points, known, prost)?;

    let spans: Vec<Vec<u8>> = (0..8).map(spans).collect();
    let count = SPANS as f64;
    writeln!(out, "spans: {SPANS} a request, {:.0} B each", spans[0].len() as f64 / count)?;
    let prost = time(|tick| drop(black_box(ExportTraceServiceRequest::decode(&spans[tick % 8][..]))));
    let mut reader = TracesReader::new(ReaderLimits::default());
    let weir = time(|tick| {
        let mut batch = SpanBatch::default();
        reader.read(&spans[tick % 8], &mut batch).expect("the bench's own bytes are good");
        black_box(batch.len());
    });
    line(&mut out, "prost decode", count, prost, prost)?;
    line(&mut out, "weir", count, weir, prost)
}

fn metrics(reader: &mut MetricsReader, body: &[u8]) {
    let mut batch = MetricBatch::default();
    reader.read(body, &mut batch).expect("the bench's own bytes are good");
    black_box(batch.points());
}

/// Seconds that one call takes: the best, since others use the machine too.
fn time(mut work: impl FnMut(usize)) -> f64 {
    for tick in 0..8 {
        work(tick);
    }
    let (began, mut best, mut tick) = (Instant::now(), f64::MAX, 0);
    while began.elapsed() < ROUND {
        let call = Instant::now();
        work(tick);
        tick += 1;
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

fn line(out: &mut impl Write, name: &str, rows: f64, seconds: f64, prost: f64) -> anyhow::Result<()> {
    let (each, rate) = (seconds / rows * 1e9, rows / seconds / 1e6);
    writeln!(out, "  {name:<26} {each:8.1} ns each {rate:8.2} M/s {:6.1} x prost", prost / seconds)?;
    Ok(())
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..Default::default()
    }
}

fn resource(number: u64) -> Option<Resource> {
    let attributes = vec![
        text("service.name", format!("service-{number}")),
        text("service.instance.id", format!("instance-{number}-0a1b2c3d")),
        text("k8s.pod.name", format!("service-{number}-5c9f8d7b6-x2x4z")),
        text("k8s.namespace.name", "production".to_owned()),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "go.opentelemetry.io/contrib".to_owned(), ..Default::default() })
}

fn attributes(point: u64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", ["GET", "POST", "PUT"][point as usize % 3].to_owned()),
        text("http.response.status_code", (200 + point % 5).to_string()),
        text("http.route", format!("/api/v1/items/{point}/{{id}}")),
        text("network.protocol.version", "1.1".to_owned()),
        text("server.address", format!("10.0.{point}.1")),
        text("url.scheme", "https".to_owned()),
    ]
}

fn request(resources: Range<u64>, data: impl Fn(u64, u64) -> m::metric::Data, metrics: u64) -> Vec<u8> {
    let resource_metrics = resources.map(|number| m::ResourceMetrics {
        resource: resource(number),
        scope_metrics: vec![m::ScopeMetrics {
            scope: scope(),
            metrics: (0..metrics)
                .map(|metric| m::Metric {
                    name: format!("http.server.metric.{metric}"),
                    unit: "s".to_owned(),
                    data: Some(data(number, metric)),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }.encode_to_vec()
}

fn numbers(resources: u64, tick: u64) -> Vec<u8> {
    numbers_of(0..resources, tick)
}

fn numbers_of(resources: Range<u64>, tick: u64) -> Vec<u8> {
    let time = 1_700_000_000_000_000_000 + tick * 15_000_000_000;
    let data = |number: u64, metric: u64| {
        let data_points = (0..POINTS).map(|point| m::NumberDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: 1_700_000_000_000_000_000,
            time_unix_nano: time,
            value: Some(m::number_data_point::Value::AsDouble((number * metric + point * tick) as f64 * 0.37)),
            ..Default::default()
        });
        m::metric::Data::Sum(m::Sum {
            data_points: data_points.collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })
    };
    request(resources, data, METRICS)
}

fn histograms(tick: u64) -> Vec<u8> {
    let data = |number: u64, _| {
        let data_points = (0..POINTS).map(|point| m::HistogramDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: 1_700_000_000_000_000_000,
            time_unix_nano: 1_700_000_000_000_000_000 + tick,
            count: 16 * (tick + number),
            sum: Some(tick as f64 * 0.1),
            bucket_counts: vec![tick + number; 16],
            explicit_bounds: (1..16).map(f64::from).collect(),
            min: Some(0.1),
            max: Some(9.0),
            ..Default::default()
        });
        m::metric::Data::Histogram(m::Histogram { data_points: data_points.collect(), aggregation_temporality: 2 })
    };
    request(0..RESOURCES, data, 1)
}

fn spans(tick: u64) -> Vec<u8> {
    let span = |number: u64| {
        let unique = tick * SPANS + number;
        let mut attributes = attributes(number % 25);
        attributes.extend([
            text("url.path", format!("/api/v1/items/{}", unique % 40)),
            text("client.address", format!("10.1.{}.{}", unique % 250, number % 250)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".to_owned()),
            text("http.request.id", format!("{:016x}", unique.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            text("thread.name", format!("worker-{}", number % 16)),
            text("server.port", "443".to_owned()),
        ]);
        let event = t::span::Event {
            time_unix_nano: 1_700_000_000_000_000_500,
            name: "exception".to_owned(),
            attributes: vec![text("exception.type", "java.io.IOException".to_owned())],
            ..Default::default()
        };
        t::Span {
            trace_id: (u128::from(unique) + 1).to_be_bytes().to_vec(),
            span_id: (unique + 1).to_be_bytes().to_vec(),
            parent_span_id: (unique + 2).to_be_bytes().to_vec(),
            name: format!("GET /api/v1/items/{}", number % 25),
            kind: 2,
            start_time_unix_nano: 1_700_000_000_000_000_000 + unique,
            end_time_unix_nano: 1_700_000_000_000_900_000 + unique,
            attributes,
            events: if number.is_multiple_of(4) { vec![event] } else { Vec::new() },
            ..Default::default()
        }
    };
    let scope_spans =
        vec![t::ScopeSpans { scope: scope(), spans: (0..SPANS).map(span).collect(), ..Default::default() }];
    let resource_spans = vec![t::ResourceSpans { resource: resource(1), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
