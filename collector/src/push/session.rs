//! One stream of one agent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use weir_proto::frame::{Decoder, FrameError};
use weir_proto::push::{Ack, Frame, Full, Hello, Refused, ToAgent, ToCollector, to_agent, to_collector};
use weir_proto::{Batch, names};
use weir_store::{Appended, Delivery};

use super::ingest::{Agent, Ingest, IngestError, IngestErrorKind};

/// Batches of one stream being made durable at once: enough that one group commit has several of them.
const PENDING_MAX: usize = 8;

/// Decoders of one stream. Live and history are two; one more each while a segment ends and the next begins.
const EPOCHS_MAX: usize = 4;

/// How long a newer agent keeps what this version cannot read.
const UNKNOWN_FORMAT_PAUSE: Duration = Duration::from_secs(60);

/// How long an agent waits that sent a frame of an epoch that is not open here.
const UNKNOWN_EPOCH_PAUSE: Duration = Duration::from_millis(100);

/// How long an agent waits whose frame did not decode.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(100);

/// Epochs remembered as asked for once more.
const ASKED_AGAIN_MAX: usize = 64;

/// Batches of all streams that are decoded and not yet stored take at most about this much memory.
pub(super) const DECODED_BYTES_MAX: usize = 512 << 20;

/// A batch is about this many times as large as its frame: 28 bytes a point against 4.5, spans alike.
const DECODED_PER_FRAME_BYTE: usize = 8;

/// The budget is counted in units of this many bytes.
const BUDGET_UNIT_BYTES: usize = 1024;

/// Names in a Hello are for people; longer ones are cut.
const NAME_CHARS_MAX: usize = 200;

/// What all streams share.
#[derive(Clone, Debug)]
pub(super) struct PushShared {
    /// Streams end when it is cancelled.
    pub(super) stop: CancellationToken,
    /// Memory for decoded batches, in units.
    pub(super) budget: Arc<Semaphore>,
}

impl PushShared {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { stop, budget: Arc::new(Semaphore::new(DECODED_BYTES_MAX / BUDGET_UNIT_BYTES)) }
    }
}

/// A stream's state.
pub(super) struct Session<I> {
    ingest: Arc<I>,
    inbox: Streaming<ToCollector>,
    peer: Option<SocketAddr>,
    stop: CancellationToken,
    /// Set by Hello.
    agent: Option<Arc<Agent>>,
    /// The one used last stands last.
    epochs: Vec<Epoch>,
    /// Epochs with a frame that did not decode, each asked for once more: the wire may have been at fault.
    asked_again: VecDeque<u64>,
    pending: FuturesUnordered<BoxFuture<'static, Settled>>,
    replies: VecDeque<ToAgent>,
    /// A frame that waits for its share of the budget; nothing is read meanwhile.
    held: Option<Frame>,
    budget: Arc<Semaphore>,
    /// Nothing more is read.
    closing: bool,
    _open: Open,
}

/// One epoch of the agent's queue.
struct Epoch {
    number: u64,
    /// `None` while its frames are skipped: something of it was not taken, and it will begin again.
    decoder: Option<Box<Decoder>>,
}

/// What is known of a frame's epoch.
enum Opened {
    /// It is open.
    Decoder(Box<Decoder>),
    /// Its frames are skipped until it begins again.
    Skipped,
    /// It never began here, or was forgotten for newer ones.
    Unknown,
}

/// What became of a batch.
struct Settled {
    position: u64,
    epoch: u64,
    outcome: Result<Appended, IngestError>,
}

/// Counts a stream while it is open.
struct Open;

impl Open {
    fn new() -> Self {
        metrics::gauge!(names::PUSH_STREAMS).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(names::PUSH_STREAMS).decrement(1.0);
    }
}

impl<I: Ingest> Session<I> {
    pub(super) fn new(
        ingest: Arc<I>,
        inbox: Streaming<ToCollector>,
        peer: Option<SocketAddr>,
        shared: &PushShared,
    ) -> Self {
        Self {
            ingest,
            inbox,
            peer,
            stop: shared.stop.clone(),
            budget: Arc::clone(&shared.budget),
            held: None,
            agent: None,
            epochs: Vec::new(),
            asked_again: VecDeque::new(),
            pending: FuturesUnordered::new(),
            replies: VecDeque::new(),
            closing: false,
            _open: Open::new(),
        }
    }

    /// The replies, driven by whoever reads them.
    pub(super) fn replies(self) -> impl Stream<Item = Result<ToAgent, Status>> + Send {
        futures::stream::unfold(Some(self), |session| async {
            let mut session = session?;
            match session.next_reply().await {
                Ok(Some(reply)) => Some((Ok(reply), Some(session))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next_reply(&mut self) -> Result<Option<ToAgent>, Status> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(Some(reply));
            }
            let may_read = !self.closing && self.held.is_none() && self.pending.len() < PENDING_MAX;
            if !may_read && self.held.is_none() && self.pending.is_empty() {
                return Ok(None);
            }
            let share = self.held.as_ref().map_or(0, |frame| share_of(&frame.payload));
            // What is pending holds its shares, so it must go on while a frame waits for one.
            let granted = Arc::clone(&self.budget).acquire_many_owned(share);
            tokio::select! {
                Some(settled) = self.pending.next(), if !self.pending.is_empty() => self.settle(settled),
                Ok(share) = granted, if self.held.is_some() => {
                    if let Some(frame) = self.held.take() {
                        self.take_frame(frame, share).await?;
                    }
                }
                message = self.inbox.message(), if may_read => match message {
                    Ok(Some(message)) => self.take(message)?,
                    Ok(None) => self.closing = true,
                    Err(status) => return Err(self.unreadable(status)),
                },
                () = self.stop.cancelled(), if !self.closing => self.closing = true,
            }
        }
    }

    fn take(&mut self, message: ToCollector) -> Result<(), Status> {
        match message.message {
            Some(to_collector::Message::Hello(hello)) => self.greet(hello),
            Some(to_collector::Message::Frame(frame)) => {
                metrics::counter!(names::PUSH_FRAME_BYTES).increment(frame.payload.len() as u64);
                self.held = Some(frame);
                Ok(())
            }
            None => Err(self.unreadable(Status::unimplemented("a message that this version does not know"))),
        }
    }

    /// Counts and tells what ended the stream, unless that is only a connection that is gone.
    fn unreadable(&self, status: Status) -> Status {
        let (reason, code) = match status.code() {
            // What tonic says of bytes that are no message, and of a stream that ends inside one.
            Code::Internal | Code::InvalidArgument => ("malformed", Code::InvalidArgument),
            Code::OutOfRange | Code::ResourceExhausted => ("too_large", Code::ResourceExhausted),
            Code::Unimplemented => ("unsupported", Code::Unimplemented),
            _ => return status,
        };
        metrics::counter!(names::PUSH_UNREADABLE, "reason" => reason).increment(1);
        let message = format!("the push stream cannot be read: {}", status.message());
        self.ingest.refused(self.agent.as_deref(), reason, &message);
        Status::new(code, message)
    }

    fn bad_hello(&self, message: &'static str) -> Status {
        metrics::counter!(names::PUSH_BAD_HELLO).increment(1);
        self.ingest.refused(self.agent.as_deref(), "bad_hello", message);
        Status::invalid_argument(message)
    }

    fn greet(&mut self, hello: Hello) -> Result<(), Status> {
        let Ok(id) = <[u8; 16]>::try_from(hello.agent_id.as_slice()) else {
            return Err(self.bad_hello("an agent id has 16 bytes"));
        };
        if self.agent.is_some() {
            return Err(self.bad_hello("Hello comes once, first"));
        }
        let cut = |name: &str| -> Arc<str> { name.chars().take(NAME_CHARS_MAX).collect::<String>().into() };
        let agent = Agent { id, node: cut(&hello.node), version: cut(&hello.version), peer: self.peer };
        tracing::info!(node = %agent.node, version = %agent.version, peer = ?agent.peer, "an agent has connected");
        self.agent = Some(Arc::new(agent));
        Ok(())
    }

    async fn take_frame(&mut self, frame: Frame, share: OwnedSemaphorePermit) -> Result<(), Status> {
        let Some(agent) = self.agent.clone() else { return Err(self.bad_hello("a frame before Hello")) };
        let Frame { position, epoch, epoch_start, payload, lowest_unacked } = frame;
        let decoder = match self.open(epoch, epoch_start) {
            Opened::Decoder(decoder) => decoder,
            Opened::Skipped => {
                count("skipped");
                return Ok(());
            }
            Opened::Unknown => {
                let reason = "the epoch did not begin on this stream".into();
                self.refuse_for_now(position, epoch, UNKNOWN_EPOCH_PAUSE, reason);
                return Ok(());
            }
        };
        let (decoder, decoded) = decode(decoder, payload).await?;
        self.keep(epoch, Some(decoder));
        match decoded {
            Ok(batch) => {
                let delivery = Delivery { agent: agent.id, position, lowest_unacked };
                let ingest = Arc::clone(&self.ingest);
                let stored = async move {
                    let outcome = ingest.ingest(batch, Some(delivery), &agent).await;
                    drop(share);
                    Settled { position, epoch, outcome }
                };
                self.pending.push(stored.boxed());
            }
            Err(error @ FrameError::Version(_)) => {
                self.refuse_for_now(position, epoch, UNKNOWN_FORMAT_PAUSE, error.to_string());
            }
            Err(error) => self.refuse_bytes(position, epoch, &error),
        }
        Ok(())
    }

    /// Bytes that did not decode: the agent has them checksummed, so they are asked for once more.
    fn refuse_bytes(&mut self, position: u64, epoch: u64, error: &FrameError) {
        self.ingest.refused(self.agent.as_deref(), "unreadable_frame", &error.to_string());
        if self.asked_again.contains(&epoch) {
            return self.refuse(position, epoch, error.to_string());
        }
        if self.asked_again.len() >= ASKED_AGAIN_MAX {
            self.asked_again.pop_front();
        }
        self.asked_again.push_back(epoch);
        self.refuse_for_now(position, epoch, UNREADABLE_PAUSE, error.to_string());
    }

    /// Takes the decoder of `epoch` out; a fresh one when the epoch begins.
    fn open(&mut self, epoch: u64, begins: bool) -> Opened {
        let known = self.epochs.iter().position(|open| open.number == epoch).map(|at| self.epochs.remove(at));
        if begins {
            return Opened::Decoder(Box::default());
        }
        match known {
            Some(Epoch { decoder: Some(decoder), .. }) => Opened::Decoder(decoder),
            Some(skipped) => {
                self.epochs.push(skipped);
                Opened::Skipped
            }
            None => Opened::Unknown,
        }
    }

    /// Keeps an epoch, as the one used last. The newest one is live and stays, however long it was silent while
    /// history went by.
    fn keep(&mut self, number: u64, decoder: Option<Box<Decoder>>) {
        if self.epochs.len() >= EPOCHS_MAX {
            let live = self.epochs.iter().map(|open| open.number).max();
            let unused = self.epochs.iter().position(|open| Some(open.number) != live).unwrap_or(0);
            self.epochs.remove(unused);
        }
        self.epochs.push(Epoch { number, decoder });
    }

    fn settle(&mut self, settled: Settled) {
        let mut positions = Vec::new();
        let mut next = Some(settled);
        // What is ready now goes into one ack.
        while let Some(Settled { position, epoch, outcome }) = next {
            match outcome {
                Ok(appended) => {
                    count(if appended == Appended::Stored { "stored" } else { "repeated" });
                    positions.push(position);
                }
                Err(error) if error.kind == IngestErrorKind::Invalid => self.refuse(position, epoch, error.message),
                Err(error) => self.refuse_for_now(position, epoch, error.pause, error.message),
            }
            next = self.pending.next().now_or_never().flatten();
        }
        if !positions.is_empty() {
            self.reply(to_agent::Message::Ack(Ack { positions }));
        }
    }

    /// Tells the agent to keep its records and begin the epoch again; skips it until then.
    fn refuse_for_now(&mut self, position: u64, epoch: u64, pause: Duration, reason: String) {
        count("full");
        tracing::debug!(position, reason, "a batch was not taken");
        if let Some(at) = self.epochs.iter().position(|open| open.number == epoch) {
            if self.epochs[at].decoder.is_none() {
                // The agent was told already, and will begin the epoch again.
                return;
            }
            self.epochs.remove(at);
        }
        self.keep(epoch, None);
        let pause_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        self.reply(to_agent::Message::Full(Full { position, pause_ms, reason, epoch }));
    }

    fn refuse(&mut self, position: u64, epoch: u64, reason: String) {
        count("refused");
        tracing::error!(position, reason, "a batch was refused for good");
        self.reply(to_agent::Message::Refused(Refused { position, reason, epoch }));
    }

    fn reply(&mut self, message: to_agent::Message) {
        self.replies.push_back(ToAgent { message: Some(message) });
    }
}

/// Decodes on a blocking thread: a large frame takes milliseconds.
async fn decode(
    mut decoder: Box<Decoder>,
    payload: Bytes,
) -> Result<(Box<Decoder>, Result<Batch, FrameError>), Status> {
    let decoded = tokio::task::spawn_blocking(move || {
        let decoded = decoder.decode(&payload);
        (decoder, decoded)
    });
    decoded.await.map_err(|error| Status::internal(format!("decoding a frame failed: {error}")))
}

fn count(outcome: &'static str) {
    metrics::counter!(names::PUSH_FRAMES, "outcome" => outcome).increment(1);
}

/// A frame's share of the budget; no frame asks for more than a quarter, so that each can be granted.
fn share_of(payload: &Bytes) -> u32 {
    let bytes = (payload.len() * DECODED_PER_FRAME_BYTE).min(DECODED_BYTES_MAX / 4);
    u32::try_from(bytes / BUDGET_UNIT_BYTES + 1).unwrap_or(u32::MAX)
}
