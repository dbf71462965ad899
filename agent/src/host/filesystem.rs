//! `system.filesystem.*` of file systems that hold data: those on devices, once each, at their shortest mount point.
//!
//! Left out: kernel and memory file systems, and network ones, since statvfs on a server that is away never returns.
//! A container's root (overlay on `/`) is kept, because it is the disk that the processes there can fill.
//! Source: proc_pid_mountinfo(5), statvfs(3); semantic conventions, system/system-metrics.

use std::path::Path;

use hashbrown::HashMap;
use weir_proto::MetricKind;

use super::HostSettings;
use super::reader::{SourceError, load_text};
use crate::points::{Instrument, Points};

const USAGE: Instrument = Instrument { name: "system.filesystem.usage", unit: "By", kind: MetricKind::UpDownCounter };
const UTILIZATION: Instrument =
    Instrument { name: "system.filesystem.utilization", unit: "1", kind: MetricKind::Gauge };

/// File systems without a device that hold data all the same.
const POOLED: [&str; 2] = ["zfs", "bcachefs"];

/// One line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor`, the same for every mount of one file system.
    device_id: String,
    point: String,
    read_only: bool,
    kind: String,
    device: String,
}

pub(super) fn read(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    for mount in mounts(&load_mountinfo(settings)?) {
        let seen_here = settings.root.join(mount.point.trim_start_matches('/'));
        // A mount that we may not enter, or that went away since, is not worth a word each tick.
        if let Ok(space) = rustix::fs::statvfs(&seen_here) {
            put(&mount, &space, points);
        }
    }
    Ok(())
}

/// The mounts of the host, not of the container: those of its first process, where it can be seen.
fn load_mountinfo(settings: &HostSettings) -> Result<String, SourceError> {
    let own = || load_text(settings.proc.join("self/mountinfo"));
    if settings.root == Path::new("/") {
        return own();
    }
    load_text(settings.proc.join("1/mountinfo")).or_else(|_| own())
}

/// The mounts worth reading, each file system once.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut by_device: HashMap<String, Mount> = HashMap::new();
    for mount in mountinfo.lines().filter_map(parse).filter(holds_data) {
        match by_device.get(&mount.device_id) {
            Some(known) if known.point.len() <= mount.point.len() => {}
            _ => {
                by_device.insert(mount.device_id.clone(), mount);
            }
        }
    }
    by_device.into_values().collect()
}

fn holds_data(mount: &Mount) -> bool {
    let on_device = mount.device.starts_with('/') && mount.kind != "squashfs" && !mount.kind.starts_with("fuse");
    on_device || POOLED.contains(&mount.kind.as_str()) || (mount.kind == "overlay" && mount.point == "/")
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw`: fields are escaped, the optional ones end at `-`.
fn parse(line: &str) -> Option<Mount> {
    let (fields, rest) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(2);
    let device_id = fields.next()?.to_owned();
    let point = unescape(fields.nth(1)?);
    let read_only = fields.next()?.split(',').any(|option| option == "ro");
    let mut rest = rest.split(' ');
    let kind = rest.next()?.to_owned();
    Some(Mount { device_id, point, read_only, kind, device: unescape(rest.next()?) })
}

/// Undoes `\040` and its like.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

fn put(mount: &Mount, space: &rustix::fs::StatVfs, points: &mut Points) {
    let bytes = |blocks: u64| blocks as f64 * space.f_frsize as f64;
    let total = bytes(space.f_blocks);
    if total == 0.0 {
        return;
    }
    let attributes = [
        ("system.device", mount.device.as_str().into()),
        ("system.filesystem.mountpoint", mount.point.as_str().into()),
        ("system.filesystem.type", mount.kind.as_str().into()),
        ("system.filesystem.mode", if mount.read_only { "ro" } else { "rw" }.into()),
    ];
    let states = [
        ("used", bytes(space.f_blocks.saturating_sub(space.f_bfree))),
        ("free", bytes(space.f_bavail)),
        ("reserved", bytes(space.f_bfree.saturating_sub(space.f_bavail))),
    ];
    for (state, bytes) in states {
        let [device, point, kind, mode] = attributes;
        points.put(&USAGE, &[device, point, kind, mode, ("system.filesystem.state", state.into())], bytes);
    }
    // As df shows it: of what may be used, the part that is.
    let (used, free) = (states[0].1, states[1].1);
    points.put(&UTILIZATION, &attributes, used / (used + free).max(1.0));
}

/// Where the chosen mounts are, sorted.
#[cfg(test)]
pub(super) fn points_of(mountinfo: &str) -> Vec<String> {
    let mut points: Vec<_> = mounts(mountinfo).into_iter().map(|mount| mount.point).collect();
    points.sort();
    points
}
