//! What the stream hands its batches to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_proto::Batch;
use weir_store::{Appended, Delivery};

/// Takes batches in: limits, RED of direct senders, the store.
pub trait Ingest: Send + Sync + 'static {
    /// Returns when `batch` is durable, or was already.
    fn ingest(
        &self,
        batch: Batch,
        delivery: Option<Delivery>,
        from: &Agent,
    ) -> impl Future<Output = Result<Appended, IngestError>> + Send;

    /// Told of what a stream brought that is no batch: `reason` is a stable word, `message` what the agent was told.
    /// `from` is nobody before Hello.
    fn refused(&self, from: Option<&Agent>, reason: &'static str, message: &str);
}

/// Who is at the other end of a stream; for people, not for access control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The agent's 128 random bits.
    pub id: [u8; 16],
    /// Its host or node.
    pub node: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct IngestError {
    /// What becomes of the batch.
    pub kind: IngestErrorKind,
    /// How long the agent waits.
    pub pause: Duration,
    /// For people.
    pub message: String,
}

/// What becomes of a batch that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestErrorKind {
    /// It can never be taken.
    Invalid,
    /// It may come again later: no room, or shutting down, or something is broken that may be mended.
    Full,
}
