//! Times and sizes `weir_store`'s spans: bytes a span on disk beside OTLP with zstd-3 of the same spans in the same
//! run, spans encoded per second, and what it takes to find one trace, or the traces of a service. Ratios hold on a
//! noisy machine, milliseconds do not.
//!
//! `cargo run --release -p weir-benches --bin spans [TRACES]` (50,000 traces are a million spans)

mod shop;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use weir_proto::SpanBatch;
use weir_proto::otlp::{ReaderLimits, TracesReader};
use weir_red::{RedLimits, RedReducer};
use weir_store::{
    Part, PartEntry, ServiceSearch, SpanMemtable, SpanPart, TraceOrder, TracesView, merge_span_parts, write_span_parts,
};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Memtables that the spans are flushed from, so that there is something to merge.
const FLUSHES: usize = 8;
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

    let dir = std::env::temp_dir().join(format!("weir-bench-spans-{}", std::process::id()));
    let measured = store(&mut out, &dir, batches, &shop, compressed);
    std::fs::remove_dir_all(&dir).context("removing the parts")?;
    measured
}

fn store(
    out: &mut impl Write,
    dir: &Path,
    batches: Vec<SpanBatch>,
    shop: &shop::Shop,
    otlp_bytes: usize,
) -> anyhow::Result<()> {
    let spans = shop.spans as f64;
    let per_flush = batches.len().div_ceil(FLUSHES);
    let mut memtables: Vec<SpanMemtable> = (0..FLUSHES).map(|_| SpanMemtable::default()).collect();
    let ((), took) = timed(|| {
        for (at, batch) in batches.into_iter().enumerate() {
            memtables[at / per_flush].insert(batch);
        }
    });
    rate(out, "insert", spans, took)?;
    let memory: u64 = memtables.iter().map(SpanMemtable::bytes).sum();
    writeln!(out, "memtable             {:>8.1} B/span", memory as f64 / spans)?;
    let mut id = 0;
    let mut new_id = || {
        id += 1;
        format!("{id:026}")
    };
    let (entries, took) = timed(|| {
        memtables.iter().map(|memtable| write_span_parts(dir, memtable, 0, &mut new_id)).collect::<Result<Vec<_>, _>>()
    });
    let entries: Vec<PartEntry> = entries?.into_iter().flatten().collect();
    rate(out, "flush", spans, took)?;
    sizes(out, "fresh parts", &entries, spans, otlp_bytes)?;
    memtables.clear();
    let open = |entries: Vec<PartEntry>| -> Vec<Arc<SpanPart>> {
        entries.into_iter().map(|entry| Arc::new(SpanPart::new(Part::new(dir, entry)))).collect()
    };
    let fresh = open(entries);
    lookups(out, "fresh parts", &TracesView { memtables: Vec::new(), parts: fresh.clone() }, shop)?;
    let (entry, took) = timed(|| merge_span_parts(dir, &fresh, 1, new_id()));
    rate(out, "merge", spans, took)?;
    let entry = entry?.context("a merge of parts is a part")?;
    sizes(out, "merged part", std::slice::from_ref(&entry), spans, otlp_bytes)?;
    lookups(out, "merged part", &TracesView { memtables: Vec::new(), parts: open(vec![entry]) }, shop)
}

fn sizes(out: &mut impl Write, what: &str, entries: &[PartEntry], spans: f64, otlp_bytes: usize) -> anyhow::Result<()> {
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    write!(
        out,
        "{what:<20} {:>8.1} B/span, {:.2} of OTLP+zstd-3 (",
        bytes as f64 / spans,
        bytes as f64 / otlp_bytes as f64
    )?;
    for table in ["spans", "traces", "resources"] {
        let files = entries.iter().flat_map(|entry| &entry.files).filter(|file| file.name.starts_with(table));
        write!(out, " {table} {:.2}", files.map(|file| file.bytes).sum::<u64>() as f64 / spans)?;
    }
    Ok(writeln!(out, " )")?)
}

fn lookups(out: &mut impl Write, what: &str, view: &TracesView, shop: &shop::Shop) -> anyhow::Result<()> {
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
