//! PromQL over the store, beside Prometheus: the same samples, the same queries, answers compared first, then times.
//!
//! Samples go through [`Store::append`], are flushed every ten minutes of their own time and compacted after each
//! flush, as the ladder would do it; queries go through `weir_query`'s engine over a snapshot. `promtool` makes
//! Prometheus' blocks of the same samples (one per day, its best case), and Prometheus tells its own time
//! (`stats=all`, `execTotalTime`: parsing, reading, evaluating, without JSON); ours is the engine's call.
//!
//! ```text
//! World ─ticks─┬▶ Store::append ─▶ parts ─▶ Engine ──────┐
//!              └▶ OpenMetrics ─▶ promtool ─▶ Prometheus ─┴▶ compare, times
//! ```
//! | column | |
//! |---|---|
//! | first | the first time that a freshly opened store is asked: footers, series and checksums are read too |
//! | best | the fastest of the following runs |
//! | Prometheus | the fastest of as many runs |
//! | ns/sample | best, divided by the samples that the engine took |
//!
//! `query_store -- [--series 4000] [--histograms 500] [--hours 6] [--repeat 5] [--alone] [--only NAME]`.
//! `--fresh` neither merges nor flushes the last parts: 10-minute parts and a memtable.

mod world;

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use weir_promql::engine::QueryRange;
use weir_promql::options::EngineOptions;
use weir_promql::value::QueryOutput;
use weir_proto::Batch;
use weir_query::{Engine, EngineSettings, QueryContext};
use weir_store::{Clock, Signal, Store, StoreOptions, Tuning};

use weir_benches::prometheus::{self, Prometheus};
use world::{INTERVAL_MS, START_MS, Shape, World};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ticks in ten minutes.
const TICKS_PER_FLUSH: i64 = 600_000 / INTERVAL_MS;
/// Before the first step, so that ranges and lookbacks are full.
const LEAD_MS: i64 = 70 * 60_000;
const STEP_MS: i64 = 60_000;

/// What is measured.
#[derive(Parser)]
struct Args {
    /// Counters, and as many gauges as a quarter of them.
    #[arg(long, default_value_t = 4000)]
    series: usize,
    /// Classic histograms of 20 buckets each.
    #[arg(long, default_value_t = 500)]
    histograms: usize,
    /// Hours that the range queries look at; a sample every 15 s.
    #[arg(long, default_value_t = 6)]
    hours: i64,
    /// Runs of each query after the first; the fastest counts.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only ours, without Prometheus.
    #[arg(long)]
    alone: bool,
    /// Ten-minute parts that were not merged, and the last ones still in memory.
    #[arg(long)]
    fresh: bool,
    /// Only so many evaluating threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where stores and blocks are kept between runs; beside the built program unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A query over the whole range, or at its end.
enum Asked {
    Range,
    Instant,
}

const QUERIES: &[(&str, Asked, &str)] = &[
    ("plain selector", Asked::Range, "http_requests_total"),
    ("sum by(rate)", Asked::Range, "sum by (job) (rate(http_requests_total[5m]))"),
    ("histogram_quantile", Asked::Range, "histogram_quantile(0.95, sum by (le) (rate(request_seconds_bucket[5m])))"),
    ("topk", Asked::Range, "topk(10, rate(http_requests_total[5m]))"),
    ("avg of gauges", Asked::Range, "avg by (job) (memory_bytes)"),
    ("one target", Asked::Range, "rate(http_requests_total{instance=\"host-7\"}[5m])"),
    ("full scan", Asked::Range, "sum(count_over_time({__name__=~\".+\"}[15s]))"),
    ("up", Asked::Instant, "up"),
    ("count", Asked::Instant, "count(http_requests_total)"),
    ("count of all", Asked::Instant, "count({__name__=~\".+\"})"),
    ("topk now", Asked::Instant, "topk(10, rate(http_requests_total[5m]))"),
    ("increase of 1h", Asked::Instant, "sum by (job) (increase(http_requests_total[1h]))"),
];

#[expect(clippy::print_stdout, reason = "a bench tells its figures on its standard output")]
fn main() -> Result<()> {
    let args = Args::parse();
    let shape = Shape { counters: args.series, histograms: args.histograms };
    let ticks = (LEAD_MS + args.hours * 3_600_000) / INTERVAL_MS;
    let range = QueryRange { start_ms: START_MS + LEAD_MS, end_ms: START_MS + ticks * INTERVAL_MS, step_ms: STEP_MS };
    let clock = Arc::new(Ticking(AtomicI64::new(range.end_ms)));
    let name = format!("{}-{}-{}", args.series, args.histograms, args.hours);
    let dir = args.dir.clone().map_or_else(|| weir_benches::beside("query-store-data"), Ok)?;
    let folder = dir.join(format!("store-{name}{}", if args.fresh { "-fresh" } else { "" }));
    if !folder.exists() {
        fill(&args, shape, ticks, &folder, &clock)?;
    }
    clock.0.store(range.end_ms, Ordering::Relaxed);
    let began = Instant::now();
    let store = Store::open(options(&folder, &clock))?;
    println!("{} series, {ticks} samples each, opened in {:.0?}", World::new(shape).len(), began.elapsed());
    for part in store.status().parts.iter().filter(|parts| parts.signal == Signal::Metrics) {
        let per_sample = part.bytes as f64 / part.rows.max(1) as f64;
        println!("{} parts, {} files, {} samples, {per_sample:.3} bytes each", part.parts, part.files, part.rows);
    }
    let prometheus = match args.alone {
        true => None,
        false => Some(Prometheus::start(&blocks(&dir, &name, shape, ticks)?)?),
    };
    println!(
        "{:<20}{:>10}{:>10}{:>14}{:>9}{:>12}",
        "query", "first ms", "best ms", "Prometheus ms", "ratio", "ns/sample"
    );
    for query in QUERIES.iter().filter(|query| query.0.contains(&args.only)) {
        println!("{}", measured(&args, &store, query, range, prometheus.as_ref()).context(query.0)?);
    }
    drop(prometheus);
    store.shutdown()?;
    Ok(())
}

/// Asks one query both ways; a line of the table.
fn measured(
    args: &Args,
    store: &Store,
    (name, asked, query): &(&str, Asked, &str),
    range: QueryRange,
    prometheus: Option<&Prometheus>,
) -> Result<String> {
    let reopened = store.clone();
    let snapshots = Arc::new(move || reopened.snapshot());
    let promql = EngineOptions { samples_max: u64::MAX / 2, threads: args.threads, ..EngineOptions::default() };
    let engine = Engine::new(snapshots, EngineSettings { promql, ..EngineSettings::default() })?;
    let ask = || -> Result<(Duration, QueryOutput)> {
        let context = QueryContext { budget: engine.budget(), lookback_ms: None };
        let from = Instant::now();
        let output = match asked {
            Asked::Range => engine.range(query, range, &context)?,
            Asked::Instant => engine.instant(query, range.end_ms, &context)?,
        };
        Ok((from.elapsed(), output))
    };
    let (first, output) = ask()?;
    let mut best = Duration::MAX;
    for _ in 0..args.repeat {
        best = best.min(ask()?.0);
    }
    let ours = best.as_secs_f64() * 1e3;
    let samples = output.stats.samples_read;
    let (mut theirs, mut ratio) = (String::new(), String::new());
    if let Some(prometheus) = prometheus {
        let mut fastest = f64::MAX;
        for at in 0..=args.repeat {
            let (ms, result) = match asked {
                Asked::Range => prometheus.range(query, range)?,
                Asked::Instant => prometheus.instant(query, range.end_ms)?,
            };
            if at == 0 {
                prometheus::compare(&output.value, &result).context("answers differ")?;
            }
            fastest = fastest.min(ms);
        }
        theirs = format!("{fastest:.1}");
        ratio = format!("{:.1}x", fastest / ours);
    }
    let per_sample = best.as_nanos() as f64 / samples.max(1) as f64;
    let first = first.as_secs_f64() * 1e3;
    Ok(format!("{name:<20}{first:>10.1}{ours:>10.1}{theirs:>14}{ratio:>9}{per_sample:>12.1}"))
}

/// Makes the store in `folder`, through the door that senders use.
fn fill(args: &Args, shape: Shape, ticks: i64, folder: &Path, clock: &Arc<Ticking>) -> Result<()> {
    let making = folder.with_extension("making");
    if making.exists() {
        std::fs::remove_dir_all(&making)?;
    }
    let store = Store::open(options(&making, clock))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut world = World::new(shape);
    // `--fresh` leaves up to ten minutes in the memtable.
    let flushed = if args.fresh { ticks - TICKS_PER_FLUSH + 1 } else { ticks };
    for tick in 0..ticks {
        clock.0.store(START_MS + tick * INTERVAL_MS, Ordering::Relaxed);
        let batch = Batch { metrics: world.tick(tick), ..Batch::default() };
        runtime.block_on(store.append(batch, None))?;
        let due = (tick + 1) % TICKS_PER_FLUSH == 0 || tick + 1 == ticks;
        if due && tick < flushed {
            store.flush()?;
            if !args.fresh {
                store.compact()?;
            }
        }
    }
    // Without a flush: what is in the log alone is in memory again at the next start.
    drop(store);
    Ok(std::fs::rename(making, folder)?)
}

fn options(folder: &Path, clock: &Arc<Ticking>) -> StoreOptions {
    let day = Duration::from_secs(86_400);
    let clock: Arc<dyn Clock> = Arc::<Ticking>::clone(clock);
    StoreOptions {
        tuning: Tuning {
            metrics_flush_interval: day,
            traces_flush_interval: day,
            compact_interval: day,
            memtable_bytes_max: 4 << 30,
            ..Tuning::default()
        },
        compact_grace: Duration::ZERO,
        wal_bytes_max: 16 << 30,
        ..StoreOptions::new(folder, clock)
    }
}

/// The time of the samples, in ms.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed) * 1_000_000
    }
}

/// The folder of Prometheus' blocks, one per day; made where they are not there yet.
fn blocks(dir: &Path, name: &str, shape: Shape, ticks: i64) -> Result<PathBuf> {
    let data = dir.join(format!("prometheus-{name}"));
    if data.exists() {
        return Ok(data);
    }
    std::fs::create_dir_all(dir)?;
    let (text, making) = (dir.join("samples.om"), data.with_extension("making"));
    let mut out = BufWriter::new(std::fs::File::create(&text)?);
    World::new(shape).write_openmetrics(&mut out, ticks)?;
    out.flush()?;
    prometheus::blocks(&text, &making, true)?;
    std::fs::rename(making, &data)?;
    Ok(data)
}
