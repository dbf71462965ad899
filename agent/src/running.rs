//! An agent that runs: its tasks, and how they start and stop.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_observe::Recorder;
use weir_proto::{Attributes, Batch, KeyValue, Resource, semconv};
use weir_receive::{
    ListenError, NotTaken, Receiver, Sender, ServeSettings, Sink, SinkError, needs_restart, router, serve,
};

use crate::batch::{Batcher, Intake};
use crate::host::Host;
use crate::push::{AgentId, HISTORY_BYTES_PER_SECOND, IdentityError, Push, PushSettings};
use crate::queue::{Queue, QueueSettings};
use crate::scrape::{ScrapeError, ScrapeHandle, Scraper};
use crate::settings::{AgentSettings, RefusalObserver};
use crate::wall_clock_ns;

/// Requests that are still open this long after a stop are left to their fate: their senders retry.
const INPUTS_STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// How often our own counters are sent.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(15);

/// The agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another process has the data directory.
    #[error("{path} is in use by another agent; stop it or choose another --data-dir")]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("{path}: {error}")]
    DataDir {
        /// What could not be made or opened.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The queue cannot be opened.
    #[error("the disk queue: {0}")]
    Queue(#[from] weir_wal::WalError),
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A scrape job cannot be used.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
    /// The collector is no URL.
    #[error("collector {url:?}: {message}")]
    Collector {
        /// As configured.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// A defect of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentErrorKind {
    /// Change the settings.
    Invalid,
    /// Try again when the other process, or the disk, has let go.
    Unavailable,
    /// Our defect.
    Internal,
}

impl AgentError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> AgentErrorKind {
        match self {
            Self::Listen(ListenError::Address { .. }) | Self::Scrape(_) | Self::Collector { .. } => {
                AgentErrorKind::Invalid
            }
            Self::Internal(_) => AgentErrorKind::Internal,
            _ => AgentErrorKind::Unavailable,
        }
    }
}

/// A running agent. Dropping it stops it at once; [`Agent::shutdown`] stops it in order.
pub struct Agent {
    /// Where OTLP/gRPC is taken. Both ports take both protocols.
    pub otlp_grpc: SocketAddr,
    /// Where OTLP/HTTP is taken.
    pub otlp_http: SocketAddr,
    /// Receive, scrape, host, observe.
    inputs: Stage,
    /// The batcher.
    middle: Stage,
    /// The push stream.
    output: Stage,
    scrape: ScrapeHandle,
    queue: Arc<Queue>,
    /// What only a restart changes, as it is.
    fixed: [(&'static str, String); 7],
    /// Held while we live: one agent per data directory.
    _lock: File,
}

/// Tasks that stop together.
struct Stage {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Agent {
    /// Starts all rooms; returns when the ports are open.
    ///
    /// # Errors
    /// When the data directory is in use, a port is taken, or the settings cannot be used.
    pub async fn start(settings: AgentSettings) -> Result<Self, AgentError> {
        let dir = settings.data_dir.join("agent");
        let lock = lock(&dir)?;
        let grpc = settings.otlp_grpc.bind("OTLP/gRPC", "--otlp-grpc")?;
        let http = settings.otlp_http.bind("OTLP/HTTP", "--otlp-http")?;
        let address_of = |listener: &TcpListener| {
            listener.local_addr().map_err(|error| AgentError::Internal(format!("a port without an address: {error}")))
        };
        let (otlp_grpc, otlp_http) = (address_of(&grpc)?, address_of(&http)?);

        let agent = AgentId::load_or_create(&dir)?;
        let queue = Arc::new(open_queue(&dir, settings.queue_bytes_max).await?);
        let output = push(&settings, agent, &queue)?;
        let (intake, batcher) = Batcher::new(Arc::clone(&queue), settings.red.clone());
        let mut middle = Stage::new();
        middle.tasks.spawn(batcher.run(middle.stop.clone()));
        let fixed = settings.fixed();
        let (scrape, inputs) = take_in(settings, [grpc, http], &intake)?;
        Ok(Self { otlp_grpc, otlp_http, inputs, middle, output, scrape, queue, fixed, _lock: lock })
    }

    /// Scrapes what `settings` say from now on; targets that stay are not disturbed. Gives back a line for everything
    /// else that is said otherwise, since that needs a restart.
    ///
    /// # Errors
    /// When a job cannot be used; nothing has changed then.
    pub async fn reload(&self, settings: &AgentSettings) -> Result<Vec<String>, AgentError> {
        self.scrape.reload(&settings.scrape).await?;
        Ok(needs_restart(&self.fixed, &settings.fixed()))
    }

    /// Resolves when a task on which all data depends has ended by itself: our defect, and nothing arrives any more.
    pub async fn failed(&mut self) -> AgentError {
        let ended = tokio::select! {
            Some(ended) = self.middle.tasks.join_next() => ended,
            Some(ended) = self.output.tasks.join_next() => ended,
            else => return AgentError::Internal("all tasks have ended".to_owned()),
        };
        AgentError::Internal(format!("a task has ended: {ended:?}"))
    }

    /// Stops in the order of the data: what comes in, what is joined, what goes out; then closes the queue. What the
    /// collector has not acknowledged stays in the queue for the next start.
    ///
    /// # Errors
    /// When a task had ended in a panic.
    pub async fn shutdown(self) -> Result<(), AgentError> {
        let Self { inputs, middle, output, queue, .. } = self;
        inputs.end("inputs", INPUTS_STOP_TIMEOUT).await?;
        middle.end("batcher", INPUTS_STOP_TIMEOUT).await?;
        output.end("push", INPUTS_STOP_TIMEOUT).await?;
        queue.close().await;
        Ok(())
    }
}

impl Stage {
    fn new() -> Self {
        Self { tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    async fn end(mut self, what: &'static str, timeout: Duration) -> Result<(), AgentError> {
        self.stop.cancel();
        let ended = tokio::time::timeout(timeout, async {
            while let Some(task) = self.tasks.join_next().await {
                task.map_err(|error| AgentError::Internal(format!("{what}: {error}")))?;
            }
            Ok(())
        });
        ended.await.unwrap_or_else(|_| {
            tracing::warn!(what, seconds = timeout.as_secs(), "did not stop in time and was left");
            Ok(())
        })
    }
}

/// One process per directory: an exclusive lock that the kernel lets go of when we die.
fn lock(dir: &Path) -> Result<File, AgentError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| AgentError::DataDir { path, error }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let path = dir.join("lock");
    let file = File::create(&path).map_err(failed(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::InUse { path: dir.to_path_buf() }),
        Err(error) => Err(AgentError::DataDir { path, error: error.into() }),
    }
}

async fn open_queue(dir: &Path, bytes_max: u64) -> Result<Queue, AgentError> {
    let settings = QueueSettings { dir: dir.join("queue"), bytes_max };
    let opened = tokio::task::spawn_blocking(move || Queue::open(&settings, wall_clock_ns())).await;
    Ok(opened.map_err(|error| AgentError::Internal(format!("opening the queue: {error}")))??)
}

fn push(settings: &AgentSettings, agent: AgentId, queue: &Arc<Queue>) -> Result<Stage, AgentError> {
    let collector = settings.collector.parse().map_err(|error| AgentError::Collector {
        url: settings.collector.clone(),
        message: format!("is no URL: {error}"),
    })?;
    let [a, b, c, d, e, f, g, h, ..] = agent.0;
    let to = PushSettings {
        collector,
        agent,
        node: settings.node.clone(),
        history_bytes_per_second: HISTORY_BYTES_PER_SECOND,
    };
    let push = Push::new(Arc::clone(queue), to, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    let mut stage = Stage::new();
    stage.tasks.spawn(push.run(stage.stop.clone()));
    Ok(stage)
}

/// The receiver's sink: batches go on, refusals are told.
struct Edge {
    intake: Intake,
    on_refusal: RefusalObserver,
}

impl Sink for Edge {
    async fn accept(&self, batch: Batch, _from: &Sender) -> Result<(), SinkError> {
        self.intake.put(batch).await
    }

    fn refused(&self, from: &Sender, what: &NotTaken<'_>) {
        (self.on_refusal)(from, what);
    }
}

/// For probes and for people: whether we live, and our own counters.
fn health(recorder: Option<Recorder>) -> Router {
    let text = move || async move { recorder.map(|recorder| recorder.text()).unwrap_or_default() };
    Router::new()
        .route("/-/healthy", get(|| async { "Weir agent is healthy.\n" }))
        .route("/-/ready", get(|| async { "Weir agent is ready.\n" }))
        .route("/metrics", get(text))
}

/// Everything that data comes in by.
fn take_in(
    settings: AgentSettings,
    listeners: [TcpListener; 2],
    intake: &Intake,
) -> Result<(ScrapeHandle, Stage), AgentError> {
    let mut stage = Stage::new();
    let edge = Edge { intake: intake.clone(), on_refusal: settings.on_refusal };
    let receiver = Receiver::new(Arc::new(edge), settings.receive);
    let router = router(&receiver).merge(health(settings.recorder.clone()));
    let router = settings.reload.iter().fold(router, |router, reload| router.merge(reload.router()));
    for (listener, port) in listeners.into_iter().zip(["otlp_grpc", "otlp_http"]) {
        let stop = stage.stop.clone().cancelled_owned();
        stage.tasks.spawn(serve(listener, router.clone(), ServeSettings::of(port), stop));
    }
    // Fails when the process has chosen one before, and then that one serves.
    rustls::crypto::ring::default_provider().install_default().ok();
    let (handle, scraper) = Scraper::new(&settings.scrape, intake.clone())?;
    stage.tasks.spawn(scraper.run(stage.stop.clone()));
    if let Some(host) = settings.host {
        stage.tasks.spawn(Host::new(host, intake.clone()).run(stage.stop.clone()));
    }
    if let Some(recorder) = settings.recorder {
        stage.tasks.spawn(observe(recorder, settings.node, intake.clone(), stage.stop.clone()));
    }
    Ok((handle, stage))
}

/// Sends our own counters the way of all data. That work is counted in the next sending, once, and starts none.
async fn observe(recorder: Recorder, node: String, intake: Intake, stop: CancellationToken) {
    let attributes = [
        KeyValue::new(semconv::SERVICE_NAME, weir_proto::names::OWN_SERVICES[1]),
        KeyValue::new(semconv::SERVICE_INSTANCE_ID, node.as_str()),
        KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new("host.name", node.as_str()),
    ];
    let resource = Resource { attributes: attributes.into_iter().collect::<Attributes>() };
    let mut reader = weir_observe::Reader::new(recorder, resource, wall_clock_ns());
    let mut ticks = tokio::time::interval(OBSERVE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let metrics = reader.batch(wall_clock_ns());
        if metrics.points() > 0
            && let Err(error) = intake.put(Batch { metrics, ..Batch::default() }).await
        {
            tracing::warn!(%error, "our own metrics were not queued");
        }
    }
}

#[cfg(test)]
mod tests;
