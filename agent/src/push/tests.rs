//! What the push task promises, against a collector whose every word the test says, over a real socket.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_proto::frame::Decoder;
use weir_proto::push::{self, Ack, Frame, Full, Hello, Refused, ToAgent, ToCollector, to_agent, to_collector};

use super::*;
use crate::queue::tests::{batch, open};

/// Anything that should happen happens within this time.
const SOON: Duration = Duration::from_secs(10);

/// A collector: hands each stream that an agent opens to the test.
#[derive(Clone)]
struct Collector {
    streams: mpsc::Sender<Peer>,
}

/// The collector's end of one stream.
struct Peer {
    inbox: Streaming<ToCollector>,
    replies: mpsc::Sender<Result<ToAgent, Status>>,
}

impl NamedService for Collector {
    const NAME: &'static str = push::SERVICE_NAME;
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert_eq!(request.uri().path(), push::STREAM_PATH);
        let method = Method(self.streams.clone());
        Box::pin(async move {
            let codec: ProstCodec<ToAgent, ToCollector> = ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec).streaming(method, request).await)
        })
    }
}

struct Method(mpsc::Sender<Peer>);

impl Service<Request<Streaming<ToCollector>>> for Method {
    type Response = Response<ReceiverStream<Result<ToAgent, Status>>>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<ToCollector>>) -> Self::Future {
        let (replies, outbox) = mpsc::channel(64);
        let peer = Peer { inbox: request.into_inner(), replies };
        self.0.try_send(peer).map_err(|_| Status::unavailable("the test is over")).ok();
        std::future::ready(Ok(Response::new(ReceiverStream::new(outbox))))
    }
}

impl Peer {
    async fn message(&mut self) -> to_collector::Message {
        let message = tokio::time::timeout(SOON, self.inbox.message()).await.expect("a message comes soon");
        message.unwrap().expect("the stream is open").message.unwrap()
    }

    async fn hello(&mut self) -> Hello {
        match self.message().await {
            to_collector::Message::Hello(hello) => hello,
            other => panic!("not a Hello: {other:?}"),
        }
    }

    async fn frame(&mut self) -> Frame {
        match self.message().await {
            to_collector::Message::Frame(frame) => frame,
            other => panic!("not a frame: {other:?}"),
        }
    }

    async fn frames(&mut self, n: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..n {
            frames.push(self.frame().await);
        }
        frames
    }

    /// Nothing comes for a while.
    async fn is_quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.inbox.message()).await.is_err()
    }

    async fn say(&self, message: to_agent::Message) {
        self.replies.send(Ok(ToAgent { message: Some(message) })).await.unwrap();
    }

    async fn ack(&self, frames: &[Frame]) {
        let positions = frames.iter().map(|frame| frame.position).collect();
        self.say(to_agent::Message::Ack(Ack { positions })).await;
    }
}

/// An agent's queue and push task, and the collector that it pushes to.
struct World {
    queue: Arc<Queue>,
    streams: mpsc::Receiver<Peer>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    dir: tempfile::TempDir,
}

impl World {
    /// A queue that `prepare` has filled, and the task, not yet connected.
    async fn new(history_bytes_per_second: u64, prepare: impl AsyncFnOnce(&Queue)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(open(dir.path(), 64 << 20));
        prepare(&queue).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, streams, mut tasks) = (listener.local_addr().unwrap(), mpsc::channel(4), JoinSet::new());
        serve(listener, streams.0, &mut tasks);
        let stop = CancellationToken::new();
        let push = Push::new(Arc::clone(&queue), settings(address, dir.path(), history_bytes_per_second), 7);
        tasks.spawn(push.run(stop.clone()));
        Self { queue, streams: streams.1, stop, tasks, dir }
    }

    async fn peer(&mut self) -> Peer {
        tokio::time::timeout(SOON, self.streams.recv()).await.expect("the agent connects soon").unwrap()
    }

    async fn until_unacked(&self, n: u64) {
        let mut head = self.queue.head();
        let waited = tokio::time::timeout(SOON, head.wait_for(|head| head.unacked == n)).await;
        assert!(waited.is_ok(), "{} records are not acked, should be {n}", self.queue.head().borrow().unacked);
    }
}

fn serve(listener: TcpListener, streams: mpsc::Sender<Peer>, tasks: &mut JoinSet<()>) {
    let server = tonic::transport::Server::builder().add_service(Collector { streams });
    tasks.spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
}

fn settings(address: SocketAddr, dir: &Path, history_bytes_per_second: u64) -> PushSettings {
    PushSettings {
        collector: format!("http://{address}").parse().unwrap(),
        agent: AgentId::load_or_create(dir).unwrap(),
        node: "node-1".into(),
        history_bytes_per_second,
    }
}

/// What frames hold, decoded epoch by epoch as a collector would.
fn values(frames: &[Frame]) -> Vec<f64> {
    let mut decoders = std::collections::HashMap::new();
    frames
        .iter()
        .map(|frame| {
            if frame.epoch_start {
                decoders.insert(frame.epoch, Decoder::new());
            }
            let decoder = decoders.get_mut(&frame.epoch).expect("an epoch begins with its start");
            decoder.decode(&frame.payload).unwrap().metrics.numbers.value[0]
        })
        .collect()
}

async fn append(queue: &Queue, values: std::ops::Range<u32>) {
    for value in values {
        queue.append(batch(f64::from(value))).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_queued_is_sent_at_once_and_forgotten_when_acked() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut peer = world.peer().await;
    let hello = peer.hello().await;
    assert_eq!((hello.agent_id.len(), hello.node.as_str()), (16, "node-1"));
    append(&world.queue, 0..5).await;
    let frames = peer.frames(5).await;
    assert_eq!(values(&frames), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert!(frames[0].epoch_start && !frames[1].epoch_start);
    peer.ack(&frames[3..]).await;
    world.until_unacked(3).await;
    peer.ack(&frames).await;
    world.until_unacked(0).await;
    append(&world.queue, 5..6).await;
    assert!(peer.frame().await.lowest_unacked > frames[4].position);
}

/// The ack is lost with the connection: the records come again, as an epoch of their own from its beginning.
#[tokio::test]
async fn a_lost_ack_brings_the_same_positions_again() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut first = world.peer().await;
    first.hello().await;
    append(&world.queue, 0..3).await;
    let sent = first.frames(3).await;
    drop(first);
    let mut second = world.peer().await;
    assert_eq!(second.hello().await.lowest_unacked, sent[0].position);
    let again = second.frames(3).await;
    let positions = |frames: &[Frame]| frames.iter().map(|frame| frame.position).collect::<Vec<_>>();
    assert_eq!(positions(&again), positions(&sent));
    assert!(again[0].epoch_start);
    assert_eq!(values(&again), [0.0, 1.0, 2.0]);
    append(&world.queue, 3..4).await;
    let live = second.frame().await;
    assert!(live.epoch_start && live.epoch > again[0].epoch, "what comes after a reconnect is a new epoch");
    second.ack(&again).await;
    second.ack(&[live]).await;
    world.until_unacked(0).await;
}

#[tokio::test]
async fn full_pauses_and_then_the_epoch_comes_again() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    append(&world.queue, 0..4).await;
    let frames = peer.frames(4).await;
    peer.ack(&frames[..2]).await;
    let Frame { position, epoch, .. } = frames[2];
    let full = Full { position, epoch, pause_ms: 700, reason: "no room".into() };
    peer.say(to_agent::Message::Full(full)).await;
    world.until_unacked(2).await;
    append(&world.queue, 4..5).await;
    assert!(peer.is_quiet(Duration::from_millis(400)).await, "nothing is sent in the pause");
    let again = peer.frames(5).await;
    assert_eq!(values(&again), [0.0, 1.0, 2.0, 3.0, 4.0]);
    peer.ack(&again).await;
    world.until_unacked(0).await;
}

/// Full for an epoch that the live lane has left already: it comes again all the same.
#[tokio::test]
async fn full_for_an_epoch_that_has_ended_brings_it_again() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    append(&world.queue, 0..2).await;
    let old = peer.frames(2).await;
    world.queue.rotate().await.unwrap();
    append(&world.queue, 2..3).await;
    let new = peer.frame().await;
    assert!(new.epoch > old[0].epoch);
    let full = Full { position: old[0].position, epoch: old[0].epoch, pause_ms: 10, reason: "no room".into() };
    peer.say(to_agent::Message::Full(full)).await;
    let again = peer.frames(2).await;
    assert_eq!(values(&again), [0.0, 1.0]);
    peer.ack(&again).await;
    peer.ack(&[new]).await;
    world.until_unacked(0).await;
}

#[tokio::test]
async fn a_refused_record_is_set_aside_and_later_ones_do_not_depend_on_it() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    append(&world.queue, 0..2).await;
    let frames = peer.frames(2).await;
    peer.ack(&frames[..1]).await;
    let Frame { position, epoch, .. } = frames[1];
    peer.say(to_agent::Message::Refused(Refused { position, epoch, reason: "not for me".into() })).await;
    world.until_unacked(0).await;
    assert!(world.dir.path().join(format!("queue/refused/{position:020}.frame")).exists());
    append(&world.queue, 2..3).await;
    let next = peer.frame().await;
    assert_eq!(values(std::slice::from_ref(&next)), [2.0], "a new epoch, decodable alone");
    peer.ack(&[next]).await;
    world.until_unacked(0).await;
}

/// After an outage: what is new goes at once, though history is far from through; history comes newest first.
#[tokio::test]
async fn the_newest_data_comes_first_after_an_outage() {
    let outage = async |queue: &Queue| {
        for segment in 0..40_u32 {
            append(queue, segment * 5..segment * 5 + 5).await;
            queue.rotate().await.unwrap();
        }
    };
    let mut world = World::new(2_000, outage).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    // The burst lets everything pass here, so the rate is taken away first.
    let history = peer.frames(200).await;
    let mut epochs: Vec<u64> = history.iter().map(|frame| frame.epoch).collect();
    epochs.dedup();
    assert_eq!(epochs.len(), 40);
    assert!(epochs.is_sorted_by(|a, b| a > b), "newest segment first");
    assert_eq!(values(&history)[..10], [195.0, 196.0, 197.0, 198.0, 199.0, 190.0, 191.0, 192.0, 193.0, 194.0]);
    peer.ack(&history).await;
    world.until_unacked(0).await;
}

/// Live records overtake history that waits for its rate.
#[tokio::test]
async fn live_data_does_not_wait_for_history() {
    let outage = async |queue: &Queue| {
        let mut large = batch(0.0);
        let mut dice = 1_u64;
        for _ in 0..150_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            large.metrics.numbers.series.push(0);
            large.metrics.numbers.start_ns.push(0);
            large.metrics.numbers.time_ns.push(dice as i64);
            large.metrics.numbers.value.push(f64::from_bits(dice));
        }
        for _ in 0..4 {
            queue.append(large.clone()).await.unwrap();
        }
    };
    let mut world = World::new(100_000, outage).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    // One frame uses the burst up; at this rate the next one is seconds away.
    let first = peer.frame().await;
    assert!(first.payload.len() > 1_000_000);
    append(&world.queue, 7..8).await;
    let live = peer.frame().await;
    assert!(live.epoch > first.epoch);
    assert_eq!(values(&[live]), [7.0]);
    assert!(peer.is_quiet(Duration::from_secs(2)).await, "history keeps to its rate");
}

#[tokio::test]
async fn a_collector_that_comes_late_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(open(dir.path(), 1 << 20));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let push = Push::new(Arc::clone(&queue), settings(address, dir.path(), HISTORY_BYTES_PER_SECOND), 7);
    tasks.spawn(push.run(stop.clone()));
    append(&queue, 0..2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (sender, mut streams) = mpsc::channel(1);
    serve(TcpListener::bind(address).await.unwrap(), sender, &mut tasks);
    let mut peer = tokio::time::timeout(SOON, streams.recv()).await.unwrap().unwrap();
    peer.hello().await;
    assert_eq!(values(&peer.frames(2).await), [0.0, 1.0]);
}

/// Told to stop, the task waits for the ack of what is under way, and not for ever.
#[tokio::test]
async fn a_stop_waits_for_the_answers_to_what_is_in_flight() {
    let mut world = World::new(HISTORY_BYTES_PER_SECOND, async |_| ()).await;
    let mut peer = world.peer().await;
    peer.hello().await;
    append(&world.queue, 0..1).await;
    let frame = peer.frame().await;
    world.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    peer.ack(&[frame]).await;
    let ended = tokio::time::timeout(SOON, world.tasks.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(())))), "the push task has ended");
    world.until_unacked(0).await;
    world.queue.close().await;
}
