//! Where everything enters: frames of agents, OTLP of direct senders, our own readings. What comes back is durable.
//!
//! ```text
//!  push ──────────────▶┐
//!  remote write ──────▶┤
//!  OTLP ─▶ RED ───────▶┼─▶ service graph ─▶ Store::append (WAL, fsync) ─▶ arrivals noted ─▶ answer
//!  our own readings ──▶┘        ▲ retract ◀────── not stored, or a repeat
//! ```
//! RED of an agent's spans came with them; a direct sender's is made here, into the same batch, so that both are in one
//! record of the log. The graph's edges go into the batch that completes them; when that batch is not stored, or was
//! stored before, the graph takes them back. Nothing here is remembered over a restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_proto::{Batch, MetricBatch};
use weir_receive::{NotTaken, Sender, Sink, SinkError};
use weir_red::{RedLimits, RedReducer};
use weir_store::{Appended, Delivery, ErrorKind, Store, StoreError};

use crate::arrivals::{Arrivals, Counted, RefusedItems};
use crate::graph::{GraphLimits, Observed, ServiceGraph};
use crate::push::{self, IngestError, IngestErrorKind};
use crate::wall_clock_ns;

/// How long a sender waits when memory or disk is full: a flush takes about that long.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How arrivals call who writes remotely.
const REMOTE_WRITE: &str = "remote write";
/// Spans that are looked at on the async thread; RED and graph of more take longer than 100 µs.
const SPANS_INLINE: usize = 64;

/// The way in. Shared by all edges.
pub struct Ingest {
    store: Store,
    arrivals: Arc<Arrivals>,
    // Two reductions over a batch's spans, milliseconds at most; the order of batches does not matter to either.
    red: Mutex<RedReducer>,
    graph: Mutex<ServiceGraph>,
}

/// Who brought a batch.
struct Origin<'a> {
    via: Arc<str>,
    delivery: Option<Delivery>,
    spans_need_red: bool,
    /// What went wrong is noted for this sender.
    name: &'a str,
}

impl Ingest {
    /// A way into `store`.
    #[must_use]
    pub fn new(store: Store, arrivals: Arc<Arrivals>) -> Self {
        Self {
            store,
            arrivals,
            red: Mutex::new(RedReducer::new(RedLimits::default())),
            graph: Mutex::new(ServiceGraph::new(GraphLimits::default())),
        }
    }

    /// Stores our own reading.
    pub(crate) async fn take_own(&self, metrics: MetricBatch) {
        let counted = Batch { metrics, ..Batch::default() };
        let origin = Origin { via: "itself".into(), delivery: None, spans_need_red: false, name: "itself" };
        if let Err(error) = self.take(counted, origin).await {
            tracing::debug!(%error, "our own reading was not stored");
        }
    }

    /// Stores what came by remote write.
    pub(crate) async fn take_written(&self, batch: Batch) -> Result<Appended, StoreError> {
        let via = REMOTE_WRITE;
        let origin = Origin { via: via.into(), delivery: None, spans_need_red: false, name: via };
        self.take(batch, origin).await
    }

    /// Notes what a remote write request lost; 0 items when nothing of it was read.
    pub(crate) fn note_not_written(&self, reason: &'static str, items: u64, message: &str) {
        let what = RefusedItems { reason, items, message };
        self.arrivals.note_refusal(REMOTE_WRITE, &what, wall_clock_ns());
    }

    /// Stores the edges of calls whose other side never came.
    pub(crate) async fn expire_graph(&self) {
        let mut metrics = MetricBatch::default();
        lock(&self.graph).expire(wall_clock_ns(), &mut metrics);
        if metrics.points() == 0 {
            return;
        }
        let batch = Batch { metrics, ..Batch::default() };
        if let Err(error) = self.store.append(batch, None).await {
            tracing::warn!(%error, "edges of the service graph were not stored");
        }
    }

    async fn take(&self, mut batch: Batch, origin: Origin<'_>) -> Result<Appended, StoreError> {
        let now_ns = wall_clock_ns();
        let counted = Counted::of(&batch);
        let observed = self.derive(&mut batch, origin.spans_need_red, now_ns);
        let outcome = self.store.append(batch, origin.delivery).await;
        match &outcome {
            Ok(Appended::Stored) => self.arrivals.note(counted, &origin.via, now_ns),
            Ok(Appended::Repeated) => self.retract(observed),
            Err(error) => {
                self.retract(observed);
                let message = error.to_string();
                let what = RefusedItems { reason: word(error.kind()), items: 0, message: &message };
                self.arrivals.note_refusal(origin.name, &what, now_ns);
            }
        }
        outcome
    }

    /// Adds RED, where nobody has yet, and the edges that these spans complete.
    fn derive(&self, batch: &mut Batch, spans_need_red: bool, now_ns: i64) -> Option<Observed> {
        if batch.spans.is_empty() {
            return None;
        }
        let mut reduce = || {
            if spans_need_red {
                lock(&self.red).observe(&batch.spans, now_ns, &mut batch.metrics);
            }
            lock(&self.graph).observe(&batch.spans, now_ns, &mut batch.metrics)
        };
        Some(if batch.spans.len() <= SPANS_INLINE { reduce() } else { tokio::task::block_in_place(reduce) })
    }

    fn retract(&self, observed: Option<Observed>) {
        if let Some(observed) = observed {
            lock(&self.graph).retract(observed);
        }
    }
}

impl push::Ingest for Ingest {
    async fn ingest(
        &self,
        batch: Batch,
        delivery: Option<Delivery>,
        from: &push::Agent,
    ) -> Result<Appended, IngestError> {
        let via = format!("agent {}", from.node);
        let origin = Origin { via: via.as_str().into(), delivery, spans_need_red: false, name: &via };
        self.take(batch, origin).await.map_err(|error| {
            // Bytes on our own disk that are wrong are no fault of the batch: the agent keeps it and comes again.
            let kind = match error.kind() {
                ErrorKind::Invalid => IngestErrorKind::Invalid,
                _ => IngestErrorKind::Full,
            };
            IngestError { kind, pause: FULL_PAUSE, message: error.to_string() }
        })
    }

    fn refused(&self, from: Option<&push::Agent>, reason: &'static str, message: &str) {
        let via = from.map_or_else(|| "push".to_owned(), |agent| format!("agent {}", agent.node));
        self.arrivals.note_refusal(&via, &RefusedItems { reason, items: 0, message }, wall_clock_ns());
    }
}

impl Sink for Ingest {
    async fn accept(&self, batch: Batch, from: &Sender) -> Result<(), SinkError> {
        let via = from.protocol.as_str();
        let origin = Origin { via: via.into(), delivery: None, spans_need_red: true, name: via };
        match self.take(batch, origin).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                ErrorKind::Full => SinkError::Full { reason: error.to_string(), retry_after: FULL_PAUSE },
                ErrorKind::Unavailable | ErrorKind::Corrupt => SinkError::Unavailable { reason: error.to_string() },
                ErrorKind::Closed => SinkError::Closed,
                ErrorKind::Invalid | ErrorKind::Internal => SinkError::Internal { reason: error.to_string() },
            }),
        }
    }

    fn refused(&self, from: &Sender, what: &NotTaken<'_>) {
        let what = RefusedItems { reason: what.reason, items: what.items, message: what.message };
        self.arrivals.note_refusal(from.protocol.as_str(), &what, wall_clock_ns());
    }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Full => "full",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Closed => "closed",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Internal => "internal",
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
