//! One connection: what is sent next, what is in flight, what the collector says.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_proto::names;
use weir_proto::push::{Frame, Full, Refused, ToAgent, ToCollector, to_agent, to_collector};

use super::client::Stream;
use super::lane::Lanes;
use super::{DRAIN_MAX, SILENCE_MAX, WINDOW_BYTES, WINDOW_BYTES_LIVE, WINDOW_FRAMES};
use crate::queue::{Head, Queue};

/// History may run ahead of its rate by this much, so that large frames pass.
const HISTORY_BURST_BYTES: f64 = 1e6;

/// No pause that a collector asks for is longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Nor shorter, whatever it asks.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Why a connection ended.
pub(super) struct End {
    /// A stable word.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
}

/// After a segment could not be read: not to spin on a failing disk.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// One connection's state.
pub(super) struct Session {
    queue: Arc<Queue>,
    head: watch::Receiver<Head>,
    stream: Stream,
    /// Sent, not answered: position → (epoch, bytes).
    in_flight: BTreeMap<u64, (u64, usize)>,
    in_flight_bytes: usize,
    /// When the collector last answered, or when the first frame went out after a quiet time.
    answered_at: Instant,
    was_acked: bool,
    paused_until: Option<Instant>,
    tokens: Tokens,
}

/// The history lane's rate.
struct Tokens {
    per_second: f64,
    left: f64,
    counted_at: Instant,
}

/// What is to be sent next, and when it is worth looking again if there is nothing.
enum Next {
    Frame(Frame, &'static str),
    Nothing { look_at: Option<Instant> },
}

impl Session {
    pub(super) fn new(queue: Arc<Queue>, stream: Stream, history_bytes_per_second: u64) -> Self {
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = history_bytes_per_second.max(1) as f64;
        Self {
            head: queue.head(),
            queue,
            stream,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            answered_at: now,
            was_acked: false,
            paused_until: None,
            tokens: Tokens { per_second, left: HISTORY_BURST_BYTES, counted_at: now },
        }
    }

    /// Whether the collector took anything.
    pub(super) fn was_acked(&self) -> bool {
        self.was_acked
    }

    /// Sends and listens until the stream ends or `stop` is given.
    pub(super) async fn run(&mut self, mut lanes: Lanes, stop: &CancellationToken) -> End {
        loop {
            let next = match self.next(&mut lanes).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, "a queue segment cannot be read; the next one is sent");
                    metrics::counter!(names::QUEUE_UNREADABLE).increment(1);
                    self.paused_until = Some(Instant::now() + UNREADABLE_PAUSE);
                    continue;
                }
            };
            let ended = match next {
                Next::Frame(frame, lane) => self.send(frame, lane, &mut lanes, stop).await,
                Next::Nothing { look_at } => self.wait(look_at, &mut lanes, stop).await,
            };
            if let Some(end) = ended {
                return if end.reason == "stopped" { self.drain(&mut lanes).await } else { end };
            }
        }
    }

    /// The next frame: live before history, history within its share of the window and its rate.
    async fn next(&mut self, lanes: &mut Lanes) -> Result<Next, weir_wal::WalError> {
        if let Some(until) = self.paused_until {
            if Instant::now() < until {
                return Ok(Next::Nothing { look_at: Some(until) });
            }
            self.paused_until = None;
        }
        if self.in_flight_bytes >= WINDOW_BYTES || self.in_flight.len() >= WINDOW_FRAMES {
            return Ok(Next::Nothing { look_at: None });
        }
        self.head.mark_unchanged();
        if let Some(frame) = lanes.live.next().await? {
            return Ok(Next::Frame(frame, "live"));
        }
        if lanes.history_is_done || self.in_flight_bytes >= WINDOW_BYTES - WINDOW_BYTES_LIVE {
            return Ok(Next::Nothing { look_at: None });
        }
        if let Some(look_at) = self.tokens.empty_until() {
            return Ok(Next::Nothing { look_at: Some(look_at) });
        }
        let Some(frame) = lanes.history.next().await? else {
            lanes.history_is_done = true;
            return Ok(Next::Nothing { look_at: None });
        };
        self.tokens.spend(frame.payload.len());
        Ok(Next::Frame(frame, "history"))
    }

    /// Hands `frame` to the connection; listens while that is slow.
    async fn send(
        &mut self,
        frame: Frame,
        lane: &'static str,
        lanes: &mut Lanes,
        stop: &CancellationToken,
    ) -> Option<End> {
        let (position, epoch, bytes) = (frame.position, frame.epoch, frame.payload.len());
        let outbox = self.stream.outbox.clone();
        loop {
            tokio::select! {
                biased;
                reply = self.stream.inbox.message() => {
                    if let Some(end) = self.hear(reply, lanes).await {
                        return Some(end);
                    }
                    if self.paused_until.is_some() {
                        // Not sent: its lane begins again, or had nothing to do with it and must not skip it.
                        lanes.restart(epoch);
                        return None;
                    }
                }
                permit = outbox.reserve() => {
                    let Ok(permit) = permit else {
                        return Some(End::new("broken", "the connection takes nothing any more"));
                    };
                    permit.send(ToCollector { message: Some(to_collector::Message::Frame(frame)) });
                    break;
                }
                () = sleep_until(self.answered_at + SILENCE_MAX), if !self.in_flight.is_empty() => {
                    return Some(End::new("silent", "no answer to what was sent"));
                }
                () = stop.cancelled() => return Some(End::new("stopped", "")),
            }
        }
        if self.in_flight.is_empty() {
            self.answered_at = Instant::now();
        }
        metrics::counter!(names::PUSH_SENT_FRAMES, "lane" => lane).increment(1);
        metrics::counter!(names::PUSH_SENT_BYTES, "lane" => lane).increment(bytes as u64);
        if self.in_flight.insert(position, (epoch, bytes)).is_none() {
            self.in_flight_bytes += bytes;
        }
        None
    }

    /// Waits for anything: a reply, new records, `look_at`.
    async fn wait(&mut self, look_at: Option<Instant>, lanes: &mut Lanes, stop: &CancellationToken) -> Option<End> {
        let silent_at = self.answered_at + SILENCE_MAX;
        tokio::select! {
            reply = self.stream.inbox.message() => self.hear(reply, lanes).await,
            changed = self.head.changed() => match changed {
                Ok(()) => None,
                Err(_) => Some(End::new("stopped", "the queue is closed")),
            },
            () = sleep_until(look_at.unwrap_or(silent_at)), if look_at.is_some() => None,
            () = sleep_until(silent_at), if !self.in_flight.is_empty() => {
                Some(End::new("silent", "no answer to what was sent"))
            }
            () = stop.cancelled() => Some(End::new("stopped", "")),
        }
    }

    /// Nothing more is sent; what is in flight may still be answered.
    async fn drain(&mut self, lanes: &mut Lanes) -> End {
        let until = Instant::now() + DRAIN_MAX;
        while !self.in_flight.is_empty() {
            let Ok(reply) = timeout_at(until, self.stream.inbox.message()).await else { break };
            if self.hear(reply, lanes).await.is_some() {
                break;
            }
        }
        End::new("stopped", "")
    }

    async fn hear(&mut self, reply: Result<Option<ToAgent>, Status>, lanes: &mut Lanes) -> Option<End> {
        let message = match reply {
            Ok(Some(reply)) => reply.message,
            Ok(None) => return Some(End::new("closed", "the collector has closed the stream")),
            Err(status) => return Some(End::new("broken", status.message())),
        };
        self.answered_at = Instant::now();
        match message {
            Some(to_agent::Message::Ack(ack)) => {
                self.was_acked |= !ack.positions.is_empty();
                ack.positions.iter().for_each(|&position| self.forget(position));
                self.queue.ack(ack.positions).await;
            }
            Some(to_agent::Message::Full(full)) => self.pause(&full, lanes),
            Some(to_agent::Message::Refused(refused)) => self.set_aside(&refused).await,
            None => return Some(End::new("protocol", "a reply that this version does not know")),
        }
        None
    }

    /// The collector is full: that epoch comes again, after the pause.
    fn pause(&mut self, full: &Full, lanes: &mut Lanes) {
        metrics::counter!(names::PUSH_FULL).increment(1);
        let pause = Duration::from_millis(u64::from(full.pause_ms)).clamp(PAUSE_MIN, PAUSE_MAX);
        tracing::debug!(reason = full.reason, pause_ms = full.pause_ms, "the collector is full");
        self.paused_until = Some(Instant::now() + pause);
        let gone: Vec<u64> =
            self.in_flight.iter().filter(|(_, sent)| sent.0 == full.epoch).map(|(at, _)| *at).collect();
        gone.into_iter().filter(|&position| position >= full.position).for_each(|position| self.forget(position));
        lanes.restart(full.epoch);
    }

    /// The collector will never take this record. What comes from now on must not depend on it.
    async fn set_aside(&mut self, refused: &Refused) {
        let Refused { position, reason, .. } = refused;
        tracing::error!(position, reason, "the collector refused a batch for good; it is kept beside the queue");
        self.forget(*position);
        self.queue.set_aside(*position).await;
        if refused.epoch == self.head.borrow().segment
            && let Err(error) = self.queue.rotate().await
        {
            tracing::warn!(%error, "the segment of a refused batch could not be ended");
        }
    }

    fn forget(&mut self, position: u64) {
        if let Some((_, bytes)) = self.in_flight.remove(&position) {
            self.in_flight_bytes -= bytes;
        }
    }
}

impl Tokens {
    /// When there is something to spend again, if there is nothing now.
    fn empty_until(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let passed = now.duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.left = (self.left + passed * self.per_second).min(HISTORY_BURST_BYTES);
        (self.left <= 0.0).then(|| now + Duration::from_secs_f64((1.0 - self.left) / self.per_second))
    }

    fn spend(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let bytes = bytes as f64;
        self.left -= bytes;
    }
}

impl End {
    fn new(reason: &'static str, message: &str) -> Self {
        Self { reason, message: message.to_owned() }
    }
}
