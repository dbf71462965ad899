//! What the server promises an agent, over a real socket, with an ingest that the test commands.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_proto::frame::Encoder;
use weir_proto::identity::SeriesParts;
use weir_proto::push::{Frame, Hello, STREAM_PATH, ToAgent, ToCollector, to_agent, to_collector};
use weir_proto::{Attributes, Batch, MetricKind, Resource, Scope, SeriesIdentity, Temporality};
use weir_store::{Appended, Delivery};

use super::session::{DECODED_BYTES_MAX, PushShared};
use super::*;
use std::sync::Arc;

const SOON: Duration = Duration::from_secs(10);

/// An ingest that stores by (agent, position) as the real one does, and fails as told.
#[derive(Default)]
struct Memory {
    stored: Mutex<Vec<(u64, f64)>>,
    failures: Mutex<VecDeque<IngestError>>,
    refused: Mutex<Vec<&'static str>>,
    /// Ingest waits here while set.
    gate: Mutex<Option<Arc<Notify>>>,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
}

impl Ingest for Memory {
    async fn ingest(&self, batch: Batch, delivery: Option<Delivery>, from: &Agent) -> Result<Appended, IngestError> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_max.fetch_max(now, Ordering::SeqCst);
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        assert_eq!((from.node.as_ref(), from.peer.is_some()), ("node-1", true));
        if let Some(error) = self.failures.lock().unwrap().pop_front() {
            return Err(error);
        }
        let delivery = delivery.expect("what comes by the stream has a delivery");
        assert_eq!(delivery.agent, [7; 16]);
        let mut stored = self.stored.lock().unwrap();
        if stored.iter().any(|(position, _)| *position == delivery.position) {
            return Ok(Appended::Repeated);
        }
        stored.push((delivery.position, batch.metrics.numbers.value[0]));
        Ok(Appended::Stored)
    }

    fn refused(&self, _: Option<&Agent>, reason: &'static str, _: &str) {
        self.refused.lock().unwrap().push(reason);
    }
}

/// A server, and an agent's end of one stream to it.
struct World {
    ingest: Arc<Memory>,
    address: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Stream {
    outbox: mpsc::Sender<ToCollector>,
    inbox: Streaming<ToAgent>,
}

impl World {
    async fn new() -> Self {
        Self::with_budget(DECODED_BYTES_MAX / 1024).await
    }

    async fn with_budget(units: usize) -> Self {
        let (ingest, stop, mut tasks) = (Arc::new(Memory::default()), CancellationToken::new(), JoinSet::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = PushShared { stop: stop.clone(), budget: Arc::new(Semaphore::new(units)) };
        let routes = server::router_with(Arc::clone(&ingest), shared);
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            weir_receive::serve(listener, routes, weir_receive::ServeSettings::of("push"), stopped).await
        });
        Self { ingest, address, stop, tasks }
    }

    async fn open(&self) -> Stream {
        let channel = Endpoint::from_shared(self.address.clone()).unwrap().connect().await.unwrap();
        let (outbox, messages) = mpsc::channel(64);
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static(STREAM_PATH);
        let codec: ProstCodec<ToCollector, ToAgent> = ProstCodec::default();
        let inbox = client.streaming(Request::new(ReceiverStream::new(messages)), path, codec).await.unwrap();
        Stream { outbox, inbox: inbox.into_inner() }
    }

    async fn greeted(&self) -> Stream {
        let stream = self.open().await;
        let hello = Hello { agent_id: vec![7; 16], node: "node-1".into(), lowest_unacked: 0, version: "1".into() };
        stream.send(to_collector::Message::Hello(hello)).await;
        stream
    }

    fn stored(&self) -> Vec<(u64, f64)> {
        let mut stored = self.ingest.stored.lock().unwrap().clone();
        stored.sort_by_key(|(position, _)| *position);
        stored
    }

    fn fail(&self, kind: IngestErrorKind, pause_ms: u64) {
        let error = IngestError { kind, pause: Duration::from_millis(pause_ms), message: "no room".into() };
        self.ingest.failures.lock().unwrap().push_back(error);
    }
}

impl Stream {
    async fn send(&self, message: to_collector::Message) {
        self.outbox.send(ToCollector { message: Some(message) }).await.unwrap();
    }

    async fn frame(&self, epoch: u64, position: u64, epoch_start: bool, payload: Vec<u8>) {
        let payload = payload.into();
        let frame = Frame { position, epoch, epoch_start, payload, lowest_unacked: 0 };
        self.send(to_collector::Message::Frame(frame)).await;
    }

    async fn heard(&mut self) -> Result<Option<to_agent::Message>, Status> {
        let reply = tokio::time::timeout(SOON, self.inbox.message()).await.expect("an answer comes soon")?;
        Ok(reply.map(|reply| reply.message.unwrap()))
    }

    /// Positions acked, until there are `n`.
    async fn acks(&mut self, n: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < n {
            match self.heard().await.unwrap() {
                Some(to_agent::Message::Ack(ack)) => positions.extend(ack.positions),
                other => panic!("not an ack: {other:?}"),
            }
        }
        positions.sort_unstable();
        positions
    }
}

fn batch(value: f64) -> Batch {
    let mut batch = Batch::default();
    batch.metrics.series.push(Arc::new(SeriesIdentity::new(SeriesParts {
        name: "level".into(),
        unit: "m".into(),
        kind: MetricKind::Gauge,
        temporality: Temporality::Unspecified,
        resource: Arc::<Resource>::default(),
        scope: Arc::<Scope>::default(),
        attributes: Attributes::default(),
    })));
    let numbers = &mut batch.metrics.numbers;
    numbers.series.push(0);
    numbers.start_ns.push(0);
    numbers.time_ns.push(1_700_000_000_000_000_000);
    numbers.value.push(value);
    batch
}

/// The frames of an epoch that holds these values.
fn frames(values: &[f64]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    values
        .iter()
        .map(|&value| {
            let mut frame = Vec::new();
            encoder.encode(&batch(value), &mut frame).unwrap();
            frame
        })
        .collect()
}

#[tokio::test]
async fn frames_of_interleaved_epochs_are_stored_and_acked() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let (live, history) = (frames(&[1.0, 2.0]), frames(&[3.0, 4.0]));
    stream.frame(100, 100, true, live[0].clone()).await;
    stream.frame(50, 50, true, history[0].clone()).await;
    stream.frame(100, 101, false, live[1].clone()).await;
    stream.frame(50, 51, false, history[1].clone()).await;
    assert_eq!(stream.acks(4).await, [50, 51, 100, 101]);
    assert_eq!(world.stored(), [(50, 3.0), (51, 4.0), (100, 1.0), (101, 2.0)]);
}

#[tokio::test]
async fn a_repeated_batch_is_acked_again_and_stored_once() {
    let world = World::new().await;
    let epoch = frames(&[1.0, 2.0]);
    for _ in 0..3 {
        let mut stream = world.greeted().await;
        stream.frame(1, 1, true, epoch[0].clone()).await;
        stream.frame(1, 2, false, epoch[1].clone()).await;
        assert_eq!(stream.acks(2).await, [1, 2]);
    }
    assert_eq!(world.stored(), [(1, 1.0), (2, 2.0)]);
}

/// Several batches are being made durable at once, but only so many; the rest waits in the socket.
#[tokio::test]
async fn pending_batches_are_bounded() {
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    *world.ingest.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let mut stream = world.greeted().await;
    let values: Vec<f64> = (0..20).map(f64::from).collect();
    for (at, frame) in frames(&values).into_iter().enumerate() {
        stream.frame(0, at as u64, at == 0, frame).await;
    }
    while world.ingest.at_once.load(Ordering::SeqCst) < 8 {
        tokio::task::yield_now().await;
    }
    world.ingest.gate.lock().unwrap().take();
    gate.notify_waiters();
    assert_eq!(stream.acks(20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(world.ingest.at_once_max.load(Ordering::SeqCst), 8);
}

/// All streams share one budget for decoded batches: with room for one, one at a time is stored, and all are.
#[tokio::test]
async fn decoded_batches_of_all_streams_are_bounded() {
    let world = World::with_budget(2).await;
    let (mut one, mut other) = (world.greeted().await, world.greeted().await);
    let values: Vec<f64> = (0..10).map(f64::from).collect();
    for (at, frame) in frames(&values).into_iter().enumerate() {
        assert!(frame.len() < 256, "a frame takes the whole budget, and not more");
        one.frame(0, at as u64, at == 0, frame.clone()).await;
        other.frame(100, 100 + at as u64, at == 0, frame).await;
    }
    assert_eq!(one.acks(10).await.len() + other.acks(10).await.len(), 20);
    assert!(world.ingest.at_once_max.load(Ordering::SeqCst) <= 2);
    assert_eq!(world.stored().len(), 20);
}

/// The live epoch is silent while history goes by, segment after segment: its decoder is still there.
#[tokio::test]
async fn a_silent_live_epoch_outlasts_history() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let live = frames(&[1.0, 2.0]);
    stream.frame(1000, 1000, true, live[0].clone()).await;
    for epoch in (1..=20).rev() {
        stream.frame(epoch, epoch, true, frames(&[0.5])[0].clone()).await;
    }
    stream.frame(1000, 1001, false, live[1].clone()).await;
    assert_eq!(stream.acks(22).await.last(), Some(&1001));
}

#[tokio::test]
async fn full_skips_the_rest_of_the_epoch_until_it_begins_again() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let epoch = frames(&[1.0, 2.0, 3.0]);
    stream.frame(1, 1, true, epoch[0].clone()).await;
    assert_eq!(stream.acks(1).await, [1]);
    world.fail(IngestErrorKind::Full, 250);
    stream.frame(1, 2, false, epoch[1].clone()).await;
    match stream.heard().await.unwrap() {
        Some(to_agent::Message::Full(full)) => {
            assert_eq!((full.position, full.epoch, full.pause_ms, full.reason.as_str()), (2, 1, 250, "no room"));
        }
        other => panic!("not Full: {other:?}"),
    }
    stream.frame(1, 3, false, epoch[2].clone()).await;
    for (at, frame) in epoch.into_iter().enumerate() {
        stream.frame(1, at as u64 + 1, at == 0, frame).await;
    }
    assert_eq!(stream.acks(3).await, [1, 2, 3]);
    assert_eq!(world.stored(), [(1, 1.0), (2, 2.0), (3, 3.0)]);
}

/// Bytes that do not decode are asked for once more, then refused; so is what can never be stored. Nothing else suffers.
#[tokio::test]
async fn bytes_that_never_decode_are_refused_and_the_stream_goes_on() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let epoch = frames(&[1.0, 2.0, 3.0]);
    let mut damaged = epoch[1].clone();
    *damaged.last_mut().unwrap() ^= 1;
    for attempt in 0..2 {
        stream.frame(1, 1, true, epoch[0].clone()).await;
        assert_eq!(stream.acks(1).await, [1]);
        stream.frame(1, 2, false, damaged.clone()).await;
        match stream.heard().await.unwrap() {
            Some(to_agent::Message::Full(full)) => assert_eq!((attempt, full.position, full.epoch), (0, 2, 1)),
            Some(to_agent::Message::Refused(refused)) => assert_eq!((attempt, refused.position), (1, 2)),
            other => panic!("neither Full nor Refused: {other:?}"),
        }
    }
    world.fail(IngestErrorKind::Invalid, 0);
    stream.frame(2, 4, true, frames(&[5.0])[0].clone()).await;
    assert!(matches!(stream.heard().await.unwrap(), Some(to_agent::Message::Refused(refused)) if refused.epoch == 2));
    stream.frame(3, 5, true, frames(&[6.0])[0].clone()).await;
    assert_eq!(stream.acks(1).await, [5]);
    assert_eq!(world.stored(), [(1, 1.0), (5, 6.0)]);
}

/// The wire damaged a frame: the epoch comes again, and all of it is stored.
#[tokio::test]
async fn a_frame_that_the_wire_damaged_is_stored_the_second_time() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let epoch = frames(&[1.0, 2.0]);
    let mut damaged = epoch[0].clone();
    *damaged.last_mut().unwrap() ^= 1;
    stream.frame(1, 1, true, damaged).await;
    assert!(matches!(stream.heard().await.unwrap(), Some(to_agent::Message::Full(full)) if full.position == 1));
    stream.frame(1, 1, true, epoch[0].clone()).await;
    stream.frame(1, 2, false, epoch[1].clone()).await;
    assert_eq!(stream.acks(2).await, [1, 2]);
}

/// A newer agent's format is not the agent's fault: it keeps its data until the collector is newer too.
#[tokio::test]
async fn a_format_from_the_future_is_not_refused_for_good() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let mut future = frames(&[1.0])[0].clone();
    future[2] = 9;
    stream.frame(1, 1, true, future).await;
    assert!(matches!(stream.heard().await.unwrap(), Some(to_agent::Message::Full(full)) if full.pause_ms >= 10_000));
}

#[tokio::test]
async fn a_frame_of_an_epoch_that_never_began_is_asked_for_again() {
    let world = World::new().await;
    let mut stream = world.greeted().await;
    let epoch = frames(&[1.0, 2.0]);
    stream.frame(1, 2, false, epoch[1].clone()).await;
    assert!(matches!(stream.heard().await.unwrap(), Some(to_agent::Message::Full(full)) if full.epoch == 1));
    stream.frame(1, 1, true, epoch[0].clone()).await;
    stream.frame(1, 2, false, epoch[1].clone()).await;
    assert_eq!(stream.acks(2).await, [1, 2]);
}

#[tokio::test]
async fn a_stream_without_a_proper_hello_is_closed() {
    let world = World::new().await;
    let mut stream = world.open().await;
    stream.frame(1, 1, true, frames(&[1.0])[0].clone()).await;
    assert_eq!(stream.heard().await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let mut stream = world.open().await;
    stream.send(to_collector::Message::Hello(Hello { agent_id: vec![1; 3], ..Hello::default() })).await;
    assert_eq!(stream.heard().await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(world.stored(), []);
}

/// Shutdown: what is being stored is still answered, then the stream ends and the server with it.
#[tokio::test]
async fn a_stop_answers_what_is_pending() {
    let mut world = World::new().await;
    let gate = Arc::new(Notify::new());
    *world.ingest.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let mut stream = world.greeted().await;
    stream.frame(1, 1, true, frames(&[1.0])[0].clone()).await;
    while world.ingest.at_once.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    world.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.notify_waiters();
    assert_eq!(stream.acks(1).await, [1]);
    assert!(matches!(stream.heard().await, Ok(None)));
    drop(stream);
    assert!(tokio::time::timeout(SOON, world.tasks.join_next()).await.is_ok());
}
