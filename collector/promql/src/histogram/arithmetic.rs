//! Adding, subtracting and scaling.

use super::sparse::{Sparse, align, zip};
use super::{FloatHistogram, IncompatibleSchemas, ResetHint};

/// What happened while two histograms were combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Combined {
    /// One was known to be reset, the other known not to be.
    pub(crate) collision: bool,
    /// Their custom bounds differed; the result has those they share.
    pub(crate) reconciled: bool,
}

impl ResetHint {
    /// What is known about a combination; whether the two contradict each other.
    pub(crate) fn combined(self, other: Self) -> (Self, bool) {
        match (self, other) {
            (a, b) if a == b => (a, false),
            (Self::Gauge, _) | (_, Self::Gauge) => (Self::Gauge, false),
            (Self::Unknown, _) | (_, Self::Unknown) => (Self::Unknown, false),
            _ => (Self::Unknown, true),
        }
    }
}

impl FloatHistogram {
    fn same_layout(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.custom_values == other.custom_values
    }

    fn combine(&mut self, other: &Self, op: impl Fn(f64, f64) -> f64) -> Result<Combined, IncompatibleSchemas> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let mut reconciled = false;
        if self.same_layout(other) {
            for (a, b) in self.positive_buckets.iter_mut().zip(&other.positive_buckets) {
                *a = op(*a, *b);
            }
            for (a, b) in self.negative_buckets.iter_mut().zip(&other.negative_buckets) {
                *a = op(*a, *b);
            }
            self.zero_count = op(self.zero_count, other.zero_count);
        } else {
            let (mut a, mut b) = (Sparse::<f64>::of(self), Sparse::<f64>::of(other));
            reconciled = align(&mut a, &mut b)?;
            let join = |a: Option<f64>, b: Option<f64>| op(a.unwrap_or(0.0), b.unwrap_or(0.0));
            a.positive = zip(&a.positive, &b.positive, join);
            a.negative = zip(&a.negative, &b.negative, join);
            a.zero = op(a.zero, b.zero);
            a.store(self);
        }
        self.count = op(self.count, other.count);
        self.sum = op(self.sum, other.sum);
        let (hint, collision) = self.reset_hint.combined(other.reset_hint);
        self.reset_hint = hint;
        Ok(Combined { collision, reconciled })
    }

    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, |a, b| a + b)
    }

    /// Subtracts `other`.
    pub(crate) fn sub(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, |a, b| a - b)
    }

    fn scale(&mut self, op: impl Fn(f64) -> f64) {
        self.zero_count = op(self.zero_count);
        self.count = op(self.count);
        self.sum = op(self.sum);
        for bucket in self.positive_buckets.iter_mut().chain(&mut self.negative_buckets) {
            *bucket = op(*bucket);
        }
    }

    /// Multiplies all counts; by a negative factor it becomes a gauge.
    pub(crate) fn mul(&mut self, factor: f64) {
        self.scale(|count| count * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts; division by zero leaves no buckets.
    pub(crate) fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self.scale(|count| count / divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }
}
