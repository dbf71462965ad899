//! The resource of host metrics: `host.name`, `host.id`, `host.arch`, `os.type`.
//! Source: OpenTelemetry semantic conventions, resource/host and resource/os.

use std::sync::Arc;

use weir_proto::{Attributes, KeyValue, Resource};

use super::HostSettings;
use super::reader::load_text;

/// The kernel's name of this machine.
pub(super) fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn resource(settings: &HostSettings) -> Arc<Resource> {
    let mut attributes = vec![
        KeyValue::new("host.name", settings.node.as_str()),
        KeyValue::new("host.arch", arch()),
        KeyValue::new("os.type", "linux"),
    ];
    // Containers and minimal systems have none, and that is no error: the name tells hosts apart.
    if let Ok(id) = load_text(settings.root.join("etc/machine-id"))
        && !id.trim().is_empty()
    {
        attributes.push(KeyValue::new("host.id", id.trim()));
    }
    Arc::new(Resource { attributes: Attributes::new(attributes) })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}
