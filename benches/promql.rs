//! PromQL beside Prometheus: the same samples, the same queries, answers compared first, then times.
//!
//! ```text
//! data (a small cluster, slice by slice) ─┬─▶ text ─▶ promtool ─▶ blocks ─▶ Prometheus, over HTTP   promql/blocks.rs
//!                                         ├─▶ Store::append, flush, compact ─▶ StoreSource           promql/store.rs
//!                                         └─▶ memory (--memory: the engine alone)
//! ```
//! Prometheus tells its own time (`stats=all`, `execTotalTime`: parsing, reading, evaluating, without JSON); ours is
//! the engine's call. Both read compressed blocks and both have read them before: the fastest of some runs counts.
//! Blocks and store are kept in a folder between runs.
//!
//! `cargo run --release --bin promql -- [--series 4000] [--hours 24] [--memory] [--repeat 3]`
//!
//! Memory is shown twice: what the query reserved at most of its budget, and by how much the process grew while it
//! ran. The last line says which targets held.

#[path = "promql/blocks.rs"]
mod blocks;
#[path = "promql/data.rs"]
mod data;
#[path = "promql/panels.rs"]
mod panels;
#[path = "promql/store.rs"]
mod store;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use weir_benches::prometheus::{Prometheus, compare};
use weir_promql::engine::{Engine, QueryRange};
use weir_promql::memory::{MemorySample, MemorySource};
use weir_promql::options::{EngineOptions, QueryOptions};
use weir_promql::source::SeriesSource;
use weir_promql::value::{Point, QueryOutput};

use blocks::Blocks;
use data::{Cluster, INTERVAL_MS, SLICE, Series};
use panels::{PANELS, QUANTILE, QUANTILE_RATIO, SCAN, SCAN_NS, SUM_BY_RATE, SUM_BY_RATE_RATIO};
use store::Stored;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured.
#[derive(Parser)]
struct Args {
    /// Series of nodes and pods.
    #[arg(long, default_value_t = 4000)]
    series: usize,
    /// Buckets of classic histograms, beside them.
    #[arg(long, default_value_t = 10_000)]
    buckets: usize,
    /// Hours that the queries look at; a sample every 15 s.
    #[arg(long, default_value_t = 24)]
    hours: i64,
    /// Seconds between two points of an answer.
    #[arg(long, default_value_t = 60)]
    step: i64,
    /// Runs of each query; the fastest counts.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The engine over memory instead of the store.
    #[arg(long)]
    memory: bool,
    /// Only ours, without Prometheus.
    #[arg(long)]
    alone: bool,
    /// Only make the store and the blocks.
    #[arg(long)]
    prepare: bool,
    /// Where blocks and store are kept between runs; beside the built program unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Start of the samples: 22 November 2026, 00:00 UTC, where a block of two hours begins.
const START_MS: i64 = 1_795_305_600_000;
/// Samples before the first step, for windows that look back.
const LEAD_MS: i64 = 2 * 3_600_000;

/// Our side.
enum Ours {
    Memory(MemorySource),
    Store(Stored),
}

/// The figures of one query.
struct Figure {
    name: &'static str,
    ratio: f64,
    per_sample: f64,
}

#[expect(clippy::print_stdout, reason = "a bench tells its figures on its standard output")]
fn main() -> Result<()> {
    let args = Args::parse();
    let (ours, prometheus) = prepare(&args)?;
    if args.prepare {
        return Ok(());
    }
    let engine = Engine::new(EngineOptions {
        samples_max: u64::MAX / 2,
        timeout: Duration::from_secs(1200),
        ..EngineOptions::default()
    });
    println!(
        "{:<28}{:>10}{:>14}{:>8}{:>11}{:>10}{:>12}{:>12}",
        "query", "ours ms", "Prometheus ms", "ratio", "ns/sample", "M read", "reserved MB", "grown MB"
    );
    let mut figures = Vec::new();
    for panel in PANELS.iter().filter(|panel| panel.name.contains(&args.only)) {
        let (best, output, grown) = measure(&args, &engine, &ours, panel.query).context(panel.name)?;
        let ms = best.as_secs_f64() * 1e3;
        let read = output.stats.samples_read;
        let per_sample = best.as_nanos() as f64 / read.max(1) as f64;
        let theirs = match &prometheus {
            Some(prometheus) => peer(&args, prometheus, panel.query, &output).context(panel.name)?,
            None => f64::NAN,
        };
        let (reserved, read) = (output.stats.bytes_peak as f64 / 1e6, read as f64 / 1e6);
        println!(
            "{:<28}{ms:>10.1}{theirs:>14.1}{:>7.1}x{per_sample:>11.1}{read:>10.2}{reserved:>12.1}{grown:>12.1}",
            panel.name,
            theirs / ms
        );
        figures.push(Figure { name: panel.name, ratio: theirs / ms, per_sample });
    }
    println!("{}", verdict(&figures, prometheus.is_some()));
    if let Ours::Store(stored) = ours {
        stored.close()?;
    }
    Ok(())
}

fn range(args: &Args) -> QueryRange {
    let start_ms = START_MS + LEAD_MS;
    // The last samples lie behind their beat.
    QueryRange { start_ms, end_ms: start_ms + args.hours * 3_600_000 - 60_000, step_ms: args.step * 1000 }
}

/// Makes what is not there yet, and opens both sides.
#[expect(clippy::print_stdout, reason = "a bench tells its figures on its standard output")]
fn prepare(args: &Args) -> Result<(Ours, Option<Prometheus>)> {
    let dir = args.dir.clone().map_or_else(|| weir_benches::beside("promql-data"), Ok)?;
    let dir = dir.join(format!("{}-{}-{}", args.series, args.buckets, args.hours));
    std::fs::create_dir_all(&dir)?;
    let (stored, blocks) = (dir.join("store"), dir.join("prometheus"));
    let end_ms = START_MS + LEAD_MS + args.hours * 3_600_000;
    let mut cluster = Cluster::new(args.series, args.buckets);
    let mut memory = args.memory.then(MemorySource::new);
    // A folder that is not whole has no name yet.
    let unfinished = dir.join("unfinished");
    let mut store = match args.memory || stored.exists() {
        true => None,
        false => Some(Stored::open(&fresh(&unfinished.join("store"))?, START_MS)?),
    };
    let mut text = match args.alone || blocks.exists() {
        true => None,
        false => Some(Blocks::new(&fresh(&unfinished.join("prometheus"))?, &cluster.series)),
    };
    let slices = (end_ms - START_MS) / (INTERVAL_MS * SLICE as i64);
    if memory.is_some() || store.is_some() || text.is_some() {
        for slice in 0..slices {
            let start_ms = START_MS + slice * INTERVAL_MS * SLICE as i64;
            let values = cluster.next_slice();
            memory.iter_mut().for_each(|memory| append(memory, start_ms, &cluster.series, &values));
            store.iter_mut().try_for_each(|store| store.add(start_ms, &cluster.series, &values))?;
            text.iter_mut().try_for_each(|text| text.add(start_ms, &cluster.series, &values))?;
        }
    }
    if let Some(store) = store {
        store.close()?;
        std::fs::rename(unfinished.join("store"), &stored)?;
    }
    if let Some(mut text) = text {
        text.finish()?;
        let made = unfinished.join("prometheus");
        Prometheus::start(&made)?.settle(&made)?;
        std::fs::rename(made, &blocks)?;
    }
    let samples = cluster.series.len() as i64 * slices * SLICE as i64;
    let ours = match memory {
        Some(memory) => Ours::Memory(memory),
        None => Ours::Store(Stored::open(&stored, end_ms)?),
    };
    let kind = match &ours {
        Ours::Memory(_) => "in memory".to_owned(),
        Ours::Store(stored) => {
            let (parts, bytes) = stored.parts();
            format!(
                "in {parts} parts of {:.0} MB, {:.2} bytes a sample",
                bytes as f64 / 1e6,
                bytes as f64 / samples as f64
            )
        }
    };
    println!("{} series, {:.1} M samples, {kind}", cluster.series.len(), samples as f64 / 1e6);
    let prometheus = if args.alone || args.prepare { None } else { Some(Prometheus::start(&blocks)?) };
    Ok((ours, prometheus))
}

/// An empty folder.
fn fresh(dir: &std::path::Path) -> Result<PathBuf> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

fn append(memory: &mut MemorySource, start_ms: i64, series: &[Series], values: &[Vec<f64>]) {
    for (series, values) in series.iter().zip(values) {
        let sample = |(at, value): (usize, &f64)| MemorySample {
            t_ms: start_ms + INTERVAL_MS * at as i64 + series.offset_ms,
            start_ms: 0,
            point: Point::Float(*value),
        };
        memory.append(&series.labels, values.iter().enumerate().map(sample).collect());
    }
}

/// The fastest of some runs, the answer, and by how many MB the process grew at most.
fn measure(args: &Args, engine: &Engine, ours: &Ours, query: &str) -> Result<(Duration, QueryOutput, f64)> {
    let mut best: Option<(Duration, QueryOutput)> = None;
    let before = forget_peak()?;
    for _ in 0..args.repeat {
        let from = Instant::now();
        // The snapshot and the source are part of a query, as they are behind HTTP.
        let stored = match ours {
            Ours::Memory(_) => None,
            Ours::Store(stored) => Some(stored.source()),
        };
        let source: &dyn SeriesSource = match (ours, &stored) {
            (Ours::Memory(memory), _) => memory,
            (Ours::Store(_), stored) => stored.as_ref().context("opened above")?,
        };
        let output = engine.range(source, query, range(args), &QueryOptions::default())?;
        let took = from.elapsed();
        if best.as_ref().is_none_or(|(best, _)| took < *best) {
            best = Some((took, output));
        }
    }
    let (took, output) = best.context("no run")?;
    Ok((took, output, resident("VmHWM:")? - before))
}

/// The fastest of some runs of the peer in ms, after its first answer was compared with ours.
fn peer(args: &Args, prometheus: &Prometheus, query: &str, output: &QueryOutput) -> Result<f64> {
    let mut best = f64::MAX;
    for at in 0..args.repeat {
        let (ms, result) = prometheus.range(query, range(args))?;
        best = best.min(ms);
        if at == 0 {
            compare(&output.value, &result).context("answers differ")?;
        }
    }
    Ok(best)
}

/// Begins to watch the peak of resident memory anew; what is resident now, in MB.
fn forget_peak() -> Result<f64> {
    std::fs::write("/proc/self/clear_refs", "5")?;
    resident("VmRSS:")
}

/// A line of the process' status, in MB.
fn resident(line: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)).context("Linux tells it")?;
    Ok(found.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}

/// Which targets held.
fn verdict(figures: &[Figure], compared: bool) -> String {
    let held = |holds: bool| if holds { "held" } else { "MISSED" };
    let of = |name: &str| figures.iter().find(|figure| figure.name == name);
    let mut told = Vec::new();
    if compared {
        let slower: Vec<&str> = figures.iter().filter(|figure| figure.ratio < 1.0).map(|figure| figure.name).collect();
        told.push(format!("never slower: {} {}", held(slower.is_empty()), slower.join(", ")).trim_end().to_owned());
        for (name, least) in [(SUM_BY_RATE, SUM_BY_RATE_RATIO), (QUANTILE, QUANTILE_RATIO)] {
            let told_of =
                |figure: &Figure| format!("{name} >= {least}x: {} ({:.1}x)", held(figure.ratio >= least), figure.ratio);
            told.extend(of(name).map(told_of));
        }
    }
    told.extend(of(SCAN).map(|figure| {
        format!("{SCAN} <= {SCAN_NS} ns/sample: {} ({:.1})", held(figure.per_sample <= SCAN_NS), figure.per_sample)
    }));
    told.join("; ")
}
