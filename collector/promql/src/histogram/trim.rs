//! `histogram </ x` and `histogram >/ x`: what lies below or above a value. Buckets on the kept side stay, the one that
//! holds the value is interpolated, the sum is estimated anew from the middles of what is kept.

use super::FloatHistogram;
use super::buckets::{Bucket, spans_of};

/// Which part of a histogram is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Below,
    Above,
}

/// How observations are spread in a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Linear,
    Exponential { positive: bool },
}

impl FloatHistogram {
    /// The part of the histogram on one side of `limit`.
    pub(crate) fn trimmed(&self, limit: f64, keep: Keep) -> Self {
        let mut totals = Totals::default();
        let custom = self.uses_custom_buckets();
        let spread = |positive| if custom { Spread::Linear } else { Spread::Exponential { positive } };
        let positive: Vec<(i32, f64)> = self
            .positive()
            .map(|(index, count)| (index, totals.keep(self.positive_bucket(index, count), limit, keep, spread(true))))
            .collect();
        let has_positive = self.positive_buckets.iter().any(|count| *count != 0.0);
        let negative: Vec<(i32, f64)> = self
            .negative()
            .map(|(index, count)| (index, totals.keep(self.negative_bucket(index, count), limit, keep, spread(false))))
            .collect();
        let has_negative = self.negative_buckets.iter().any(|count| *count != 0.0);
        let mut zero = self.zero_count;
        if zero > 0.0 {
            let mut bucket = self.zero_bucket();
            if has_negative && !has_positive {
                bucket.upper = 0.0;
            }
            if has_positive && !has_negative {
                bucket.lower = 0.0;
            }
            zero = totals.keep_zero(bucket, limit, keep);
        }
        let mut out = self.clone();
        if totals.trimmed {
            out.count = totals.count;
            out.sum = totals.sum;
            out.zero_count = zero;
            (out.positive_spans, out.positive_buckets) = spans_of(positive.into_iter());
            (out.negative_spans, out.negative_buckets) = spans_of(negative.into_iter());
        }
        out
    }
}

#[derive(Default)]
struct Totals {
    count: f64,
    sum: f64,
    trimmed: bool,
}

impl Totals {
    fn take(&mut self, bucket: &Bucket, kept: f64, middle: f64) -> f64 {
        self.count += kept;
        self.sum += middle * kept;
        self.trimmed |= kept != bucket.count;
        kept
    }

    fn keep(&mut self, bucket: Bucket, limit: f64, keep: Keep, spread: Spread) -> f64 {
        if bucket.count == 0.0 {
            return 0.0;
        }
        let (whole, none) = match keep {
            Keep::Below => (bucket.upper <= limit, bucket.lower >= limit),
            Keep::Above => (bucket.lower >= limit, bucket.upper <= limit),
        };
        if whole {
            return self.take(&bucket, bucket.count, middle(bucket.lower, bucket.upper, spread));
        }
        if none {
            return self.take(&bucket, 0.0, 0.0);
        }
        let (kept, middle) = if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
            unbounded(&bucket, limit, keep)
        } else {
            let below = bucket.count * fraction_below(&bucket, limit, spread);
            match keep {
                Keep::Below => (below, middle(bucket.lower, limit, spread)),
                Keep::Above => (bucket.count - below, middle(limit, bucket.upper, spread)),
            }
        };
        self.take(&bucket, kept, middle)
    }

    fn keep_zero(&mut self, bucket: Bucket, limit: f64, keep: Keep) -> f64 {
        let Bucket { lower, upper, count, .. } = bucket;
        let (whole, none) = match keep {
            Keep::Below => (limit >= upper, limit <= lower),
            Keep::Above => (limit <= lower, limit >= upper),
        };
        if none {
            return self.take(&bucket, 0.0, 0.0);
        }
        if whole {
            return self.take(&bucket, count, (lower + upper) / 2.0);
        }
        let (share, middle) = match keep {
            Keep::Below => ((limit - lower) / (upper - lower), (lower + limit) / 2.0),
            Keep::Above => ((upper - limit) / (upper - lower), (limit + upper) / 2.0),
        };
        self.take(&bucket, count * share, middle)
    }
}

/// Kept count and middle of a bucket without a bound on one side: how its observations are spread is unknown, so it
/// goes as a whole, unless its finite end is positive and the open one may count as zero.
fn unbounded(bucket: &Bucket, limit: f64, keep: Keep) -> (f64, f64) {
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    if bucket.lower == f64::NEG_INFINITY {
        let bounded = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
        return match keep {
            Keep::Below if limit > 0.0 && bounded => (bucket.count * limit / bucket.upper, limit / 2.0),
            Keep::Below if bucket.upper <= 0.0 => (bucket.count, limit),
            Keep::Above if limit >= 0.0 && bounded => {
                (bucket.count * (1.0 - limit / bucket.upper), f64::midpoint(limit, bucket.upper))
            }
            _ => (0.0, finite(bucket.upper)),
        };
    }
    match keep {
        Keep::Above if limit >= bucket.lower => (bucket.count, limit),
        _ => (0.0, finite(bucket.lower)),
    }
}

fn fraction_below(bucket: &Bucket, limit: f64, spread: Spread) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    let Spread::Exponential { positive } = spread else {
        return (limit - lower) / (upper - lower);
    };
    let (lower, upper, limit) = (lower.abs().log2(), upper.abs().log2(), limit.abs().log2());
    if positive { (limit - lower) / (upper - lower) } else { 1.0 - (limit - upper) / (lower - upper) }
}

/// The value that stands for the observations between two bounds.
fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) => match spread {
            Spread::Linear => f64::midpoint(lower, upper),
            Spread::Exponential { positive: true } => (lower * upper).abs().sqrt(),
            Spread::Exponential { positive: false } => -(lower * upper).abs().sqrt(),
        },
    }
}
