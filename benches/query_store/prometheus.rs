//! Debian's Prometheus over the blocks that promtool makes of a world's samples, asked over HTTP.

use std::fmt::Write as _;
use std::io::{BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_promql::engine::QueryRange;
use weir_promql::labels::Labels;
use weir_promql::value::{Point, Value};

use crate::world::World;

/// How long Prometheus has to get ready.
const START: Duration = Duration::from_secs(120);

/// A running Prometheus; ended when dropped.
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
    /// Over the blocks in `dir` that are called `name`, made of `world` where there are none yet.
    pub(crate) fn start(dir: &Path, name: &str, world: impl FnOnce() -> World, ticks: i64) -> Result<Self> {
        let data = dir.join(format!("prometheus-{name}"));
        if !data.exists() {
            make_blocks(dir, &data, world(), ticks)?;
        }
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=100y", "--query.max-samples=1000000000", "--log.level=error"])
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
    pub(crate) fn range(&self, query: &str, range: QueryRange) -> Result<(f64, serde_json::Value)> {
        let (start, end) = (range.start_ms as f64 / 1e3, range.end_ms as f64 / 1e3);
        let step = range.step_ms as f64 / 1e3;
        self.ask(&format!("query_range?start={start}&end={end}&step={step}&"), query)
    }

    /// The same at one time.
    pub(crate) fn instant(&self, query: &str, t_ms: i64) -> Result<(f64, serde_json::Value)> {
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
}

fn make_blocks(dir: &Path, data: &Path, mut world: World, ticks: i64) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let (text, making) = (dir.join("samples.om"), data.with_extension("making"));
    let mut out = BufWriter::new(std::fs::File::create(&text)?);
    world.write_openmetrics(&mut out, ticks)?;
    out.flush()?;
    let done = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=24h"])
        .args([&text, &making])
        .stdout(Stdio::null())
        .status()
        .context("promtool")?;
    std::fs::remove_file(&text)?;
    if !done.success() {
        bail!("promtool failed");
    }
    Ok(std::fs::rename(making, data)?)
}

/// Whether both answers say the same: the same series, the same times, values equal but for the last digits.
pub(crate) fn compare(ours: &Value, theirs: &serde_json::Value) -> Result<()> {
    let mut rows: Vec<(&Labels, Vec<(i64, f64)>)> = match ours {
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
    for (labels, points) in rows.drain(..) {
        let theirs = by_labels.get(labels).with_context(|| format!("only ours has {labels}"))?;
        if theirs.len() != points.len() {
            bail!("{labels}: {} points against {}", points.len(), theirs.len());
        }
        for ((t, value), point) in points.into_iter().zip(theirs.iter()) {
            let other: f64 = point[1].as_str().context("no value")?.parse()?;
            let close =
                (value - other).abs() <= 1e-6 * (value.abs() + other.abs()) || (value.is_nan() && other.is_nan());
            if !close {
                bail!("{labels} at {t}: {value} against {other}");
            }
        }
    }
    Ok(())
}
