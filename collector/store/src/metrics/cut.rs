//! Where the points of a series are cut into chunks, and what every chunk row begins with.
//!
//! A chunk ends where the window of time ends, where the start time changes (unless the starts follow a rule), where
//! numbers turn into NaN or back (a stale marker would make a whole decimal chunk raw), and where the layout of
//! histograms changes. Windows are aligned to the clock, so that series of one target are cut at the same scrapes
//! and go on sharing their timelines.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int8Array, Int64Array, UInt32Array};
use arrow::datatypes::{Int8Type, Int64Type, UInt32Type};
use weir_proto::schema::metrics as columns;

use super::array::Rows;
use super::chunk::Starts;
use super::timelines::{TimelineLists, TimelineWriter};
use crate::error::StoreError;

/// The longest chunk in time; also the window of alignment.
const WINDOW_NS: i64 = 2 * 3_600 * 1_000_000_000;
/// The shortest window that [`CHUNK_POINTS_MAX`] may halve it to.
const WINDOW_MIN_NS: i64 = WINDOW_NS >> 10;
/// Columns this short are one chunk: cutting them gains nothing (bytes per sample fall until 120 to 240).
const WHOLE_POINTS: usize = 240;
/// The most points of a chunk: what is decoded for one.
const CHUNK_POINTS_MAX: usize = 1_024;
/// A rule for start times is preferred to cutting when there would be more than one cut in this many points.
const POINTS_PER_CUT: usize = 16;

const RULE_CONSTANT: i8 = 0;
const RULE_CHAINED: i8 = 1;
const RULE_WIDTH: i8 = 2;
const RULE_EACH: i8 = 3;

/// Cuts ascending `times` by window and by start time.
pub(crate) fn by_time_and_start(times: &[i64], starts: &[i64]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    for window in windows(times) {
        let of_window = &starts[window.clone()];
        let changes = of_window.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if changes * POINTS_PER_CUT > window.len() {
            pieces.push(window);
        } else {
            cut_where(window, &mut pieces, |at| starts[at - 1] != starts[at]);
        }
    }
    pieces
}

/// Cuts `range` before each point for which `boundary` holds.
pub(crate) fn cut_where(range: Range<usize>, into: &mut Vec<Range<usize>>, boundary: impl Fn(usize) -> bool) {
    let mut from = range.start;
    for at in range.start + 1..range.end {
        if boundary(at) {
            into.push(from..at);
            from = at;
        }
    }
    if from < range.end {
        into.push(from..range.end);
    }
}

/// Cuts a piece where numbers turn into NaN or back, unless that happens all the time.
pub(crate) fn by_finiteness(values: &[f64], piece: Range<usize>, into: &mut Vec<Range<usize>>) {
    let boundary = |at: usize| values[at - 1].is_nan() != values[at].is_nan();
    let cuts = (piece.start + 1..piece.end).filter(|&at| boundary(at)).count();
    if cuts > 2 && cuts * POINTS_PER_CUT > piece.len() {
        into.push(piece);
    } else {
        cut_where(piece, into, boundary);
    }
}

fn windows(times: &[i64]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    if times.len() <= WHOLE_POINTS {
        if !times.is_empty() {
            pieces.push(0..times.len());
        }
        return pieces;
    }
    let span = times[times.len() - 1].saturating_sub(times[0]).max(1);
    let mut window = WINDOW_NS;
    // As many points per window as the column's mean rate makes.
    let per_window = |window: i64| i128::from(window) * times.len() as i128 / i128::from(span);
    while window > WINDOW_MIN_NS && per_window(window) > CHUNK_POINTS_MAX as i128 {
        window /= 2;
    }
    cut_where(0..times.len(), &mut pieces, |at| times[at - 1].div_euclid(window) != times[at].div_euclid(window));
    pieces
        .into_iter()
        .flat_map(|piece| {
            piece.clone().step_by(CHUNK_POINTS_MAX).map(move |from| from..piece.end.min(from + CHUNK_POINTS_MAX))
        })
        .collect()
}

/// The first columns of chunk rows.
#[derive(Default)]
pub(crate) struct HeadColumns {
    sids: Vec<u32>,
    timelines: Vec<u32>,
    starts: Vec<Option<i64>>,
    rules: Vec<i8>,
    start_timelines: Vec<Option<u32>>,
}

impl HeadColumns {
    /// Begins a row.
    pub(crate) fn push(
        &mut self,
        sid: u32,
        times: &[i64],
        starts: &[i64],
        timelines: &mut TimelineWriter,
    ) -> Result<(), StoreError> {
        let timeline = timelines.intern(times)?;
        let (start, rule, start_timeline) = match Starts::from_each(times, starts) {
            Starts::Constant(0) => (None, RULE_CONSTANT, None),
            Starts::Constant(start) => (Some(start), RULE_CONSTANT, None),
            Starts::Chained(first) => (Some(first), RULE_CHAINED, None),
            Starts::Width(width) => (Some(width), RULE_WIDTH, None),
            Starts::Each(starts) => (None, RULE_EACH, Some(timelines.intern(&starts)?)),
        };
        self.sids.push(sid);
        self.timelines.push(timeline);
        self.starts.push(start);
        self.rules.push(rule);
        self.start_timelines.push(start_timeline);
        Ok(())
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.sids.len()
    }

    /// The columns, leaving none behind.
    pub(crate) fn take(&mut self) -> Vec<ArrayRef> {
        let Self { sids, timelines, starts, rules, start_timelines } = std::mem::take(self);
        vec![
            Arc::new(UInt32Array::from(sids)),
            Arc::new(UInt32Array::from(timelines)),
            Arc::new(Int64Array::from(starts)),
            Arc::new(Int8Array::from(rules)),
            Arc::new(UInt32Array::from(start_timelines)),
        ]
    }
}

/// Names of the columns of [`HeadColumns`].
pub(crate) const HEAD: [&str; 5] = [columns::SID, columns::TL, columns::START, columns::START_RULE, columns::START_TL];

/// Reads the first columns of chunk rows.
pub(crate) struct HeadReader<'a> {
    rows: Rows<'a>,
    sids: &'a UInt32Array,
    timelines: &'a UInt32Array,
    starts: &'a Int64Array,
    rules: &'a Int8Array,
    start_timelines: &'a UInt32Array,
}

impl<'a> HeadReader<'a> {
    pub(crate) fn new(rows: Rows<'a>) -> Result<Self, StoreError> {
        Ok(Self {
            sids: rows.numbers::<UInt32Type>(columns::SID)?,
            timelines: rows.numbers::<UInt32Type>(columns::TL)?,
            starts: rows.numbers::<Int64Type>(columns::START)?,
            rules: rows.numbers::<Int8Type>(columns::START_RULE)?,
            start_timelines: rows.numbers::<UInt32Type>(columns::START_TL)?,
            rows,
        })
    }

    /// Timelines that these rows name.
    pub(crate) fn timelines(&self) -> Vec<u32> {
        self.timelines.values().iter().copied().chain(self.start_timelines.iter().flatten()).collect()
    }

    /// How the start times of a row are given.
    pub(crate) fn start(&self, row: usize) -> Result<StoredStart, StoreError> {
        let start = if self.starts.is_null(row) { 0 } else { self.starts.value(row) };
        match self.rules.value(row) {
            RULE_CONSTANT => Ok(StoredStart::Constant(start)),
            RULE_CHAINED => Ok(StoredStart::Chained(start)),
            RULE_WIDTH => Ok(StoredStart::Width(start)),
            RULE_EACH if !self.start_timelines.is_null(row) => Ok(StoredStart::Each(self.start_timelines.value(row))),
            _ => Err(self.rows.bad_row(row, "no such start rule")),
        }
    }

    /// Series, times and starts of a row.
    pub(crate) fn row(&self, row: usize, lists: &TimelineLists) -> Result<(u32, Arc<[i64]>, Starts), StoreError> {
        let list =
            |id: u32| lists.get(&id).map(Arc::clone).ok_or_else(|| self.rows.bad_row(row, "its timeline is absent"));
        let times = list(self.timelines.value(row))?;
        let starts = match self.start(row)? {
            StoredStart::Constant(start) => Starts::Constant(start),
            StoredStart::Chained(start) => Starts::Chained(start),
            StoredStart::Width(start) => Starts::Width(start),
            StoredStart::Each(timeline) => {
                let each = list(timeline)?;
                if each.len() != times.len() {
                    return Err(self.rows.bad_row(row, "starts and times differ in number"));
                }
                Starts::Each(each)
            }
        };
        Ok((self.sids.value(row), times, starts))
    }
}

/// The start times of a row as they are stored; see [`Starts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredStart {
    Constant(i64),
    Chained(i64),
    Width(i64),
    /// In this timeline.
    Each(u32),
}

/// For each series of a chunk table, its rows; and for each row its timeline: what decides which rows are read.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    offsets: Vec<u32>,
    timelines: Vec<u32>,
}

impl Directory {
    /// From the `sid` and `tl` columns, for `series` sids.
    pub(crate) fn new(sids: &[u32], timelines: Vec<u32>, series: usize, path: &Path) -> Result<Self, StoreError> {
        let ordered = sids.is_sorted() && sids.last().is_none_or(|&last| (last as usize) < series);
        if !ordered || sids.len() != timelines.len() {
            return Err(StoreError::corrupt(path, "rows are not ordered by series"));
        }
        let mut offsets = Vec::with_capacity(series + 1);
        let mut row = 0_u32;
        for sid in 0..=series {
            while sids.get(row as usize).is_some_and(|&found| (found as usize) < sid) {
                row += 1;
            }
            offsets.push(row);
        }
        Ok(Self { offsets, timelines })
    }

    /// Rows of `sid` with their timelines.
    pub(crate) fn rows(&self, sid: u32) -> impl Iterator<Item = (usize, u32)> {
        let sid = sid as usize;
        let range = match (self.offsets.get(sid), self.offsets.get(sid + 1)) {
            (Some(&from), Some(&to)) => from as usize..to as usize,
            _ => 0..0,
        };
        range.map(|row| (row, self.timelines[row]))
    }

    /// The timeline of a row.
    pub(crate) fn timeline(&self, row: usize) -> Option<u32> {
        self.timelines.get(row).copied()
    }

    pub(crate) fn bytes(&self) -> u64 {
        4 * (self.offsets.len() + self.timelines.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    #[test]
    fn long_columns_are_cut_at_windows_of_the_clock() {
        let times: Vec<i64> = (0..1000).map(|at| 90 * MINUTE + at * MINUTE / 4).collect();
        let pieces = by_time_and_start(&times, &vec![0; times.len()]);
        assert_eq!(pieces, [0..120, 120..600, 600..1000]);
    }

    #[test]
    fn fast_columns_are_cut_in_shorter_windows() {
        let times: Vec<i64> = (0..7200).map(|at| at * 1_000_000_000).collect();
        let pieces = by_time_and_start(&times, &vec![0; times.len()]);
        assert!(pieces.iter().all(|piece| piece.len() <= 900), "{pieces:?}");
        assert_eq!(pieces.len(), 8);
    }

    #[test]
    fn a_changed_start_cuts_but_a_rule_does_not() {
        let times: Vec<i64> = (1..=100).collect();
        let restarted: Vec<i64> = times.iter().map(|&time| if time <= 40 { 1 } else { 2 }).collect();
        assert_eq!(by_time_and_start(&times, &restarted), [0..40, 40..100]);
        let delta: Vec<i64> = times.iter().map(|&time| time - 1).collect();
        assert_eq!(by_time_and_start(&times, &delta), [Range { start: 0, end: 100 }]);
    }

    #[test]
    fn stale_markers_are_cut_out() {
        let mut pieces = Vec::new();
        by_finiteness(&[1.0, 2.0, f64::NAN, 3.0], 0..4, &mut pieces);
        assert_eq!(pieces, [0..2, 2..3, 3..4]);
    }
}
