//! The queries: twelve panels that people look at most, with the expressions that Grafana's dashboards "Node Exporter
//! Full" and kubernetes-mixin send (their variables filled in), and the ones that have targets of their own.

/// A query with the name under which its figures stand.
pub(crate) struct Panel {
    pub(crate) name: &'static str,
    pub(crate) query: &'static str,
}

/// `sum by(rate)`, at least [`SUM_BY_RATE_RATIO`] times as fast as Prometheus.
pub(crate) const SUM_BY_RATE: &str = "sum by(rate)";
pub(crate) const SUM_BY_RATE_RATIO: f64 = 3.0;
/// A quantile over all buckets, at least [`QUANTILE_RATIO`] times as fast.
pub(crate) const QUANTILE: &str = "histogram_quantile";
pub(crate) const QUANTILE_RATIO: f64 = 5.0;
/// Everything there is, in at most [`SCAN_NS`] a sample.
pub(crate) const SCAN: &str = "full scan";
pub(crate) const SCAN_NS: f64 = 30.0;

const fn panel(name: &'static str, query: &'static str) -> Panel {
    Panel { name, query }
}

pub(crate) const PANELS: &[Panel] = &[
    panel(
        "node: CPU by mode",
        "sum by (instance) (irate(node_cpu_seconds_total{instance=\"10.0.0.4:9100\", job=\"node-exporter\", \
         mode=\"system\"}[5m])) / on (instance) group_left sum by (instance) \
         ((irate(node_cpu_seconds_total{instance=\"10.0.0.4:9100\", job=\"node-exporter\"}[5m])))",
    ),
    panel(
        "node: memory used",
        "node_memory_MemTotal_bytes{job=\"node-exporter\"} - node_memory_MemFree_bytes{job=\"node-exporter\"} - \
         (node_memory_Cached_bytes{job=\"node-exporter\"} + node_memory_Buffers_bytes{job=\"node-exporter\"} + \
         node_memory_SReclaimable_bytes{job=\"node-exporter\"})",
    ),
    panel("node: network traffic", "irate(node_network_receive_bytes_total{job=\"node-exporter\"}[5m]) * 8"),
    panel(
        "node: disk IO",
        "irate(node_disk_io_time_seconds_total{job=\"node-exporter\", device=~\"[a-z]+|nvme[0-9]+n[0-9]+\"}[5m])",
    ),
    panel(
        "node: filesystem use",
        "100 - ((node_filesystem_avail_bytes{job=\"node-exporter\", device!~\"rootfs\"} * 100) / \
         node_filesystem_size_bytes{job=\"node-exporter\", device!~\"rootfs\"})",
    ),
    panel(
        "node: load",
        "scalar(node_load1{instance=\"10.0.0.4:9100\", job=\"node-exporter\"}) * 100 / \
         count(count(node_cpu_seconds_total{instance=\"10.0.0.4:9100\", job=\"node-exporter\"}) by (cpu))",
    ),
    panel(
        "k8s: CPU by namespace",
        "sum(rate(container_cpu_usage_seconds_total{job=\"kubelet\", image!=\"\"}[5m])) by (namespace)",
    ),
    panel(
        "k8s: memory without cache",
        "sum(container_memory_rss{job=\"kubelet\", container!=\"\", image!=\"\"}) by (namespace)",
    ),
    panel(
        "k8s: CPU throttling",
        "sum(increase(container_cpu_cfs_throttled_periods_total{job=\"kubelet\", namespace=\"shop\", container!=\"\"}\
         [5m])) by (container, pod) / sum(increase(container_cpu_cfs_periods_total{job=\"kubelet\", \
         namespace=\"shop\"}[5m])) by (container, pod)",
    ),
    panel(
        "k8s: network by namespace",
        "sum(irate(container_network_receive_bytes_total{job=\"kubelet\"}[5m])) by (namespace)",
    ),
    panel(
        "k8s: container restarts",
        "sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{job=\"kube-state-metrics\"}[10m]))",
    ),
    panel(
        "k8s: apiserver latency",
        "histogram_quantile(0.99, sum by (verb, le) (rate(apiserver_request_duration_seconds_bucket\
         {job=\"apiserver\", verb=~\"LIST|GET\"}[5m])))",
    ),
    panel(SUM_BY_RATE, "sum by (instance, mode) (rate(node_cpu_seconds_total[5m]))"),
    panel(QUANTILE, "histogram_quantile(0.95, sum by (le) (rate(apiserver_request_duration_seconds_bucket[5m])))"),
    panel("topk", "topk(10, rate(container_cpu_usage_seconds_total{image!=\"\"}[5m]))"),
    panel(
        "many to one",
        "sum by (namespace, pod, container) (irate(container_cpu_usage_seconds_total{job=\"kubelet\", image!=\"\"}\
         [5m])) * on (namespace, pod) group_left (node) topk by (namespace, pod) (1, max by (namespace, pod, node) \
         (kube_pod_info{node!=\"\"}))",
    ),
    panel("subquery 1h", "max_over_time(sum(rate(node_network_receive_bytes_total[5m]))[59m30s:1m])"),
    panel(
        "one selector twice",
        "sum(rate(node_cpu_seconds_total{mode!=\"idle\"}[5m])) / \
         count(rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))",
    ),
    panel(SCAN, "count by (job) ({__name__=~\".+\"})"),
];
