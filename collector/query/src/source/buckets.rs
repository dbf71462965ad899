//! Histograms as they add up: one accumulator for explicit and one for exponential buckets, and the ways out of
//! them: a native histogram, or cumulative counts under classic bounds.
//!
//! Exponential counts stay on OTLP's indices inside (bucket `i` covers `(b^i, b^(i+1)]`); Prometheus' index is one
//! higher, and is made where a native histogram leaves. Scales over 8 are halved until they fit; below -4 a native
//! histogram cannot hold them and the point is refused.
//! Points that were sent as native histograms are given back as they came, with what the store found about resets.
//! Source: Prometheus storage/remote/otlptranslator, `exponentialToNativeHistogram`.

use std::sync::Arc;

use weir_promql::histogram::{FloatHistogram, ResetHint, SCHEMA_CUSTOM, Span};
use weir_proto::{HistogramLayout, HistogramMarks};
use weir_store::HistogramPoint;

/// The finest schema of a native histogram.
const SCHEMA_MAX: i32 = 8;
/// The coarsest schema of a native histogram.
const SCHEMA_MIN: i32 = -4;
/// Prometheus' zero threshold where a sender gave none. Source: OTLP translation of Prometheus.
const ZERO_THRESHOLD_DEFAULT: f64 = 1e-128;
/// No sender has this many buckets on one side; a wider point is refused rather than allocated.
const SIDE_BUCKETS_MAX: usize = 20_000;

/// One point, or the sum of several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accumulator {
    /// Buckets with explicit bounds.
    Explicit(Explicit),
    /// Exponential buckets.
    Exponential(Exponential),
}

/// Counts between explicit bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Explicit {
    /// Ascending upper bounds, without +Inf.
    pub(crate) bounds: Arc<[f64]>,
    /// One more than bounds; empty when only count and sum were sent.
    pub(crate) counts: Vec<f64>,
    /// All observations.
    pub(crate) count: f64,
    /// Their sum; NaN when not sent.
    pub(crate) sum: f64,
    /// What Prometheus says of it beyond.
    pub(crate) marks: HistogramMarks,
}

/// Counts in exponential buckets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    zero_threshold: f64,
    zero_count: f64,
    count: f64,
    sum: f64,
    positive: Side,
    negative: Side,
    marks: HistogramMarks,
}

/// The buckets of one sign, dense from `offset` on, in OTLP's indices.
#[derive(Clone, Debug, PartialEq, Default)]
struct Side {
    offset: i32,
    counts: Vec<f64>,
}

impl Accumulator {
    /// One point; `None` when PromQL has no form for it (a scale below -4, a width past any sender's).
    /// With `stats_only` the buckets are left behind, but for native ones, whose resets are seen in them.
    pub(crate) fn of(point: &HistogramPoint, stats_only: bool) -> Option<Self> {
        let marks = point.marks;
        let sent: &[u64] = if stats_only && !marks.is_native() { &[] } else { &point.counts };
        match &point.layout {
            HistogramLayout::Explicit { bounds } => Some(Self::Explicit(Explicit {
                bounds: Arc::clone(bounds),
                counts: sent.iter().map(|&count| point.as_f64(count)).collect(),
                count: point.as_f64(point.count),
                sum: point.sum,
                marks,
            })),
            HistogramLayout::Exponential { scale, zero_threshold, positive_offset, positive_len, negative_offset } => {
                let split = (*positive_len as usize).min(sent.len());
                let (positive, negative) = sent.split_at(split);
                let shift = u32::try_from(scale - SCHEMA_MAX).unwrap_or(0);
                if *scale < SCHEMA_MIN {
                    return None;
                }
                let mut all = Exponential {
                    scale: (*scale).min(SCHEMA_MAX),
                    zero_threshold: *zero_threshold,
                    zero_count: point.as_f64(point.zero_count),
                    count: point.as_f64(point.count),
                    sum: if point.sum.is_nan() && !marks.is_native() { 0.0 } else { point.sum },
                    positive: Side::default(),
                    negative: Side::default(),
                    marks,
                };
                all.positive.add(*positive_offset, positive.iter().map(|&count| point.as_f64(count)), shift)?;
                all.negative.add(*negative_offset, negative.iter().map(|&count| point.as_f64(count)), shift)?;
                Some(Self::Exponential(all))
            }
        }
    }

    /// Adds `other`. False, and `self` becomes `other`, when the two cannot be added: other bounds, another kind.
    pub(crate) fn add(&mut self, other: Self) -> bool {
        let added = match (&mut *self, &other) {
            (Self::Explicit(mine), Self::Explicit(more)) => mine.add(more),
            (Self::Exponential(mine), Self::Exponential(more)) => mine.add(more).is_some(),
            _ => false,
        };
        if !added {
            *self = other;
        }
        added
    }

    /// The same buckets, all empty.
    pub(crate) fn to_zero(&self) -> Self {
        match self {
            Self::Explicit(explicit) => Self::Explicit(Explicit {
                bounds: Arc::clone(&explicit.bounds),
                counts: vec![0.0; explicit.counts.len()],
                count: 0.0,
                sum: if explicit.sum.is_nan() { f64::NAN } else { 0.0 },
                marks: explicit.marks,
            }),
            Self::Exponential(exponential) => Self::Exponential(Exponential {
                zero_count: 0.0,
                count: 0.0,
                sum: 0.0,
                positive: Side::default(),
                negative: Side::default(),
                ..exponential.clone()
            }),
        }
    }

    /// As a native histogram, with what the store knows of a reset; of other points that is nothing, and for the
    /// engine to see.
    pub(crate) fn native(&self) -> FloatHistogram {
        let (mut native, marks) = match self {
            Self::Explicit(explicit) => (explicit.native(), explicit.marks),
            Self::Exponential(exponential) => (exponential.native(), exponential.marks),
        };
        native.reset_hint = match marks.hint() {
            weir_proto::ResetHint::Gauge => ResetHint::Gauge,
            _ if marks.goes_on() => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        };
        native
    }

    /// Forgets that it goes on from the stored point before it: another stands between.
    pub(crate) fn detach(&mut self) {
        let (Self::Explicit(Explicit { marks, .. }) | Self::Exponential(Exponential { marks, .. })) = self;
        *marks = marks.with_goes_on(false);
    }

    /// How many observations are at most each of `bounds` (ascending). `None` where this histogram cannot tell,
    /// since the bound is not one of its own.
    pub(crate) fn cumulative(&self, bounds: &[f64]) -> Vec<Option<f64>> {
        match self {
            Self::Explicit(explicit) => explicit.cumulative(bounds),
            Self::Exponential(exponential) => exponential.cumulative(bounds).into_iter().map(Some).collect(),
        }
    }
}

impl Explicit {
    fn add(&mut self, more: &Self) -> bool {
        if self.bounds != more.bounds || self.counts.len() != more.counts.len() {
            return false;
        }
        self.counts.iter_mut().zip(&more.counts).for_each(|(mine, more)| *mine += more);
        self.count += more.count;
        self.sum += more.sum;
        true
    }

    fn native(&self) -> FloatHistogram {
        let sum = if self.sum.is_nan() && !self.marks.is_native() { 0.0 } else { self.sum };
        let buckets = self.counts.clone();
        let custom_values = self.bounds.to_vec();
        let spans = match u32::try_from(buckets.len()) {
            Ok(length) if length > 0 => vec![Span { offset: 0, length }],
            _ => Vec::new(),
        };
        FloatHistogram {
            schema: SCHEMA_CUSTOM,
            count: self.count,
            sum,
            positive_spans: spans,
            positive_buckets: buckets,
            custom_values,
            ..FloatHistogram::default()
        }
    }

    fn cumulative(&self, bounds: &[f64]) -> Vec<Option<f64>> {
        let (mut at, mut total) = (0, 0.0);
        bounds
            .iter()
            .map(|bound| {
                if bound.is_infinite() {
                    return Some(self.count);
                }
                while at < self.bounds.len() && self.bounds[at] <= *bound {
                    total += self.counts.get(at).copied().unwrap_or(0.0);
                    at += 1;
                }
                let known = at > 0 && self.bounds[at - 1] == *bound && !self.counts.is_empty();
                known.then_some(total)
            })
            .collect()
    }
}

impl Exponential {
    fn add(&mut self, more: &Self) -> Option<()> {
        let scale = self.scale.min(more.scale);
        let mine_shift = u32::try_from(self.scale - scale).ok()?;
        let more_shift = u32::try_from(more.scale - scale).ok()?;
        self.positive.coarsen(mine_shift);
        self.negative.coarsen(mine_shift);
        self.scale = scale;
        self.positive.add(more.positive.offset, more.positive.counts.iter().copied(), more_shift)?;
        self.negative.add(more.negative.offset, more.negative.counts.iter().copied(), more_shift)?;
        self.zero_threshold = self.zero_threshold.max(more.zero_threshold);
        self.zero_count += more.zero_count;
        self.count += more.count;
        self.sum += more.sum;
        Some(())
    }

    fn native(&self) -> FloatHistogram {
        let meant = self.zero_threshold > 0.0 || self.marks.is_native();
        let zero_threshold = if meant { self.zero_threshold } else { ZERO_THRESHOLD_DEFAULT };
        let (positive_spans, positive_buckets) = self.positive.spans();
        let (negative_spans, negative_buckets) = self.negative.spans();
        FloatHistogram {
            schema: self.scale,
            zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            ..FloatHistogram::default()
        }
    }

    /// Counts whole buckets that end at or below each bound: exact where the bound is a power of the base, else
    /// short by part of one bucket. Never falls from bound to bound, nor in time while the scale stays.
    fn cumulative(&self, bounds: &[f64]) -> Vec<f64> {
        let below_zero: f64 = self.negative.counts.iter().sum();
        let mut total = below_zero + self.zero_count;
        let mut at = 0;
        bounds
            .iter()
            .map(|&bound| {
                if bound.is_infinite() {
                    return self.count;
                }
                while at < self.positive.counts.len() && self.upper(at) <= bound * (1.0 + f64::EPSILON) {
                    total += self.positive.counts[at];
                    at += 1;
                }
                total
            })
            .collect()
    }

    fn upper(&self, at: usize) -> f64 {
        let index = i64::from(self.positive.offset) + at as i64 + 1;
        (index as f64 * (-f64::from(self.scale)).exp2()).exp2()
    }
}

impl Side {
    /// Adds buckets from `offset` on, each `shift` halvings finer than ours. `None` when the result would be wider
    /// than any sender's.
    fn add(&mut self, offset: i32, counts: impl ExactSizeIterator<Item = f64>, shift: u32) -> Option<()> {
        let more = i32::try_from(counts.len()).ok()?;
        if more == 0 {
            return Some(());
        }
        let shift = shift.min(31);
        let (first, last) = (offset >> shift, offset.checked_add(more - 1)? >> shift);
        self.widen(first, last)?;
        for (at, count) in (offset..).zip(counts) {
            let slot = usize::try_from((at >> shift).checked_sub(self.offset)?).ok()?;
            self.counts[slot] += count;
        }
        Some(())
    }

    /// Makes room for the buckets `first..=last`.
    fn widen(&mut self, first: i32, last: i32) -> Option<()> {
        if self.counts.is_empty() {
            self.offset = first;
        }
        let begin = self.offset.min(first);
        let end = (i64::from(self.offset) + self.counts.len() as i64 - 1).max(i64::from(last));
        let width = usize::try_from(end - i64::from(begin) + 1).ok()?;
        if width > SIDE_BUCKETS_MAX {
            return None;
        }
        let before = usize::try_from(i64::from(self.offset) - i64::from(begin)).ok()?;
        if before > 0 {
            self.counts.splice(0..0, std::iter::repeat_n(0.0, before));
        }
        self.counts.resize(width, 0.0);
        self.offset = begin;
        Some(())
    }

    fn coarsen(&mut self, shift: u32) {
        if shift == 0 || self.counts.is_empty() {
            return;
        }
        let before = std::mem::take(self);
        let narrower = self.add(before.offset, before.counts.into_iter(), shift);
        debug_assert!(narrower.is_some(), "coarser buckets are fewer");
    }

    /// One run from the first to the last bucket that is not empty, in Prometheus' indices.
    fn spans(&self) -> (Vec<Span>, Vec<f64>) {
        let Some(first) = self.counts.iter().position(|&count| count != 0.0) else { return (Vec::new(), Vec::new()) };
        let last = self.counts.iter().rposition(|&count| count != 0.0).unwrap_or(first);
        let counts = self.counts[first..=last].to_vec();
        let offset = self.offset.saturating_add(i32::try_from(first).unwrap_or(i32::MAX)).saturating_add(1);
        (vec![Span { offset, length: u32::try_from(counts.len()).unwrap_or(u32::MAX) }], counts)
    }
}

/// The classic bounds under which an exponential histogram of this unit is shown, +Inf among them. Powers of two
/// and their geometric middles: at scale 1 and finer these are bucket borders, so the counts are exact.
pub(crate) fn classic_bounds(unit: &str) -> Arc<[f64]> {
    // Half powers of two: 2^-10 (1 ms) to 2^7 (128 s) for times in seconds.
    let halves: Vec<i32> = match unit {
        "s" => (-20..=14).collect(),
        "ms" => (0..=34).collect(),
        _ => (-20..=80).step_by(2).collect(),
    };
    halves.into_iter().map(|half| (f64::from(half) / 2.0).exp2()).chain([f64::INFINITY]).collect()
}

/// A bound as the `le` label shows it: `0.5`, `1.0`, `+Inf`, as Prometheus 3 normalises it.
pub(crate) fn bound_text(bound: f64) -> Arc<str> {
    if bound == f64::INFINITY {
        return "+Inf".into();
    }
    if bound == f64::NEG_INFINITY {
        return "-Inf".into();
    }
    let magnitude = bound.abs();
    // Go's shortest form ('g', -1) with a fraction added to whole numbers. Source: model/labels, FormatOpenMetricsFloat.
    let text = if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{bound:e}");
        match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            None => text,
        }
    } else {
        bound.to_string()
    };
    if text.contains(['e', '.']) { text.into() } else { format!("{text}.0").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(scale: i32, offset: i32, counts: &[u64]) -> HistogramPoint {
        HistogramPoint {
            count: counts.iter().sum(),
            sum: 1.0,
            min: f64::NAN,
            max: f64::NAN,
            zero_count: 0,
            layout: HistogramLayout::Exponential {
                scale,
                zero_threshold: 0.0,
                positive_offset: offset,
                positive_len: u32::try_from(counts.len()).unwrap(),
                negative_offset: 0,
            },
            counts: counts.into(),
            marks: HistogramMarks::default(),
        }
    }

    #[test]
    fn otlp_bucket_zero_is_prometheus_bucket_one() {
        let native = Accumulator::of(&exponential(0, 0, &[3]), false).unwrap().native();
        assert_eq!(native.positive_spans, [Span { offset: 1, length: 1 }]);
        assert_eq!((native.schema, native.count, native.sum), (0, 3.0, 1.0));
        assert_eq!(native.zero_threshold, ZERO_THRESHOLD_DEFAULT);
    }

    #[test]
    fn a_native_histogram_comes_back_as_it_was_sent() {
        let marks = HistogramMarks::native(true, weir_proto::ResetHint::Reset);
        let point = HistogramPoint {
            marks,
            count: 1.5_f64.to_bits(),
            sum: f64::NAN,
            ..exponential(0, 0, &[0.5_f64.to_bits(), 1.0_f64.to_bits()])
        };
        let native = |point: &HistogramPoint| Accumulator::of(point, true).unwrap().native();
        let back = native(&point);
        assert_eq!((back.zero_threshold, back.count, back.reset_hint), (0.0, 1.5, ResetHint::Unknown));
        assert!(back.sum.is_nan());
        assert_eq!(back.positive_buckets, [0.5, 1.0]);
        let goes_on = HistogramPoint { marks: marks.with_goes_on(true), ..point.clone() };
        assert_eq!(native(&goes_on).reset_hint, ResetHint::NotReset);
        let gauge = HistogramMarks::native(true, weir_proto::ResetHint::Gauge);
        assert_eq!(native(&HistogramPoint { marks: gauge, ..point }).reset_hint, ResetHint::Gauge);
    }

    #[test]
    fn scales_over_eight_are_halved_and_below_minus_four_refused() {
        let Some(Accumulator::Exponential(fine)) = Accumulator::of(&exponential(10, -5, &[1, 2, 3, 4]), false) else {
            panic!("scale 10 has a form")
        };
        assert_eq!((fine.scale, fine.positive.offset), (8, -2));
        assert_eq!(fine.positive.counts, [1.0, 9.0]);
        assert!(Accumulator::of(&exponential(-5, 0, &[1]), false).is_none());
    }

    #[test]
    fn unequal_scales_add_at_the_coarser() {
        let mut sum = Accumulator::of(&exponential(1, 2, &[1, 1, 1]), false).unwrap();
        assert!(sum.add(Accumulator::of(&exponential(0, -3, &[5]), false).unwrap()));
        let native = sum.native();
        assert_eq!((native.schema, native.count), (0, 8.0));
        assert_eq!(native.positive_spans, [Span { offset: -2, length: 6 }]);
        assert_eq!(native.positive_buckets, [5.0, 0.0, 0.0, 0.0, 2.0, 1.0]);
    }

    #[test]
    fn classic_bounds_of_an_exponential_histogram_count_exactly() {
        // Scale 3: bucket i covers (2^(i/8), 2^((i+1)/8)].
        let point = exponential(3, -8, &[1; 16]);
        let counts = Accumulator::of(&point, false).unwrap().cumulative(&[0.5, 1.0, 2f64.sqrt(), 2.0, f64::INFINITY]);
        assert_eq!(counts, [Some(0.0), Some(8.0), Some(12.0), Some(16.0), Some(16.0)]);
    }

    #[test]
    fn a_foreign_bound_of_an_explicit_histogram_is_unknown() {
        let explicit = Accumulator::Explicit(Explicit {
            bounds: [1.0, 5.0].into(),
            counts: vec![2.0, 3.0, 4.0],
            count: 9.0,
            sum: 20.0,
            marks: HistogramMarks::default(),
        });
        assert_eq!(explicit.cumulative(&[1.0, 2.0, 5.0, f64::INFINITY]), [Some(2.0), None, Some(5.0), Some(9.0)]);
        let native = explicit.native();
        assert_eq!((native.schema, native.custom_values.as_slice()), (SCHEMA_CUSTOM, &[1.0, 5.0][..]));
    }

    #[test]
    fn changed_bounds_start_again() {
        let make = |bounds: &[f64], counts: &[f64]| {
            let (bounds, counts, marks) = (bounds.into(), counts.to_vec(), HistogramMarks::default());
            Accumulator::Explicit(Explicit { bounds, counts, count: 1.0, sum: 1.0, marks })
        };
        let mut sum = make(&[1.0], &[1.0, 0.0]);
        assert!(sum.add(make(&[1.0], &[1.0, 0.0])));
        assert!(!sum.add(make(&[2.0], &[0.0, 1.0])));
        assert_eq!(sum, make(&[2.0], &[0.0, 1.0]));
    }

    #[test]
    fn bounds_are_written_as_prometheus_normalises_them() {
        let texts: Vec<_> = [0.005, 1.0, 10.0, f64::INFINITY, 1e-5, 2.5e21].map(bound_text).to_vec();
        assert_eq!(
            texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ["0.005", "1.0", "10.0", "+Inf", "1e-05", "2.5e+21"]
        );
    }
}
