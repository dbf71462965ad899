//! `weir test promql --front-door`: the scripts against a real `weir-collector`, from socket to files and back.
//!
//! ```text
//! clear  ─▶ a fresh data directory
//! load   ─▶ remote write 2.0 ─▶ collector ─▶ WAL, memtable
//! first eval after the first loads of a block ─▶ SIGTERM (flush to Parquet), start again on the same directory
//! eval   ─▶ /api/v1/query, /api/v1/query_range with histograms=native ─▶ compared as in process
//! ```
//! Loads that follow an evaluation are read from memory, those before from files, so both are seen. Histograms whose
//! counts are whole are sent as integer histograms, the others as float histograms. Nothing ages out: `--retention 0`.

mod answer;
mod sample;

use std::cell::RefCell;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use weir_promql::engine::QueryRange;
use weir_promql::labels::Labels;
use weir_promql::memory::MemorySample;
use weir_promql::script::{Answer, PromEngine};

/// What the scripts are written for, all of which Prometheus has off by default.
const FEATURES: &str = "promql-experimental-functions,promql-duration-expr,promql-extended-range-selectors,\
                        promql-binop-fill-modifiers,promql-delayed-name-removal,use-start-timestamps";
/// How long a collector may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a collector that starts or stops is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Samples of one remote write request.
const REQUEST_SAMPLES: usize = 20_000;
const MESSAGE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Drives collectors, one at a time.
pub(crate) struct FrontDoor {
    collector: PathBuf,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    // `PromEngine` asks through a shared reference, and the first question restarts the collector.
    block: RefCell<Block>,
}

/// What happened since the last `clear`.
#[derive(Default)]
struct Block {
    running: Option<Running>,
    loaded: bool,
    asked: bool,
}

/// A collector with its data.
struct Running {
    child: Child,
    dir: tempfile::TempDir,
    url: String,
}

impl FrontDoor {
    /// Uses the `weir-collector` beside this program.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let collector = std::env::current_exe()?.with_file_name("weir-collector");
        anyhow::ensure!(collector.exists(), "{} is not there; build it first", collector.display());
        Ok(Self {
            collector,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            client: reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_gzip().build()?,
            block: RefCell::default(),
        })
    }

    fn start(&self, dir: tempfile::TempDir) -> Result<Running, String> {
        let (listen, push) = (free_address()?, free_address()?);
        let log = File::options().create(true).append(true).open(dir.path().join("log")).map_err(|e| e.to_string())?;
        let child = Command::new(&self.collector)
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen", &listen, "--push", &push, "--retention", "0"])
            .args(["--query.lookback-delta", "5m", "--enable-feature", FEATURES])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.collector.display()))?;
        let mut running = Running { child, dir, url: format!("http://{listen}") };
        self.runtime.block_on(async {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let ready = self.client.get(format!("{}/-/ready", running.url)).send().await;
                if ready.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                    return Ok(());
                }
                if let Ok(Some(status)) = running.child.try_wait() {
                    return Err(format!("the collector ended with {status}: {}", running.log()));
                }
                if Instant::now() > deadline {
                    return Err(format!("the collector is not ready within {PATIENCE:?}: {}", running.log()));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })?;
        Ok(running)
    }

    /// Ends a collector as an operator does, so that it writes what is in memory to files, and starts it again.
    fn restart(&self, mut running: Running) -> Result<Running, String> {
        let pid = i32::try_from(running.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or("a process without a number")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|error| error.to_string())?;
        self.runtime.block_on(async {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match running.child.try_wait().map_err(|error| error.to_string())? {
                    Some(status) if status.success() => return Ok(()),
                    Some(status) => return Err(format!("the collector ended with {status}: {}", running.log())),
                    None if Instant::now() > deadline => return Err("the collector does not stop".to_owned()),
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        })?;
        let dir = running.take_dir()?;
        self.start(dir)
    }

    /// The collector of this block, begun if there is none, restarted if all loads so far came first.
    fn with_url<T>(&self, ask: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        let mut block = self.block.borrow_mut();
        let running = match block.running.take() {
            Some(running) if block.loaded && !block.asked => self.restart(running)?,
            Some(running) => running,
            None => self.start(fresh_dir()?)?,
        };
        block.asked = true;
        let url = running.url.clone();
        block.running = Some(running);
        ask(&url)
    }

    fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, String> {
        self.with_url(|url| {
            let asked = self.runtime.block_on(async {
                let answer = self.client.post(format!("{url}{path}")).form(form).send().await?;
                answer.text().await
            });
            answer::parse(&asked.map_err(|error| format!("{path}: {error}"))?)
        })
    }

    fn write(&self, url: &str, body: &[u8]) -> Result<(), String> {
        let compressed = snap::raw::Encoder::new().compress_vec(body).map_err(|error| error.to_string())?;
        let request = self.client.post(format!("{url}/api/v1/write")).header(CONTENT_TYPE, MESSAGE);
        let request = request.header(CONTENT_ENCODING, "snappy").body(compressed);
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            match answer.status() {
                StatusCode::NO_CONTENT => Ok(()),
                status => Err(format!("remote write: {status}: {}", answer.text().await.unwrap_or_default())),
            }
        })
    }
}

impl PromEngine for FrontDoor {
    fn clear(&mut self) -> Result<(), String> {
        *self.block.borrow_mut() = Block::default();
        Ok(())
    }

    fn load(&mut self, series: &[(Labels, Vec<MemorySample>)]) -> Result<(), String> {
        let mut block = self.block.borrow_mut();
        let running = match block.running.take() {
            Some(running) => running,
            None => self.start(fresh_dir()?)?,
        };
        let written = sample::requests(series, REQUEST_SAMPLES).try_for_each(|body| self.write(&running.url, &body));
        block.loaded = true;
        block.running = Some(running);
        written
    }

    fn instant(&self, query: &str, t_ms: i64) -> Result<Answer, String> {
        self.ask("/api/v1/query", &form(query, &[("time", seconds(t_ms))]))
    }

    fn range(&self, query: &str, range: QueryRange) -> Result<Answer, String> {
        let step = format!("{}ms", range.step_ms);
        let times = [("start", seconds(range.start_ms)), ("end", seconds(range.end_ms)), ("step", step)];
        self.ask("/api/v1/query_range", &form(query, &times))
    }
}

fn form<'a>(query: &str, times: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
    let mut form = vec![("query", query.to_owned()), ("histograms", "native".to_owned())];
    form.extend_from_slice(times);
    form
}

fn seconds(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

fn fresh_dir() -> Result<tempfile::TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("a data directory: {error}"))
}

/// An address that was free a moment ago.
fn free_address() -> Result<String, String> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    probe.map(|address| address.to_string()).map_err(|error| format!("a port: {error}"))
}

impl Running {
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The data of a collector that has ended.
    fn take_dir(&mut self) -> Result<tempfile::TempDir, String> {
        Ok(std::mem::replace(&mut self.dir, fresh_dir()?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its data goes too; one that has ended already is no error.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
