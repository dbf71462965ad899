//! The dashboard that every service has from its first span on: how many requests, how many fail, how long they take;
//! then by operation, by neighbour, by trace and by version. Order: from "is it broken" to "what is it made of".

use crate::definition::{Dashboard, Kind, Level, Panel, Query, Section, Threshold, Unit, Variable};
use crate::red::{CALLS, DURATION, FAILED, GRAPH_CLIENT, GRAPH_SERVER, Histogram, REQUESTS};

/// Window of a chart's rates; the one who draws knows how long.
const WINDOW: &str = "$__rate_interval";
/// Window of a table's rates: all that is on the screen.
const RANGE: &str = "$__range";
/// From this part of failed requests on, a service is in trouble.
const ERRORS: [Threshold; 2] =
    [Threshold { value: 0.01, level: Level::Warn }, Threshold { value: 0.05, level: Level::Bad }];
/// What fills every panel that is made from spans.
const SEND_SPANS: &str = "Send spans: start the program with `weir run --service NAME -- CMD`, or point its OTLP \
                          exporter at port 4317 (gRPC) or 4318 (HTTP).";

/// The dashboard of one service, `$service` being its `job` label: `name` or `namespace/name`.
#[must_use]
pub fn service() -> Dashboard {
    Dashboard {
        id: "service",
        title: "Service",
        description: "Is this service well, and if not: since when, where, and in which version?",
        variables: vec![Variable {
            name: "service",
            label: "Service",
            source: (DURATION, "job"),
            value: String::new(),
        }],
        sections: vec![red(), operations(), neighbours(), traces(), versions(), runtime()],
    }
}

fn red() -> Section {
    let matchers = requests();
    let red = histogram(&matchers);
    let rate = Panel {
        columns: 4,
        queries: vec![
            Query::range("requests", red.rate("", WINDOW)),
            Query::range("failed", red.error_rate("", WINDOW)),
        ],
        description: "Requests that the service answered per second (server and consumer spans, counted before any \
                      sampling), and those of them whose status is an error.",
        empty: SEND_SPANS,
        ..Panel::new("rate", "Rate", Kind::Timeseries, Unit::RequestsPerSecond)
    };
    let errors = Panel {
        columns: 4,
        queries: vec![Query::range("failed", red.error_ratio("", WINDOW))],
        thresholds: ERRORS.to_vec(),
        description: "The part of requests whose span status is an error. An HTTP server span is one from status 500 on.",
        empty: SEND_SPANS,
        ..Panel::new("errors", "Errors", Kind::Timeseries, Unit::Ratio)
    };
    let percentiles = Panel {
        columns: 4,
        queries: percentiles(&red),
        description: "Half, 95 of 100 and 99 of 100 requests were faster than these lines, from the native histogram.",
        empty: SEND_SPANS,
        ..Panel::new("duration", "Duration", Kind::Timeseries, Unit::Seconds)
    };
    let mut queries = vec![Query::range("requests", red.merged("", WINDOW))];
    queries.push(Query::range("p95", red.quantile(0.95, "", WINDOW)));
    let heatmap = Panel {
        queries,
        description: "Where the durations lie: the darker a cell, the more requests took that long at that time. A dot \
                      is a kept trace (red: it failed); click it to open it.",
        empty: SEND_SPANS,
        ..Panel::new("heatmap", "Duration of every request", Kind::Heatmap, Unit::Seconds)
    };
    Section { id: "red", title: "Rate, errors, duration", panels: vec![rate, errors, percentiles, heatmap] }
}

fn operations() -> Section {
    let (inside, outside) = (requests(), calls());
    let operations = Panel {
        by: vec!["span_name"],
        queries: columns(&histogram(&inside), "span_name"),
        thresholds: ERRORS.to_vec(),
        description: "Requests by operation over the whole range. Busy is seconds spent per second: the operation that \
                      keeps the most workers busy is the one worth making faster.",
        empty: SEND_SPANS,
        ..Panel::new("operations", "Operations", Kind::Table, Unit::RequestsPerSecond)
    };
    let calls = Panel {
        by: vec!["span_name"],
        queries: columns(&histogram(&outside), "span_name"),
        thresholds: ERRORS.to_vec(),
        optional: true,
        description: "Calls that the service makes (client and producer spans): HTTP, gRPC, databases, queues.",
        empty: "Instrument the service's HTTP, gRPC, database or queue client: the OpenTelemetry SDK's automatic \
                instrumentation sends one client span per call.",
        ..Panel::new("calls", "Calls it makes", Kind::Table, Unit::RequestsPerSecond)
    };
    Section { id: "operations", title: "Operations", panels: vec![operations, failures(), calls] }
}

fn failures() -> Panel {
    let matchers = format!("{},{FAILED}", requests());
    let failed = histogram(&matchers);
    let by = "span_name, http_response_status_code, rpc_grpc_status_code";
    Panel {
        by: vec!["span_name", "http_response_status_code", "rpc_grpc_status_code"],
        queries: vec![
            Query::column("Rate", Unit::RequestsPerSecond, failed.rate(by, RANGE)),
            Query::column("p95", Unit::Seconds, failed.quantile(0.95, by, RANGE)),
        ],
        optional: true,
        description: "Failed requests by operation and by the status that the caller was given.",
        empty: "Nothing failed in this range.",
        ..Panel::new("failures", "What fails", Kind::Table, Unit::RequestsPerSecond)
    }
}

fn neighbours() -> Section {
    let send = "Callers and dependencies appear when both sides of a call send spans of the same trace: keep the \
                `traceparent` header on the wire.";
    let edge = |id, title, metric, own: &str, other: &'static str, description| {
        let matchers = format!(r#"{own}="$service""#);
        let edges = Histogram { metric, matchers: &matchers, failed: r#"failed="true""# };
        Panel {
            columns: 6,
            by: vec![other, "connection_type"],
            queries: columns(
                &edges,
                if other == "client" { "client, connection_type" } else { "server, connection_type" },
            ),
            thresholds: ERRORS.to_vec(),
            description,
            empty: send,
            ..Panel::new(id, title, Kind::Dependencies, Unit::RequestsPerSecond)
        }
    };
    let callers = edge(
        "callers",
        "Who calls it",
        GRAPH_SERVER,
        "server",
        "client",
        "Services whose client spans are the parents of this service's server spans, as this service saw the calls.",
    );
    let dependencies = edge(
        "dependencies",
        "What it calls",
        GRAPH_CLIENT,
        "client",
        "server",
        "Services, databases and queues that this service calls, as this service saw the calls: network time included.",
    );
    Section { id: "dependencies", title: "Callers and dependencies", panels: vec![callers, dependencies] }
}

fn traces() -> Section {
    let traces = Panel {
        description: "Traces that pass through this service: failed, slowest and most recent.",
        empty: SEND_SPANS,
        ..Panel::new("traces", "Traces", Kind::Traces, Unit::Seconds)
    };
    Section { id: "traces", title: "Traces", panels: vec![traces] }
}

fn versions() -> Section {
    let matchers = requests();
    let red = histogram(&matchers);
    let send = "Set `service.version`, for example `OTEL_RESOURCE_ATTRIBUTES=service.version=1.4.2`.";
    let table = Panel {
        by: vec!["service_version"],
        queries: columns(&red, "service_version"),
        thresholds: ERRORS.to_vec(),
        description: "The versions that answered in this range, side by side.",
        empty: send,
        ..Panel::new("versions", "Versions side by side", Kind::Table, Unit::RequestsPerSecond)
    };
    let errors = Panel {
        columns: 6,
        queries: vec![Query::range("{{service_version}}", red.error_ratio("service_version", WINDOW))],
        thresholds: ERRORS.to_vec(),
        description: "The part of requests that failed, by version: a bad release is the line that leaves the others.",
        empty: send,
        ..Panel::new("version-errors", "Errors by version", Kind::Timeseries, Unit::Ratio)
    };
    let duration = Panel {
        columns: 6,
        queries: vec![Query::range("{{service_version}}", red.quantile(0.95, "service_version", WINDOW))],
        description: "95 of 100 requests were faster than this, by version.",
        empty: send,
        ..Panel::new("version-duration", "p95 by version", Kind::Timeseries, Unit::Seconds)
    };
    Section { id: "versions", title: "Versions", panels: vec![table, errors, duration] }
}

/// What the runtime of the service says about itself; every panel is hidden until something is sent.
fn runtime() -> Section {
    let gauge = |id, title, unit, legend, expr: &str, (description, empty)| Panel {
        columns: 6,
        optional: true,
        queries: vec![Query::range(legend, expr)],
        description,
        empty,
        ..Panel::new(id, title, Kind::Timeseries, unit)
    };
    let panels = vec![
        gauge(
            "process-cpu",
            "Process CPU",
            Unit::Cores,
            "{{instance}}",
            r#"sum by (instance) (rate({__name__=~"process_cpu_time_seconds_total|process_cpu_seconds_total",job="$service"}[$__rate_interval]))"#,
            (
                "Cores that each instance keeps busy.",
                "Send `process.cpu.time`: the OpenTelemetry process or system-metrics instrumentation does (Python: \
                 opentelemetry-instrumentation-system-metrics).",
            ),
        ),
        gauge(
            "process-memory",
            "Process memory",
            Unit::Bytes,
            "{{instance}}",
            r#"sum by (instance) ({__name__=~"process_memory_usage_bytes|process_resident_memory_bytes",job="$service"})"#,
            (
                "Resident memory of each instance.",
                "Send `process.memory.usage`: the OpenTelemetry process or system-metrics instrumentation does.",
            ),
        ),
        gauge(
            "event-loop",
            "Event loop delay, p99",
            Unit::Seconds,
            "{{instance}}",
            r#"max by (instance) (nodejs_eventloop_delay_p99_seconds{job="$service"})"#,
            (
                "How late Node.js runs its callbacks: above some tens of milliseconds, requests wait for the processor.",
                "Send `nodejs.eventloop.delay.p99`: @opentelemetry/instrumentation-runtime-node does.",
            ),
        ),
        gauge(
            "jvm-memory",
            "JVM memory",
            Unit::Bytes,
            "{{jvm_memory_type}}",
            r#"sum by (jvm_memory_type) (jvm_memory_used_bytes{job="$service"})"#,
            (
                "Heap and other memory in use by the Java virtual machine.",
                "Send `jvm.memory.used`: the OpenTelemetry Java agent does.",
            ),
        ),
    ];
    Section { id: "runtime", title: "Runtime", panels }
}

/// The columns of every RED table, over the whole range.
fn columns(red: &Histogram<'_>, by: &str) -> Vec<Query> {
    vec![
        Query::column("Rate", Unit::RequestsPerSecond, red.rate(by, RANGE)),
        Query::column("Errors", Unit::Ratio, red.error_ratio(by, RANGE)),
        Query::column("p50", Unit::Seconds, red.quantile(0.5, by, RANGE)),
        Query::column("p95", Unit::Seconds, red.quantile(0.95, by, RANGE)),
        Query::column("Busy", Unit::Number, red.busy(by, RANGE)),
    ]
}

fn percentiles(red: &Histogram<'_>) -> Vec<Query> {
    [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]
        .map(|(legend, q)| Query::range(legend, red.quantile(q, "", WINDOW)))
        .into()
}

fn histogram(matchers: &str) -> Histogram<'_> {
    Histogram { metric: DURATION, matchers, failed: FAILED }
}

fn requests() -> String {
    format!(r#"job="$service",{REQUESTS}"#)
}

fn calls() -> String {
    format!(r#"job="$service",{CALLS}"#)
}
