//! Small batches become one: from many senders to few, larger queue records, each answered only when it is durable.
//!
//! ```text
//!  receive ─┐                    ┌─────── Batcher (one task) ───────┐
//!  scrape ──┼─ Intake (bounded) ─▶ collect ─▶ join ─▶ spans → RED ───▶ Durable::append ─▶ answers
//!  host ────┘                    └──────────────────────────────────┘   ≤ APPENDS_MAX at once
//! ```
//! RED is taken here, so that it lies in the same record as its spans: what is stored once is counted once. Pressure
//! travels back: while appends are at their bound nothing is collected, the intake fills, and its senders wait; what
//! the queue refuses as full, every sender of that record is told.
//!
//! A record gathers while the one before it is made durable, and not otherwise: the first request of a quiet moment
//! waits for nobody, and under load records grow by themselves. (Waiting 20 ms for company was tried: at 16 senders it
//! cost each of them 23 ms per request, and quiet senders found no company.)

mod join;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_proto::{Batch, names};
use weir_receive::SinkError;
use weir_red::{RedLimits, RedReducer};

use crate::wall_clock_ns;

/// A record gathers no longer than this, however slow the disk is with the one before it.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// A record of this many points and spans waits for no more: about 100 KiB encoded, where joining gains nothing.
const ITEMS_MAX: usize = 8_192;
/// Records being made durable at once: one on its way to the disk and one being encoded.
const APPENDS_MAX: usize = 2;
/// Batches waiting to be joined. Their bytes are bounded by the edge's budget; this bounds the scrapers' share too.
const PARCELS_MAX: usize = 256;
/// Joining and RED of fewer spans than this take less than 100 µs and stay on the async thread.
const SPANS_INLINE: usize = 128;

/// Something that makes batches durable: the disk queue.
pub trait Durable: Send + Sync + 'static {
    /// Returns when `batch` will survive a crash.
    fn append(&self, batch: Batch) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Where batches enter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    parcels: mpsc::Sender<Parcel>,
}

/// A batch and the sender who waits for it.
#[derive(Debug)]
struct Parcel {
    batch: Batch,
    done: oneshot::Sender<Result<(), SinkError>>,
}

/// The task that joins. Owns the reducer of RED.
pub struct Batcher<D> {
    parcels: mpsc::Receiver<Parcel>,
    durable: Arc<D>,
    red: RedReducer,
    appends: JoinSet<()>,
}

impl Intake {
    /// Gives `batch` away; returns when it is durable.
    ///
    /// # Errors
    /// Full when the queue is; Closed when the agent is shutting down.
    pub async fn put(&self, batch: Batch) -> Result<(), SinkError> {
        let (done, answer) = oneshot::channel();
        self.parcels.send(Parcel { batch, done }).await.map_err(|_| SinkError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(SinkError::Internal { reason: "the batch was lost on its way".into() }))
    }

    /// An intake whose batches come out at the other end, taken for durable.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, mpsc::Receiver<Batch>) {
        let (parcels, mut waiting) = mpsc::channel::<Parcel>(PARCELS_MAX);
        let (out, batches) = mpsc::channel(PARCELS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(parcel) = waiting.recv().await {
                if out.send(parcel.batch).await.is_ok() {
                    parcel.done.send(Ok(())).ok();
                }
            }
        });
        tasks.detach_all();
        (Self { parcels }, batches)
    }
}

impl<D: Durable> Batcher<D> {
    /// A batcher in front of `durable`, and where its batches enter.
    #[must_use]
    pub fn new(durable: Arc<D>, red: RedLimits) -> (Intake, Self) {
        let (parcels, waiting) = mpsc::channel(PARCELS_MAX);
        let red = RedReducer::new(red);
        (Intake { parcels }, Self { parcels: waiting, durable, red, appends: JoinSet::new() })
    }

    /// Joins until told to stop, or until every intake is gone; then takes what still waits, and returns when all of
    /// it is answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut open = true;
        loop {
            let parcel = tokio::select! {
                parcel = self.parcels.recv() => parcel,
                () = stop.cancelled(), if open => {
                    open = false;
                    self.parcels.close();
                    continue;
                }
            };
            let Some(first) = parcel else { break };
            let parcels = self.collect(first).await;
            self = self.seal_and_append(parcels).await;
            while self.appends.len() >= APPENDS_MAX {
                self.appends.join_next().await;
            }
        }
        while self.appends.join_next().await.is_some() {}
    }

    /// What waits behind `first`, and what comes while a record is being made durable, up to [`ITEMS_MAX`].
    async fn collect(&mut self, first: Parcel) -> Vec<Parcel> {
        let deadline = Instant::now() + GATHER_MAX;
        let mut items = first.items();
        let mut parcels = vec![first];
        while items < ITEMS_MAX && parcels.len() < PARCELS_MAX {
            let next = match self.parcels.try_recv() {
                Ok(parcel) => parcel,
                Err(_) if self.appends.is_empty() => break,
                Err(_) => tokio::select! {
                    Some(parcel) = self.parcels.recv() => parcel,
                    _ = self.appends.join_next() => break,
                    () = tokio::time::sleep_until(deadline) => break,
                },
            };
            items += next.items();
            parcels.push(next);
        }
        parcels
    }

    async fn seal_and_append(mut self, parcels: Vec<Parcel>) -> Self {
        let spans: usize = parcels.iter().map(|parcel| parcel.batch.spans.len()).sum();
        let now_ns = wall_clock_ns();
        let (batch, waiting);
        if spans < SPANS_INLINE {
            (batch, waiting) = seal(parcels, &mut self.red, now_ns);
        } else {
            let mut red = self.red;
            let sealed = tokio::task::spawn_blocking(move || {
                let sealed = seal(parcels, &mut red, now_ns);
                (red, sealed)
            });
            match sealed.await {
                Ok((red, sealed)) => {
                    self.red = red;
                    (batch, waiting) = sealed;
                }
                Err(error) => {
                    // The senders see their answers dropped, and are told that it is our defect.
                    tracing::error!(%error, "joining batches failed");
                    self.red = RedReducer::new(RedLimits::default());
                    return self;
                }
            }
        }
        self.appends.spawn(append(Arc::clone(&self.durable), batch, waiting));
        self
    }
}

impl Parcel {
    fn items(&self) -> usize {
        self.batch.metrics.points() + self.batch.spans.len()
    }
}

/// Those who wait for one record.
type Waiting = Vec<oneshot::Sender<Result<(), SinkError>>>;

fn seal(parcels: Vec<Parcel>, red: &mut RedReducer, now_ns: i64) -> (Batch, Waiting) {
    let (batches, waiting): (Vec<_>, Waiting) = parcels.into_iter().map(|parcel| (parcel.batch, parcel.done)).unzip();
    let mut batch = join::join(batches);
    if !batch.spans.is_empty() {
        red.observe(&batch.spans, now_ns, &mut batch.metrics);
    }
    (batch, waiting)
}

async fn append<D: Durable>(durable: Arc<D>, batch: Batch, waiting: Waiting) {
    let outcome = durable.append(batch).await;
    let label = match &outcome {
        Ok(()) => "durable",
        Err(SinkError::Full { .. }) => "full",
        Err(_) => "failed",
    };
    metrics::counter!(names::BATCH_RECORDS, "outcome" => label).increment(1);
    metrics::counter!(names::BATCH_JOINED).increment(waiting.len() as u64);
    for done in waiting {
        // A sender that hung up does not hear the answer.
        done.send(outcome.clone()).ok();
    }
}

#[cfg(test)]
mod tests;
