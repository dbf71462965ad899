//! The server's end of the gRPC method, written by hand: one method does not need a generated module.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract;
use axum::routing::post_service;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;
use weir_proto::frame::BODY_BYTES_MAX;
use weir_proto::push::{STREAM_PATH, ToAgent, ToCollector};

use super::ingest::Ingest;
use super::session::{PushShared, Session};

/// A message is a frame and a few numbers.
const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + (1 << 20);

/// The push service as routes, to be served with HTTP/2 beside OTLP. Streams end when `stop` is cancelled, after what
/// was being stored is answered.
pub fn router<I: Ingest>(ingest: Arc<I>, stop: CancellationToken) -> Router {
    router_with(ingest, PushShared::new(stop))
}

/// The same with what its streams share.
pub(super) fn router_with<I: Ingest>(ingest: Arc<I>, shared: PushShared) -> Router {
    Router::new().route(STREAM_PATH, post_service(PushServer { ingest, shared }))
}

/// The service behind the path.
struct PushServer<I> {
    ingest: Arc<I>,
    shared: PushShared,
}

impl<I> Clone for PushServer<I> {
    fn clone(&self) -> Self {
        Self { ingest: Arc::clone(&self.ingest), shared: self.shared.clone() }
    }
}

impl<I: Ingest> Service<extract::Request> for PushServer<I> {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: extract::Request) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let codec: ProstCodec<ToAgent, ToCollector> = ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(Method(server), request).await.map(Body::new))
        })
    }
}

/// The method, as tonic calls it.
struct Method<I>(PushServer<I>);

impl<I: Ingest> Service<Request<Streaming<ToCollector>>> for Method<I> {
    type Response = Response<BoxStream<'static, Result<ToAgent, Status>>>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<ToCollector>>) -> Self::Future {
        let peer = request.remote_addr();
        let session = Session::new(Arc::clone(&self.0.ingest), request.into_inner(), peer, &self.0.shared);
        std::future::ready(Ok(Response::new(Box::pin(session.replies()))))
    }
}
