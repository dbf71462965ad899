//! Our own counters and latencies, used by agent and collector alike.
//!
//! ```text
//! counter!, gauge!, histogram! (anywhere) ──▶ Recorder ──▶ batch(): a MetricBatch, into our own pipeline
//!                                                     └──▶ text(): the Prometheus text of /metrics
//! ```
//! Counters and gauges are atomics of `metrics-util`; a histogram is an `hdrhistogram` of microseconds (the value
//! recorded is seconds) behind a mutex that is held for one increment. A reading is cumulative since start, so it
//! may be taken by several readers. Everything is counted per batch, not per row, so none of this is hot.

mod reading;
mod text;

use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram as Hdr;
use metrics::atomics::AtomicU64;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};

pub use reading::Reader;

/// Longest latency that is told apart, in microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Two decimal digits: a quantile is off by one percent at most, a histogram takes about 30 kB.
const LATENCY_DIGITS: u8 = 2;
/// Recorded values are seconds.
const US_PER_SECOND: f64 = 1e6;

/// Records what the `metrics` macros count. Clone it freely: all clones are one.
#[derive(Clone)]
pub struct Recorder(Arc<Registry<Key, Cells>>);

/// How metrics are kept.
struct Cells;

/// One latency histogram: values in microseconds, and their exact sum in seconds.
#[derive(Clone)]
struct Latencies(Arc<Mutex<(Hdr<u64>, f64)>>);

impl Recorder {
    /// Makes a recorder and installs it for this process.
    ///
    /// # Errors
    /// When another one was installed before.
    pub fn install() -> Result<Self, metrics::SetRecorderError<Self>> {
        let recorder = Self::new();
        metrics::set_global_recorder(recorder.clone())?;
        Ok(recorder)
    }

    /// A recorder that is not installed.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Registry::new(Cells)))
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.get_or_create_counter(key, |cell| Counter::from_arc(Arc::clone(cell)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.get_or_create_gauge(key, |cell| Gauge::from_arc(Arc::clone(cell)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.get_or_create_histogram(key, |cell| Histogram::from_arc(Arc::new(cell.clone())))
    }
}

impl Storage<Key> for Cells {
    type Counter = Arc<AtomicU64>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Latencies;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::new(AtomicU64::new(0))
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::new(AtomicU64::new(0))
    }

    fn histogram(&self, _: &Key) -> Self::Histogram {
        Latencies::new()
    }
}

impl Latencies {
    fn new() -> Self {
        let hdr = Hdr::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS).expect("1 us to an hour, two digits");
        Self(Arc::new(Mutex::new((hdr, 0.0))))
    }

    fn read<T>(&self, look: impl FnOnce(&Hdr<u64>, f64) -> T) -> T {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&held.0, held.1)
    }
}

impl HistogramFn for Latencies {
    fn record(&self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        // Saturates at the bounds: a latency of more than an hour is an hour.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above, and saturating")]
        let us = ((seconds * US_PER_SECOND) as u64).max(1);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.saturating_record(us);
        held.1 += seconds;
    }
}
