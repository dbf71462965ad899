//! `system.network.*` per interface. The host ends of pods' and containers' virtual cables are left out: there are
//! hundreds, their names are random, and the pods' own metrics say the same.
//! Source: proc_net(5); semantic conventions, system/system-metrics.

use std::path::Path;

use procfs::net::InterfaceDeviceStatus;
use weir_proto::MetricKind;

use super::HostSettings;
use super::reader::{SourceError, load};
use crate::points::{Instrument, Points};

const IO: Instrument = Instrument { name: "system.network.io", unit: "By", kind: MetricKind::Counter };
const PACKETS: Instrument =
    Instrument { name: "system.network.packet.count", unit: "{packet}", kind: MetricKind::Counter };
const DROPPED: Instrument =
    Instrument { name: "system.network.packet.dropped", unit: "{packet}", kind: MetricKind::Counter };
const ERRORS: Instrument = Instrument { name: "system.network.errors", unit: "{error}", kind: MetricKind::Counter };

const INTERFACE: &str = "network.interface.name";
const DIRECTION: &str = "network.io.direction";

/// Host ends of virtual cables: Docker, Calico, Cilium, AWS and GKE.
const POD_CABLES: [&str; 6] = ["veth", "cali", "lxc", "eni", "gke", "azv"];

pub(super) fn read(settings: &HostSettings, points: &mut Points) -> Result<(), SourceError> {
    // `net` leads to the reader's own network namespace; the host's first process is in the host's.
    let of_init = settings.proc.join("1/net/dev");
    let in_container = settings.root != Path::new("/") && of_init.exists();
    let path = if in_container { of_init } else { settings.proc.join("net/dev") };
    let InterfaceDeviceStatus(interfaces) = load(path)?;
    for (name, counts) in &interfaces {
        if POD_CABLES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let directions = [
            ("receive", counts.recv_bytes, counts.recv_packets, counts.recv_drop, counts.recv_errs),
            ("transmit", counts.sent_bytes, counts.sent_packets, counts.sent_drop, counts.sent_errs),
        ];
        for (direction, bytes, packets, dropped, errors) in directions {
            let attributes = [(INTERFACE, name.as_str().into()), (DIRECTION, direction.into())];
            points.put(&IO, &attributes, bytes as f64);
            points.put(&PACKETS, &attributes, packets as f64);
            points.put(&DROPPED, &attributes, dropped as f64);
            points.put(&ERRORS, &attributes, errors as f64);
        }
    }
    Ok(())
}
