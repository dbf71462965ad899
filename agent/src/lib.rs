//! The agent: scrapes, reads the host, receives OTLP, queues on disk, and pushes to a collector.
//!
//! ```text
//!  apps ──OTLP 4317, 4318──▶ receive ─┐
//!  targets ──GET /metrics──▶ scrape ──┼─▶ batch ─▶ queue ─▶ push ══▶ collector
//!  /proc /sys ─────────────▶ host ────┤   (spans → RED)  (disk)  ◀══ acks
//!  our own counters ───────▶ observe ─┘
//! ```
//! A sender has its success when its data is in the disk queue; the queue keeps it until the collector's ack.
//! [`Agent::start`] makes the rooms from right to left, so that each finds the next one ready, and [`Agent::shutdown`]
//! ends them from left to right, so that nothing that was taken is left between two of them.

pub mod batch;
pub mod host;
pub mod launch;
mod points;
pub mod push;
pub mod queue;
mod running;
pub mod scrape;
mod settings;

pub use running::{Agent, AgentError, AgentErrorKind};
pub use settings::{
    AgentFlags, AgentSettings, DATA_DIR_DEFAULT, OTLP_GRPC_DEFAULT, OTLP_HTTP_DEFAULT, RefusalObserver,
};

/// Nanoseconds since the epoch, now. The agent's edges read the clock; what is below them is told the time.
#[must_use]
pub fn wall_clock_ns() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
