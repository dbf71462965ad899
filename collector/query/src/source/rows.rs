//! Points of one output series, from however many partitions and identities, as the rows that the engine reads.
//!
//! ```text
//! points (commit order) ─▶ sort by time ─▶ one per (time, identity): later commit wins, additive ones add up
//!                       ─▶ delta: running sum, with a flat row where an interval begins after a gap
//!                       ─▶ whole ms, the last of equal ones
//! ```
//! A delta series is read as cumulative from the start of the range that was selected. It begins with a zero at
//! the first point's start, and where an interval does not begin where the one before ended, the sum is repeated
//! at its beginning: without that a burst after silence would be spread over the silence. Series that Weir derives
//! itself (RED, service graph) send nothing while nothing happens; they are held flat for [`HOLD_MS`], so that a
//! rate falls to zero before it ends.

use std::sync::Arc;

use weir_promql::histogram::FloatHistogram;
use weir_proto::batch::STALE_NAN_BITS;
use weir_store::HistogramPoint;

use super::buckets::Accumulator;

const NS_PER_MS: i64 = 1_000_000;
/// Spacing of the rows that hold a derived series flat: four in the shortest usual rate window, one minute.
const HOLD_STEP_MS: i64 = 15_000;
/// How long a derived series is held flat: Prometheus' lookback.
const HOLD_MS: i64 = 300_000;

/// A point and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Point<V> {
    /// When, ns.
    pub(crate) time_ns: i64,
    /// Start of its interval, ns; 0 when not known.
    pub(crate) start_ns: i64,
    /// Which identity, of those that translate to this series.
    pub(crate) stream: u32,
    /// The partition's place in commit order.
    pub(crate) rank: u32,
    /// Whether it covers only its own interval.
    pub(crate) delta: bool,
    /// The value.
    pub(crate) value: V,
}

/// How points become rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Points of one time and identity add up.
    pub(crate) additive: bool,
    /// First ms that may be shown.
    pub(crate) start_ms: i64,
    /// Last ms that may be shown.
    pub(crate) end_ms: i64,
    /// Rows of a derived series need not be closer than this; 0 for all. Cells end at `end_ms` and whole spacings
    /// before it, so that a window that ends at a step ends with a cell.
    pub(crate) spacing_ms: i64,
}

/// A value that can be merged and summed.
pub(crate) trait Summed: Clone {
    /// Adds `other`, or becomes it where the two cannot be added.
    fn add(&mut self, other: Self);
    /// Whether it marks the end of a series.
    fn is_stale(&self) -> bool;
    /// Nothing observed yet, in the form of `self`.
    fn to_zero(&self) -> Self;
    /// Is told that what stands before it now is not what stood before it where it was stored.
    fn detach(&mut self) {}
}

/// A row: ms, start in ms (0 for unknown), value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row<V> {
    /// When, ms.
    pub(crate) t_ms: i64,
    /// Since when it counts, ms; 0 for unknown.
    pub(crate) start_ms: i64,
    /// The value.
    pub(crate) value: V,
}

impl Summed for f64 {
    fn add(&mut self, other: Self) {
        *self += other;
    }

    fn is_stale(&self) -> bool {
        self.to_bits() == STALE_NAN_BITS
    }

    fn to_zero(&self) -> Self {
        0.0
    }
}

/// A histogram, or the marker that ends the series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sampled {
    /// A histogram.
    Histogram(Accumulator),
    /// The end.
    Stale,
}

impl Sampled {
    /// A stored point; `None` when PromQL has no form for it.
    pub(crate) fn of(point: &HistogramPoint, stats_only: bool) -> Option<Self> {
        if point.sum.to_bits() == STALE_NAN_BITS {
            return Some(Self::Stale);
        }
        Accumulator::of(point, stats_only).map(Self::Histogram)
    }

    /// As a native histogram; `None` for the marker.
    pub(crate) fn native(&self) -> Option<Arc<FloatHistogram>> {
        match self {
            Self::Histogram(all) => Some(Arc::new(all.native())),
            Self::Stale => None,
        }
    }
}

impl Summed for Sampled {
    fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Histogram(mine), Self::Histogram(more)) => {
                mine.add(more);
            }
            (mine, more) => *mine = more,
        }
    }

    fn is_stale(&self) -> bool {
        matches!(self, Self::Stale)
    }

    fn to_zero(&self) -> Self {
        match self {
            Self::Histogram(all) => Self::Histogram(all.to_zero()),
            Self::Stale => Self::Stale,
        }
    }

    fn detach(&mut self) {
        if let Self::Histogram(all) = self {
            all.detach();
        }
    }
}

/// Turns the points of one output series into its rows. `points` come in any order.
pub(crate) fn rows_of<V: Summed>(points: Vec<Point<V>>, reading: Reading) -> Vec<Row<V>> {
    let (deltas, others): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.delta);
    let mut rows: Vec<Row<V>> = merged(others, reading).into_iter().map(whole_ms).collect();
    if !deltas.is_empty() {
        let mixed = !rows.is_empty();
        rows.extend(cumulate(merged(deltas, reading), reading));
        if mixed {
            rows.sort_by_key(|row| row.t_ms);
        }
    }
    last_of_each_ms(rows, reading)
}

/// One point per (time, identity), in time order.
pub(crate) fn merged<V: Summed>(mut points: Vec<Point<V>>, reading: Reading) -> Vec<Point<V>> {
    let before = |a: &Point<V>, b: &Point<V>| (a.time_ns, a.stream, a.rank) <= (b.time_ns, b.stream, b.rank);
    if !points.is_sorted_by(before) {
        points.sort_by_key(|point| (point.time_ns, point.stream, point.rank));
    }
    merge_same_time(points, reading)
}

/// One point per (time, identity), then one per time: deltas of two identities add up, else the later one stands.
fn merge_same_time<V: Summed>(points: Vec<Point<V>>, reading: Reading) -> Vec<Point<V>> {
    let mut merged: Vec<Point<V>> = Vec::with_capacity(points.len());
    for mut point in points {
        if merged.last().is_some_and(|last| (last.rank, last.stream) != (point.rank, point.stream)) {
            point.value.detach();
        }
        match merged.last_mut() {
            Some(last) if last.time_ns == point.time_ns => {
                let adds_up = if last.stream == point.stream { reading.additive } else { point.delta };
                if adds_up && !point.value.is_stale() && !last.value.is_stale() {
                    last.value.add(point.value);
                    last.start_ns = last.start_ns.min(point.start_ns);
                    last.stream = point.stream;
                } else {
                    *last = point;
                }
            }
            _ => merged.push(point),
        }
    }
    merged
}

fn whole_ms<V>(point: Point<V>) -> Row<V> {
    Row {
        t_ms: point.time_ns.div_euclid(NS_PER_MS),
        start_ms: point.start_ns.div_euclid(NS_PER_MS),
        value: point.value,
    }
}

/// The running sum of deltas.
fn cumulate<V: Summed>(points: Vec<Point<V>>, reading: Reading) -> Vec<Row<V>> {
    let mut rows: Vec<Row<V>> = Vec::with_capacity(points.len() + 1);
    let mut total: Option<V> = None;
    let (mut since_ms, mut covered_ns, mut cell) = (0, i64::MIN, i64::MIN);
    for point in points {
        if point.value.is_stale() {
            rows.push(Row { start_ms: since_ms, ..whole_ms(point) });
            continue;
        }
        let begin_ms = if point.start_ns > 0 { point.start_ns } else { point.time_ns }.div_euclid(NS_PER_MS);
        match &total {
            None => {
                since_ms = begin_ms;
                if point.start_ns > 0 {
                    rows.push(Row { t_ms: begin_ms, start_ms: since_ms, value: point.value.to_zero() });
                }
            }
            Some(total) if point.start_ns > covered_ns => {
                if reading.additive {
                    hold(&mut rows, total, begin_ms, since_ms);
                }
                rows.push(Row { t_ms: begin_ms, start_ms: since_ms, value: total.clone() });
                cell = i64::MIN;
            }
            Some(_) => {}
        }
        covered_ns = covered_ns.max(point.time_ns);
        let t_ms = point.time_ns.div_euclid(NS_PER_MS);
        match &mut total {
            Some(total) => total.add(point.value),
            None => total = Some(point.value),
        }
        let value = total.clone().expect("set in the line above");
        // Of the rows in one cell of the spacing only the last stays: its sum holds the others.
        let this_cell = match reading.spacing_ms {
            0 => t_ms,
            spacing => t_ms.saturating_sub(reading.end_ms).saturating_sub(1).div_euclid(spacing),
        };
        if this_cell == cell {
            rows.pop();
        }
        cell = this_cell;
        rows.push(Row { t_ms, start_ms: since_ms, value });
    }
    if let (true, Some(total)) = (reading.additive, &total) {
        hold(&mut rows, total, reading.end_ms.saturating_add(1), since_ms);
    }
    rows
}

/// Repeats `total` after the last row, up to `until_ms` (exclusive) or [`HOLD_MS`], whichever is first.
fn hold<V: Clone>(rows: &mut Vec<Row<V>>, total: &V, until_ms: i64, since_ms: i64) {
    let Some(last) = rows.last().map(|row| row.t_ms) else { return };
    let until_ms = until_ms.min(last.saturating_add(HOLD_MS + 1));
    let mut t_ms = last.saturating_add(HOLD_STEP_MS);
    while t_ms < until_ms {
        rows.push(Row { t_ms, start_ms: since_ms, value: total.clone() });
        t_ms = t_ms.saturating_add(HOLD_STEP_MS);
    }
}

/// Cuts to the range and keeps the last row of each ms.
fn last_of_each_ms<V>(rows: Vec<Row<V>>, reading: Reading) -> Vec<Row<V>> {
    let mut kept: Vec<Row<V>> = Vec::with_capacity(rows.len());
    for row in rows {
        if row.t_ms < reading.start_ms || row.t_ms > reading.end_ms {
            continue;
        }
        match kept.last_mut() {
            Some(last) if last.t_ms >= row.t_ms => *last = Row { t_ms: last.t_ms, ..row },
            _ => kept.push(row),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = NS_PER_MS;
    const ALL: Reading = Reading { additive: false, start_ms: i64::MIN, end_ms: 1_000_000, spacing_ms: 0 };

    fn point(time_ms: i64, start_ms: i64, stream: u32, rank: u32, value: f64) -> Point<f64> {
        Point { time_ns: time_ms * MS, start_ns: start_ms * MS, stream, rank, delta: start_ms > 0, value }
    }

    fn flat(rows: &[Row<f64>]) -> Vec<(i64, f64)> {
        rows.iter().map(|row| (row.t_ms, row.value)).collect()
    }

    #[test]
    fn the_later_commit_wins_at_equal_times() {
        let points = vec![point(2, 0, 0, 1, 20.0), point(1, 0, 0, 0, 1.0), point(2, 0, 0, 0, 2.0)];
        assert_eq!(flat(&rows_of(points, ALL)), [(1, 1.0), (2, 20.0)]);
    }

    #[test]
    fn additive_points_of_one_time_add_up() {
        let points = vec![point(10, 5, 0, 0, 1.0), point(10, 5, 0, 1, 2.0), point(15, 10, 0, 1, 4.0)];
        let reading = Reading { additive: true, end_ms: 15, ..ALL };
        assert_eq!(flat(&rows_of(points, reading)), [(5, 0.0), (10, 3.0), (15, 7.0)]);
    }

    #[test]
    fn a_delta_that_comes_twice_counts_once() {
        let points = vec![point(10, 5, 0, 0, 1.0), point(10, 5, 0, 1, 1.0), point(15, 10, 0, 1, 4.0)];
        let reading = ALL;
        assert_eq!(flat(&rows_of(points, reading)), [(5, 0.0), (10, 1.0), (15, 5.0)]);
    }

    #[test]
    fn a_gap_between_deltas_is_flat() {
        let points = vec![point(10, 5, 0, 0, 1.0), point(30, 25, 0, 0, 2.0)];
        let reading = ALL;
        assert_eq!(flat(&rows_of(points, reading)), [(5, 0.0), (10, 1.0), (25, 1.0), (30, 3.0)]);
    }

    #[test]
    fn a_derived_series_is_held_flat_for_five_minutes() {
        let points = vec![point(10_000, 5_000, 0, 0, 1.0)];
        let reading = Reading { additive: true, ..ALL };
        let rows = flat(&rows_of(points, reading));
        assert_eq!(rows[..4], [(5_000, 0.0), (10_000, 1.0), (25_000, 1.0), (40_000, 1.0)]);
        assert_eq!(rows.last(), Some(&(310_000, 1.0)));
    }

    #[test]
    fn spacing_keeps_the_last_sum_of_each_cell() {
        let points = (2..=7).map(|slot| point(slot * 5_000, (slot - 1) * 5_000, 0, 0, 1.0)).collect::<Vec<_>>();
        let reading = Reading { additive: true, end_ms: 35_000, spacing_ms: 15_000, ..ALL };
        assert_eq!(flat(&rows_of(points, reading)), [(5_000, 0.0), (20_000, 3.0), (35_000, 6.0)]);
    }

    #[test]
    fn a_sender_that_changes_from_delta_to_cumulative_keeps_both_parts() {
        let mut cumulative = point(30, 5, 1, 0, 9.0);
        cumulative.delta = false;
        let points = vec![cumulative, point(10, 5, 0, 0, 1.0), point(20, 10, 0, 0, 1.0)];
        assert_eq!(flat(&rows_of(points, ALL)), [(5, 0.0), (10, 1.0), (20, 2.0), (30, 9.0)]);
    }

    #[test]
    fn nanoseconds_are_cut_to_ms_and_the_last_stands() {
        let mut first = point(7, 0, 0, 0, 1.0);
        first.time_ns += 100;
        let mut second = first.clone();
        (second.time_ns, second.value) = (first.time_ns + 5, 2.0);
        assert_eq!(flat(&rows_of(vec![first, second], ALL)), [(7, 2.0)]);
    }

    #[test]
    fn rows_outside_of_the_range_are_cut_but_count() {
        let points = vec![point(10, 5, 0, 0, 1.0), point(20, 10, 0, 0, 2.0)];
        let reading = Reading { start_ms: 8, ..ALL };
        assert_eq!(flat(&rows_of(points, reading)), [(10, 1.0), (20, 3.0)]);
    }

    #[test]
    fn a_stale_marker_ends_and_keeps_its_bits() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let rows = rows_of(vec![point(1, 0, 0, 0, 1.0), point(2, 0, 0, 0, stale)], ALL);
        assert_eq!(rows[1].value.to_bits(), STALE_NAN_BITS);
    }
}
