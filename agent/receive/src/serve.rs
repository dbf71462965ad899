//! Listening: HTTP/1.1 and HTTP/2 on one socket, until told to stop, then until open requests are answered.

use std::time::Duration;

use axum::Router;
use futures::stream;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;

/// HTTP/2 window of one stream: an OTLP request of the usual size arrives without waiting for us.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A peer that has vanished is noticed after this and [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait after a failed accept: out of file descriptors lasts, and trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server could not go on.
#[derive(Debug, thiserror::Error)]
#[error("serving OTLP failed: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves `router` on `listener` until `stop` resolves and the requests then open are answered.
///
/// # Errors
/// When the server could not go on.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let connections = stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    // Answers are small; without this they wait for the peer's delayed ACK.
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY was not set");
                    }
                    return Some((Ok::<_, std::io::Error>(connection), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(connections, stop)
        .await?;
    Ok(())
}
