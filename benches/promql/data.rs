//! Samples of a small cluster, made in slices so that a day of it need not be in memory: nodes as node_exporter shows
//! them, pods as cAdvisor and kube-state-metrics do, and the request histogram of an API server.
//!
//! Names, labels and the look of values (seconds by hundredths, bytes by pages, whole counts) are those of the real
//! exporters; how values move is a seeded generator. All series of a target have the target's times, 15 s apart, never
//! on a whole second: Prometheus 2.42 closes ranges on the left and 3.x does not, so no sample may lie on the edge of
//! a window.

use std::sync::Arc;

use weir_benches::chance::Chance;
use weir_promql::labels::{Labels, METRIC_NAME};
use weir_proto::exposition::SCOPE_SCRAPE;
use weir_proto::identity::SeriesParts;
use weir_proto::prometheus::{Promotion, Translator};
use weir_proto::{Attributes, KeyValue, MetricKind, Resource, Scope, SeriesIdentity, Temporality};

pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Samples of a slice of every series: half an hour.
pub(crate) const SLICE: usize = 120;
/// Pods on a node.
const PODS: usize = 6;
/// Bounds of a request histogram.
const BOUNDS: usize = 40;

/// One series: who it is, when it is scraped, how it moves.
pub(crate) struct Series {
    pub(crate) identity: Arc<SeriesIdentity>,
    pub(crate) labels: Labels,
    /// ms after the beat.
    pub(crate) offset_ms: i64,
    motion: Motion,
    value: f64,
    chance: Chance,
}

/// How a value moves from one sample to the next.
#[derive(Clone, Copy)]
enum Motion {
    /// Stays.
    Still,
    /// Grows by up to this many units of this size; falls to zero once in some thousand samples.
    Counter { units: u64, unit: f64 },
    /// Grows by one in one of so many samples.
    Rare(u64),
    /// Wanders by up to this many units of this size, within bounds.
    Gauge { units: u64, unit: f64, max: f64 },
    /// A bucket: grows by what the bucket below it grew by, and up to this many more.
    Bucket { units: u64, lowest: bool },
}

/// All series of the cluster.
pub(crate) struct Cluster {
    pub(crate) series: Vec<Series>,
    translator: Translator,
    scope: Arc<Scope>,
}

/// A scraped target.
struct Target {
    resource: Arc<Resource>,
    offset_ms: i64,
}

impl Cluster {
    /// About so many series, and this many buckets of histograms beside them.
    pub(crate) fn new(series: usize, buckets: usize) -> Self {
        let scope = Arc::new(Scope { name: SCOPE_SCRAPE.into(), ..Scope::default() });
        let mut cluster = Self { series: Vec::new(), translator: Translator::new(Promotion::default()), scope };
        let state = Target::new("kube-state-metrics", "10.0.0.2:8080", 3);
        let mut node = 0;
        while cluster.series.len() < series {
            cluster.add_node(node);
            for pod in 0..PODS {
                cluster.add_pod(node, pod, &state);
            }
            node += 1;
        }
        cluster.series.truncate(series);
        cluster.add_requests(buckets);
        cluster
    }

    fn add(&mut self, target: &Target, name: &str, pairs: &[(&str, &str)], (value, motion): (f64, Motion)) {
        let counter = name.ends_with("_total") || name.ends_with("_bucket");
        let attributes: Vec<KeyValue> = pairs.iter().map(|(name, value)| KeyValue::new(*name, *value)).collect();
        let identity = Arc::new(SeriesIdentity::new(SeriesParts {
            name: name.into(),
            unit: "".into(),
            kind: if counter { MetricKind::Counter } else { MetricKind::Gauge },
            temporality: if counter { Temporality::Cumulative } else { Temporality::Unspecified },
            resource: Arc::clone(&target.resource),
            scope: Arc::clone(&self.scope),
            attributes: Attributes::new(attributes),
        }));
        let shown = self.translator.translate(&identity);
        let labels = shown.labels.into_iter().chain([(METRIC_NAME.into(), shown.name)]).collect();
        let chance = Chance(self.series.len() as u64 ^ 0x5bd1_e995);
        self.series.push(Series { identity, labels, offset_ms: target.offset_ms, motion, value, chance });
    }

    /// What people look at of a node_exporter, 99 series.
    fn add_node(&mut self, node: usize) {
        const MODES: [(&str, u64); 8] = [
            ("idle", 1300),
            ("iowait", 20),
            ("irq", 0),
            ("nice", 2),
            ("softirq", 15),
            ("steal", 0),
            ("system", 120),
            ("user", 300),
        ];
        let target = &Target::new("node-exporter", &format!("10.0.{}.{}:9100", node / 250, node % 250 + 4), node);
        let seconds = |units| Motion::Counter { units, unit: 0.01 };
        let bytes = |units| Motion::Counter { units, unit: 1.0 };
        let pages = |max: f64| (max * 0.4, Motion::Gauge { units: 500, unit: 4096.0, max });
        for cpu in ["0", "1", "2", "3", "4", "5", "6", "7"] {
            for (mode, units) in MODES {
                let motion = if units == 0 { Motion::Still } else { seconds(units) };
                self.add(target, "node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], (0.0, motion));
            }
        }
        let memory = 33_554_432_000.0;
        for name in ["MemTotal", "SwapTotal"] {
            self.add(target, &format!("node_memory_{name}_bytes"), &[], (memory, Motion::Still));
        }
        for name in ["MemFree", "MemAvailable", "Buffers", "Cached", "SReclaimable", "SwapFree"] {
            self.add(target, &format!("node_memory_{name}_bytes"), &[], pages(memory * 0.25));
        }
        for device in ["eth0", "lo", "cni0", "flannel.1"] {
            for name in ["node_network_receive_bytes_total", "node_network_transmit_bytes_total"] {
                self.add(target, name, &[("device", device)], (1e9, bytes(4_000_000)));
            }
        }
        for device in ["sda", "sdb"] {
            for name in ["node_disk_read_bytes_total", "node_disk_written_bytes_total"] {
                self.add(target, name, &[("device", device)], (1e8, Motion::Counter { units: 900, unit: 4096.0 }));
            }
            let busy = Motion::Counter { units: 2000, unit: 0.001 };
            self.add(target, "node_disk_io_time_seconds_total", &[("device", device)], (0.0, busy));
        }
        for (device, point) in [("/dev/sda1", "/"), ("/dev/sdb1", "/var"), ("tmpfs", "/run")] {
            let fstype = if device == "tmpfs" { "tmpfs" } else { "ext4" };
            let pairs = [("device", device), ("fstype", fstype), ("mountpoint", point)];
            let size = 107_374_182_400.0;
            self.add(target, "node_filesystem_size_bytes", &pairs, (size, Motion::Still));
            self.add(target, "node_filesystem_avail_bytes", &pairs, pages(size * 0.9));
            self.add(target, "node_filesystem_free_bytes", &pairs, pages(size));
        }
        for name in ["node_load1", "node_load5", "node_load15"] {
            self.add(target, name, &[], (2.0, Motion::Gauge { units: 30, unit: 0.01, max: 16.0 }));
        }
        let name = format!("node-{node}");
        self.add(target, "node_uname_info", &[("nodename", &name), ("sysname", "Linux")], (1.0, Motion::Still));
    }

    /// A pod of two containers on a node.
    fn add_pod(&mut self, node: usize, pod: usize, state: &Target) {
        let kubelet = &Target::new("kubelet", &format!("10.0.{}.{}:10250", node / 250, node % 250 + 4), node + 7);
        let (place, name) = (format!("node-{node}"), format!("app-{}-7d4b9c-{node}x{pod}", pod % 4));
        let namespace = ["default", "shop", "payments", "search", "monitoring", "kube-system"][(node + pod) % 6];
        let own = [("namespace", namespace), ("pod", name.as_str())];
        let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
            own.iter().copied().chain(more.iter().copied()).collect()
        };
        for (container, image) in [("main", "registry/app:1.4.2"), ("proxy", "registry/proxy:2.0.1")] {
            let pairs = with(&[("container", container), ("image", image), ("cpu", "total")]);
            let busy = Motion::Counter { units: 4_000_000, unit: 1e-6 };
            self.add(kubelet, "container_cpu_usage_seconds_total", &pairs, (0.0, busy));
            let pairs = with(&[("container", container), ("image", image)]);
            for name in ["container_memory_working_set_bytes", "container_memory_rss", "container_memory_cache"] {
                let moves = Motion::Gauge { units: 300, unit: 4096.0, max: 1_073_741_824.0 };
                self.add(kubelet, name, &pairs, (268_435_456.0, moves));
            }
            let periods = Motion::Counter { units: 300, unit: 1.0 };
            self.add(kubelet, "container_cpu_cfs_periods_total", &pairs, (150.0, periods));
            let throttled = Motion::Counter { units: 60, unit: 1.0 };
            self.add(kubelet, "container_cpu_cfs_throttled_periods_total", &pairs, (0.0, throttled));
            let pairs = with(&[("container", container)]);
            self.add(state, "kube_pod_container_status_restarts_total", &pairs, (0.0, Motion::Rare(4000)));
            self.add(state, "kube_pod_container_status_ready", &pairs, (1.0, Motion::Still));
            for (resource, amount) in [("cpu", 0.5), ("memory", 536_870_912.0)] {
                let pairs = with(&[("container", container), ("resource", resource)]);
                self.add(state, "kube_pod_container_resource_requests", &pairs, (amount, Motion::Still));
            }
        }
        for name in ["container_network_receive_bytes_total", "container_network_transmit_bytes_total"] {
            let moves = Motion::Counter { units: 900_000, unit: 1.0 };
            self.add(kubelet, name, &with(&[("interface", "eth0")]), (5e6, moves));
        }
        let pairs: Vec<(&str, &str)> = own.into_iter().chain([("node", place.as_str())]).collect();
        self.add(state, "kube_pod_info", &pairs, (1.0, Motion::Still));
        for phase in ["Failed", "Pending", "Running", "Succeeded", "Unknown"] {
            let value = f64::from(u8::from(phase == "Running"));
            self.add(state, "kube_pod_status_phase", &with(&[("phase", phase)]), (value, Motion::Still));
        }
    }

    /// Request durations of an API server, by verb and resource.
    fn add_requests(&mut self, buckets: usize) {
        const VERBS: [&str; 10] =
            ["GET", "LIST", "POST", "PUT", "PATCH", "DELETE", "WATCH", "CONNECT", "APPLY", "DELETECOLLECTION"];
        let target = Target::new("apiserver", "10.0.0.1:6443", 5);
        for family in 0..buckets.div_ceil(BOUNDS) {
            let (verb, resource) = (VERBS[family % 10], format!("resource-{}", family / 10));
            for bound in 0..BOUNDS {
                let le =
                    if bound + 1 == BOUNDS { "+Inf".to_owned() } else { format!("{}", (bound + 1) as f64 * 0.025) };
                let pairs = [("verb", verb), ("resource", &resource), ("scope", "cluster"), ("le", &le)];
                let units = [8, 14, 10, 6, 3, 2].get(bound / 3).copied().unwrap_or(1);
                let moves = Motion::Bucket { units, lowest: bound == 0 };
                self.add(&target, "apiserver_request_duration_seconds_bucket", &pairs, (0.0, moves));
            }
        }
    }

    /// The next [`SLICE`] values of every series.
    pub(crate) fn next_slice(&mut self) -> Vec<Vec<f64>> {
        let mut slices: Vec<Vec<f64>> = Vec::with_capacity(self.series.len());
        // Of the bucket below, how much it grew by at each sample.
        let mut below = vec![0.0; SLICE];
        for series in &mut self.series {
            if let Motion::Bucket { lowest: true, .. } = series.motion {
                below.fill(0.0);
            }
            let next = (0..SLICE).map(|at| series.next(&mut below[at]));
            slices.push(next.collect());
        }
        slices
    }
}

impl Series {
    fn next(&mut self, below: &mut f64) -> f64 {
        let Self { motion, value, chance, .. } = self;
        match *motion {
            Motion::Still => {}
            Motion::Counter { units, unit } => {
                let grown = chance.below(units + 1) as f64;
                // As exporters print it: a whole number of units.
                *value = ((*value / unit).round() + grown) / (1.0 / unit).round().max(1.0)
                    * if unit > 1.0 { unit } else { 1.0 };
                if chance.below(20_000) == 0 {
                    *value = 0.0;
                }
            }
            Motion::Rare(of) => *value += f64::from(u8::from(chance.below(of) == 0)),
            Motion::Gauge { units, unit, max } => {
                let moved = (*value / unit).round() + chance.below(2 * units + 1) as f64 - units as f64;
                let bound = (max / unit).floor();
                let kept = moved.clamp(0.0, bound);
                *value = if unit < 1.0 { kept / (1.0 / unit).round() } else { kept * unit };
            }
            Motion::Bucket { units, .. } => {
                // Most requests come in few of the minutes.
                let more = if chance.below(3) == 0 { chance.below(units + 1) as f64 } else { 0.0 };
                *below += more;
                *value += *below;
            }
        }
        *value
    }
}

impl Target {
    fn new(job: &str, instance: &str, number: usize) -> Self {
        let attributes = vec![KeyValue::new("service.name", job), KeyValue::new("service.instance.id", instance)];
        let resource = Arc::new(Resource { attributes: Attributes::new(attributes) });
        Self { resource, offset_ms: (number % 14) as i64 * 1000 + 537 }
    }
}
