//! Durations as exponential histograms, and their way into a [`MetricBatch`].
//!
//! [`DurationHistogram`] gathers the durations of one series in one batch; [`HistogramSink`] appends finished
//! histograms as delta points and knows which series and layouts the batch already has. RED and the service graph
//! both write through it.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::{HistogramLayout, MetricBatch, SeriesIdentity};

/// OTLP scale of every histogram: base 2^(1/8), so a bucket is 9 % wide. Nanoseconds to centuries are 505 buckets.
pub const SCALE: i32 = 3;

/// Nanoseconds in a second.
const SECOND_NS: f64 = 1e9;

/// 2^(k/8) for k = 0 to 8, correctly rounded.
const OCTAVE: [f64; 9] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_7,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
    2.0,
];

/// OTLP bucket index at [`SCALE`]: bucket `i` covers `(2^(i/8), 2^((i+1)/8)]`.
///
/// Compares with the bounds within an octave instead of taking a logarithm, so that a value on a bound falls into
/// the same bucket on every machine.
#[must_use]
pub fn bucket_index(seconds: f64) -> i32 {
    debug_assert!(seconds.is_normal() && seconds > 0.0, "zero and negative durations lie in the zero bucket");
    let bits = seconds.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let above = OCTAVE.iter().take_while(|&&bound| bound < mantissa).count();
    exponent * 8 + above as i32 - 1
}

/// Weighted durations of one series: an exponential histogram that grows to the range it has seen.
#[derive(Clone, Debug)]
pub struct DurationHistogram {
    count: u64,
    zero_count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// Index of `buckets[0]`.
    offset: i32,
    buckets: Vec<u64>,
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self {
            count: 0,
            zero_count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            offset: 0,
            buckets: Vec::new(),
        }
    }
}

impl DurationHistogram {
    /// Adds `weight` observations of `duration_ns`. A negative duration, a clock that was set back, counts as zero.
    pub fn record(&mut self, duration_ns: i64, weight: u64) {
        #[expect(clippy::cast_precision_loss, reason = "durations under 104 days are exact, longer ones near enough")]
        let seconds = duration_ns.max(0) as f64 / SECOND_NS;
        #[expect(clippy::cast_precision_loss, reason = "a weight of 2^53 is past any sampler's")]
        let share = seconds * weight as f64;
        self.count = self.count.saturating_add(weight);
        self.sum += share;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
        if duration_ns <= 0 {
            self.zero_count = self.zero_count.saturating_add(weight);
            return;
        }
        let at = self.bucket_at(bucket_index(seconds));
        self.buckets[at] = self.buckets[at].saturating_add(weight);
    }

    /// How many observations, by weight.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Makes room for bucket `index` and says where it lies.
    fn bucket_at(&mut self, index: i32) -> usize {
        if self.buckets.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let missing = usize::try_from(self.offset - index).expect("index is below offset");
            self.buckets.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = index;
        }
        let at = usize::try_from(index - self.offset).expect("index is not below offset");
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        at
    }
}

/// Appends delta points of one slot to a batch, sharing its series and layouts.
pub struct HistogramSink<'a> {
    batch: &'a mut MetricBatch,
    slot: (i64, i64),
    series: HashMap<u128, u32, FixedState>,
    layouts: HashMap<(i32, u32), u32, FixedState>,
}

impl<'a> HistogramSink<'a> {
    /// A sink for points of the slot that holds `now_ns`.
    #[must_use]
    pub fn new(batch: &'a mut MetricBatch, now_ns: i64) -> Self {
        // A batch holds each fingerprint once; only additive series can be ones that come again here.
        let series = (0_u32..).zip(&batch.series).filter(|(_, series)| series.is_additive());
        let series = series.map(|(at, series)| (series.fingerprint.0, at)).collect();
        Self { batch, slot: crate::slot_of(now_ns), series, layouts: HashMap::default() }
    }

    /// The index of `series` in the batch; it is added when it is new.
    pub fn series(&mut self, series: &Arc<SeriesIdentity>) -> u32 {
        let batch = &mut *self.batch;
        *self.series.entry(series.fingerprint.0).or_insert_with(|| {
            batch.series.push(Arc::clone(series));
            index(batch.series.len() - 1)
        })
    }

    /// Appends one point.
    pub fn point(&mut self, series: u32, histogram: &DurationHistogram) {
        let positive_len = index(histogram.buckets.len());
        let offset = histogram.offset;
        let points = &mut self.batch.histograms;
        let layout = *self.layouts.entry((offset, positive_len)).or_insert_with(|| {
            points.layouts.push(HistogramLayout::Exponential {
                scale: SCALE,
                zero_threshold: 0.0,
                positive_offset: offset,
                positive_len,
                negative_offset: 0,
            });
            index(points.layouts.len() - 1)
        });
        points.series.push(series);
        points.start_ns.push(self.slot.0);
        points.time_ns.push(self.slot.1);
        points.count.push(histogram.count);
        points.sum.push(histogram.sum);
        points.min.push(histogram.min);
        points.max.push(histogram.max);
        points.zero_count.push(histogram.zero_count);
        points.layout.push(layout);
        points.counts.extend_from_slice(&histogram.buckets);
        points.counts_offsets.push(index(points.counts.len()));
    }

    /// Appends one exemplar without attributes.
    pub fn exemplar(&mut self, series: u32, exemplar: &SpanExemplar) {
        let exemplars = &mut self.batch.exemplars;
        exemplars.series.push(series);
        exemplars.time_ns.push(exemplar.time_ns);
        #[expect(clippy::cast_precision_loss, reason = "durations under 104 days are exact, longer ones near enough")]
        exemplars.value.push(exemplar.duration_ns.max(0) as f64 / SECOND_NS);
        exemplars.trace_id.push(exemplar.trace_id);
        exemplars.span_id.push(exemplar.span_id);
        exemplars.attribute_offsets.push(index(exemplars.attributes.len()));
    }
}

/// A span that stands for a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanExemplar {
    /// When the span ended, ns.
    pub time_ns: i64,
    /// How long it took.
    pub duration_ns: i64,
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Itself.
    pub span_id: [u8; 8],
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a batch holds far less than 2^32 rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for exponent in -30..34 {
            let power = 2_f64.powi(exponent);
            for (step, bound) in (0_i32..8).zip(OCTAVE) {
                let on = power * bound;
                assert_eq!(bucket_index(on), exponent * 8 + step - 1, "{on}");
                assert_eq!(bucket_index(f64::from_bits(on.to_bits() + 1)), exponent * 8 + step, "just above {on}");
            }
        }
    }

    #[test]
    fn indices_agree_with_the_logarithm_away_from_bounds() {
        for ns in [3_i64, 999, 12_345, 7_000_001, 250_000_000, 1_500_000_000, 86_400_000_000_000] {
            let seconds = ns as f64 / SECOND_NS;
            assert_eq!(f64::from(bucket_index(seconds)), (seconds.log2() * 8.0).ceil() - 1.0, "{ns}");
        }
    }

    #[test]
    fn buckets_grow_both_ways_and_zero_is_its_own() {
        let mut histogram = DurationHistogram::default();
        for (duration_ns, weight) in [(1_000_000_000, 2), (1_000, 1), (0, 3), (-5, 1), (60_000_000_000, 1)] {
            histogram.record(duration_ns, weight);
        }
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.zero_count, 4);
        assert_eq!(histogram.buckets.iter().sum::<u64>(), 4);
        assert_eq!(histogram.offset, bucket_index(1e-6));
        assert_eq!(histogram.buckets.len(), usize::try_from(bucket_index(60.0) - bucket_index(1e-6) + 1).unwrap());
        assert!((histogram.sum - 62.000_001).abs() < 1e-9);
    }
}
