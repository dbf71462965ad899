//! The host's own metrics, under OpenTelemetry's names, from procfs, sysfs and statvfs.
//!
//! ```text
//! tick ─▶ HostReader (blocking thread) ─▶ cpu · memory · disk · filesystem · network · system ─▶ MetricBatch ─▶ Intake
//! ```
//! The first reading is at once and the second a second later, so that rates can be drawn quickly; then every
//! interval. A file that is missing or reads wrong costs its own points only: it is counted, logged when it first
//! happens, and read again at the next tick.

mod cpu;
mod disk;
mod filesystem;
mod identity;
mod memory;
mod network;
mod reader;
mod system;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weir_proto::{Batch, names};

use crate::batch::Intake;
use crate::wall_clock_ns;
pub use reader::HostReader;

/// The second reading comes this soon after the first: charts of rates begin with it.
const SECOND_READING: Duration = Duration::from_secs(1);

/// What is read, and how often.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Between two readings. Default 15 s. Shorter: finer charts, more samples.
    pub interval: Duration,
    /// Where the host's file systems begin, seen from here. Default `/`; `/host` in a container.
    pub root: PathBuf,
    /// The host's procfs. Default `root/proc`.
    pub proc: PathBuf,
    /// The host's sysfs. Default `root/sys`.
    pub sys: PathBuf,
    /// `host.name`. Default: the kernel's node name.
    pub node: String,
}

impl HostSettings {
    /// The defaults for a host whose file systems begin at `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            interval: Duration::from_secs(15),
            root: root.to_path_buf(),
            proc: root.join("proc"),
            sys: root.join("sys"),
            node: identity::node_name(),
        }
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

/// The task that reads the host.
pub struct Host {
    reader: HostReader,
    interval: Duration,
    intake: Intake,
}

impl Host {
    /// A task that reads as `settings` say and gives its batches to `intake`.
    #[must_use]
    pub fn new(settings: HostSettings, intake: Intake) -> Self {
        Self { interval: settings.interval, reader: HostReader::new(settings), intake }
    }

    /// Reads until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { mut reader, interval, intake } = self;
        let second = tokio::time::sleep(SECOND_READING);
        tokio::pin!(second);
        let mut second_done = interval <= SECOND_READING;
        let mut ticks = tokio::time::interval_at(Instant::now(), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut second, if !second_done => second_done = true,
                _ = ticks.tick() => {}
            }
            let read = tokio::task::spawn_blocking(move || {
                let metrics = reader.read(wall_clock_ns());
                (reader, metrics)
            });
            let metrics;
            (reader, metrics) = match read.await {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "reading the host ended");
                    return;
                }
            };
            let points = metrics.points() as u64;
            if let Err(error) = intake.put(Batch { metrics, ..Batch::default() }).await {
                metrics::counter!(names::HOST_DROPPED_POINTS).increment(points);
                tracing::warn!(%error, points, "host metrics were not queued");
            }
        }
    }
}

#[cfg(test)]
mod tests;
