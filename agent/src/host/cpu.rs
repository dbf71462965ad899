//! `system.cpu.time` per core and mode, and `system.cpu.utilization` of all cores together since the last reading.
//! Source: proc_stat(5); semantic conventions, system/system-metrics.

use procfs::{CpuTime, KernelStats};
use weir_proto::MetricKind;

use crate::points::{Instrument, Points};

const TIME: Instrument = Instrument { name: "system.cpu.time", unit: "s", kind: MetricKind::Counter };
const UTILIZATION: Instrument = Instrument { name: "system.cpu.utilization", unit: "1", kind: MetricKind::Gauge };
const COUNT: Instrument =
    Instrument { name: "system.cpu.logical.count", unit: "{cpu}", kind: MetricKind::UpDownCounter };

const MODES: [&str; 7] = ["user", "nice", "system", "idle", "iowait", "interrupt", "steal"];

/// What the utilization needs to remember.
#[derive(Default)]
pub(super) struct Utilization {
    last: Option<[u64; 7]>,
}

impl Utilization {
    pub(super) fn put(&mut self, stat: &KernelStats, points: &mut Points) {
        let ticks_per_second = procfs::ticks_per_second() as f64;
        for (number, cpu) in (0_i64..).zip(&stat.cpu_time) {
            for (mode, ticks) in MODES.into_iter().zip(ticks(cpu)) {
                let attributes = [("cpu.logical_number", number.into()), ("cpu.mode", mode.into())];
                points.put(&TIME, &attributes, ticks as f64 / ticks_per_second);
            }
        }
        points.put(&COUNT, &[], stat.cpu_time.len() as f64);
        let now = ticks(&stat.total);
        if let Some(last) = self.last.replace(now) {
            put_utilization(last, now, points);
        }
    }
}

fn put_utilization(last: [u64; 7], now: [u64; 7], points: &mut Points) {
    // The kernel's iowait may fall; a fall is no time.
    let spent: [u64; 7] = std::array::from_fn(|mode| now[mode].saturating_sub(last[mode]));
    let all: u64 = spent.iter().sum();
    if all > 0 {
        for (mode, spent) in MODES.into_iter().zip(spent) {
            points.put(&UTILIZATION, &[("cpu.mode", mode.into())], spent as f64 / all as f64);
        }
    }
}

/// Ticks per mode. Time spent for guests is part of user and nice already.
fn ticks(cpu: &CpuTime) -> [u64; 7] {
    let interrupt = cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0);
    [cpu.user, cpu.nice, cpu.system, cpu.idle, cpu.iowait.unwrap_or(0), interrupt, cpu.steal.unwrap_or(0)]
}
