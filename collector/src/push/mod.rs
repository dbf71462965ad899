//! The push stream, the collector's side: frames of agents become batches, and an ack says that one is durable.
//!
//! ```text
//!  agent ══ Hello, Frame… ══▶ Session (one per stream) ─ decode (blocking thread) ─▶ Ingest::ingest ≤ PENDING_MAX
//!        ◀═ Ack, Full, Refused ═══════════════════════════════════════════════════════ outcome ◀┘
//! ```
//! A decoder per epoch; live and history of one agent are interleaved, so a few epochs are open at once. Batches are
//! handed on with their [`Delivery`](weir_store::Delivery), by which repeats are dropped: what is sent twice is
//! acknowledged twice and stored once. Several batches are made durable at once, and acknowledged in any order.
//!
//! When ingest is full, the agent is told, and the rest of that epoch is skipped until the agent begins it again; its
//! records are still in its queue. Only bytes that do not decode are refused for good, and only the second time: an
//! epoch is asked for once more, since the wire may have been at fault. A frame in a format that this version does not
//! know is never refused for good: the agent is newer, and keeps it until the collector is, too.
//!
//! Memory is bounded before decoding: all streams share a budget, and a frame that has no share yet waits, and with it
//! its agent, while what is pending goes on.
//!
//! A stream owns its state and runs inside the response that tonic polls: when the connection is gone, so is all of
//! it, and nothing had to be spawned.

mod ingest;
mod server;
mod session;

pub use ingest::{Agent, Ingest, IngestError, IngestErrorKind};
pub use server::router;

#[cfg(test)]
mod tests;
