//! Native histograms: exponential buckets are interpolated on a logarithmic scale, custom ones and the zero bucket
//! linearly.

use crate::histogram::{Bucket, FloatHistogram};

/// What the reader of a quantile or fraction should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    Nothing,
    /// Observations that are no numbers made the result NaN.
    NanResult,
    /// Observations that are no numbers count as +Inf.
    NanSkew,
    /// Observations that are no numbers are in no fraction.
    NanExcluded,
}

/// With observations on one side only, zero is the natural end of the zero bucket.
fn clip_zero_bucket(bucket: &mut Bucket, histogram: &FloatHistogram) {
    match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The quantile of a native histogram.
pub(crate) fn histogram_quantile(q: f64, histogram: &FloatHistogram) -> (f64, Noticed) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, Noticed::Nothing);
    }
    if q > 1.0 {
        return (f64::INFINITY, Noticed::Nothing);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, Noticed::Nothing);
    }
    let mut buckets = histogram.all_buckets();
    // Observations that are no numbers are in the count but in no bucket: then ranks only fit from below.
    let forward = histogram.sum.is_nan() || q < 0.5;
    if !forward {
        buckets.reverse();
    }
    let rank = if forward { q } else { 1.0 - q } * histogram.count;
    let (mut bucket, mut count) =
        (Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 }, 0.0);
    for candidate in &buckets {
        bucket = *candidate;
        count += candidate.count;
        if candidate.count != 0.0 && count >= rank {
            break;
        }
    }
    if histogram.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, Noticed::Nothing);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, Noticed::Nothing);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        clip_zero_bucket(&mut bucket, histogram);
    }
    count = count.min(histogram.count);
    if count < rank {
        let nan = histogram.sum.is_nan();
        return if nan { (f64::NAN, Noticed::NanResult) } else { (bucket.upper, Noticed::Nothing) };
    }
    let inside = if forward { rank - (count - bucket.count) } else { count - rank };
    let counted: f64 = buckets.iter().map(|bucket| bucket.count).sum();
    let skewed = histogram.sum.is_nan() && counted < histogram.count;
    let noticed = if skewed { Noticed::NanSkew } else { Noticed::Nothing };
    (interpolate(&bucket, inside / bucket.count, histogram.uses_custom_buckets()), noticed)
}

fn interpolate(bucket: &Bucket, fraction: f64, custom: bool) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    if custom || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * fraction;
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        return (log_lower + (log_upper - log_lower) * fraction).exp2();
    }
    -(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2()
}

/// The share of observations between two bounds of a native histogram.
pub(crate) fn histogram_fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, Noticed) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, Noticed::Nothing);
    }
    if lower >= upper {
        return (0.0, Noticed::Nothing);
    }
    let buckets = histogram.all_buckets();
    let mut count = histogram.count;
    let mut noticed = Noticed::Nothing;
    if histogram.sum.is_nan() {
        count = buckets.iter().map(|bucket| bucket.count).sum();
        if count < histogram.count {
            noticed = Noticed::NanExcluded;
        }
    }
    let rank = |limit: f64| rank_of(limit, &buckets, histogram).unwrap_or(count).min(count);
    ((rank(upper) - rank(lower)) / histogram.count, noticed)
}

/// How many observations lie below a value; none when it lies above all buckets.
fn rank_of(limit: f64, buckets: &[Bucket], histogram: &FloatHistogram) -> Option<f64> {
    let custom = histogram.uses_custom_buckets();
    let mut rank = 0.0;
    for bucket in buckets {
        let mut bucket = *bucket;
        let holds_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if custom {
            // As classic histograms: the first bucket begins at zero when it ends above.
            if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                bucket.lower = 0.0;
            }
        } else if holds_zero {
            clip_zero_bucket(&mut bucket, histogram);
        }
        if bucket.lower >= limit {
            return Some(rank);
        }
        if bucket.upper > limit {
            return Some(if bucket.lower == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + bucket.count * share_below(limit, &bucket, custom || holds_zero)
            });
        }
        rank += bucket.count;
    }
    None
}

fn share_below(limit: f64, bucket: &Bucket, linear: bool) -> f64 {
    if linear {
        return (limit - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper, log) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), limit.abs().log2());
    if limit > 0.0 { (log - lower) / (upper - lower) } else { 1.0 - (log - upper) / (lower - upper) }
}
