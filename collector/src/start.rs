//! Wiring: rooms are built left to right and connected; tasks are born here and nowhere else.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue as SpanAttribute;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use weir_observe::{Reader, Recorder};
use weir_proto::{KeyValue, Resource, names};
use weir_query::{Engine, EngineSettings};
use weir_receive::{ListenError, Receiver, ServeSettings, needs_restart, serve};
use weir_store::{Clock, FaultHook, Store, StoreError, StoreOptions, Tuning};

use crate::arrivals::Arrivals;
use crate::gate::Gate;
use crate::http::{self, HttpState};
use crate::ingest::Ingest;
use crate::settings::CollectorSettings;
use crate::trace::{self, Spans};
use crate::{push, remote_write, wall_clock_ns};

/// How often our own metrics are stored.
const OBSERVE_EVERY: Duration = Duration::from_secs(15);
/// How often halves of calls are looked at that wait for their other side.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// How long open requests may take once we stop; a browser keeps its connection for ever.
const DRAIN: Duration = Duration::from_secs(3);

/// A running collector.
pub struct Collector {
    /// Where the page and the HTTP APIs listen.
    pub http: SocketAddr,
    /// Where the push stream and OTLP/gRPC listen.
    pub push: SocketAddr,
    stop: CancellationToken,
    servers: JoinSet<()>,
    chores: JoinSet<()>,
    store: Store,
    engine: Arc<Engine>,
    arrivals: Arc<Arrivals>,
    /// What only a restart changes, as it is.
    fixed: [(&'static str, String); 4],
    spans: Option<Spans>,
}

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A port could not be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else of the system.
    #[error("{doing}: {reason}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        reason: String,
    },
}

/// The wall clock.
struct System;

impl Clock for System {
    fn now_ns(&self) -> i64 {
        wall_clock_ns()
    }
}

impl Collector {
    /// Starts with `settings`; returns when the log is replayed and requests pass. Must be called in a multi-threaded
    /// tokio runtime.
    ///
    /// # Errors
    /// When a port or the data directory cannot be had.
    pub async fn start(settings: CollectorSettings, recorder: Recorder) -> Result<Self, CollectorError> {
        Self::start_with(settings, recorder, None).await
    }

    /// As [`Self::start`], with a hook that the store calls where a crash would hurt; for tests.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        settings: CollectorSettings,
        recorder: Recorder,
        fault: Option<FaultHook>,
    ) -> Result<Self, CollectorError> {
        let http = settings.listen.bind("page and HTTP APIs", "--listen")?;
        let push = settings.push.bind("push stream and OTLP/gRPC", "--push")?;
        let (http_at, push_at) = (local(&http)?, local(&push)?);
        let stop = CancellationToken::new();
        let (http_gate, push_gate) = (Gate::default(), Gate::default());
        let mut servers = JoinSet::new();
        servers.spawn(serve(http, http_gate.router(), ServeSettings::of("http"), stop.clone().cancelled_owned()));
        servers.spawn(serve(push, push_gate.router(), ServeSettings::of("push"), stop.clone().cancelled_owned()));

        let options = store_options(&settings, fault);
        let opened = tokio::task::spawn_blocking(move || Store::open(options)).await;
        let store = opened.map_err(|error| system("opening the store", &error))??;

        let arrivals = Arc::new(Arrivals::default());
        let ingest = Arc::new(Ingest::new(store.clone(), Arc::clone(&arrivals)));
        let otlp = weir_receive::router(&Receiver::new(Arc::clone(&ingest), settings.receive.clone()));
        push_gate.open(push::router(Arc::clone(&ingest), stop.clone()).merge(otlp.clone()));
        let state = http_state(&settings, &store, Arc::clone(&arrivals), recorder.clone())?;
        let engine = Arc::clone(&state.engine);
        let questions = http::router(state).layer(axum::middleware::from_fn(trace::observe));
        let questions = settings.reload.iter().fold(questions, |router, reload| router.merge(reload.router()));
        let fixed = settings.fixed();
        let otlp_http = weir_receive::http_router(&Receiver::new(Arc::clone(&ingest), settings.receive));
        http_gate.open(otlp_http.merge(remote_write::router(Arc::clone(&ingest))).merge(questions));

        let mut chores = JoinSet::new();
        chores.spawn(observe_ourselves(Arc::clone(&ingest), recorder, stop.clone()));
        chores.spawn(expire_graph(ingest, stop.clone()));
        let spans = Spans::start(&format!("http://{push_at}"), span_resource());
        let spans = spans.inspect_err(|error| tracing::warn!(%error, "our own spans are not exported")).ok();
        Ok(Self { http: http_at, push: push_at, stop, servers, chores, store, engine, arrivals, fixed, spans })
    }

    /// Goes on with `settings`: retention, memory, and how often is flushed and compacted. Gives back a line for
    /// everything else that is said otherwise, since that needs a restart.
    #[must_use]
    pub fn reload(&self, settings: &CollectorSettings) -> Vec<String> {
        self.store.retune(tuning(settings));
        self.engine.set_retention_ms(retention_ms(settings));
        needs_restart(&self.fixed, &settings.fixed())
    }

    /// The store, for what runs in the same process.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who sends what, and what was refused.
    #[must_use]
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Stops taking requests, finishes what was taken, writes what is in memory to files.
    ///
    /// # Errors
    /// When the store could not be closed cleanly; nothing acknowledged is lost by that.
    pub async fn shutdown(mut self) -> Result<(), CollectorError> {
        if let Some(spans) = self.spans.take() {
            tokio::task::block_in_place(|| spans.stop());
        }
        self.stop.cancel();
        let drained = async {
            while self.servers.join_next().await.is_some() {}
            while self.chores.join_next().await.is_some() {}
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::debug!("connections that stayed open were cut");
            self.servers.shutdown().await;
            self.chores.shutdown().await;
        }
        let store = self.store;
        let closed = tokio::task::spawn_blocking(move || store.shutdown()).await;
        Ok(closed.map_err(|error| system("closing the store", &error))??)
    }
}

/// Stores our own metrics, soon after the start and then at a steady beat.
async fn observe_ourselves(ingest: Arc<Ingest>, recorder: Recorder, stop: CancellationToken) {
    let attributes = own_attributes().into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    let mut reader = Reader::new(recorder, Resource { attributes }, wall_clock_ns());
    let mut tick = interval(OBSERVE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => ingest.take_own(reader.batch(wall_clock_ns())).await,
        }
    }
}

async fn expire_graph(ingest: Arc<Ingest>, stop: CancellationToken) {
    let mut tick = interval(EXPIRE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => ingest.expire_graph().await,
        }
    }
}

fn tuning(settings: &CollectorSettings) -> Tuning {
    Tuning {
        metrics_flush_interval: settings.metrics_flush_interval,
        traces_flush_interval: settings.traces_flush_interval,
        memtable_bytes_max: settings.memtable_bytes_max,
        metrics_retention: settings.retention.unwrap_or(Duration::MAX),
        traces_retention: settings.retention.unwrap_or(Duration::MAX),
        compact_interval: settings.compaction_interval,
    }
}

fn store_options(settings: &CollectorSettings, fault: Option<FaultHook>) -> StoreOptions {
    StoreOptions {
        tuning: tuning(settings),
        // A reader that lists the files sees each row once, but for the moment between commit and removal. One that
        // has a file open keeps it.
        compact_grace: Duration::ZERO,
        fault,
        on_work: Some(Arc::new(trace::note_work)),
        ..StoreOptions::new(settings.data_dir.join("collector"), Arc::new(System))
    }
}

fn http_state(
    settings: &CollectorSettings,
    store: &Store,
    arrivals: Arc<Arrivals>,
    recorder: Recorder,
) -> Result<Arc<HttpState>, CollectorError> {
    let engine_settings = EngineSettings {
        retention_ms: retention_ms(settings),
        promql: settings.promql.clone(),
        ..EngineSettings::default()
    };
    let from = store.clone();
    let engine = Engine::new(Arc::new(move || from.snapshot()), engine_settings);
    let engine = engine.map_err(|error| system("starting the query engine", &error))?;
    let mut state = HttpState::new(Arc::new(engine), wall_clock_ns);
    state.metrics = Box::new(move || recorder.text());
    if let Some(reload) = settings.reload.clone() {
        state.config = Box::new(move || reload.last());
    }
    state.arrivals = Box::new(move || serde_json::json!(arrivals.report(wall_clock_ns())));
    Ok(Arc::new(state))
}

/// 0 when everything is kept.
fn retention_ms(settings: &CollectorSettings) -> i64 {
    settings.retention.map_or(0, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}

fn local(listener: &tokio::net::TcpListener) -> Result<SocketAddr, CollectorError> {
    listener.local_addr().map_err(|error| system("asking for the port that was taken", &error))
}

fn system(doing: &'static str, error: &dyn std::fmt::Display) -> CollectorError {
    CollectorError::System { doing, reason: error.to_string() }
}

/// Who we are, in metrics and spans alike.
fn own_attributes() -> Vec<(&'static str, String)> {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let instance = INSTANCE.get_or_init(|| format!("{host}:{}", std::process::id()));
    vec![
        ("service.name", names::OWN_SERVICES[0].to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance.clone()),
        ("host.name", host),
    ]
}

fn span_resource() -> Vec<SpanAttribute> {
    own_attributes().into_iter().map(|(key, value)| SpanAttribute::new(key, value)).collect()
}
