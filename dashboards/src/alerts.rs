//! The default rules. Only what hurts users pages: a service that burns its error budget, measured over two windows so
//! that it starts fast and ends fast (Google's SRE workbook, chapter 5: 2 % of a 30-day budget in an hour, 5 % in six).
//! Everything else is a ticket: hosts that fill up, targets that went silent, and Weir itself losing data.
//!
//! The promise is modest because nobody was asked: 99 of 100 requests succeed, 99 of 100 take less than a second.

use weir_proto::names;

use crate::host::{CPU_BUSY, FILESYSTEM_USED, MEMORY_USED, of_host};
use crate::red::{DURATION, FAILED, Histogram, REQUESTS};
use crate::rules::{Alert, Rule, RuleGroup, Severity};

/// The part of requests that may fail, or be slow.
const BUDGET: f64 = 0.01;
/// Requests that are slower than this are slow, in seconds.
const SLOW_SECONDS: u32 = 1;
/// Burning at this rate for an hour spends 2 % of a month's budget.
const FAST_BURN: f64 = 14.4;
/// Burning at this rate for six hours spends 5 % of a month's budget.
const SLOW_BURN: f64 = 6.0;
/// Requests in the long window below which a ratio says nothing.
const EVENTS_MIN: u32 = 60;
/// The windows that burn alerts look at.
const WINDOWS: [&str; 4] = ["5m", "30m", "1h", "6h"];

/// Every default rule, by group.
#[must_use]
pub fn alerts() -> Vec<RuleGroup> {
    vec![ratios(), services(), hosts(), targets(), ourselves(), storage()]
}

fn ratios() -> RuleGroup {
    let red = Histogram { metric: DURATION, matchers: REQUESTS, failed: FAILED };
    let mut rules = Vec::new();
    for window in WINDOWS {
        rules.push(record(format!("job:requests:increase{window}"), events(window)));
        rules.push(record(format!("job:requests_failed:ratio_rate{window}"), red.error_ratio("job", window)));
        let fast = format!("histogram_fraction(0, {SLOW_SECONDS}, {})", red.merged("job", window));
        rules.push(record(format!("job:requests_slow:ratio_rate{window}"), format!("1 - {fast}")));
    }
    RuleGroup {
        name: "weir.services.ratios",
        comment: "Failed and slow requests of every service over the windows that the alerts below compare.",
        interval: "30s",
        rules,
    }
}

fn events(window: &str) -> String {
    format!("sum by (job) (histogram_count(increase({DURATION}{{{REQUESTS}}}[{window}])))")
}

/// Burns in the long window, still burns in the short one, and there were enough requests to say so.
fn burn(what: &str, (long, short): (&str, &str), rate: f64) -> String {
    let limit = rate * BUDGET;
    format!(
        "job:requests_{what}:ratio_rate{long} > {limit:.3}\nand job:requests_{what}:ratio_rate{short} > {limit:.3}\n\
         and job:requests:increase{long} > {EVENTS_MIN}"
    )
}

fn services() -> RuleGroup {
    let fast = |name, what, summary, description| Alert {
        hold: "2m",
        keep: "5m",
        ..alert(name, burn(what, ("1h", "5m"), FAST_BURN), Severity::Page, (summary, description))
    };
    let slow = |name, what, summary, description| Alert {
        hold: "15m",
        keep: "15m",
        ..alert(name, burn(what, ("6h", "30m"), SLOW_BURN), Severity::Ticket, (summary, description))
    };
    let silent = alert(
        "ServiceSilent",
        format!("{} > {EVENTS_MIN}\nunless {} > 0", events("1h"), events("10m")),
        Severity::Ticket,
        (
            "{{ $labels.job }} answered no request for ten minutes",
            "It was busy within the last hour and then fell silent. Either nobody calls it, or it is gone, or its telemetry is: see /arrivals.",
        ),
    );
    RuleGroup {
        name: "weir.services",
        comment: "A service that hurts its users.",
        interval: "30s",
        rules: vec![
            Rule::Alert(fast(
                "ServiceErrorsFast",
                "failed",
                "{{ $labels.job }} fails {{ $value | humanizePercentage }} of its requests",
                "At this rate a month's error budget (1 % of requests) is gone in two days. Its page: /services/{{ $labels.job }}.",
            )),
            Rule::Alert(slow(
                "ServiceErrorsSlow",
                "failed",
                "{{ $labels.job }} has failed {{ $value | humanizePercentage }} of its requests for hours",
                "At this rate a month's error budget (1 % of requests) is gone in five days. Its page: /services/{{ $labels.job }}.",
            )),
            Rule::Alert(fast(
                "ServiceLatencyFast",
                "slow",
                "{{ $labels.job }} takes more than a second for {{ $value | humanizePercentage }} of its requests",
                "The promise is that 99 of 100 take less. See the heatmap and the slow traces on /services/{{ $labels.job }}.",
            )),
            Rule::Alert(slow(
                "ServiceLatencySlow",
                "slow",
                "{{ $labels.job }} has been slow for {{ $value | humanizePercentage }} of its requests for hours",
                "The promise is that 99 of 100 take less than a second. See the heatmap on /services/{{ $labels.job }}.",
            )),
            Rule::Alert(Alert { hold: "5m", ..silent }),
        ],
    }
}

fn hosts() -> RuleGroup {
    let host = |expr: &str| of_host(expr, "", "5m");
    let ticket = |name, hold, expr, words| Rule::Alert(Alert { hold, ..alert(name, expr, Severity::Ticket, words) });
    let used = host(FILESYSTEM_USED);
    let by = "host_name, system_filesystem_mountpoint, system_device";
    let free = format!(r#"sum by ({by}) (system_filesystem_usage_bytes{{system_filesystem_state="free"}})"#);
    RuleGroup {
        name: "weir.hosts",
        comment: "A host that runs out of something.",
        interval: "1m",
        rules: vec![
            record("instance:filesystem_free:bytes".to_owned(), free),
            ticket(
                "HostFilesystemFull",
                "5m",
                format!("{used} > 0.95"),
                (
                    "{{ $labels.system_filesystem_mountpoint }} on {{ $labels.host_name }} is {{ $value | humanizePercentage }} full",
                    "Writes will fail soon. Find what grew, or add room.",
                ),
            ),
            ticket(
                "HostFilesystemFillsUp",
                "30m",
                format!("{used} > 0.8\nand predict_linear(instance:filesystem_free:bytes[6h], 24 * 3600) < 0"),
                (
                    "{{ $labels.system_filesystem_mountpoint }} on {{ $labels.host_name }} will be full within a day",
                    "It is over 80 % full, and grew over the last six hours at a rate that fills it within 24 hours.",
                ),
            ),
            ticket(
                "HostMemoryLow",
                "10m",
                format!("{} > 0.95", host(MEMORY_USED)),
                (
                    "{{ $labels.host_name }} has {{ $value | humanizePercentage }} of its memory in use",
                    "Without caches. The kernel will soon kill the largest process.",
                ),
            ),
            ticket(
                "HostCpuBusy",
                "30m",
                format!("{} > 0.95", host(CPU_BUSY)),
                (
                    "{{ $labels.host_name }} has had no idle processor for half an hour",
                    "Work waits for the processor. Whether users notice, the services' own alerts say.",
                ),
            ),
        ],
    }
}

fn targets() -> RuleGroup {
    RuleGroup {
        name: "weir.targets",
        comment: "A scrape target that does not answer.",
        interval: "30s",
        rules: vec![Rule::Alert(Alert {
            hold: "5m",
            ..alert(
                "TargetDown",
                "up == 0".to_owned(),
                Severity::Ticket,
                (
                    "{{ $labels.job }} at {{ $labels.instance }} cannot be scraped",
                    "The last error stands on /arrivals.",
                ),
            )
        })],
    }
}

fn ourselves() -> RuleGroup {
    let ticket = |name, expr, words| Rule::Alert(Alert { hold: "5m", ..alert(name, expr, Severity::Ticket, words) });
    let grew = |metric: &str, by: &str| format!("sum by ({by}) (increase({metric}[10m])) > 0");
    RuleGroup {
        name: "weir.self",
        comment: "Weir losing data, or about to.",
        interval: "1m",
        rules: vec![
            ticket(
                "WeirRefusesItems",
                grew(names::RECEIVE_REFUSED_ITEMS, "job, signal, reason"),
                (
                    "{{ $labels.job }} refused {{ $value | humanize }} {{ $labels.signal }} items in ten minutes: {{ $labels.reason }}",
                    "They are lost unless their sender mends them. Who sent them and what it was told stands on /arrivals.",
                ),
            ),
            ticket(
                "WeirRefusesRequests",
                format!(
                    r#"sum by (job, signal, outcome) (increase({}{{outcome!~"ok|partial"}}[10m])) > 0"#,
                    names::RECEIVE_REQUESTS
                ),
                (
                    "{{ $labels.job }} turned away {{ $value | humanize }} {{ $labels.signal }} requests in ten minutes: {{ $labels.outcome }}",
                    "Full means that the disk or the collector behind is slower than what arrives: senders wait and try again. The rest stands on /arrivals.",
                ),
            ),
            ticket(
                "WeirQueueFull",
                format!(r#"sum by (job, outcome) (increase({}{{outcome!="durable"}}[10m])) > 0"#, names::BATCH_RECORDS),
                (
                    "An agent's queue did not take {{ $value | humanize }} records in ten minutes: {{ $labels.outcome }}",
                    "Is the collector reachable, and is there room on the agent's disk?",
                ),
            ),
            ticket(
                "WeirHostUnread",
                grew(names::HOST_ERRORS, "job, source"),
                (
                    "An agent cannot read its host's {{ $labels.source }}",
                    "The panels of that host have gaps. The agent's log names the file and the error.",
                ),
            ),
            ticket(
                "WeirCannotDeliver",
                format!("{} == 0", names::PUSH_CONNECTED),
                (
                    "An agent has had no collector for five minutes",
                    "What it takes waits in its queue on disk, and is delivered newest first once a collector answers. Is the collector up, and its address right?",
                ),
            ),
        ],
    }
}

/// Files that cannot be written, or read back.
fn storage() -> RuleGroup {
    let ticket = |name, expr, words| Rule::Alert(alert(name, expr, Severity::Ticket, words));
    let failed = [names::STORE_FLUSH_FAILURES, names::STORE_COMPACTION_FAILURES];
    let corrupt = [
        names::STORE_PARTS_CORRUPT,
        names::STORE_MANIFEST_CORRUPT,
        names::STORE_WAL_SEGMENTS_CORRUPT,
        names::STORE_WAL_RECORDS_UNREADABLE,
        names::QUEUE_QUARANTINED,
        names::QUEUE_UNREADABLE,
    ];
    let grew = |metrics: &[&str]| {
        let parts: Vec<String> =
            metrics.iter().map(|metric| format!("sum by (job) (increase({metric}[15m])) > 0")).collect();
        parts.join("\nor ")
    };
    RuleGroup {
        name: "weir.storage",
        comment: "Weir's files.",
        interval: "1m",
        rules: vec![
            ticket(
                "WeirCannotWrite",
                grew(&failed),
                (
                    "Weir failed to write its files {{ $value | humanize }} times in a quarter of an hour",
                    "Nothing acknowledged is lost: it stays in the write-ahead log, which grows until senders are told to wait. Is there room on the disk?",
                ),
            ),
            ticket(
                "WeirFileCorrupt",
                grew(&corrupt),
                (
                    "Weir found a file that does not read back as it was written",
                    "It was set aside, and everything else goes on. The log names the file. Check the disk.",
                ),
            ),
            ticket(
                "WeirRefusesBatches",
                format!("sum by (job, reason) (increase({}[15m])) > 0", names::STORE_REFUSED_BATCHES),
                (
                    "Weir's store turned away {{ $value | humanize }} batches in a quarter of an hour: {{ $labels.reason }}",
                    "Full means that the disk is full or slower than what arrives: agents keep their data and try again.",
                ),
            ),
        ],
    }
}

fn record(name: String, expr: String) -> Rule {
    Rule::Record { name, expr }
}

fn alert(
    name: &'static str,
    expr: String,
    severity: Severity,
    (summary, description): (&'static str, &'static str),
) -> Alert {
    Alert { name, expr, hold: "", keep: "", severity, summary, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule over a metric that Weir does not publish would never fire, and nobody would notice.
    #[test]
    fn every_metric_of_ours_that_a_rule_reads_is_published() {
        let known: Vec<&str> = names::TABLE.iter().map(|metric| metric.name).collect();
        let file = crate::rules_file(&alerts());
        let read =
            file.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("weir_"));
        for metric in read {
            assert!(known.contains(&metric), "{metric} is not in the table of names");
        }
    }
}
