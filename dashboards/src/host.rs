//! The dashboard of one host, from the OpenTelemetry host metrics that the agent reads: processor, memory, disks,
//! filesystems, network, load. First use, then what is left.

use crate::definition::{Dashboard, Kind, Level, Panel, Query, Section, Threshold, Unit, Variable};

/// What fills every panel here.
const RUN_AGENT: &str =
    "Run `weir agent` (or `weir up`) on the host: it reads /proc every few seconds and needs no configuration.";
/// A resource that is nearly used up.
const FULL: [Threshold; 2] =
    [Threshold { value: 0.8, level: Level::Warn }, Threshold { value: 0.95, level: Level::Bad }];

/// Part of processor time that was not idle.
pub(crate) const CPU_BUSY: &str = r#"1 - sum by (host_name) (rate(system_cpu_time_seconds_total{cpu_mode="idle",HOST}[WINDOW])) / sum by (host_name) (rate(system_cpu_time_seconds_total{HOST}[WINDOW]))"#;
/// Part of memory that programs hold.
pub(crate) const MEMORY_USED: &str = r#"sum by (host_name) (system_memory_usage_bytes{system_memory_state="used",HOST}) / sum by (host_name) (system_memory_usage_bytes{HOST})"#;
/// Part of each filesystem that is used, of what programs may use: as `df` counts, without what is reserved.
pub(crate) const FILESYSTEM_USED: &str = r#"sum by (host_name, system_filesystem_mountpoint, system_device) (system_filesystem_usage_bytes{system_filesystem_state="used",HOST}) / sum by (host_name, system_filesystem_mountpoint, system_device) (system_filesystem_usage_bytes{system_filesystem_state=~"used|free",HOST})"#;

/// The dashboard of one host, `$host` being its `host_name` label.
#[must_use]
pub fn host() -> Dashboard {
    Dashboard {
        id: "host",
        title: "Host",
        description: "What does this machine spend its processor, memory, disks and network on, and what is left?",
        variables: vec![Variable {
            name: "host",
            label: "Host",
            source: ("system_memory_usage_bytes", "host_name"),
            value: String::new(),
        }],
        sections: vec![now(), processor(), memory(), disks(), network()],
    }
}

/// Fills the two words that stand for the matcher of hosts and the window.
pub(crate) fn of_host(expr: &str, matcher: &str, window: &str) -> String {
    let expr = expr.replace("WINDOW", window);
    if matcher.is_empty() { expr.replace(",HOST", "").replace("{HOST}", "") } else { expr.replace("HOST", matcher) }
}

fn mine(expr: &str) -> String {
    of_host(expr, r#"host_name="$host""#, "$__rate_interval")
}

fn panel(
    id: &'static str,
    title: &'static str,
    (kind, unit, columns): (Kind, Unit, u8),
    queries: Vec<Query>,
    description: &'static str,
) -> Panel {
    Panel { columns, queries, description, empty: RUN_AGENT, ..Panel::new(id, title, kind, unit) }
}

fn now() -> Section {
    let stat = |id, title, unit, expr: &str, description| {
        panel(id, title, (Kind::Stat, unit, 3), vec![Query::range(title, mine(expr))], description)
    };
    let cpu = Panel {
        thresholds: FULL.to_vec(),
        ..stat("cpu-now", "CPU", Unit::Ratio, CPU_BUSY, "Part of processor time that was not idle.")
    };
    let memory = Panel {
        thresholds: FULL.to_vec(),
        ..stat(
            "memory-now",
            "Memory",
            Unit::Ratio,
            MEMORY_USED,
            "Part of memory that programs hold; caches do not count.",
        )
    };
    let load = stat(
        "load-now",
        "Load, 1 minute",
        Unit::Number,
        "system_cpu_load_average_1m{HOST}",
        "Tasks that run or wait for the processor or a disk, averaged over a minute.",
    );
    let disk = Panel {
        thresholds: FULL.to_vec(),
        ..stat(
            "filesystem-now",
            "Fullest filesystem",
            Unit::Ratio,
            &format!("max({FILESYSTEM_USED})"),
            "The filesystem with the least room left.",
        )
    };
    Section { id: "now", title: "Now", panels: vec![cpu, memory, load, disk] }
}

fn processor() -> Section {
    let modes = Panel {
        stacked: true,
        ..panel(
            "cpu",
            "CPU by mode",
            (Kind::Timeseries, Unit::Cores, 8),
            vec![Query::range(
                "{{cpu_mode}}",
                mine(r#"sum by (cpu_mode) (rate(system_cpu_time_seconds_total{cpu_mode!="idle",HOST}[WINDOW]))"#),
            )],
            "Cores kept busy, by what they did. iowait is waiting for disks, steal is time that the hypervisor gave to others.",
        )
    };
    let load = panel(
        "load",
        "Load",
        (Kind::Timeseries, Unit::Number, 4),
        vec![
            Query::range("1 min", mine("system_cpu_load_average_1m{HOST}")),
            Query::range("5 min", mine("system_cpu_load_average_5m{HOST}")),
            Query::range("15 min", mine("system_cpu_load_average_15m{HOST}")),
        ],
        "Tasks that run or wait for the processor or a disk.",
    );
    Section { id: "processor", title: "Processor", panels: vec![modes, load] }
}

fn memory() -> Section {
    let states = Panel {
        stacked: true,
        ..panel(
            "memory",
            "Memory by state",
            (Kind::Timeseries, Unit::Bytes, 12),
            vec![Query::range(
                "{{system_memory_state}}",
                mine("sum by (system_memory_state) (system_memory_usage_bytes{HOST})"),
            )],
            "Memory by what holds it. Cached and buffers are given back when programs need them.",
        )
    };
    Section { id: "memory", title: "Memory", panels: vec![states] }
}

fn disks() -> Section {
    let bytes = panel(
        "disk-bytes",
        "Disk throughput",
        (Kind::Timeseries, Unit::BytesPerSecond, 6),
        vec![Query::range(
            "{{system_device}} {{disk_io_direction}}",
            mine("sum by (system_device, disk_io_direction) (rate(system_disk_io_bytes_total{HOST}[WINDOW]))"),
        )],
        "Bytes read from and written to each disk per second.",
    );
    let operations = panel(
        "disk-operations",
        "Disk operations",
        (Kind::Timeseries, Unit::OpsPerSecond, 6),
        vec![Query::range(
            "{{system_device}} {{disk_io_direction}}",
            mine("sum by (system_device, disk_io_direction) (rate(system_disk_operations_total{HOST}[WINDOW]))"),
        )],
        "Reads and writes that each disk completed per second.",
    );
    let by = "system_filesystem_mountpoint, system_device";
    let filesystems = Panel {
        by: vec!["system_filesystem_mountpoint", "system_device"],
        thresholds: FULL.to_vec(),
        ..panel(
            "filesystems",
            "Filesystems",
            (Kind::Table, Unit::Ratio, 12),
            vec![
                Query::column("Used", Unit::Ratio, mine(FILESYSTEM_USED)),
                Query::column(
                    "Free",
                    Unit::Bytes,
                    mine(&format!(
                        r#"sum by ({by}) (system_filesystem_usage_bytes{{system_filesystem_state="free",HOST}})"#
                    )),
                ),
                Query::column(
                    "Size",
                    Unit::Bytes,
                    mine(&format!("sum by ({by}) (system_filesystem_usage_bytes{{HOST}})")),
                ),
            ],
            "How full each mounted filesystem is.",
        )
    };
    let panels = vec![where_there_is_one(bytes), where_there_is_one(operations), filesystems];
    Section { id: "disks", title: "Disks and filesystems", panels }
}

fn network() -> Section {
    let by = "network_interface_name, network_io_direction";
    let bytes = panel(
        "network",
        "Network throughput",
        (Kind::Timeseries, Unit::BytesPerSecond, 6),
        vec![Query::range(
            "{{network_interface_name}} {{network_io_direction}}",
            mine(&format!("sum by ({by}) (rate(system_network_io_bytes_total{{HOST}}[WINDOW]))")),
        )],
        "Bytes received and sent per second by each interface.",
    );
    let errors = panel(
        "network-errors",
        "Network errors and drops",
        (Kind::Timeseries, Unit::OpsPerSecond, 6),
        vec![
            Query::range(
                "{{network_io_direction}} errors",
                mine("sum by (network_io_direction) (rate(system_network_errors_total{HOST}[WINDOW]))"),
            ),
            Query::range(
                "{{network_io_direction}} dropped",
                mine("sum by (network_io_direction) (rate(system_network_packet_dropped_total{HOST}[WINDOW]))"),
            ),
        ],
        "Packets that an interface could not pass on, all interfaces together. Anything but a flat zero deserves a look at cable, driver or queue.",
    );
    Section { id: "network", title: "Network", panels: vec![where_there_is_one(bytes), where_there_is_one(errors)] }
}

/// A machine may have no disk or network of its own (a sandbox, a container): then the panel is hidden, and listed.
fn where_there_is_one(panel: Panel) -> Panel {
    Panel { optional: true, empty: "The agent sees no such device on this machine.", ..panel }
}
