//! Times and sizes `weir_store`'s spans: bytes a span on disk beside OTLP with zstd-3 of the same spans in the same
//! run, spans encoded per second, and what it takes to find one trace, or the traces of a service. Ratios hold on a
//! noisy machine, milliseconds do not.
//!
//! `cargo run --release --bin spans [TRACES]` (50,000 traces are a million spans)

mod shop;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use weir_proto::otlp::{ReaderLimits, TracesReader};
use weir_proto::{Batch, SpanBatch};
use weir_red::{RedLimits, RedReducer};
use weir_store::{Clock, ServiceSearch, Store, StoreOptions, TraceOrder, Tuning};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Flushes, as many as the compactor makes one part of.
const FLUSHES: usize = 4;
/// Traces looked up.
const LOOKUPS: usize = 200;

fn main() -> anyhow::Result<()> {
    let traces = std::env::args().nth(1).map_or(Ok(50_000), |traces| traces.parse())?;
    let mut out = std::io::stdout().lock();
    let shop = shop::Shop::generate(traces);
    let spans = shop.spans as f64;
    writeln!(out, "{} spans, {traces} traces, {} requests", shop.spans, shop.requests.len())?;

    let bodies: Vec<Vec<u8>> = shop.requests.iter().map(Message::encode_to_vec).collect();
    let raw: usize = bodies.iter().map(Vec::len).sum();
    let compressed = bodies.iter().map(|body| zstd::bulk::compress(body, 3).map(|body| body.len()));
    let compressed: usize = compressed.sum::<Result<usize, _>>()?;
    writeln!(out, "OTLP                 {:>8.1} B/span", raw as f64 / spans)?;
    writeln!(out, "OTLP, zstd-3         {:>8.1} B/span", compressed as f64 / spans)?;

    let mut reader = TracesReader::new(ReaderLimits::default());
    let (batches, took) = timed(|| {
        bodies
            .iter()
            .map(|body| {
                let mut batch = SpanBatch::default();
                reader.read(body, &mut batch).map(|_| batch)
            })
            .collect::<Result<Vec<SpanBatch>, _>>()
    });
    let batches = batches?;
    rate(&mut out, "read", spans, took)?;
    let mut red = RedReducer::new(RedLimits::default());
    let (points, took) = timed(|| {
        batches
            .iter()
            .map(|batch| {
                let mut metrics = weir_proto::MetricBatch::default();
                red.observe(batch, 1_700_000_000_000_000_000, &mut metrics);
                metrics.points()
            })
            .sum::<usize>()
    });
    rate(&mut out, &format!("RED, {points} points"), spans, took)?;

    store(&mut out, batches, &shop, compressed)
}

/// Takes the spans into a store of their own in several flushes, merges these, and reads from both.
fn store(out: &mut impl Write, batches: Vec<SpanBatch>, shop: &shop::Shop, otlp_bytes: usize) -> anyhow::Result<()> {
    let spans = shop.spans as f64;
    let dir = tempfile::tempdir()?;
    let options = StoreOptions {
        tuning: Tuning {
            traces_flush_interval: Duration::from_secs(86_400),
            compact_interval: Duration::from_secs(86_400),
            ..Tuning::default()
        },
        compact_grace: Duration::ZERO,
        ..StoreOptions::new(dir.path(), Arc::new(Stopped))
    };
    let store = Store::open(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut appending, mut flushing) = (Duration::ZERO, Duration::ZERO);
    let per_flush = batches.len().div_ceil(FLUSHES);
    let mut batches = batches.into_iter().peekable();
    while batches.peek().is_some() {
        let began = Instant::now();
        for spans in batches.by_ref().take(per_flush) {
            runtime.block_on(store.append(Batch { spans, ..Batch::default() }, None))?;
        }
        appending += began.elapsed();
        let (flushed, took) = timed(|| store.flush());
        flushed?;
        flushing += took;
    }
    rate(out, "append, one by one", spans, appending)?;
    rate(out, "flush", spans, flushing)?;
    sizes(out, "fresh parts", &store, spans, otlp_bytes)?;
    lookups(out, "fresh parts", &store, shop)?;
    let (compacted, took) = timed(|| store.compact());
    compacted?;
    rate(out, "merge", spans, took)?;
    sizes(out, "merged part", &store, spans, otlp_bytes)?;
    lookups(out, "merged part", &store, shop)?;
    Ok(store.shutdown()?)
}

/// The clock of an hour after the first span, so that their day is not over.
struct Stopped;

impl Clock for Stopped {
    fn now_ns(&self) -> i64 {
        1_700_003_600_000_000_000
    }
}

fn sizes(out: &mut impl Write, what: &str, store: &Store, spans: f64, otlp_bytes: usize) -> anyhow::Result<()> {
    let snapshot = store.snapshot();
    let entries = || snapshot.traces.parts.iter().map(|part| part.entry());
    let bytes: u64 = entries().map(|entry| entry.bytes).sum();
    let of_otlp = bytes as f64 / otlp_bytes as f64;
    write!(out, "{what:<20} {:>8.1} B/span, {of_otlp:.2} of OTLP+zstd-3 (", bytes as f64 / spans)?;
    for table in ["spans", "traces", "resources"] {
        let files = entries().flat_map(|entry| &entry.files).filter(|file| file.name.starts_with(table));
        write!(out, " {table} {:.2}", files.map(|file| file.bytes).sum::<u64>() as f64 / spans)?;
    }
    Ok(writeln!(out, " )")?)
}

fn lookups(out: &mut impl Write, what: &str, store: &Store, shop: &shop::Shop) -> anyhow::Result<()> {
    let snapshot = store.snapshot();
    let view = &snapshot.traces;
    view.trace([0xff; 16]).context("warming up: filters, footers")?;
    let mut times = Vec::with_capacity(LOOKUPS);
    for lookup in 0..LOOKUPS {
        let trace_id = shop.trace_ids[lookup * 7_919 % shop.trace_ids.len()];
        let (trace, took) = timed(|| view.trace(trace_id));
        trace?.context("a trace that was written is found")?;
        times.push(took);
    }
    quantiles(out, &format!("trace by id, {what}"), times)?;
    for (name, order) in [("recent", TraceOrder::Recent), ("slow", TraceOrder::Slow), ("failed", TraceOrder::Failed)] {
        let mut times = Vec::new();
        for service in shop.services.iter().cycle().take(20) {
            let search = ServiceSearch {
                service: service.clone(),
                namespace: None,
                order,
                from_ns: i64::MIN,
                to_ns: i64::MAX,
                limit: 20,
            };
            let (found, took) = timed(|| view.of_service(&search));
            found?;
            times.push(took);
        }
        quantiles(out, &format!("20 {name} of a service"), times)?;
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

fn rate(out: &mut impl Write, what: &str, spans: f64, took: Duration) -> anyhow::Result<()> {
    let (thousands, each) = (spans / took.as_secs_f64() / 1e3, took.as_secs_f64() * 1e9 / spans);
    Ok(writeln!(out, "{what:<20} {thousands:>8.0} k spans/s, {each:.0} ns a span")?)
}

fn quantiles(out: &mut impl Write, what: &str, mut times: Vec<Duration>) -> anyhow::Result<()> {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    Ok(writeln!(out, "{what:<32} p50 {:>7.2} ms, p95 {:>7.2} ms", at(50), at(95))?)
}
