//! PromQL beside Prometheus: the same samples, the same queries, answers compared first, then times.
//!
//! Samples are written once as OpenMetrics text, taken by `promtool tsdb create-blocks-from openmetrics` into a data
//! directory for Prometheus, and by ourselves into memory. Prometheus answers over HTTP and tells its own time
//! (`stats=all`, `execTotalTime`: parsing, reading, evaluating, without JSON); ours is the engine's call.
//! `cargo run --release -p weir-benches --bin promql -- [--series 4000] [--hours 2] [--repeat 5]`
//!
//! Two cores, 16,000 series, 12 million samples, 2 h by minutes, milliseconds beside Prometheus 2.42: plain selector 10
//! (100), sum by(rate) 16 (152), histogram_quantile 42 (375), topk 22 (156), many to one 8 (195), 1 h subquery 23
//! (288), predict_linear 96 (312); 5 to 10 ns a sample. Before each thread had one accumulator to itself, floats a way
//! of their own through `rate` and sums of least squares whole milliseconds: sum by(rate) 57, histogram_quantile 128,
//! predict_linear 217.
//!
//! Sample times lie between the steps and the subquery begins between two, because Prometheus 2.42 closes ranges on the
//! left and 3.x does not.

use std::fmt::Write as _;
use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use weir_promql::engine::{Engine, QueryRange};
use weir_promql::labels::Labels;
use weir_promql::memory::{MemorySample, MemorySource};
use weir_promql::options::{EngineOptions, QueryOptions};
use weir_promql::value::{Point, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured.
#[derive(Parser)]
struct Args {
    /// Counters, and as many gauges as a quarter of them.
    #[arg(long, default_value_t = 4000)]
    series: usize,
    /// Classic histograms of 20 buckets each.
    #[arg(long, default_value_t = 500)]
    histograms: usize,
    /// Hours that the queries look at; a sample every 15 s.
    #[arg(long, default_value_t = 2)]
    hours: i64,
    /// Runs of each query; the fastest counts.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only ours, without Prometheus.
    #[arg(long)]
    alone: bool,
    /// Where samples and blocks are kept between runs.
    #[arg(long, default_value = "/tmp/weir-bench-promql")]
    dir: PathBuf,
    /// Port for Prometheus.
    #[arg(long, default_value_t = 19_391)]
    port: u16,
}

/// Start of the samples: 22 November 2026, 00:00 UTC.
const START_MS: i64 = 1_795_305_600_000;
const INTERVAL_MS: i64 = 15_000;
/// Samples lie this far behind a step.
const JITTER_MS: i64 = 7_000;

/// Samples before the first step: a range that begins before the samples is extrapolated otherwise in Prometheus 3.x
/// than in 2.42.
const LEAD_MS: i64 = 70 * 60_000;

/// Queries of dashboards that people look at most, over what stands in for their metrics.
const QUERIES: &[(&str, &str)] = &[
    ("plain selector", "http_requests_total"),
    ("sum by(rate)", "sum by (job) (rate(http_requests_total[5m]))"),
    ("sum by(irate)", "sum by (instance) (irate(http_requests_total[5m]))"),
    ("histogram_quantile", "histogram_quantile(0.95, sum by (le) (rate(request_seconds_bucket[5m])))"),
    ("histogram_quantile by", "histogram_quantile(0.99, sum by (le, job) (rate(request_seconds_bucket[5m])))"),
    ("topk", "topk(10, rate(http_requests_total[5m]))"),
    ("many to one", "sum by (job, instance) (memory_bytes * on (job, instance) group_left (zone) machine_info)"),
    ("ratio", "sum(rate(http_requests_total{code=\"500\"}[5m])) / sum(rate(http_requests_total[5m]))"),
    ("avg", "avg by (job) (memory_bytes)"),
    ("max_over_time", "max by (job) (max_over_time(memory_bytes[10m]))"),
    ("count by", "count by (code) (http_requests_total)"),
    ("cpu used", "1 - avg by (instance) (rate(http_requests_total{code=\"200\"}[5m]))"),
    ("quantile", "quantile by (job) (0.9, memory_bytes)"),
    ("subquery 1h", "max_over_time(sum(rate(http_requests_total[5m]))[59m30s:1m])"),
    ("label_replace", "sum by (dc) (label_replace(memory_bytes, \"dc\", \"$1\", \"instance\", \"host-(.).*\"))"),
    ("predict_linear", "min(predict_linear(memory_bytes[1h], 14400))"),
];

#[expect(clippy::print_stdout, reason = "a bench tells its figures on its standard output")]
fn main() -> Result<()> {
    let args = Args::parse();
    let end_ms = START_MS + LEAD_MS + args.hours * 3_600_000;
    let samples = (end_ms - START_MS) / INTERVAL_MS;
    let series = series(&args, samples);
    let total: usize = series.iter().map(|(_, values)| values.len()).sum();
    println!("{} series, {total} samples", series.len());
    let source = load(&series);
    let engine = Engine::new(EngineOptions { samples_max: u64::MAX / 2, ..EngineOptions::default() });
    let range = QueryRange { start_ms: START_MS + LEAD_MS, end_ms, step_ms: 60_000 };
    let prometheus = if args.alone { None } else { Some(Prometheus::start(&args, &series)?) };
    drop(series);
    println!("{:<24}{:>12}{:>14}{:>10}{:>16}", "query", "ours ms", "Prometheus ms", "ratio", "ns per sample");
    for (name, query) in QUERIES.iter().filter(|(name, _)| name.contains(&args.only)) {
        let mut best = Duration::MAX;
        let mut answer = None;
        for _ in 0..args.repeat {
            let from = Instant::now();
            let output = engine.range(&source, query, range, &QueryOptions::default()).context(*name)?;
            best = best.min(from.elapsed());
            answer = Some(output);
        }
        let output = answer.context("no run")?;
        let ours = best.as_secs_f64() * 1e3;
        let per_sample = best.as_nanos() as f64 / output.stats.samples_read.max(1) as f64;
        let Some(prometheus) = &prometheus else {
            println!("{name:<24}{ours:>12.1}{:>14}{:>10}{per_sample:>16.1}", "", "");
            continue;
        };
        let mut theirs = f64::MAX;
        for at in 0..args.repeat {
            let (ms, result) = prometheus.range(query, range)?;
            theirs = theirs.min(ms);
            if at == 0 {
                compare(&output.value, &result).with_context(|| format!("{name}: answers differ"))?;
            }
        }
        println!("{name:<24}{ours:>12.1}{theirs:>14.1}{:>9.1}x{per_sample:>16.1}", theirs / ours);
    }
    Ok(())
}

type Series = (Labels, Vec<f64>);

/// A small generator, so that runs have the same samples.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect()
}

fn series(args: &Args, samples: i64) -> Vec<Series> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::new();
    let place = |at: usize| [("job", format!("job-{}", at % 50)), ("instance", format!("host-{}", at / 50 % 400))];
    for at in 0..args.series {
        let [job, instance] = place(at);
        let code = ("code", if at % 7 == 0 { "500" } else { "200" }.to_owned());
        let name = ("__name__", "http_requests_total".to_owned());
        let mut value = (random.next() % 1000) as f64;
        let values = (0..samples).map(|_| {
            value = if random.next().is_multiple_of(2000) {
                0.0
            } else {
                value + (random.next() % 100_000) as f64 / 1000.0
            };
            value
        });
        let values = values.collect();
        out.push((labels(&[name, job, instance, code, ("path", format!("/p{at}"))]), values));
    }
    for at in 0..args.series / 4 {
        let [job, instance] = place(at);
        let name = ("__name__", "memory_bytes".to_owned());
        let values = (0..samples).map(|_| (random.next() % (1 << 30)) as f64).collect();
        out.push((labels(&[name, job.clone(), instance.clone(), ("area", format!("a{}", at / 20_000))]), values));
        let info = ("__name__", "machine_info".to_owned());
        out.push((labels(&[info, job, instance, ("zone", format!("z{}", at % 3))]), vec![1.0; samples as usize]));
    }
    for at in 0..args.histograms {
        let [job, instance] = place(at);
        let mut cumulative = [0.0_f64; 20];
        let mut columns = vec![Vec::new(); 20];
        for _ in 0..samples {
            let mut more = 0.0;
            for (bucket, column) in cumulative.iter_mut().zip(&mut columns) {
                more += (random.next() % 10) as f64;
                *bucket += more;
                column.push(*bucket);
            }
        }
        for (bucket, values) in columns.into_iter().enumerate() {
            let le = if bucket == 19 { "+Inf".to_owned() } else { format!("{}", 0.005 * 1.5_f64.powi(bucket as i32)) };
            let name = ("__name__", "request_seconds_bucket".to_owned());
            out.push((labels(&[name, job.clone(), instance.clone(), ("le", le), ("h", at.to_string())]), values));
        }
    }
    out
}

fn time(at: usize) -> i64 {
    START_MS + JITTER_MS + INTERVAL_MS * at as i64
}

fn load(series: &[Series]) -> MemorySource {
    let mut source = MemorySource::new();
    for (labels, values) in series {
        let sample =
            |(at, value): (usize, &f64)| MemorySample { t_ms: time(at), start_ms: 0, point: Point::Float(*value) };
        source.append(labels, values.iter().enumerate().map(sample).collect());
    }
    source
}

/// A Prometheus on the same samples.
struct Prometheus {
    process: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It is ours, and nothing depends on how it ends.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(args: &Args, series: &[Series]) -> Result<Self> {
        let data = args.dir.join(format!("data-{}-{}-{}", args.series, args.histograms, args.hours));
        if !data.exists() {
            std::fs::create_dir_all(&args.dir)?;
            let text = args.dir.join("samples.om");
            write_openmetrics(&text, series)?;
            let done = Command::new("promtool")
                .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
                .arg(&text)
                .arg(&data)
                .stdout(Stdio::null())
                .status()
                .context("promtool")?;
            std::fs::remove_file(&text)?;
            if !done.success() {
                bail!("promtool failed");
            }
        }
        let config = args.dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", args.port))
            .args(["--storage.tsdb.retention.time=100y", "--query.max-samples=1000000000", "--log.level=error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("prometheus")?;
        let started = Self { process, port: args.port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while started.get("/-/ready").is_err() {
            if Instant::now() > deadline {
                bail!("Prometheus does not get ready");
            }
            std::thread::yield_now();
        }
        Ok(started)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no body")?;
        if !head.contains(" 200 ") {
            bail!("{}: {body}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }

    /// Milliseconds that Prometheus says it took, and its answer.
    fn range(&self, query: &str, range: QueryRange) -> Result<(f64, serde_json::Value)> {
        let mut escaped = String::new();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() { escaped.push(char::from(byte)) } else { write!(escaped, "%{byte:02X}")? }
        }
        let (start, end) = (range.start_ms as f64 / 1e3, range.end_ms as f64 / 1e3);
        let step = range.step_ms as f64 / 1e3;
        let path = format!("/api/v1/query_range?query={escaped}&start={start}&end={end}&step={step}&stats=all");
        let answer: serde_json::Value = serde_json::from_str(&self.get(&path)?)?;
        let seconds = answer["data"]["stats"]["timings"]["execTotalTime"].as_f64().context("no timings")?;
        Ok((seconds * 1e3, answer["data"]["result"].clone()))
    }
}

fn write_openmetrics(path: &Path, series: &[Series]) -> Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let samples = series.first().map_or(0, |(_, values)| values.len());
    // In order of time, so that promtool does not have to keep everything.
    let heads: Vec<String> = series.iter().map(|(labels, _)| head(labels)).collect();
    for at in 0..samples {
        let seconds = time(at) as f64 / 1e3;
        for ((_, values), head) in series.iter().zip(&heads) {
            writeln!(out, "{head} {} {seconds:.3}", values[at])?;
        }
    }
    writeln!(out, "# EOF")?;
    Ok(out.flush()?)
}

fn head(labels: &Labels) -> String {
    let pairs =
        labels.iter().filter(|(name, _)| &**name != "__name__").map(|(name, value)| format!("{name}=\"{value}\""));
    format!("{}{{{}}}", labels.name(), pairs.collect::<Vec<_>>().join(","))
}

fn compare(ours: &Value, theirs: &serde_json::Value) -> Result<()> {
    let Value::Matrix(ours) = ours else { bail!("not a matrix") };
    let theirs = theirs.as_array().context("not a list")?;
    if ours.len() != theirs.len() {
        bail!("{} series against {}", ours.len(), theirs.len());
    }
    let mut by_labels = std::collections::HashMap::new();
    for series in theirs {
        let metric = series["metric"].as_object().context("no metric")?;
        let labels: Labels = metric
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        by_labels.insert(labels, series["values"].as_array().context("no values")?);
    }
    for series in ours {
        let theirs = by_labels.get(&series.labels).with_context(|| format!("only ours has {}", series.labels))?;
        if theirs.len() != series.floats.len() {
            bail!("{}: {} points against {}", series.labels, series.floats.len(), theirs.len());
        }
        for ((t, value), point) in series.floats.iter().zip(theirs.iter()) {
            let other: f64 = point[1].as_str().context("no value")?.parse()?;
            let close =
                (value - other).abs() <= 1e-6 * (value.abs() + other.abs()) || (value.is_nan() && other.is_nan());
            if !close {
                bail!("{} at {t}: {value} against {other}", series.labels);
            }
        }
    }
    Ok(())
}
