//! The metrics that Weir publishes about itself: one table, against which code, dashboards and rules are checked.
//!
//! A room adds its lines to its section; the macro makes of each a constant for the code and a row of [`TABLE`].
//! Names are Prometheus names as they are queried.

/// What kind of metric one of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMetric {
    /// The name, as queried.
    pub name: &'static str,
    /// Its kind.
    pub kind: OwnKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

macro_rules! own_metrics {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*

        /// Every metric of ours.
        pub const TABLE: &[OwnMetric] = &[
            $(OwnMetric { name: $name, kind: OwnKind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

own_metrics! {
    // receive: the OTLP edge of agent and collector.
    RECEIVE_REQUESTS = "weir_receive_requests_total", Counter, ["protocol", "signal", "outcome"],
        "OTLP requests by outcome: ok, partial, or the reason of the refusal.";
    RECEIVE_BODY_BYTES = "weir_receive_body_bytes_total", Counter, ["signal"],
        "Bytes of OTLP request bodies as sent, before decompression.";
    RECEIVE_ITEMS = "weir_receive_items_total", Counter, ["signal"],
        "Points or spans made durable and acknowledged to their sender.";
    RECEIVE_REFUSED_ITEMS = "weir_receive_refused_items_total", Counter, ["signal", "reason"],
        "Points, spans or parts of them that were refused one by one, in requests otherwise taken.";

    // batch: what the agent joins before its queue.
    BATCH_RECORDS = "weir_batch_records_total", Counter, ["outcome"],
        "Records given to the queue: durable, full or failed.";
    BATCH_JOINED = "weir_batch_joined_total", Counter, [],
        "Batches that were joined into those records.";

    // host: the host's own metrics.
    HOST_ERRORS = "weir_host_errors_total", Counter, ["source"],
        "Readings of one source (cpu, memory, disk) that failed.";
    HOST_DROPPED_POINTS = "weir_host_dropped_points_total", Counter, [],
        "Host points that the queue did not take.";

    // scrape: Prometheus targets.
    SCRAPES = "weir_scrapes_total", Counter, ["outcome"],
        "Scrapes by outcome: up or down.";
    SCRAPE_SAMPLES = "weir_scrape_samples_total", Counter, [],
        "Scraped samples made durable, stale markers and the scrape's own series among them.";
    SCRAPE_DROPPED_SAMPLES = "weir_scrape_dropped_samples_total", Counter, [],
        "Scraped samples that the queue did not take.";
    SCRAPE_REFUSED_SAMPLES = "weir_scrape_refused_samples_total", Counter, ["reason"],
        "Samples of a page, or parts of them, that were refused one by one.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_counters_end_in_total() {
        for (at, metric) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.name != metric.name), "{} stands twice", metric.name);
            assert!(metric.name.starts_with("weir_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == OwnKind::Counter, "{}", metric.name);
        }
    }
}
