//! Native histograms with float counts, as PromQL computes with them.
//! Source: Prometheus model/histogram/float_histogram.go. The arithmetic is ours: every operation first brings both
//! sides to one layout (`sparse`), so that adding, subtracting, summing exactly and finding resets share that step.

/// Schema number of histograms with custom (explicit) bounds.
pub const SCHEMA_CUSTOM: i32 = -53;

/// What is known about a reset between this sample and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Nothing: compare and see.
    #[default]
    Unknown,
    /// It was reset.
    Reset,
    /// It was not.
    NotReset,
    /// It does not count up.
    Gauge,
}

/// A run of consecutive buckets: `offset` from the end of the one before (or the absolute index of the first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous run; for the first, the index of its first bucket.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// A native histogram. Bucket `i` of schema `s` covers `(2^((i-1)*2^-s), 2^(i*2^-s)]`; counts are absolute,
/// not deltas.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FloatHistogram {
    /// Resolution, -4 to 8, or [`SCHEMA_CUSTOM`].
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in it.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Their counts.
    pub positive_buckets: Vec<f64>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Their counts.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds with [`SCHEMA_CUSTOM`], without +Inf.
    pub custom_values: Vec<f64>,
    /// What is known about a reset.
    pub reset_hint: ResetHint,
}

impl FloatHistogram {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        size_of::<Self>() + (floats + self.positive_spans.len() + self.negative_spans.len()) * 8
    }
}

mod arithmetic;
mod buckets;
mod resets;
mod sparse;
mod sums;
mod text;
mod trim;

pub(crate) use arithmetic::Combined;
pub use buckets::Bucket;
pub(crate) use buckets::spans_of;
pub(crate) use sums::{HistogramSum, kahan};
pub(crate) use trim::Keep;

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IncompatibleSchemas;

impl FloatHistogram {
    /// Whether its bounds are given one by one.
    #[must_use]
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == SCHEMA_CUSTOM
    }
}

#[cfg(test)]
mod tests;
