//! The peer: Debian's Prometheus over blocks that promtool made of the same samples.
//!
//! Blocks are made of OpenMetrics text two hours at a time, since promtool reads its input once per block, and each
//! text is deleted at once. Prometheus then runs for as long as it merges blocks, as it would have over a day.

use std::fmt::Write as _;
use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_promql::engine::QueryRange;
use weir_promql::labels::Labels;
use weir_promql::value::Value;

use crate::data::{INTERVAL_MS, SLICE, Series};

/// Slices of the data in a block: Prometheus' two hours.
const SLICES: usize = 4;
/// Merging begins a minute after the start, and is over when nothing changed for this long.
const QUIET: Duration = Duration::from_secs(75);

/// Writes texts and has blocks made of them.
pub(crate) struct Blocks {
    text: PathBuf,
    data: PathBuf,
    out: Option<BufWriter<std::fs::File>>,
    slices: usize,
    heads: Vec<String>,
}

impl Blocks {
    /// Blocks go to `data`.
    pub(crate) fn new(data: &Path, series: &[Series]) -> Self {
        let heads = series.iter().map(|series| head(&series.labels)).collect();
        Self { text: data.with_extension("om"), data: data.to_owned(), out: None, slices: 0, heads }
    }

    /// Adds a slice that begins at `start_ms`; every fourth makes a block.
    pub(crate) fn add(&mut self, start_ms: i64, series: &[Series], values: &[Vec<f64>]) -> Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(BufWriter::with_capacity(1 << 20, std::fs::File::create(&self.text)?)),
        };
        // In order of time, so that promtool does not have to keep everything.
        for at in 0..SLICE {
            let beat = start_ms + INTERVAL_MS * at as i64;
            for ((series, values), head) in series.iter().zip(values).zip(&self.heads) {
                let ms = beat + series.offset_ms;
                writeln!(out, "{head} {} {}.{:03}", values[at], ms / 1000, ms % 1000)?;
            }
        }
        self.slices += 1;
        if self.slices == SLICES { self.finish() } else { Ok(()) }
    }

    /// Makes a block of what was added since the last one.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.slices = 0;
        let Some(mut out) = self.out.take() else { return Ok(()) };
        writeln!(out, "# EOF")?;
        out.flush()?;
        let done = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([&self.text, &self.data])
            .stdout(Stdio::null())
            .status()
            .context("promtool")?;
        std::fs::remove_file(&self.text)?;
        if !done.success() {
            bail!("promtool failed");
        }
        Ok(())
    }
}

fn head(labels: &Labels) -> String {
    let pairs =
        labels.iter().filter(|(name, _)| &**name != "__name__").map(|(name, value)| format!("{name}=\"{value}\""));
    format!("{}{{{}}}", labels.name(), pairs.collect::<Vec<_>>().join(","))
}

/// A Prometheus on the same samples.
pub(crate) struct Prometheus {
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
    /// Starts it over `data`.
    pub(crate) fn start(data: &Path, port: u16) -> Result<Self> {
        let config = data.with_extension("yml");
        std::fs::write(&config, "global: {}\n")?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=100y", "--query.max-samples=2000000000", "--query.timeout=20m"])
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("prometheus")?;
        let started = Self { process, port };
        let deadline = Instant::now() + Duration::from_secs(120);
        while started.get("/-/ready").is_err() {
            if Instant::now() > deadline {
                bail!("Prometheus does not get ready");
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Ok(started)
    }

    /// Waits until it has merged the blocks of `data` as far as it wants.
    pub(crate) fn settle(&self, data: &Path) -> Result<()> {
        let blocks = || -> Result<Vec<std::ffi::OsString>> {
            let mut names = std::fs::read_dir(data)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        let (mut seen, mut since) = (blocks()?, Instant::now());
        while since.elapsed() < QUIET {
            std::thread::park_timeout(Duration::from_millis(500));
            let now = blocks()?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        Ok(())
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
    pub(crate) fn range(&self, query: &str, range: QueryRange) -> Result<(f64, serde_json::Value)> {
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

/// Fails where two answers differ by more than rounding.
pub(crate) fn compare(ours: &Value, theirs: &serde_json::Value) -> Result<()> {
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
