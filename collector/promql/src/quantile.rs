//! Quantiles and fractions: of plain values, of classic buckets, of native histograms (promql/quantile.go).

mod classic;
mod native;

pub(crate) use classic::{ClassicBucket, bucket_fraction, bucket_quantile};
pub(crate) use native::{Noticed, histogram_fraction, histogram_quantile};

/// The quantile of values; sorts them. NaN sorts below everything.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = last.min(lower + 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
