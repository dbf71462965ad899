//! The peer: Debian's Prometheus over blocks that promtool makes of the same samples, asked over HTTP.
//!
//! ```text
//! OpenMetrics text ─▶ blocks() ─▶ a folder ─▶ Prometheus::start ─▶ range(), instant() ─▶ compare() with our answer
//! ```
//! Prometheus tells its own time (`stats=all`, `execTotalTime`: parsing, reading, evaluating, without JSON).

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_promql::engine::QueryRange;
use weir_promql::labels::Labels;
use weir_promql::value::{Point, Value};

/// How long Prometheus has to get ready.
const START: Duration = Duration::from_secs(120);
/// Merging begins a minute after the start, and is over when nothing changed for this long.
const QUIET: Duration = Duration::from_secs(75);
/// How far two values may be apart, relative to both: sums are added in another order.
const CLOSE: f64 = 1e-6;

/// Makes blocks in `data` of an OpenMetrics text, which is deleted. `day`: one block per day instead of one per two
/// hours.
///
/// # Errors
/// Where promtool is missing or refuses the text.
pub fn blocks(text: &Path, data: &Path, day: bool) -> Result<()> {
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args(day.then_some("--max-block-duration=24h"))
        .args([text, data])
        .stdout(Stdio::null())
        .output()
        .context("promtool")?;
    std::fs::remove_file(text)?;
    if !made.status.success() {
        bail!("promtool: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}

/// A running Prometheus; ended when dropped.
#[derive(Debug)]
pub struct Prometheus {
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
    /// Starts it over the blocks in `data`, on a free port, and waits until it answers.
    ///
    /// # Errors
    /// Where it is missing, or does not get ready.
    pub fn start(data: &Path) -> Result<Self> {
        let config = data.with_extension("yml");
        std::fs::write(&config, "global: {}\n")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
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
        let deadline = Instant::now() + START;
        while started.get("/-/ready").is_err() {
            if Instant::now() > deadline {
                bail!("Prometheus does not get ready");
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Ok(started)
    }

    /// Waits until it has merged the blocks of `data` as far as it wants.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn settle(&self, data: &Path) -> Result<()> {
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

    /// Milliseconds that Prometheus says it took, and the `result` of its answer.
    ///
    /// # Errors
    /// What Prometheus says of the query.
    pub fn range(&self, query: &str, range: QueryRange) -> Result<(f64, serde_json::Value)> {
        let (start, end) = (range.start_ms as f64 / 1e3, range.end_ms as f64 / 1e3);
        let step = range.step_ms as f64 / 1e3;
        self.ask(&format!("query_range?start={start}&end={end}&step={step}&"), query)
    }

    /// The same at one time.
    ///
    /// # Errors
    /// What Prometheus says of the query.
    pub fn instant(&self, query: &str, t_ms: i64) -> Result<(f64, serde_json::Value)> {
        self.ask(&format!("query?time={}&", t_ms as f64 / 1e3), query)
    }

    fn ask(&self, path: &str, query: &str) -> Result<(f64, serde_json::Value)> {
        let mut escaped = String::new();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() { escaped.push(char::from(byte)) } else { write!(escaped, "%{byte:02X}")? }
        }
        let answer = self.get(&format!("/api/v1/{path}query={escaped}&stats=all"))?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let seconds = answer["data"]["stats"]["timings"]["execTotalTime"].as_f64().context("no timings")?;
        Ok((seconds * 1e3, answer["data"]["result"].clone()))
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
}

/// Whether both answers say the same: the same series, the same times, values equal but for the last digits.
///
/// # Errors
/// The first difference.
pub fn compare(ours: &Value, theirs: &serde_json::Value) -> Result<()> {
    let rows: Vec<(&Labels, Vec<(i64, f64)>)> = match ours {
        Value::Matrix(rows) => rows.iter().map(|series| (&series.labels, series.floats.clone())).collect(),
        Value::Vector(rows) => rows
            .iter()
            .map(|sample| match &sample.point {
                Point::Float(value) => Ok((&sample.labels, vec![(sample.t_ms, *value)])),
                Point::Histogram(_) => bail!("a histogram"),
            })
            .collect::<Result<_>>()?,
        _ => bail!("neither matrix nor vector"),
    };
    let mut by_labels = std::collections::HashMap::new();
    for series in theirs.as_array().context("not a list")? {
        let metric = series["metric"].as_object().context("no metric")?;
        let labels: Labels = metric
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        let one = std::slice::from_ref(&series["value"]);
        by_labels.insert(labels, series["values"].as_array().map_or(one, Vec::as_slice));
    }
    if rows.len() != by_labels.len() {
        bail!("{} series against {}", rows.len(), by_labels.len());
    }
    for (labels, points) in rows {
        let theirs = by_labels.get(labels).with_context(|| format!("only ours has {labels}"))?;
        if theirs.len() != points.len() {
            bail!("{labels}: {} points against {}", points.len(), theirs.len());
        }
        for ((t_ms, value), point) in points.into_iter().zip(theirs.iter()) {
            let (at, other) = (point[0].as_f64().context("no time")?, point[1].as_str().context("no value")?);
            let other: f64 = other.parse()?;
            let apart = (value - other).abs() > CLOSE * (value.abs() + other.abs()) || value.is_nan() != other.is_nan();
            if apart || (at * 1e3).round() as i64 != t_ms {
                bail!("{labels}: {value} at {t_ms} ms against {other} at {at} s");
            }
        }
    }
    Ok(())
}
