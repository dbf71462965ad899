//! `system.memory.*` and `system.paging.*`. The states of memory partition it: used + free + buffers + cached = total.
//! Source: proc_meminfo(5), proc_vmstat(5); semantic conventions, system/system-metrics.

use procfs::{Meminfo, VmStat};
use weir_proto::MetricKind;

use super::HostSettings;
use super::reader::{SourceError, load};
use crate::points::{Instrument, Points};

const USAGE: Instrument = Instrument { name: "system.memory.usage", unit: "By", kind: MetricKind::UpDownCounter };
const UTILIZATION: Instrument = Instrument { name: "system.memory.utilization", unit: "1", kind: MetricKind::Gauge };
const LIMIT: Instrument = Instrument { name: "system.memory.limit", unit: "By", kind: MetricKind::UpDownCounter };
const AVAILABLE: Instrument =
    Instrument { name: "system.linux.memory.available", unit: "By", kind: MetricKind::UpDownCounter };
const PAGING_USAGE: Instrument =
    Instrument { name: "system.paging.usage", unit: "By", kind: MetricKind::UpDownCounter };
const PAGING_UTILIZATION: Instrument =
    Instrument { name: "system.paging.utilization", unit: "1", kind: MetricKind::Gauge };
const PAGING_FAULTS: Instrument =
    Instrument { name: "system.paging.faults", unit: "{fault}", kind: MetricKind::Counter };
const PAGING_OPERATIONS: Instrument =
    Instrument { name: "system.paging.operations", unit: "{operation}", kind: MetricKind::Counter };

const STATE: &str = "system.memory.state";
const PAGING_STATE: &str = "system.paging.state";
const PAGING_TYPE: &str = "system.paging.type";
const PAGING_DIRECTION: &str = "system.paging.direction";

pub(super) fn read(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let memory: Meminfo = load(settings.proc.join("meminfo"))?;
    let total = memory.mem_total;
    let cached = memory.cached + memory.s_reclaimable.unwrap_or(0);
    let used = total.saturating_sub(memory.mem_free + memory.buffers + cached);
    let states = [("used", used), ("free", memory.mem_free), ("buffers", memory.buffers), ("cached", cached)];
    for (state, bytes) in states {
        points.put(&USAGE, &[(STATE, state.into())], bytes as f64);
        if total > 0 {
            points.put(&UTILIZATION, &[(STATE, state.into())], bytes as f64 / total as f64);
        }
    }
    points.put(&LIMIT, &[], total as f64);
    if let Some(available) = memory.mem_available {
        points.put(&AVAILABLE, &[], available as f64);
    }
    let swap_used = memory.swap_total.saturating_sub(memory.swap_free);
    for (state, bytes) in [("used", swap_used), ("free", memory.swap_free)] {
        points.put(&PAGING_USAGE, &[(PAGING_STATE, state.into())], bytes as f64);
        if memory.swap_total > 0 {
            points.put(&PAGING_UTILIZATION, &[(PAGING_STATE, state.into())], bytes as f64 / memory.swap_total as f64);
        }
    }
    Ok(())
}

pub(super) fn read_paging(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let VmStat(counts) = load(settings.proc.join("vmstat"))?;
    let count = |name| counts.get(name).map(|count| *count as f64);
    if let (Some(all), Some(major)) = (count("pgfault"), count("pgmajfault")) {
        points.put(&PAGING_FAULTS, &[(PAGING_TYPE, "major".into())], major);
        points.put(&PAGING_FAULTS, &[(PAGING_TYPE, "minor".into())], (all - major).max(0.0));
    }
    for (direction, name) in [("in", "pswpin"), ("out", "pswpout")] {
        if let Some(pages) = count(name) {
            let attributes = [(PAGING_DIRECTION, direction.into()), (PAGING_TYPE, "major".into())];
            points.put(&PAGING_OPERATIONS, &attributes, pages);
        }
    }
    Ok(())
}
