//! The collector: takes batches in, stores them, answers questions.
//!
//! ```text
//!  push (9348) ──┐
//!  OTLP (9348) ──┼─▶ ingest ─▶ store ─▶ snapshot ─▶ query ─▶ http (9347): page, Prometheus, Tempo, /api/weir/v1
//!  OTLP (9347) ──┤      ▲ service graph, arrivals
//!  remote write ─┘ (9347)
//! ```
//! [`Collector::start`] is the wiring: sockets listen first, the log is replayed behind [`gate`], then requests pass.
//! [`Collector::shutdown`] follows the data: sockets, then what is being stored, then the store.

pub mod arrivals;
mod gate;
pub mod graph;
pub mod http;
pub mod ingest;
pub mod push;
mod remote_write;
pub mod settings;
mod start;
mod trace;

pub use settings::{CollectorFlags, CollectorSettings};
pub use start::{Collector, CollectorError};
pub use weir_receive::{Reload, Reloads, raise_open_files, reloads};

/// Nanoseconds since the epoch, by this machine's clock.
///
/// # Panics
/// Never: the clock of a machine that runs this stands between 1970 and 2262.
#[must_use]
pub fn wall_clock_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
