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

/// `service.name` of Weir's own processes. Work that only their telemetry causes is not traced.
pub const OWN_SERVICES: [&str; 2] = ["weir-collector", "weir-agent"];

own_metrics! {
    // receive: the OTLP edge of agent and collector.
    CONNECTIONS_CUT = "weir_connections_cut_total", Counter, ["port", "reason"],
        "Connections that ended otherwise than well: malformed (no HTTP), tls, slow (a head that did not arrive), broken or too_many.";
    RECEIVE_REQUESTS = "weir_receive_requests_total", Counter, ["protocol", "signal", "outcome"],
        "OTLP requests by outcome: ok, partial, or the reason of the refusal.";
    RECEIVE_BODY_BYTES = "weir_receive_body_bytes_total", Counter, ["signal"],
        "Bytes of OTLP request bodies as sent, before decompression.";
    RECEIVE_ITEMS = "weir_receive_items_total", Counter, ["signal"],
        "Points or spans made durable and acknowledged to their sender.";
    RECEIVE_REFUSED_ITEMS = "weir_receive_refused_items_total", Counter, ["signal", "reason"],
        "Points, spans or parts of them that were refused one by one, in requests otherwise taken.";

    // config: the configuration file.
    CONFIG_RELOAD_SUCCESSFUL = "weir_config_last_reload_successful", Gauge, [],
        "Whether the last attempt to load the configuration succeeded.";
    CONFIG_RELOAD_SUCCESS_TIME = "weir_config_last_reload_success_timestamp_seconds", Gauge, [],
        "When the configuration was last loaded, unix seconds.";

    // remote write: Prometheus' senders, straight to the collector.
    REMOTE_WRITE_REQUESTS = "weir_remote_write_requests_total", Counter, ["version", "outcome"],
        "Remote write requests by outcome: ok, partial, invalid, unsupported, full or internal.";
    REMOTE_WRITE_WRITTEN = "weir_remote_write_written_total", Counter, ["kind"],
        "Samples, native histograms and exemplars of such requests made durable.";
    REMOTE_WRITE_REFUSED = "weir_remote_write_refused_total", Counter, ["reason"],
        "Samples, histograms or exemplars that were left out of requests otherwise taken.";

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

    // queue: the agent's disk queue.
    QUEUE_BYTES = "weir_queue_bytes", Gauge, [],
        "Bytes that the disk queue holds.";
    QUEUE_UNACKED = "weir_queue_unacked_records", Gauge, [],
        "Records in the disk queue that no collector has acknowledged.";
    QUEUE_RECORDS = "weir_queue_records_total", Counter, [],
        "Records made durable in the disk queue.";
    QUEUE_RECORD_BYTES = "weir_queue_record_bytes_total", Counter, [],
        "Bytes of those records, encoded.";
    QUEUE_COMMITS = "weir_queue_commits_total", Counter, [],
        "Syncs of the disk queue; each makes one or more records durable.";
    QUEUE_NOT_TAKEN = "weir_queue_not_taken_total", Counter, ["reason"],
        "Records that the queue did not take: bound, disk_full, io, invalid or closed. Their senders were told.";
    QUEUE_TORN_BYTES = "weir_queue_torn_bytes_total", Counter, [],
        "Bytes of half-written records that were cut off at start; nobody was told that they were kept.";
    QUEUE_QUARANTINED = "weir_queue_quarantined_segments_total", Counter, [],
        "Damaged queue segments that were set aside at start.";
    QUEUE_QUARANTINED_BYTES = "weir_queue_quarantined_bytes_total", Counter, [],
        "Bytes of acknowledged data behind the damage in those segments.";
    QUEUE_SET_ASIDE = "weir_queue_set_aside_records_total", Counter, [],
        "Records that a collector refused for good; kept beside the queue as files.";
    QUEUE_UNREADABLE = "weir_queue_unreadable_segments_total", Counter, [],
        "Times that push could not read a segment; its records stay in the queue.";

    // push: the agent's side of the push stream.
    PUSH_CONNECTED = "weir_push_connected", Gauge, [],
        "Whether the push stream to a collector is open.";
    PUSH_CONNECTS = "weir_push_connects_total", Counter, ["outcome"],
        "Attempts to open the push stream: open or failed.";
    PUSH_DISCONNECTS = "weir_push_disconnects_total", Counter, ["reason"],
        "Push streams that ended: closed, broken, silent (no ack for too long), protocol or stopped.";
    PUSH_SENT_FRAMES = "weir_push_sent_frames_total", Counter, ["lane"],
        "Frames sent, by lane: live or history. A frame that is sent again counts again.";
    PUSH_SENT_BYTES = "weir_push_sent_bytes_total", Counter, ["lane"],
        "Bytes of those frames.";
    PUSH_ACKED = "weir_push_acked_records_total", Counter, [],
        "Queue records that a collector acknowledged.";
    PUSH_FULL = "weir_push_full_total", Counter, [],
        "Times that a collector said it was full.";

    // push: the collector's side of the push stream.
    PUSH_STREAMS = "weir_push_streams", Gauge, [],
        "Open push streams of agents.";
    PUSH_FRAMES = "weir_push_frames_total", Counter, ["outcome"],
        "Frames of agents by outcome: stored, repeated, full, refused or skipped (behind a full one).";
    PUSH_FRAME_BYTES = "weir_push_frame_bytes_total", Counter, [],
        "Bytes of those frames.";
    PUSH_BAD_HELLO = "weir_push_bad_hello_total", Counter, [],
        "Push streams that did not begin with a proper Hello and were closed.";
    PUSH_UNREADABLE = "weir_push_unreadable_messages_total", Counter, ["reason"],
        "Messages on push streams that could not be read and ended their stream: malformed, too_large or unsupported.";
    // store: memtable, log, parts.
    STORE_BATCHES_REPEATED = "weir_store_batches_repeated_total", Counter, [],
        "Batches that an agent sent again after they had been stored; dropped.";
    STORE_REFUSED_BATCHES = "weir_store_refused_batches_total", Counter, ["reason"],
        "Batches that were not stored, by what the sender should do: full, unavailable, invalid.";
    STORE_FLUSH_FAILURES = "weir_store_flush_failures_total", Counter, [],
        "Flushes that failed; what is in memory stays there and in the log.";
    STORE_COMPACTION_FAILURES = "weir_store_compaction_failures_total", Counter, [],
        "Compactions that failed; the parts stay as they are.";
    STORE_MERGES = "weir_store_merges_total", Counter, ["signal"],
        "Merges of several parts into one.";
    STORE_PARTS_CORRUPT = "weir_store_parts_corrupt_total", Counter, [],
        "Parts whose bytes are not what was written; set aside.";
    STORE_MANIFEST_CORRUPT = "weir_store_manifest_corrupt_total", Counter, [],
        "Manifest files whose checksum is wrong; set aside.";
    STORE_WAL_SEGMENTS_CORRUPT = "weir_store_wal_segments_corrupt_total", Counter, [],
        "Log segments that are damaged; set aside, what stood before the damage is kept.";
    STORE_WAL_RECORDS_UNREADABLE = "weir_store_wal_records_unreadable_total", Counter, [],
        "Records of the log that could not be read at the start and were left out.";
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
