//! RED metrics from spans: rate, errors and durations of every operation, exact, before any sampling.
//!
//! ```text
//!             per distinct (resource, name, kind, status, attributes) of the batch
//!  SpanBatch ──▶ labels::Admission ──▶ series (cached) ──▶ DurationHistogram ──▶ MetricBatch.histograms
//!   tracestate ──▶ weight::span_weight ───────────────────────┘     └─▶ slowest, newest error ──▶ .exemplars
//! ```
//! In: the spans of one batch and the time. Out, appended to that batch's metrics: one **delta** point per series,
//! an exponential histogram in seconds (OTLP scale 3: buckets 9 % wide) of exactly these spans. The point lies in
//! the 5-second slot that holds `now_ns`; points of one series and slot *add up* in the store
//! ([`weir_proto::SeriesIdentity::is_additive`]), so that agents need not know of each other. RED travels in the
//! same queue record as its spans: what is stored once is counted once.
//!
//! State: only what bounds cardinality (values seen per service and label), a cache of series identities, and the
//! exemplars already given in this slot. None of it changes a total: a value that is not admitted is counted under
//! [`OVERFLOW`] with its span's duration. No clock, no I/O, no randomness.
//!
//! Old and new semantic conventions fold to the same attributes ([`weir_proto::semconv::canonical_key`]).
//! Head-sampled spans count by their threshold (`ot=th:…`), see [`weight`].

pub mod histogram;
pub mod labels;
pub mod reducer;
pub mod weight;

pub use histogram::{DurationHistogram, HistogramSink, SCALE};
pub use labels::OVERFLOW;
pub use reducer::{RedReducer, RedStats};

/// Width of the slots that delta points are laid in. Short enough for a rate that is fresh within ten seconds,
/// long enough that a series costs 720 points an hour at most.
pub const SLOT_NS: i64 = 5_000_000_000;

/// The slot (start, end) that holds `now_ns`; a point's time is the slot's end.
#[must_use]
pub fn slot_of(now_ns: i64) -> (i64, i64) {
    let start = now_ns.div_euclid(SLOT_NS).saturating_mul(SLOT_NS);
    (start, start.saturating_add(SLOT_NS))
}

/// What bounds the reducer. The defaults hold a node with hundreds of services.
#[derive(Clone, Debug)]
pub struct RedLimits {
    /// Distinct reduced resources (service, version, namespace, deployment) per hour; raising it costs ~300 bytes
    /// each, beyond it spans count under the service `__overflow__`.
    pub services_max: usize,
    /// Distinct values per service and label and hour; beyond it a value counts as `__overflow__`.
    pub label_values_max: usize,
    /// Distinct series per hour; beyond it spans count under their service, kind and status alone.
    pub series_max: usize,
    /// Longest label value in bytes; a longer one is no label but data, and counts as `__overflow__`.
    pub label_bytes_max: usize,
    /// Bytes of remembered values and series, estimated; beyond it nothing new is admitted until the hour ends.
    pub state_bytes_max: usize,
}

impl Default for RedLimits {
    fn default() -> Self {
        Self {
            services_max: 1_000,
            label_values_max: 500,
            series_max: 20_000,
            label_bytes_max: 256,
            state_bytes_max: 32 << 20,
        }
    }
}
