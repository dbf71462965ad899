//! Classic histograms: cumulative buckets by upper bound, linear between bounds.

use crate::annotations::Monotonicity;

/// One `le` with its cumulative count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// Differences below this share of the count are rounding errors, not resets.
const SMALL_DELTA: f64 = 1e-12;

/// Sorts by bound and merges equal ones; false when the last is not +Inf.
fn prepare(buckets: &mut Vec<ClassicBucket>) -> bool {
    if !buckets.is_sorted_by(|a, b| a.upper <= b.upper) {
        buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

fn almost_equal(a: f64, b: f64, tolerance: f64) -> bool {
    if a == b {
        return true;
    }
    let difference = (a - b).abs();
    let scale = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || scale < f64::MIN_POSITIVE {
        return difference < tolerance * f64::MIN_POSITIVE;
    }
    difference / scale.min(f64::MAX) < tolerance
}

/// Takes out falls between successive counts; what had to be bent, when it was more than rounding.
fn make_monotonic(buckets: &mut [ClassicBucket], t_ms: i64) -> Option<Monotonicity> {
    let mut bent: Option<Monotonicity> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == before {
            continue;
        }
        if almost_equal(before, bucket.count, SMALL_DELTA) {
            bucket.count = before;
            continue;
        }
        if bucket.count < before {
            let what = bent.get_or_insert(Monotonicity {
                t_first_ms: t_ms,
                t_last_ms: t_ms,
                bucket_min: f64::INFINITY,
                bucket_max: f64::NEG_INFINITY,
                difference_max: 0.0,
                samples: 1,
            });
            what.bucket_min = what.bucket_min.min(bucket.upper);
            what.bucket_max = what.bucket_max.max(bucket.upper);
            what.difference_max = what.difference_max.max(before - bucket.count);
            bucket.count = before;
        }
        before = bucket.count;
    }
    bent
}

/// The quantile of a classic histogram at a time; changes the buckets.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>, t_ms: i64) -> (f64, Option<Monotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let bent = make_monotonic(buckets, t_ms);
    (rank_in(q, buckets), bent)
}

fn rank_in(q: f64, buckets: &[ClassicBucket]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| {
        let reached = bucket.count >= rank;
        !reached
    });
    if at == last {
        return buckets[last - 1].upper;
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].upper, buckets[at - 1].count) };
    start + (buckets[at].upper - start) * ((rank - below) / (buckets[at].count - below))
}

/// The share of observations between two bounds of a classic histogram; changes the buckets.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |limit: f64| -> f64 {
        let mut start = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        let mut rank = 0.0;
        for bucket in buckets.iter() {
            if start >= limit {
                return rank;
            }
            if bucket.upper > limit {
                return if start == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (limit - start) / (bucket.upper - start)
                };
            }
            (start, rank) = (bucket.upper, bucket.count);
        }
        count
    };
    (rank_of(upper).min(count) - rank_of(lower).min(count)) / count
}
