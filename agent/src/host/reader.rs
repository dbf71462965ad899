//! One reading of everything: synchronous, some milliseconds, for a blocking thread.

use std::io::Read;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use procfs::{FromRead, FromReadSI, KernelStats};
use weir_proto::{MetricBatch, names};

use super::{HostSettings, cpu, disk, filesystem, identity, memory, network, system};
use crate::points::Points;

/// Nothing read here is larger; a file that is has something wrong with it.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads the host into batches; remembers series, and the CPU times of last time for the utilization.
pub struct HostReader {
    settings: HostSettings,
    points: Points,
    cpu: cpu::Utilization,
    /// Problems already logged, so that a file that is always missing is logged once.
    logged: HashSet<String>,
}

/// Why one source gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The file system said no.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    /// The content is not what it should be.
    #[error("{path}: {message}")]
    Content { path: PathBuf, message: String },
}

impl HostReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(settings: HostSettings) -> Self {
        let points = Points::new(identity::resource(&settings), "weir.host");
        Self { settings, points, cpu: cpu::Utilization::default(), logged: HashSet::new() }
    }

    /// Reads everything that can be read now.
    pub fn read(&mut self, at_ns: i64) -> MetricBatch {
        let stat = load_stat(&self.settings.proc);
        let boot_ns =
            stat.as_ref().map_or(0, |stat| i64::try_from(stat.btime).unwrap_or(0).saturating_mul(1_000_000_000));
        self.points.begin(at_ns, boot_ns);
        let (settings, points) = (&self.settings, &mut self.points);
        let outcomes = [
            ("memory", memory::read(settings, points)),
            ("paging", memory::read_paging(settings, points)),
            ("disk", disk::read(settings, points)),
            ("filesystem", filesystem::read(settings, points)),
            ("network", network::read(settings, points)),
            ("load", system::read_load(settings, points)),
            ("uptime", system::read_uptime(settings, points)),
            ("processes", system::read_processes(settings, points)),
            (
                "cpu",
                stat.map(|stat| {
                    self.cpu.put(&stat, points);
                    system::put_forks(&stat, points);
                }),
            ),
        ];
        for (source, outcome) in outcomes {
            if let Err(error) = outcome {
                self.count(source, &error);
            }
        }
        self.points.finish()
    }

    fn count(&mut self, source: &'static str, error: &SourceError) {
        metrics::counter!(names::HOST_ERRORS, "source" => source).increment(1);
        let message = error.to_string();
        if !self.logged.contains(&message) {
            tracing::warn!(source, %message, "host metric left out");
            self.logged.insert(message);
        }
    }
}

fn load_stat(proc: &Path) -> Result<KernelStats, SourceError> {
    let path = proc.join("stat");
    let stat = <KernelStats as FromReadSI>::from_file(&path, procfs::current_system_info());
    stat.map_err(|error| SourceError::Content { path, message: error.to_string() })
}

/// Reads a whole file through one of procfs' parsers.
pub(super) fn load<T: FromRead>(path: PathBuf) -> Result<T, SourceError> {
    T::from_file(&path).map_err(|error| SourceError::Content { path, message: error.to_string() })
}

/// Reads a whole file as text.
pub(super) fn load_text(path: PathBuf) -> Result<String, SourceError> {
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(SourceError::Io { path, error }),
    }
}
