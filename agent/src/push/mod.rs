//! The push stream, the agent's side: sends the queue to a collector and forgets what it acknowledges.
//!
//! ```text
//!              ┌ live lane: the newest segments, in order, at once ──────┐
//!  queue ──────┤                                                        ├─▶ window ─▶ gRPC stream ─▶ collector
//!              └ history lane: older segments, newest first, rate-bound ─┘      ▲
//!  queue.ack ◀────────────────── ack ──────────────────────────────────────── replies: Ack, Full, Refused
//! ```
//! On every connect the queue is rotated: what is appended from then on is live and goes at once; what was left
//! unacknowledged before is history, and follows behind it, segment by segment, each from its beginning, since a
//! segment is one epoch of the frame codec. After an outage the newest data is therefore there first.
//!
//! A record is forgotten when it is acknowledged and not before; a record that is sent twice is dropped by the
//! collector, which knows it by (agent id, position). In flight are at most [`WINDOW_BYTES`], so memory is bounded
//! whatever the queue holds. Reconnects back off with full jitter; the back-off is reset by an ack, not by a
//! connection, so that a collector that accepts and cannot store is not hammered.

mod backoff;
mod client;
mod identity;
mod lane;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_proto::names;

use crate::queue::Queue;
use backoff::Backoff;
use session::{End, Session};

pub use identity::{AgentId, IdentityError};

/// Frames sent and not yet answered.
const WINDOW_BYTES: usize = 16 << 20;

/// The same in number: small frames cost their bookkeeping.
const WINDOW_FRAMES: usize = 4096;

/// The history lane leaves this much of the window to the live lane.
const WINDOW_BYTES_LIVE: usize = 8 << 20;

/// A connection that cannot be made in this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that has vanished is noticed after this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a ping may go unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A collector that answers pings and acknowledges nothing for this long, with frames in flight, is left.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// At shutdown, how long answers to what is in flight are waited for. The rest is sent again at the next start.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What the task is told.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The collector, `http://HOST:PORT`.
    pub collector: tonic::transport::Uri,
    /// Who we are.
    pub agent: AgentId,
    /// Host or node name, for people.
    pub node: String,
    /// Bound of the history lane. Higher: the backlog of an outage is through sooner, at the cost of live latency.
    pub history_bytes_per_second: u64,
}

/// Default of [`PushSettings::history_bytes_per_second`]: about two million points a second.
pub const HISTORY_BYTES_PER_SECOND: u64 = 8 << 20;

/// The task that pushes.
#[derive(Debug)]
pub struct Push {
    queue: Arc<Queue>,
    settings: PushSettings,
    backoff: Backoff,
}

impl Push {
    /// A task for `queue`; `seed` makes the jitter differ from agent to agent.
    #[must_use]
    pub fn new(queue: Arc<Queue>, settings: PushSettings, seed: u64) -> Self {
        Self { queue, settings, backoff: Backoff::new(seed) }
    }

    /// Pushes until told to stop; then waits a little for the answers to what is in flight.
    pub async fn run(mut self, stop: CancellationToken) {
        metrics::gauge!(names::PUSH_CONNECTED).set(0.0);
        while !stop.is_cancelled() {
            let end = tokio::select! {
                opened = client::open(&self.settings, &self.queue) => self.push(opened, &stop).await,
                () = stop.cancelled() => break,
            };
            if let Some(reason) = end {
                metrics::counter!(names::PUSH_DISCONNECTS, "reason" => reason).increment(1);
            }
            let pause = self.backoff.next();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
    }

    /// One connection, if there is one: why it ended.
    async fn push(
        &mut self,
        opened: Result<(client::Stream, lane::Lanes), tonic::Status>,
        stop: &CancellationToken,
    ) -> Option<&'static str> {
        let (stream, lanes) = match opened {
            Ok(stream) => stream,
            Err(error) => {
                metrics::counter!(names::PUSH_CONNECTS, "outcome" => "failed").increment(1);
                self.backoff.failed(|attempt| {
                    let collector = &self.settings.collector;
                    tracing::warn!(%collector, attempt, error = error.message(), "the collector cannot be reached");
                });
                return None;
            }
        };
        metrics::counter!(names::PUSH_CONNECTS, "outcome" => "open").increment(1);
        metrics::gauge!(names::PUSH_CONNECTED).set(1.0);
        let collector = &self.settings.collector;
        tracing::info!(%collector, "the push stream is open");
        let mut session = Session::new(Arc::clone(&self.queue), stream, self.settings.history_bytes_per_second);
        let End { reason, message } = session.run(lanes, stop).await;
        if session.was_acked() {
            self.backoff.reset();
        }
        tracing::info!(%collector, reason, message, "the push stream has ended");
        metrics::gauge!(names::PUSH_CONNECTED).set(0.0);
        Some(reason)
    }
}

#[cfg(test)]
mod tests;
