//! Messages of the push stream `weir.push.v1`, generated from `proto/push.proto` by `tests/generated.rs`
//! (`UPDATE=1 cargo test -p weir-proto --test generated` rewrites them). The stubs are not here: the client lives in
//! the agent, the server in the collector. Payloads are `bytes::Bytes`, so receiving one copies nothing.

#[rustfmt::skip]
#[path = "generated/weir.push.v1.rs"]
mod generated;

pub use generated::{Ack, Frame, Full, Hello, Refused, ToAgent, ToCollector, to_agent, to_collector};

/// Full path of the one method, as gRPC spells it.
pub const STREAM_PATH: &str = "/weir.push.v1.Push/Stream";

/// Full name of the service, as gRPC spells it.
pub const SERVICE_NAME: &str = "weir.push.v1.Push";
