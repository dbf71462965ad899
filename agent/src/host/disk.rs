//! `system.disk.*` of whole disks: a partition's traffic is its disk's already. Loop and RAM disks are left out, and
//! so is a device that was never used (empty card readers).
//! Source: kernel Documentation/admin-guide/iostats.rst; semantic conventions, system/system-metrics.

use procfs::{DiskStat, DiskStats};
use weir_proto::MetricKind;

use super::HostSettings;
use super::reader::{SourceError, load};
use crate::points::{Instrument, Points};

const IO: Instrument = Instrument { name: "system.disk.io", unit: "By", kind: MetricKind::Counter };
const OPERATIONS: Instrument =
    Instrument { name: "system.disk.operations", unit: "{operation}", kind: MetricKind::Counter };
const IO_TIME: Instrument = Instrument { name: "system.disk.io_time", unit: "s", kind: MetricKind::Counter };
const OPERATION_TIME: Instrument =
    Instrument { name: "system.disk.operation_time", unit: "s", kind: MetricKind::Counter };
const MERGED: Instrument = Instrument { name: "system.disk.merged", unit: "{operation}", kind: MetricKind::Counter };

const DEVICE: &str = "system.device";
const DIRECTION: &str = "disk.io.direction";
/// The kernel counts sectors of this size whatever the device's own.
const SECTOR_BYTES: f64 = 512.0;

pub(super) fn read(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    let DiskStats(disks) = load(settings.proc.join("diskstats"))?;
    let block = settings.sys.join("block");
    let knows_disks = block.is_dir();
    for disk in &disks {
        let virtual_disk = disk.name.starts_with("loop") || disk.name.starts_with("ram");
        let partition = knows_disks && !block.join(disk.name.replace('/', "!")).exists();
        if virtual_disk || partition || disk.reads + disk.writes == 0 {
            continue;
        }
        put(disk, points);
    }
    Ok(())
}

fn put(disk: &DiskStat, points: &mut Points) {
    let device = (DEVICE, disk.name.as_str().into());
    let directions = [
        ("read", disk.sectors_read, disk.reads, disk.time_reading, disk.merged),
        ("write", disk.sectors_written, disk.writes, disk.time_writing, disk.writes_merged),
    ];
    for (direction, sectors, operations, milliseconds, merged) in directions {
        let attributes = [device, (DIRECTION, direction.into())];
        points.put(&IO, &attributes, sectors as f64 * SECTOR_BYTES);
        points.put(&OPERATIONS, &attributes, operations as f64);
        points.put(&OPERATION_TIME, &attributes, milliseconds as f64 / 1e3);
        points.put(&MERGED, &attributes, merged as f64);
    }
    points.put(&IO_TIME, &[device], disk.time_in_progress as f64 / 1e3);
}
