//! Load, uptime and processes.
//! Source: proc_loadavg(5), proc_uptime(5), proc_pid_stat(5); semantic conventions, system/system-metrics.

use std::fs;

use procfs::{KernelStats, LoadAverage, Uptime};
use weir_proto::MetricKind;

use super::HostSettings;
use super::reader::{SourceError, load};
use crate::points::{Instrument, Points};

const LOAD_1M: Instrument =
    Instrument { name: "system.cpu.load_average.1m", unit: "{thread}", kind: MetricKind::Gauge };
const LOAD_5M: Instrument =
    Instrument { name: "system.cpu.load_average.5m", unit: "{thread}", kind: MetricKind::Gauge };
const LOAD_15M: Instrument =
    Instrument { name: "system.cpu.load_average.15m", unit: "{thread}", kind: MetricKind::Gauge };
const UPTIME: Instrument = Instrument { name: "system.uptime", unit: "s", kind: MetricKind::Gauge };
const PROCESSES: Instrument =
    Instrument { name: "system.process.count", unit: "{process}", kind: MetricKind::UpDownCounter };
const FORKS: Instrument = Instrument { name: "system.process.created", unit: "{process}", kind: MetricKind::Counter };

const STATUS: &str = "system.process.status";
const STATUSES: [&str; 4] = ["running", "sleeping", "stopped", "defunct"];

pub(super) fn read_load(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let load: LoadAverage = load(settings.proc.join("loadavg"))?;
    for (instrument, average) in [(&LOAD_1M, load.one), (&LOAD_5M, load.five), (&LOAD_15M, load.fifteen)] {
        // The kernel prints two decimals; widening the f32 alone would show the binary fraction behind them.
        points.put(instrument, &[], (f64::from(average) * 100.0).round() / 100.0);
    }
    Ok(())
}

pub(super) fn read_uptime(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let uptime: Uptime = load(settings.proc.join("uptime"))?;
    points.put(&UPTIME, &[], uptime.uptime);
    Ok(())
}

pub(super) fn put_forks(stat: &KernelStats, points: &mut Points) {
    points.put(&FORKS, &[], stat.processes as f64);
}

pub(super) fn read_processes(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let path = &settings.proc;
    let entries = fs::read_dir(path).map_err(|error| SourceError::Io { path: path.clone(), error })?;
    let mut counts = [0_u32; STATUSES.len()];
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process that ended since the listing is not there to be counted.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        if let Some(status) = status_of(&stat) {
            counts[status] += 1;
        }
    }
    for (status, count) in STATUSES.into_iter().zip(counts) {
        points.put(&PROCESSES, &[(STATUS, status.into())], f64::from(count));
    }
    Ok(())
}

/// Index into [`STATUSES`]. The state follows the name, which is in parentheses and may hold some itself.
fn status_of(stat: &[u8]) -> Option<usize> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    match stat.get(name_end + 2)? {
        b'R' => Some(0),
        b'T' | b't' => Some(2),
        b'Z' | b'X' | b'x' => Some(3),
        _ => Some(1),
    }
}
