//! Makes one column of points out of several that may overlap: the rule for repeats, in one place.
//!
//! Compaction, flush and every reader merge through here, so an answer is the same before, during and after.
//! Columns come in commit order. Of two points of one series and time the later one wins, but for an additive
//! series (RED, service graph), whose points add up.

use super::chunk::{HistogramChunk, HistogramPoint, NumberChunk};
use weir_proto::HistogramLayout;

/// Points of one series in strictly ascending time.
#[derive(Clone, Debug, PartialEq)]
pub struct Column<V> {
    /// Observation times, ns.
    pub times: Vec<i64>,
    /// Start times, ns; 0 when not sent.
    pub starts: Vec<i64>,
    /// Values, as many as times.
    pub values: Vec<V>,
}

impl<V> Default for Column<V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

/// A value that knows how to add another of its series and instant to itself.
pub(crate) trait Additive: Clone {
    /// Adds `other`; when the two cannot be added, `other` replaces it.
    fn add(&mut self, other: &Self);

    /// Is told the value before it, after values were put in order.
    fn follow(&mut self, _before: Option<&Self>) {}
}

impl<V> Default for ColumnBuilder<V> {
    fn default() -> Self {
        Self { rows: Vec::new(), sorted: true }
    }
}

/// Collects points in order of arrival and settles repeats at the end.
#[derive(Clone, Debug)]
pub(crate) struct ColumnBuilder<V> {
    rows: Vec<(i64, i64, V)>,
    sorted: bool,
}

impl<V: Additive> ColumnBuilder<V> {
    /// Adds a point that arrived after all before it.
    pub(crate) fn push(&mut self, time: i64, start: i64, value: V) {
        self.sorted &= self.rows.last().is_none_or(|last| last.0 < time);
        self.rows.push((time, start, value));
    }

    /// Sorts by time and settles repeats; the second figure is how many there were.
    #[must_use]
    pub(crate) fn finish(mut self, additive: bool) -> (Column<V>, u64) {
        let mut repeats = 0;
        if !self.sorted {
            self.rows.sort_by_key(|row| row.0);
            let mut settled: Vec<(i64, i64, V)> = Vec::with_capacity(self.rows.len());
            for row in self.rows {
                match settled.last_mut() {
                    Some(last) if last.0 == row.0 => {
                        repeats += 1;
                        settle(last, row, additive);
                    }
                    _ => settled.push(row),
                }
            }
            for at in 0..settled.len() {
                let (before, rest) = settled.split_at_mut(at);
                rest[0].2.follow(before.last().map(|row| &row.2));
            }
            self.rows = settled;
        }
        let mut column = Column::with_capacity(self.rows.len());
        for (time, start, value) in self.rows {
            column.push(time, start, value);
        }
        (column, repeats)
    }
}

impl<V> Column<V> {
    /// An empty column with room for `rows`.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { times: Vec::with_capacity(rows), starts: Vec::with_capacity(rows), values: Vec::with_capacity(rows) }
    }

    /// Appends a point later than all before it.
    pub fn push(&mut self, time: i64, start: i64, value: V) {
        self.times.push(time);
        self.starts.push(start);
        self.values.push(value);
    }

    /// How many points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The rows with `from <= time < to`.
    #[must_use]
    pub fn rows_between(&self, from: i64, to: i64) -> std::ops::Range<usize> {
        self.times.partition_point(|&time| time < from)..self.times.partition_point(|&time| time < to)
    }
}

/// One column from chunks of one series, in commit order.
#[must_use]
pub fn merge_numbers<'a>(chunks: impl IntoIterator<Item = &'a NumberChunk>, additive: bool) -> Column<f64> {
    let mut rows = ColumnBuilder::default();
    for chunk in chunks {
        for (at, &time) in chunk.times.iter().enumerate() {
            rows.push(time, chunk.starts.at(&chunk.times, at), chunk.values[at]);
        }
    }
    rows.finish(additive).0
}

/// One column from chunks of one histogram series, in commit order.
#[must_use]
pub fn merge_histograms(chunks: impl IntoIterator<Item = HistogramChunk>, additive: bool) -> Column<HistogramPoint> {
    let mut rows = ColumnBuilder::default();
    for chunk in chunks {
        for (at, point) in chunk.points.into_iter().enumerate() {
            rows.push(chunk.times[at], chunk.starts.at(&chunk.times, at), point);
        }
    }
    rows.finish(additive).0
}

/// Settles two points of one series and time.
pub(crate) fn settle<V: Additive>(earlier: &mut (i64, i64, V), later: (i64, i64, V), additive: bool) {
    if additive {
        earlier.1 = earlier.1.min(later.1);
        earlier.2.add(&later.2);
    } else {
        *earlier = later;
    }
}

impl Additive for f64 {
    fn add(&mut self, other: &Self) {
        *self = sum(*self, *other);
    }
}

/// The sum of two numbers that are whole multiples of 1e-9 (durations of spans are whole nanoseconds) is taken in
/// integers: float addition is not associative, and compaction may add in another order than a read did.
fn sum(left: f64, right: f64) -> f64 {
    const UNIT: f64 = 1e9;
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let (left_units, right_units) = ((left * UNIT).round(), (right * UNIT).round());
    let units = left_units + right_units;
    let exact = units.abs() <= EXACT_MAX && left_units / UNIT == left && right_units / UNIT == right;
    if exact { units / UNIT } else { left + right }
}

impl Additive for HistogramPoint {
    fn follow(&mut self, before: Option<&Self>) {
        let goes_on = before.is_some_and(|before| self.goes_on_from(before));
        self.marks = self.marks.with_goes_on(goes_on);
    }

    fn add(&mut self, other: &Self) {
        // What adds up is Weir's own, whole and not native; anything else replaces.
        let summed = if self.marks == other.marks && !self.marks.is_native() { add_buckets(self, other) } else { None };
        let Some((layout, counts)) = summed else {
            *self = other.clone();
            return;
        };
        self.count = self.count.wrapping_add(other.count);
        self.sum = sum(self.sum, other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.zero_count = self.zero_count.wrapping_add(other.zero_count);
        self.layout = layout;
        self.counts = counts;
    }
}

/// The buckets of both points in one layout; `None` when their explicit bounds or their kinds differ.
fn add_buckets(left: &HistogramPoint, right: &HistogramPoint) -> Option<(HistogramLayout, Box<[u64]>)> {
    match (&left.layout, &right.layout) {
        (HistogramLayout::Explicit { bounds }, HistogramLayout::Explicit { bounds: other }) => {
            if bounds != other || left.counts.len() != right.counts.len() {
                return None;
            }
            let counts = left.counts.iter().zip(&right.counts).map(|(a, b)| a.wrapping_add(*b)).collect();
            Some((left.layout.clone(), counts))
        }
        (
            HistogramLayout::Exponential { scale, zero_threshold, .. },
            HistogramLayout::Exponential { scale: other_scale, zero_threshold: other_threshold, .. },
        ) => {
            let common = (*scale).min(*other_scale);
            let [positive, negative] = Buckets::of(left, common);
            let [other_positive, other_negative] = Buckets::of(right, common);
            let positive = positive.plus(&other_positive);
            let negative = negative.plus(&other_negative);
            let layout = HistogramLayout::Exponential {
                scale: common,
                zero_threshold: zero_threshold.max(*other_threshold),
                positive_offset: positive.offset,
                positive_len: u32::try_from(positive.counts.len()).ok()?,
                negative_offset: negative.offset,
            };
            Some((layout, positive.counts.into_iter().chain(negative.counts).collect()))
        }
        _ => None,
    }
}

/// The buckets of one sign.
#[derive(Clone, Debug, Default)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

impl Buckets {
    /// Positive and negative buckets of an exponential point, made as coarse as `scale`.
    fn of(point: &HistogramPoint, scale: i32) -> [Self; 2] {
        let HistogramLayout::Exponential { scale: own, positive_offset, positive_len, negative_offset, .. } =
            point.layout
        else {
            return [Self::default(), Self::default()];
        };
        let (positive, negative) = point.counts.split_at((positive_len as usize).min(point.counts.len()));
        let shift = own.saturating_sub(scale).clamp(0, 31);
        [Self::coarser(positive_offset, positive, shift), Self::coarser(negative_offset, negative, shift)]
    }

    /// Bucket `i` of a scale lies in bucket `i >> k` of the scale that is `k` lower.
    fn coarser(offset: i32, counts: &[u64], shift: i32) -> Self {
        if shift == 0 || counts.is_empty() {
            return Self { offset, counts: counts.to_vec() };
        }
        let first = offset >> shift;
        let mut coarse = Self { offset: first, counts: Vec::new() };
        for (index, &count) in (i64::from(offset)..).zip(counts) {
            let at = usize::try_from((index >> shift) - i64::from(first)).unwrap_or(0);
            if coarse.counts.len() <= at {
                coarse.counts.resize(at + 1, 0);
            }
            coarse.counts[at] = coarse.counts[at].wrapping_add(count);
        }
        coarse
    }

    fn plus(self, other: &Self) -> Self {
        if other.counts.is_empty() {
            return self;
        }
        if self.counts.is_empty() {
            return other.clone();
        }
        let first = self.offset.min(other.offset);
        let end = self.end().max(other.end());
        let len = usize::try_from(end - i64::from(first)).unwrap_or(0);
        let mut sum = Self { offset: first, counts: vec![0; len] };
        for side in [&self, other] {
            let skip = usize::try_from(i64::from(side.offset) - i64::from(first)).unwrap_or(0);
            for (into, count) in sum.counts[skip..].iter_mut().zip(&side.counts) {
                *into = into.wrapping_add(*count);
            }
        }
        sum
    }

    fn end(&self) -> i64 {
        i64::from(self.offset) + i64::try_from(self.counts.len()).unwrap_or(i64::MAX >> 1)
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::HistogramMarks;

    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> HistogramPoint {
        HistogramPoint {
            count: counts.iter().sum(),
            sum: 1.5,
            min: 1.0,
            max: 2.0,
            zero_count: 1,
            layout: HistogramLayout::Exponential {
                scale,
                zero_threshold: 0.0,
                positive_offset: offset,
                positive_len: counts.len() as u32,
                negative_offset: 0,
            },
            counts: counts.into(),
            marks: HistogramMarks::default(),
        }
    }

    #[test]
    fn the_last_write_wins_and_additive_points_add_up() {
        let mut rows = ColumnBuilder::default();
        for (time, value) in [(3, 30.0), (1, 10.0), (3, 31.0), (2, 20.0)] {
            rows.push(time, 0, value);
        }
        let (wins, repeats) = rows.clone().finish(false);
        assert_eq!((wins.times, wins.values, repeats), (vec![1, 2, 3], vec![10.0, 20.0, 31.0], 1));
        assert_eq!(rows.finish(true).0.values, [10.0, 20.0, 61.0]);
    }

    #[test]
    fn sums_of_nanoseconds_do_not_depend_on_the_order() {
        let (a, b, c) = (0.1, 0.2, 0.3);
        assert_ne!((a + b) + c, a + (b + c), "the example shows the trouble");
        assert_eq!(sum(sum(a, b), c), sum(a, sum(b, c)));
        assert_eq!(sum(f64::MAX, 1.0), f64::MAX);
    }

    #[test]
    fn exponential_points_add_bucket_by_bucket() {
        let mut sum = point(3, -1, &[1, 2]);
        sum.add(&point(3, 1, &[5, 7]));
        assert!(sum.same_bits(&HistogramPoint { sum: 3.0, zero_count: 2, ..point(3, -1, &[1, 2, 5, 7]) }), "{sum:?}");
    }

    #[test]
    fn the_finer_of_two_scales_is_made_coarser() {
        let mut sum = point(1, -3, &[1, 1, 1, 1]);
        sum.add(&point(0, 0, &[10]));
        // -3, -2, -1, 0 of scale 1 are -2, -1, -1, 0 of scale 0.
        assert!(sum.same_bits(&HistogramPoint { sum: 3.0, zero_count: 2, ..point(0, -2, &[1, 2, 11]) }), "{sum:?}");
    }
}
