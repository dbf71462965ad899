//! Scrapes, reads the host, receives OTLP, queues on disk and pushes to a collector.

pub mod batch;
pub mod host;
pub mod launch;
mod points;
pub mod push;
pub mod queue;
pub mod scrape;

/// Nanoseconds since the epoch, now. The agent's edges read the clock; what is below them is told the time.
#[must_use]
pub fn wall_clock_ns() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
