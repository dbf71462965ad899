//! The OTLP edge, gRPC and HTTP: from a socket to a [`Batch`](weir_proto::Batch) in a durable [`Sink`], and back to
//! the sender as the OTLP specification says.
//!
//! ```text
//!                 ┌ http.rs  /v1/{traces,metrics,logs}                      protobuf, JSON
//!  socket ─ serve ┤                          ├▶ body (caps, byte budget) ─▶ inflate ─▶ reader ─▶ Sink::accept
//!                 └ grpc.rs  /opentelemetry.proto.collector.…/Export        │     blocking threads, pooled readers
//!                        ▲                                                  │
//!                        └──────────── answer: partial_success, or refusal ◀┘  (codes made in refusal.rs only)
//! ```
//! Also here, since agent and collector have it alike: binding ports (`listen`), serving them (`serve`), and being asked
//! to reload (`reload`).
//!
//! Owned here: the byte budget of requests in flight and the pool of stateful readers. Used by the agent (4317, 4318)
//! and by the collector (its own OTLP); both ports answer both protocols, so a sender that mixes them up is served.
//!
//! gRPC framing is read here and not by tonic's codec, because the two edges then share one path: tonic would inflate
//! on the async thread, outside the byte budget, and would answer an oversized message with OUT_OF_RANGE, which OTLP
//! senders retry for ever. Copies of a byte: socket → body buffer (none when it came in one piece) → columns; one more
//! when compressed.

mod admission;
mod answer;
mod body;
mod decode;
mod grpc;
mod http;
mod json;
mod listen;
mod receiver;
mod refusal;
mod reload;
mod serve;
mod sink;

pub use grpc::grpc_router;
pub use http::http_router;
pub use listen::{Listen, ListenError};
pub use receiver::{ReceiveSettings, Receiver, Signal};
pub use refusal::{Refusal, RefusalKind};
pub use reload::{Asked, Reload, Reloaded, Reloads, needs_restart, reloads};
pub use serve::{ServeSettings, raise_open_files, serve};
pub use sink::{NotTaken, Protocol, Sender, Sink, SinkError};

/// Both protocols as one router: what the agent serves on 4317 and on 4318.
pub fn router<S: Sink>(receiver: &std::sync::Arc<Receiver<S>>) -> axum::Router {
    http_router(receiver).merge(grpc_router(receiver))
}

#[cfg(test)]
mod tests;
