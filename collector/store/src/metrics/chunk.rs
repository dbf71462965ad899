//! What a read of metrics yields: the points of one series over one stretch of time.

use std::sync::Arc;

use weir_proto::batch::STALE_NAN_BITS;
use weir_proto::{HistogramLayout, HistogramMarks, KeyValue, ResetHint};

/// The start times of a chunk's points, as compactly as they were stored. 0 means that none was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// All points have this one.
    Constant(i64),
    /// The first point has this one, each later point the time of the point before it: a delta series without gaps.
    Chained(i64),
    /// Each point's interval is this wide, so that its start is its time less this: a slotted delta series.
    Width(i64),
    /// One by one.
    Each(Arc<[i64]>),
}

/// Number points of one series, in strictly ascending time.
#[derive(Clone, Debug)]
pub struct NumberChunk {
    /// The series within its partition.
    pub sid: u32,
    /// Start times.
    pub starts: Starts,
    /// Observation times, ns; shared with the other series of the same target.
    pub times: Arc<[i64]>,
    /// Values, as many as times.
    pub values: Vec<f64>,
}

/// Histogram points of one series, in strictly ascending time.
#[derive(Clone, Debug)]
pub struct HistogramChunk {
    /// The series within its partition.
    pub sid: u32,
    /// Start times.
    pub starts: Starts,
    /// Observation times, ns.
    pub times: Arc<[i64]>,
    /// Points, as many as times.
    pub points: Vec<HistogramPoint>,
}

/// One histogram, explicit or exponential. Exponential buckets are trimmed: neither sign begins or ends with an
/// empty bucket, so that equal histograms are equal here however they were sent.
#[derive(Clone, Debug)]
pub struct HistogramPoint {
    /// How many observations.
    pub count: u64,
    /// Their sum; NaN when not sent; `STALE_NAN_BITS` for "no recorded value".
    pub sum: f64,
    /// Smallest observation; NaN when not sent.
    pub min: f64,
    /// Largest observation; NaN when not sent.
    pub max: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Where the buckets lie.
    pub layout: HistogramLayout,
    /// Bucket counts, not cumulative over buckets.
    pub counts: Box<[u64]>,
    /// What Prometheus says of it beyond; of a float histogram, `count`, `zero_count` and `counts` are bits of doubles.
    pub marks: HistogramMarks,
}

/// One exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The series within its partition.
    pub sid: u32,
    /// When it was observed, ns.
    pub time_ns: i64,
    /// The observed value.
    pub value: f64,
    /// Trace id; zero when not sent.
    pub trace_id: [u8; 16],
    /// Span id; zero when not sent.
    pub span_id: [u8; 8],
    /// Filtered attributes.
    pub attributes: Vec<KeyValue>,
}

impl Starts {
    /// The start of point `at` of a chunk with these `times`.
    #[must_use]
    pub fn at(&self, times: &[i64], at: usize) -> i64 {
        match self {
            Self::Constant(start) => *start,
            Self::Chained(first) if at == 0 => *first,
            Self::Chained(_) => times[at - 1],
            Self::Width(width) => times[at].wrapping_sub(*width),
            Self::Each(starts) => starts[at],
        }
    }

    /// All starts of a chunk with these `times`.
    #[must_use]
    pub fn to_vec(&self, times: &[i64]) -> Vec<i64> {
        (0..times.len()).map(|at| self.at(times, at)).collect()
    }

    /// The shortest form of `starts` for points at `times`.
    #[must_use]
    pub fn from_each(times: &[i64], starts: &[i64]) -> Self {
        debug_assert_eq!(times.len(), starts.len(), "one start per time");
        let Some(&first) = starts.first() else { return Self::Constant(0) };
        if starts.iter().all(|&start| start == first) {
            return Self::Constant(first);
        }
        if starts[1..].iter().zip(times).all(|(start, before)| start == before) {
            return Self::Chained(first);
        }
        let width = times[0].wrapping_sub(first);
        if starts.iter().zip(times).all(|(&start, &time)| time.wrapping_sub(width) == start) {
            return Self::Width(width);
        }
        Self::Each(starts.into())
    }
}

impl HistogramPoint {
    /// A point in the canonical form: outer empty buckets of an exponential layout are cut off.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        let HistogramLayout::Exponential { positive_offset, positive_len, negative_offset, .. } = &mut self.layout
        else {
            return self;
        };
        let split = (*positive_len as usize).min(self.counts.len());
        let (positive, negative) = self.counts.split_at(split);
        let (positive_from, positive_to) = occupied(positive);
        let (negative_from, negative_to) = occupied(negative);
        if positive_to - positive_from == positive.len() && negative_to - negative_from == negative.len() {
            if positive.is_empty() {
                *positive_offset = 0;
            }
            if negative.is_empty() {
                *negative_offset = 0;
            }
            return self;
        }
        let counts: Box<[u64]> =
            positive[positive_from..positive_to].iter().chain(&negative[negative_from..negative_to]).copied().collect();
        *positive_offset = moved(*positive_offset, positive_from, positive_to);
        *negative_offset = moved(*negative_offset, negative_from, negative_to);
        *positive_len = u32::try_from(positive_to - positive_from).unwrap_or(u32::MAX);
        self.counts = counts;
        self
    }

    /// Whether two points are the same bit for bit.
    #[must_use]
    pub fn same_bits(&self, other: &Self) -> bool {
        self.count == other.count
            && self.sum.to_bits() == other.sum.to_bits()
            && self.min.to_bits() == other.min.to_bits()
            && self.max.to_bits() == other.max.to_bits()
            && self.zero_count == other.zero_count
            && self.layout == other.layout
            && self.counts == other.counts
            && self.marks == other.marks
    }

    /// One of its counts as a double.
    #[must_use]
    pub fn as_f64(&self, count: u64) -> f64 {
        if self.marks.is_float() { f64::from_bits(count) } else { count as f64 }
    }

    /// Whether a counter that was `before` goes on to this: same buckets, none of which fell. Only native histograms
    /// are looked at, since only their readers ask; anything unlike `before` is left for a reader to compare.
    /// Source: Prometheus tsdb/chunkenc, `counterResetHint`: a chunk's first histogram is of unknown relation to what
    /// was before, and a change of layout begins a chunk.
    #[must_use]
    pub fn goes_on_from(&self, before: &Self) -> bool {
        let same = self.marks.is_native()
            && before.marks.is_native()
            && self.marks.is_float() == before.marks.is_float()
            && before.marks.hint() != ResetHint::Gauge
            && !matches!(self.marks.hint(), ResetHint::Gauge | ResetHint::Reset)
            && [self, before].iter().all(|point| point.sum.to_bits() != STALE_NAN_BITS);
        let fell = |now: u64, then: u64| self.as_f64(now) < self.as_f64(then);
        same && !fell(self.count, before.count)
            && !fell(self.zero_count, before.zero_count)
            && !self.bucket_fell(before).unwrap_or(true)
    }

    /// Whether a bucket fell; `None` when the buckets are not the same ones.
    fn bucket_fell(&self, before: &Self) -> Option<bool> {
        let fell = |now: u64, then: u64| self.as_f64(now) < self.as_f64(then);
        match (&self.layout, &before.layout) {
            (HistogramLayout::Explicit { bounds }, HistogramLayout::Explicit { bounds: others }) => {
                let same = bounds == others && self.counts.len() == before.counts.len();
                same.then(|| self.counts.iter().zip(&before.counts).any(|(&now, &then)| fell(now, then)))
            }
            (
                HistogramLayout::Exponential { scale, zero_threshold, .. },
                HistogramLayout::Exponential { scale: other, zero_threshold: threshold, .. },
            ) if scale == other && zero_threshold == threshold => {
                let [now, then] = [self.sides(), before.sides()];
                Some(now.into_iter().zip(then).any(|(now, then)| side_fell(now, then, fell)))
            }
            _ => None,
        }
    }

    /// Offset and counts of the positive and the negative side.
    fn sides(&self) -> [(i32, &[u64]); 2] {
        let HistogramLayout::Exponential { positive_offset, positive_len, negative_offset, .. } = &self.layout else {
            return [(0, &[]), (0, &[])];
        };
        let (positive, negative) = self.counts.split_at((*positive_len as usize).min(self.counts.len()));
        [(*positive_offset, positive), (*negative_offset, negative)]
    }
}

/// Whether a bucket of `then` is less in `now`, where buckets that are not there are empty.
fn side_fell(now: (i32, &[u64]), then: (i32, &[u64]), fell: impl Fn(u64, u64) -> bool) -> bool {
    (i64::from(then.0)..).zip(then.1).any(|(index, &count)| {
        let at = usize::try_from(index - i64::from(now.0)).ok();
        fell(at.and_then(|at| now.1.get(at)).copied().unwrap_or(0), count)
    })
}

/// First and one past the last bucket that is not empty; (0, 0) when all are.
fn occupied(counts: &[u64]) -> (usize, usize) {
    match counts.iter().position(|&count| count != 0) {
        None => (0, 0),
        Some(from) => (from, counts.iter().rposition(|&count| count != 0).map_or(from, |last| last + 1)),
    }
}

fn moved(offset: i32, from: usize, to: usize) -> i32 {
    if from == to { 0 } else { offset.saturating_add(i32::try_from(from).unwrap_or(i32::MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(positive_offset: i32, positive_len: u32, negative_offset: i32, counts: &[u64]) -> HistogramPoint {
        HistogramPoint {
            count: counts.iter().sum(),
            sum: 1.0,
            min: f64::NAN,
            max: f64::NAN,
            zero_count: 0,
            layout: HistogramLayout::Exponential {
                scale: 3,
                zero_threshold: 0.0,
                positive_offset,
                positive_len,
                negative_offset,
            },
            counts: counts.into(),
            marks: HistogramMarks::default(),
        }
    }

    #[test]
    fn a_counter_goes_on_where_nothing_fell_and_the_buckets_are_the_same() {
        let native = |offset, counts: &[u64]| HistogramPoint {
            marks: HistogramMarks::native(false, ResetHint::Unknown),
            ..exponential(offset, counts.len() as u32, 0, counts)
        };
        let before = native(0, &[1, 2]);
        assert!(native(-1, &[4, 1, 2]).goes_on_from(&before));
        assert!(!native(-1, &[9, 0, 2]).goes_on_from(&before), "a bucket fell");
        assert!(!native(0, &[1]).goes_on_from(&before), "the count fell");
        assert!(!exponential(0, 2, 0, &[1, 2]).goes_on_from(&before), "not native");
        let gauge = HistogramMarks::native(false, ResetHint::Gauge);
        assert!(!HistogramPoint { marks: gauge, ..native(0, &[1, 2]) }.goes_on_from(&before));
        let float = |count: f64| HistogramPoint {
            count: count.to_bits(),
            marks: HistogramMarks::native(true, ResetHint::NotReset),
            ..native(0, &[count.to_bits()])
        };
        assert!(float(0.75).goes_on_from(&float(0.5)) && !float(0.5).goes_on_from(&float(0.75)));
    }

    #[test]
    fn trimming_cuts_outer_empty_buckets_of_both_signs() {
        let point = exponential(-2, 4, 7, &[0, 1, 2, 0, 0, 0, 3, 0]).trimmed();
        assert!(point.same_bits(&exponential(-1, 2, 9, &[1, 2, 3])), "{point:?}");
        let empty = exponential(-2, 2, 7, &[0, 0, 0]).trimmed();
        assert!(empty.same_bits(&exponential(0, 0, 0, &[])), "{empty:?}");
    }

    #[test]
    fn starts_take_their_shortest_form_and_give_the_same_back() {
        let times = [10, 20, 35];
        let cases: [(&[i64], Starts); 4] = [
            (&[5, 5, 5], Starts::Constant(5)),
            (&[3, 10, 20], Starts::Chained(3)),
            (&[5, 15, 30], Starts::Width(5)),
            (&[5, 14, 30], Starts::Each([5, 14, 30].into())),
        ];
        for (starts, form) in cases {
            assert_eq!(Starts::from_each(&times, starts), form);
            assert_eq!(form.to_vec(&times), starts);
        }
    }
}
