//! Sums of many numbers or histograms with Kahan's compensation in Neumaier's variant, as Prometheus sums.

use super::arithmetic::Combined;
use super::sparse::{Cell, Side, Sparse, align, zip};
use super::{FloatHistogram, IncompatibleSchemas, ResetHint};

/// Adds `more` to a sum and its compensation.
#[inline]
pub(crate) fn kahan(more: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + more;
    // What was lost, exactly, and without a branch on which of the two is greater.
    let part = total - sum;
    let lost = compensation + ((sum - (total - part)) + (more - part));
    let compensation = if total.is_infinite() { 0.0 } else { lost };
    (total, compensation)
}

/// A sum with its compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Exact {
    sum: f64,
    compensation: f64,
}

impl Exact {
    fn add(&mut self, more: f64) {
        (self.sum, self.compensation) = kahan(more, self.sum, self.compensation);
    }

    fn scale(&mut self, op: &impl Fn(f64) -> f64) {
        self.sum = op(self.sum);
        self.compensation = op(self.compensation);
    }

    fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.compensation }
    }
}

impl Cell for Exact {
    fn of(count: f64) -> Self {
        Self { sum: count, compensation: 0.0 }
    }

    fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.add(other.compensation);
    }

    fn is_zero(&self) -> bool {
        self.sum == 0.0
    }
}

/// The running sum or mean of histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    buckets: Sparse<Exact>,
    count: Exact,
    sum: Exact,
    hint: ResetHint,
}

impl HistogramSum {
    pub(crate) fn of(histogram: &FloatHistogram) -> Self {
        Self {
            buckets: Sparse::of(histogram),
            count: Exact::of(histogram.count),
            sum: Exact::of(histogram.sum),
            hint: histogram.reset_hint,
        }
    }

    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        let mut other = Sparse::<f64>::of(histogram);
        let reconciled = align(&mut self.buckets, &mut other)?;
        add_side(&mut self.buckets.positive, &other.positive);
        add_side(&mut self.buckets.negative, &other.negative);
        self.buckets.zero.add(other.zero);
        self.count.add(histogram.count);
        self.sum.add(histogram.sum);
        let (hint, collision) = self.hint.combined(histogram.reset_hint);
        self.hint = hint;
        Ok(Combined { collision, reconciled })
    }

    /// Multiplies or divides everything, compensations too.
    pub(crate) fn scale(&mut self, op: impl Fn(f64) -> f64) {
        let buckets = &mut self.buckets;
        for (_, cell) in buckets.positive.iter_mut().chain(&mut buckets.negative) {
            cell.scale(&op);
        }
        buckets.zero.scale(&op);
        self.count.scale(&op);
        self.sum.scale(&op);
    }

    /// Whether some part has left the numbers.
    pub(crate) fn has_overflow(&self) -> bool {
        let cells = self.buckets.positive.iter().chain(&self.buckets.negative).map(|(_, cell)| cell);
        cells.chain([&self.buckets.zero, &self.count, &self.sum]).any(|cell| cell.sum.is_infinite())
    }

    pub(crate) fn value(self) -> FloatHistogram {
        let mut out = FloatHistogram {
            count: self.count.value(),
            sum: self.sum.value(),
            reset_hint: self.hint,
            ..FloatHistogram::default()
        };
        let plain = |side: Side<Exact>| side.into_iter().map(|(index, cell)| (index, cell.value())).collect();
        let buckets = Sparse {
            schema: self.buckets.schema,
            custom: self.buckets.custom,
            zero_threshold: self.buckets.zero_threshold,
            zero: self.buckets.zero.value(),
            positive: plain(self.buckets.positive),
            negative: plain(self.buckets.negative),
        };
        buckets.store(&mut out);
        out
    }
}

fn add_side(into: &mut Side<Exact>, other: &Side<f64>) {
    let same = into.len() == other.len() && into.iter().zip(other).all(|(a, b)| a.0 == b.0);
    if same {
        for ((_, cell), (_, count)) in into.iter_mut().zip(other) {
            cell.add(*count);
        }
        return;
    }
    *into = zip(into, other, |a, b| {
        let mut cell = a.unwrap_or_default();
        cell.add(b.unwrap_or(0.0));
        cell
    });
}
