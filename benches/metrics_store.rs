//! Bytes per sample of `weir_store`'s metrics parts, beside Prometheus' blocks of the same samples in the same run,
//! and how fast they are taken, flushed and read.
//!
//! | set | what it shows |
//! |---|---|
//! | scraped, aligned | one node_exporter, 240 scrapes stamped with their 15 s beat |
//! | scraped, jittered | the same, each scrape some milliseconds late |
//! | scraped, churn | jittered, and each series misses 2 % of its scrapes by itself: few timelines are shared |
//! | otlp | 20 senders of 40 instruments, each instrument some microseconds after the one before it |
//!
//! `metrics_store` starts Debian's prometheus-node-exporter on a free port and scrapes it 240 times, a quarter of a
//! second apart, as if they were 15 s apart: values then change less from sample to sample than they would, for both
//! sides. `metrics_store --real` scrapes every 15 s for an hour. `metrics_store PAGE…` reads files with successive
//! pages of one target instead. Blocks are made by Debian's promtool; without it their column stays empty.
//! Prometheus keeps milliseconds, so the otlp set loses its nanoseconds there and not here.
//!
//! `merged` and `flushed` count every file of the live parts: series, timelines, samples, exemplars, footers and all.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use weir_benches::chance::Chance;
use weir_proto::exposition::{Page, PageReader, TargetIdentity};
use weir_proto::identity::SeriesParts;
use weir_proto::prometheus::{Promotion, translate};
use weir_proto::{Attributes, Batch, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality};
use weir_store::{Clock, Signal, Store, StoreOptions, Tuning};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCRAPES: usize = 240;
const INTERVAL_NS: i64 = 15_000_000_000;
/// 2026-11-22T10:00:00Z: an hour within one block of Prometheus.
const START_NS: i64 = 1_795_341_600_000_000_000;
/// How long the exporter has to begin to listen.
const EXPORTER_START: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Parser)]
struct Args {
    /// Scrapes every 15 s for an hour, instead of every quarter second for a minute.
    #[arg(long)]
    real: bool,
    /// Keeps the scraped pages in this folder, to be read again.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Successive pages of one target; without them node_exporter is started and scraped.
    pages: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let args = Args::parse();
    let pages = if args.pages.is_empty() {
        let every = if args.real { Duration::from_secs(15) } else { Duration::from_millis(250) };
        writeln!(out, "node_exporter, {SCRAPES} scrapes {every:?} apart, stored as 15s apart")?;
        scrape_exporter(every)?
    } else {
        writeln!(out, "{} pages from files, stored as 15s apart", args.pages.len())?;
        args.pages.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?
    };
    if let Some(folder) = args.keep {
        for (at, page) in pages.iter().enumerate() {
            std::fs::write(folder.join(format!("{at:03}.txt")), page)?;
        }
    }
    let mut chance = Chance(7);
    let jitter: Vec<i64> = pages.iter().map(|_| 1_000_000 * [0, 1, 1, 1, 2, 3, 7, 13][chance.index(8)]).collect();
    writeln!(
        out,
        "{:<20}{:>10}{:>8} | {:>9}{:>9}{:>9} | {:>11}{:>9} | {:>9}{:>9}{:>9}",
        "set", "samples", "series", "flushed", "merged", "series", "prometheus", "index", "append", "flush", "read"
    )?;
    writeln!(out, "{:<39} | {:>27} | {:>20} | {:>27}", "", "bytes per sample", "bytes per sample", "ns per sample")?;
    measure(&mut out, "scraped, aligned", &scraped(&pages, &vec![0; pages.len()])?)?;
    let jittered = scraped(&pages, &jitter)?;
    measure(&mut out, "scraped, jittered", &jittered)?;
    measure(&mut out, "scraped, churn", &with_gaps(&jittered, &mut chance))?;
    measure(&mut out, "otlp", &otlp(&mut chance))
}

/// Stores `batches`, one per scrape, in six flushes; prints one line.
fn measure(out: &mut impl Write, name: &str, batches: &[MetricBatch]) -> anyhow::Result<()> {
    let samples: usize = batches.iter().map(MetricBatch::points).sum();
    let dir = tempfile::tempdir()?;
    let options = StoreOptions {
        tuning: Tuning {
            metrics_flush_interval: Duration::from_secs(86_400),
            compact_interval: Duration::from_secs(86_400),
            ..Tuning::default()
        },
        compact_grace: Duration::ZERO,
        ..StoreOptions::new(dir.path(), Arc::new(Stopped))
    };
    let store = Store::open(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut appending, mut flushing) = (Duration::ZERO, Duration::ZERO);
    for tenth in batches.chunks(batches.len().div_ceil(6)) {
        let began = Instant::now();
        for batch in tenth {
            let batch = Batch { metrics: batch.clone(), ..Batch::default() };
            runtime.block_on(store.append(batch, None))?;
        }
        appending += began.elapsed();
        let began = Instant::now();
        store.flush()?;
        flushing += began.elapsed();
    }
    let flushed = metric_bytes(&store);
    store.compact()?;
    store.compact()?;
    let merged = metric_bytes(&store);
    let (series, series_bytes) = series_of(&store)?;
    let began = Instant::now();
    let read = read_all(&store)?;
    let reading = began.elapsed();
    if read != samples {
        bail!("{read} samples came back of {samples}");
    }
    store.shutdown()?;
    let per = |bytes: u64| bytes as f64 / samples as f64;
    let ns = |time: Duration| time.as_nanos() as f64 / samples as f64;
    write!(
        out,
        "{name:<20}{samples:>10}{series:>8} | {:>9.3}{:>9.3}{:>9.3} | ",
        per(flushed),
        per(merged),
        per(series_bytes)
    )?;
    match prometheus_blocks(batches)? {
        Some((chunks, index)) => write!(out, "{:>11.3}{:>9.3}", per(chunks + index), per(index))?,
        None => write!(out, "{:>20}", "no promtool")?,
    }
    writeln!(out, " | {:>9.0}{:>9.0}{:>9.0}", ns(appending), ns(flushing), ns(reading))?;
    Ok(())
}

/// The clock of an hour after the samples, so that their day is not over.
struct Stopped;

impl Clock for Stopped {
    fn now_ns(&self) -> i64 {
        START_NS + 3_600_000_000_000
    }
}

fn metric_bytes(store: &Store) -> u64 {
    store.status().parts.iter().filter(|parts| parts.signal == Signal::Metrics).map(|parts| parts.bytes).sum()
}

/// Distinct series of the parts, and the bytes of their series tables.
fn series_of(store: &Store) -> anyhow::Result<(usize, u64)> {
    let (mut series, mut bytes) = (0, 0);
    for partition in &store.snapshot().metrics {
        series = series.max(partition.series_index()?.len());
        let part = partition.part().context("everything was flushed")?;
        let table = part.entry().files.iter().find(|file| file.name == "series.parquet");
        bytes += table.map_or(0, |table| table.bytes);
    }
    Ok((series, bytes))
}

fn read_all(store: &Store) -> anyhow::Result<usize> {
    let mut samples = 0;
    for partition in &store.snapshot().metrics {
        let index = partition.series_index()?;
        for chunk in partition.numbers(index.all(), i64::MIN, i64::MAX) {
            samples += chunk?.values.len();
        }
    }
    Ok(samples)
}

/// Reads the pages as scrapes at their beats plus `late`.
fn scraped(pages: &[String], late: &[i64]) -> anyhow::Result<Vec<MetricBatch>> {
    let attributes = vec![KeyValue::new("service.name", "node"), KeyValue::new("service.instance.id", "host:9100")];
    let mut reader = PageReader::new(TargetIdentity {
        resource: Arc::new(Resource { attributes: Attributes::new(attributes) }),
        labels: Vec::new(),
        honor_labels: false,
        honor_timestamps: true,
    });
    let mut batches = Vec::with_capacity(pages.len());
    for (at, (body, late)) in (0..).zip(pages.iter().zip(late)) {
        let mut batch = MetricBatch::default();
        let at_ns = START_NS + at * INTERVAL_NS + late;
        let page = Page { body: body.as_bytes(), content_type: "text/plain; version=0.0.4", at_ns };
        reader.read(&page, None, &mut batch)?;
        batches.push(batch);
    }
    Ok(batches)
}

/// The same without 2 % of the samples.
fn with_gaps(batches: &[MetricBatch], chance: &mut Chance) -> Vec<MetricBatch> {
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut thin = MetricBatch { series: batch.series.clone(), ..MetricBatch::default() };
        for (at, &series) in batch.numbers.series.iter().enumerate() {
            if chance.below(50) > 0 {
                push(&mut thin, series, batch.numbers.time_ns[at], batch.numbers.start_ns[at], batch.numbers.value[at]);
            }
        }
        kept.push(thin);
    }
    kept
}

/// 20 senders, 40 instruments of 10 attribute sets; every instrument is read 3 to 50 microseconds after the last.
fn otlp(chance: &mut Chance) -> Vec<MetricBatch> {
    let senders: Vec<Vec<Arc<SeriesIdentity>>> = (0..20).map(sender).collect();
    let offsets: Vec<i64> = (0..20).map(|_| chance.below(15_000) as i64 * 1_000_000).collect();
    let mut totals = vec![0.0; 20 * 400];
    let mut batches = Vec::new();
    for tick in 0..SCRAPES as i64 {
        for (at, series) in senders.iter().enumerate() {
            let mut batch = MetricBatch { series: series.clone(), ..MetricBatch::default() };
            let mut time = START_NS + tick * INTERVAL_NS + offsets[at] + chance.below(3_000_000) as i64;
            for row in 0..series.len() {
                if row % 10 == 0 {
                    time += 3_000 + chance.below(47_000) as i64;
                }
                let total = &mut totals[at * 400 + row];
                *total += chance.below(if row % 3 == 0 { 1 } else { 40 }) as f64;
                push(&mut batch, u32::try_from(row).unwrap_or(0), time, START_NS, *total);
            }
            batches.push(batch);
        }
    }
    batches
}

fn sender(number: usize) -> Vec<Arc<SeriesIdentity>> {
    let attributes = vec![
        KeyValue::new("service.name", format!("service-{}", number % 5)),
        KeyValue::new("service.instance.id", format!("instance-{number}")),
        KeyValue::new("telemetry.sdk.language", "java"),
    ];
    let resource = Arc::new(Resource { attributes: Attributes::new(attributes) });
    let scope = Arc::new(Scope { name: "io.example.http".into(), ..Scope::default() });
    (0..400)
        .map(|row| {
            let attributes = vec![KeyValue::new("http.route", format!("/route/{}", row % 10))];
            Arc::new(SeriesIdentity::new(SeriesParts {
                name: format!("instrument.{:02}.requests", row / 10).into(),
                unit: "{request}".into(),
                kind: MetricKind::Counter,
                temporality: Temporality::Cumulative,
                resource: Arc::clone(&resource),
                scope: Arc::clone(&scope),
                attributes: Attributes::new(attributes),
            }))
        })
        .collect()
}

fn push(batch: &mut MetricBatch, series: u32, time: i64, start: i64, value: f64) {
    batch.numbers.series.push(series);
    batch.numbers.time_ns.push(time);
    batch.numbers.start_ns.push(start);
    batch.numbers.value.push(value);
}

/// Bytes of chunks (with tombstones and meta) and of the index of the blocks that promtool makes of the same samples.
fn prometheus_blocks(batches: &[MetricBatch]) -> anyhow::Result<Option<(u64, u64)>> {
    if Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let dir = tempfile::tempdir()?;
    let text = dir.path().join("samples.txt");
    std::fs::write(&text, openmetrics(batches)?)?;
    let blocks = dir.path().join("blocks");
    weir_benches::prometheus::blocks(&text, &blocks, true)?;
    let (mut rest, mut index) = (0, 0);
    let mut folders = vec![blocks];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "index" {
                index += entry.metadata()?.len();
            } else {
                rest += entry.metadata()?.len();
            }
        }
    }
    Ok(Some((rest, index)))
}

/// All samples as OpenMetrics text, series by series.
fn openmetrics(batches: &[MetricBatch]) -> anyhow::Result<String> {
    let mut series = std::collections::BTreeMap::<u128, (String, Vec<(i64, f64)>)>::new();
    for batch in batches {
        for (at, &row) in batch.numbers.series.iter().enumerate() {
            let identity = &batch.series[row as usize];
            let entry = series.entry(identity.fingerprint.0);
            let point = (batch.numbers.time_ns[at] / 1_000_000, batch.numbers.value[at]);
            entry.or_insert_with(|| (labels_text(identity), Vec::new())).1.push(point);
        }
    }
    let mut text = String::new();
    for (labels, points) in series.values() {
        for (ms, value) in points {
            let number = match value {
                value if value.is_nan() => "NaN".to_owned(),
                value if value.is_infinite() => format!("{}Inf", if *value > 0.0 { '+' } else { '-' }),
                value => value.to_string(),
            };
            writeln!(text, "{labels} {number} {}.{:03}", ms / 1_000, ms % 1_000)?;
        }
    }
    text.push_str("# EOF\n");
    Ok(text)
}

fn labels_text(identity: &SeriesIdentity) -> String {
    let translated = translate(identity, &Promotion::default());
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> =
        translated.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{}{{{}}}", translated.name, labels.join(","))
}

/// Pages of a node_exporter started for this.
fn scrape_exporter(every: Duration) -> anyhow::Result<Vec<String>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let exporter = Command::new("prometheus-node-exporter")
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("prometheus-node-exporter cannot be started; give files with scraped pages")?;
    let _stopped_at_the_end = Running(exporter);
    let began = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if began.elapsed() > EXPORTER_START {
            bail!("node_exporter does not listen on {address}");
        }
        wait(Duration::from_millis(50));
    }
    let mut pages = Vec::with_capacity(SCRAPES);
    let began = Instant::now();
    for at in (0..).take(SCRAPES) {
        wait((every * at).saturating_sub(began.elapsed()));
        pages.push(get(&address, "/metrics")?);
    }
    Ok(pages)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(began.elapsed()));
    }
}

fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
    Ok(body.to_owned())
}
