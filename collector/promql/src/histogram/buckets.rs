//! Buckets with their bounds, and spans from and to single buckets.

use super::{FloatHistogram, SCHEMA_CUSTOM, Span};

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation equal to the lower bound is in it.
    pub lower_inclusive: bool,
    /// Whether an observation equal to the upper bound is in it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

/// Upper bound (of the absolute value) of bucket `index`; for custom buckets `custom` holds the bounds.
pub(crate) fn bound(index: i32, schema: i32, custom: &[f64]) -> f64 {
    if schema == SCHEMA_CUSTOM {
        return match usize::try_from(index) {
            Ok(at) if at < custom.len() => custom[at],
            Ok(_) => f64::INFINITY,
            Err(_) => f64::NEG_INFINITY,
        };
    }
    // 2^(index * 2^-schema), the fraction and the power of two apart, so that whole powers are exact.
    let (whole, fraction) = if schema <= 0 {
        (i64::from(index) << -schema, 0.0)
    } else {
        let per_octave = 1_i64 << schema;
        let index = i64::from(index);
        (index.div_euclid(per_octave), index.rem_euclid(per_octave) as f64 / per_octave as f64)
    };
    if whole >= 1024 {
        return if whole == 1024 && fraction == 0.0 { f64::MAX } else { f64::INFINITY };
    }
    // Two steps, since 2^whole alone may be subnormal.
    let whole = whole.max(-1080) as i32;
    fraction.exp2() * 2_f64.powi(whole / 2) * 2_f64.powi(whole - whole / 2)
}

/// The single buckets of spans.
pub(crate) fn indexed<'a>(spans: &'a [Span], buckets: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut next = 0_i32;
    let indices = spans.iter().flat_map(move |span| {
        let start = next.saturating_add(span.offset);
        next = start.saturating_add_unsigned(span.length);
        start..next
    });
    indices.zip(buckets.iter().copied())
}

/// Spans and counts of buckets in ascending order; empty ones are left out.
pub(crate) fn spans_of(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0_i32;
    for (index, count) in buckets.filter(|(_, count)| *count != 0.0) {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
        counts.push(count);
    }
    (spans, counts)
}

impl FloatHistogram {
    /// Buckets of positive observations, ascending, empty ones among them.
    pub(crate) fn positive(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        indexed(&self.positive_spans, &self.positive_buckets)
    }

    /// Buckets of negative observations by absolute value, ascending.
    pub(crate) fn negative(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        indexed(&self.negative_spans, &self.negative_buckets)
    }

    pub(crate) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let custom = self.uses_custom_buckets();
        let lower = bound(index.saturating_sub(1), self.schema, &self.custom_values);
        let upper = bound(index, self.schema, &self.custom_values);
        Bucket { lower, upper, lower_inclusive: !custom && lower < 0.0, upper_inclusive: true, count }
    }

    pub(crate) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = -bound(index, self.schema, &self.custom_values);
        let upper = -bound(index.saturating_sub(1), self.schema, &self.custom_values);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    pub(crate) fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets in ascending order, empty ones of the spans among them, the zero bucket only when populated.
    #[must_use]
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let mut all: Vec<Bucket> = self.negative().map(|(index, count)| self.negative_bucket(index, count)).collect();
        all.reverse();
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.positive().map(|(index, count)| self.positive_bucket(index, count)));
        all
    }

    /// Leaves out empty buckets.
    #[must_use]
    pub(crate) fn compacted(mut self) -> Self {
        let empty = |buckets: &[f64]| buckets.contains(&0.0);
        if empty(&self.positive_buckets) {
            (self.positive_spans, self.positive_buckets) = spans_of(self.positive().collect::<Vec<_>>().into_iter());
        }
        if empty(&self.negative_buckets) {
            (self.negative_spans, self.negative_buckets) = spans_of(self.negative().collect::<Vec<_>>().into_iter());
        }
        self
    }

    /// Whether both hold the same observations in the same buckets, whatever their spans and hints.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
        let populated = |side: &mut dyn Iterator<Item = (i32, f64)>| -> Vec<(i32, u64)> {
            side.filter(|(_, count)| *count != 0.0).map(|(index, count)| (index, count.to_bits())).collect()
        };
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && self.custom_values == other.custom_values
            && populated(&mut self.positive()) == populated(&mut other.positive())
            && populated(&mut self.negative()) == populated(&mut other.negative())
    }
}
