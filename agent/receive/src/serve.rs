//! Listening: HTTP/1.1 and HTTP/2 on one socket, until told to stop, then until open requests are answered.
//!
//! ```text
//! accept ─▶ room? ─▶ first bytes: "PRI * HTTP/2.0…" ─▶ HTTP/2 (pings notice a peer that is gone)   ─┐
//!             │                    anything else     ─▶ HTTP/1 (a head must arrive within 75 s)     ─┼─▶ router
//!             └ no: closed, counted                                                                  │
//!                              what ended otherwise than well is counted with its reason ◀───────────┘
//! ```
//! The loop is ours and not tonic's, because a port meets what is no HTTP at all: heads that never end, TLS, noise. Each
//! connection has a bound in time and memory, their number has one, and each that is cut is counted. One task per
//! connection, in one set that ends with the server.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics::counter;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;
use tower::Service;
use weir_proto::names;

/// HTTP/2 window of one stream: an OTLP request of the usual size arrives without waiting for us.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A peer that has vanished is noticed after this and [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait after a failed accept: out of file descriptors lasts, and trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the head of an HTTP/1 request may take, and how long a connection may be idle between two. Longer than the
/// minute that SDKs wait between two exports of metrics, so that these find their connection open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Read buffer of an HTTP/1 connection: the longest head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Open connections of one port. With [`HEAD_BYTES_MAX`], heads that never end take 256 MiB at most.
const CONNECTIONS_MAX: usize = 4_096;
/// One port takes at most this share of the files that the process may open: the store needs some, too.
const FILES_SHARE: u64 = 6;
/// Some connections are always taken.
const CONNECTIONS_MIN: usize = 64;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a connection is looked at that has sent a part of [`PREFACE`]; real clients send it in one piece.
const PREFACE_PAUSE: Duration = Duration::from_millis(50);
/// First byte of a TLS record that holds a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// The bounds of one port.
#[derive(Clone, Copy, Debug)]
pub struct ServeSettings {
    /// The port's name, as counters label it.
    pub port: &'static str,
    /// How long a connection may take to send the head of a request.
    pub head_timeout: Duration,
    /// How many connections may be open.
    pub connections_max: usize,
}

impl ServeSettings {
    /// The usual bounds of the port called `port`.
    #[must_use]
    pub fn of(port: &'static str) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = usize::try_from(files / FILES_SHARE).unwrap_or(usize::MAX);
        Self { port, head_timeout: HEAD_TIMEOUT, connections_max: share.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX) }
    }
}

/// Lets this process open as many files as the system allows it; a shell's default is 1,024, which connections alone
/// could use up.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Serves `router` on `listener` until `stop` resolves and the requests then open are answered. Dropping the future
/// cuts all connections.
pub async fn serve(listener: TcpListener, router: Router, settings: ServeSettings, stop: impl Future<Output = ()>) {
    let stopped = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                note_panic(ended);
                continue;
            }
            accepted = accept(&listener) => accepted,
        };
        if connections.len() >= settings.connections_max {
            cut(settings.port, "too_many", peer);
            continue;
        }
        let connection = Connection { settings, peer, router: router.clone(), stopped: stopped.clone() };
        connections.spawn(connection.run(stream));
    }
    drop(listener);
    stopped.cancel();
    while let Some(ended) = connections.join_next().await {
        note_panic(ended);
    }
}

/// The next connection. Cancel safe.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small; without this they wait for the peer's delayed ACK.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was not set");
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a request has ended its connection");
    }
}

fn cut(port: &'static str, reason: &'static str, peer: SocketAddr) {
    counter!(names::CONNECTIONS_CUT, "port" => port, "reason" => reason).increment(1);
    tracing::debug!(port, reason, %peer, "a connection was cut");
}

/// What a connection speaks.
enum Speaks {
    Http1,
    Http2,
    /// Nothing that can be answered: it is HTTP/1's to say so.
    Tls,
    /// It hung up without a word.
    Nothing,
}

struct Connection {
    settings: ServeSettings,
    peer: SocketAddr,
    router: Router,
    stopped: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let (port, peer) = (self.settings.port, self.peer);
        let first = tokio::time::timeout(self.settings.head_timeout, first_words(&stream));
        let speaks = tokio::select! {
            speaks = first => speaks,
            () = self.stopped.cancelled() => return,
        };
        let ended = match speaks {
            Ok(Speaks::Nothing) => Ok(()),
            // A browser opens connections ahead; one that was never used is no fault.
            Err(_) if is_silent(&stream) => Ok(()),
            Err(_) => Err("slow"),
            Ok(Speaks::Http2) => self.http2(stream).await,
            Ok(Speaks::Http1) => self.http1(stream).await,
            Ok(Speaks::Tls) => self.http1(stream).await.map_err(|_| "tls"),
        };
        if let Err(reason) = ended {
            cut(port, reason, peer);
        }
    }

    async fn http1(self, stream: TcpStream) -> Result<(), &'static str> {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.settings.head_timeout).max_buf_size(HEAD_BYTES_MAX);
        let service = service_fn(answering(self.router, self.peer));
        let mut connection = builder.serve_connection(TokioIo::new(stream), service);
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
            () = self.stopped.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|context| connection.poll_without_shutdown(context)).await
            }
        };
        let parts = connection.into_parts();
        // The peer may have hung up first.
        parts.io.into_inner().shutdown().await.ok();
        match ended {
            Err(error) if error.is_timeout() && parts.read_buf.is_empty() => Ok(()),
            Err(error) => Err(reason_of(&error)),
            Ok(()) => Ok(()),
        }
    }

    async fn http2(self, stream: TcpStream) -> Result<(), &'static str> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let service = service_fn(answering(self.router, self.peer));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopped.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(|error| reason_of(&error))
    }
}

/// Hands each request of a connection to `router`, with whom it is from.
fn answering(
    router: Router,
    peer: SocketAddr,
) -> impl Fn(hyper::Request<Incoming>) -> BoxFuture<'static, Result<Response, Infallible>> + Unpin {
    move |request| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: Some(peer) });
        router.clone().call(request).boxed()
    }
}

/// Looks at what a connection says first, and leaves it there to be read. Resolves when that is enough to tell.
async fn first_words(stream: &TcpStream) -> Speaks {
    let mut words = [0; PREFACE.len()];
    loop {
        let said = stream.peek(&mut words).await.unwrap_or(0);
        match &words[..said] {
            [] => return Speaks::Nothing,
            [TLS_HANDSHAKE, ..] => return Speaks::Tls,
            said if said == PREFACE => return Speaks::Http2,
            said if !PREFACE.starts_with(said) => return Speaks::Http1,
            _ => tokio::time::sleep(PREFACE_PAUSE).await,
        }
    }
}

/// Whether not one byte has come.
fn is_silent(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).now_or_never().is_none_or(|peeked| peeked.unwrap_or(0) == 0)
}

/// A stable word for what ended a connection.
fn reason_of(error: &hyper::Error) -> &'static str {
    if error.is_timeout() {
        return "slow";
    }
    if error.is_parse() {
        return "malformed";
    }
    let of_http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    match of_http2 {
        Some(error) if !error.is_io() => "malformed",
        _ => "broken",
    }
}
