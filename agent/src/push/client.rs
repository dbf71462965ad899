//! The client's end of the gRPC method, written by hand: one method does not need a generated module.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_proto::push::{Hello, STREAM_PATH, ToAgent, ToCollector, to_collector};

use super::lane::Lanes;
use super::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, PushSettings};
use crate::queue::Queue;

/// Messages between the session and the connection: one being written, one ready.
const OUTBOX: usize = 2;

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// To the collector.
    pub(super) outbox: mpsc::Sender<ToCollector>,
    /// From the collector.
    pub(super) inbox: Streaming<ToAgent>,
}

/// Connects, begins a fresh queue segment for what comes now, and says Hello.
///
/// # Errors
/// When the collector cannot be reached or does not take the stream.
pub(super) async fn open(settings: &PushSettings, queue: &Arc<Queue>) -> Result<(Stream, Lanes), Status> {
    let channel = Endpoint::from(settings.collector.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(|error| Status::unavailable(whole_message(&error)))?;
    // Only now: an unreachable collector must not cut the queue into small segments.
    let lanes = Lanes::open(queue).await;
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let hello = Hello {
        agent_id: settings.agent.0.to_vec(),
        node: settings.node.clone(),
        lowest_unacked: queue.head().borrow().lowest_unacked,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let hello = ToCollector { message: Some(to_collector::Message::Hello(hello)) };
    outbox.send(hello).await.map_err(|_| Status::internal("the outbox is closed"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(whole_message(&error)))?;
    let request = Request::new(ReceiverStream::new(messages));
    let opened = client.streaming(request, PathAndQuery::from_static(STREAM_PATH), ProstCodec::default());
    // A collector answers the headers at once; one that does not is not there.
    let inbox = tokio::time::timeout(CONNECT_TIMEOUT, opened)
        .await
        .map_err(|_| Status::deadline_exceeded("the collector did not answer the stream"))??;
    Ok((Stream { outbox, inbox: inbox.into_inner() }, lanes))
}

/// An error with what is behind it: tonic's own text is only "transport error".
fn whole_message(error: &(dyn std::error::Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}
