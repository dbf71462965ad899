//! A histogram as lists of single buckets, and the one step that every combination of two histograms needs: bringing
//! both to the lower resolution, to the wider zero bucket, to the custom bounds they share.
//!
//! The cells are plain counts or exact sums ([`super::sums::Exact`]); merging two buckets adds cells.

use super::buckets::{bound, spans_of};
use super::{FloatHistogram, IncompatibleSchemas, SCHEMA_CUSTOM};

/// What a bucket holds.
pub(crate) trait Cell: Copy {
    fn of(count: f64) -> Self;
    fn merge(&mut self, other: Self);
    fn is_zero(&self) -> bool;
}

impl Cell for f64 {
    fn of(count: f64) -> Self {
        count
    }

    fn merge(&mut self, other: Self) {
        *self += other;
    }

    fn is_zero(&self) -> bool {
        *self == 0.0
    }
}

/// Buckets in ascending order of index.
pub(crate) type Side<T> = Vec<(i32, T)>;

/// The buckets of a histogram.
#[derive(Clone, Debug)]
pub(crate) struct Sparse<T> {
    pub(crate) schema: i32,
    pub(crate) custom: Vec<f64>,
    pub(crate) zero_threshold: f64,
    pub(crate) zero: T,
    pub(crate) positive: Side<T>,
    pub(crate) negative: Side<T>,
}

impl<T: Cell> Sparse<T> {
    pub(crate) fn of(histogram: &FloatHistogram) -> Self {
        let cells = |(index, count)| (index, T::of(count));
        Self {
            schema: histogram.schema,
            custom: histogram.custom_values.clone(),
            zero_threshold: histogram.zero_threshold,
            zero: T::of(histogram.zero_count),
            positive: histogram.positive().map(cells).collect(),
            negative: histogram.negative().map(cells).collect(),
        }
    }

    /// Whether both have one layout already.
    fn matches<U>(&self, other: &Sparse<U>) -> bool {
        self.schema == other.schema && self.zero_threshold == other.zero_threshold && self.custom == other.custom
    }

    fn remap(side: &mut Side<T>, index: impl Fn(i32) -> i32) {
        let mut out: Side<T> = Vec::with_capacity(side.len());
        for (at, cell) in side.drain(..) {
            let at = index(at);
            match out.last_mut() {
                Some((last, into)) if *last == at => into.merge(cell),
                _ => out.push((at, cell)),
            }
        }
        *side = out;
    }

    fn reduce(&mut self, schema: i32) {
        let shift = self.schema - schema;
        if shift <= 0 {
            return;
        }
        let coarser = |index: i32| ((index - 1) >> shift) + 1;
        Self::remap(&mut self.positive, coarser);
        Self::remap(&mut self.negative, coarser);
        self.schema = schema;
    }

    /// The threshold that a wider zero bucket ends up with: one that falls into a populated bucket is raised to that
    /// bucket's end.
    pub(crate) fn widened_threshold(&self, mut threshold: f64) -> f64 {
        loop {
            let cut = self.positive.iter().chain(&self.negative).find_map(|(index, cell)| {
                let upper = bound(*index, self.schema, &[]);
                let lower = bound(*index - 1, self.schema, &[]);
                (lower < threshold && upper > threshold && !cell.is_zero()).then_some(upper)
            });
            match cut {
                Some(upper) => threshold = upper,
                None => return threshold,
            }
        }
    }

    /// Widens the zero bucket to a threshold that cuts no populated bucket.
    fn widen(&mut self, threshold: f64) {
        let schema = self.schema;
        let mut zero = self.zero;
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(index, cell)| {
                let inside = bound(*index - 1, schema, &[]) < threshold;
                if inside {
                    zero.merge(*cell);
                }
                !inside
            });
        }
        self.zero = zero;
        self.zero_threshold = threshold;
    }

    fn rebound(&mut self, shared: &[f64]) {
        let custom = std::mem::take(&mut self.custom);
        Self::remap(&mut self.positive, |index| {
            let upper = bound(index, SCHEMA_CUSTOM, &custom);
            shared.partition_point(|candidate| *candidate < upper) as i32
        });
        self.custom = shared.to_vec();
    }
}

/// Brings both to one layout; whether custom bounds differed.
pub(crate) fn align<T: Cell, U: Cell>(a: &mut Sparse<T>, b: &mut Sparse<U>) -> Result<bool, IncompatibleSchemas> {
    if a.matches(b) {
        return Ok(false);
    }
    match (a.schema == SCHEMA_CUSTOM, b.schema == SCHEMA_CUSTOM) {
        (true, true) => {
            if a.custom == b.custom {
                return Ok(false);
            }
            let shared: Vec<f64> = a.custom.iter().copied().filter(|bound| b.custom.contains(bound)).collect();
            a.rebound(&shared);
            b.rebound(&shared);
            Ok(true)
        }
        (false, false) => {
            while a.zero_threshold != b.zero_threshold {
                if a.zero_threshold > b.zero_threshold {
                    let threshold = b.widened_threshold(a.zero_threshold);
                    b.widen(threshold);
                } else {
                    let threshold = a.widened_threshold(b.zero_threshold);
                    a.widen(threshold);
                }
            }
            let schema = a.schema.min(b.schema);
            a.reduce(schema);
            b.reduce(schema);
            Ok(false)
        }
        _ => Err(IncompatibleSchemas),
    }
}

/// Merges two lists; `join` gets what each side has.
pub(crate) fn zip<T: Copy, U: Copy, V>(
    a: &[(i32, T)],
    b: &[(i32, U)],
    mut join: impl FnMut(Option<T>, Option<U>) -> V,
) -> Vec<(i32, V)> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let left = a.get(i).map_or(i32::MAX, |(index, _)| *index);
        let right = b.get(j).map_or(i32::MAX, |(index, _)| *index);
        let take_left = i < a.len() && left <= right;
        let take_right = j < b.len() && right <= left;
        let value = join(take_left.then(|| a[i].1), take_right.then(|| b[j].1));
        out.push((left.min(right), value));
        i += usize::from(take_left);
        j += usize::from(take_right);
    }
    out
}

impl Sparse<f64> {
    /// Writes the buckets into a histogram.
    pub(crate) fn store(self, into: &mut FloatHistogram) {
        into.schema = self.schema;
        into.custom_values = self.custom;
        into.zero_threshold = self.zero_threshold;
        into.zero_count = self.zero;
        (into.positive_spans, into.positive_buckets) = spans_of(self.positive.into_iter());
        (into.negative_spans, into.negative_buckets) = spans_of(self.negative.into_iter());
    }
}
