//! The histograms table: rows of chunks of explicit or exponential histograms.
//!
//! Bucket counts stand bucket by bucket, each bucket's counts in order of time, not cumulative over buckets: the
//! counts of one bucket are alike, those of one instant are not (16 to 28 % smaller). The buckets of an exponential
//! chunk cover those of all its points; the empty ones added are trimmed again when it is read. Float counts have
//! columns of their own, so that whole ones stay as small as they are.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Float64Builder, Int8Array, Int32Array, Int32Builder, Int64Builder, ListBuilder,
    UInt8Builder, UInt32Array, UInt64Builder,
};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int32Type, Int64Type, UInt8Type, UInt32Type, UInt64Type};
use weir_proto::schema::metrics as columns;
use weir_proto::{HistogramLayout, HistogramMarks};

use super::array::{LaterLists, NumberLists, Rows};
use super::chunk::{HistogramChunk, HistogramPoint};
use super::cut::{self, HEAD, HeadColumns, HeadReader};
use super::file::{BATCH_ROWS, Shape, TableWriter};
use super::merge::Column;
use super::timelines::{TimelineLists, TimelineWriter};
use crate::error::StoreError;

/// Name of the table.
pub(crate) const TABLE: &str = "histograms";
/// Most buckets of one sign that the points of an exponential chunk may span together.
const SPAN_MAX: i64 = 2_048;
/// Buckets times points buffered before they go to the Parquet writer.
const BATCH_COUNTS: usize = 1 << 20;

const AS_THEY_ARE: i8 = 0;
const INCREMENTS: i8 = 1;

/// Writes chunks of histograms.
pub(crate) struct HistogramWriter {
    table: TableWriter,
    head: HeadColumns,
    layouts: LayoutColumns,
    buckets: Vec<u32>,
    kinds: Vec<i8>,
    narrow: ListBuilder<Int32Builder>,
    wide: ListBuilder<Int64Builder>,
    count: ListBuilder<UInt64Builder>,
    zero_count: ListBuilder<UInt64Builder>,
    floats: [ListBuilder<Float64Builder>; 3],
    float_counts: FloatCounts,
    marks: ListBuilder<UInt8Builder>,
    counts_pending: usize,
}

/// The columns of float histograms.
struct FloatCounts {
    buckets: ListBuilder<Float64Builder>,
    count: ListBuilder<Float64Builder>,
    zero_count: ListBuilder<Float64Builder>,
}

#[derive(Default)]
struct LayoutColumns {
    bounds: Option<ListBuilder<Float64Builder>>,
    scale: Vec<Option<i32>>,
    zero_threshold: Vec<Option<f64>>,
    positive_offset: Vec<Option<i32>>,
    positive_len: Vec<Option<u32>>,
    negative_offset: Vec<Option<i32>>,
}

impl HistogramWriter {
    pub(crate) fn create(dir: &Path, shape: Shape) -> Result<Self, StoreError> {
        let integers = || ListBuilder::new(UInt64Builder::new()).with_field(columns::list_item(DataType::UInt64));
        Ok(Self {
            table: TableWriter::create(dir, TABLE, columns::histograms(), shape)?,
            head: HeadColumns::default(),
            layouts: LayoutColumns::default(),
            buckets: Vec::new(),
            kinds: Vec::new(),
            narrow: ListBuilder::new(Int32Builder::new()).with_field(columns::list_item(DataType::Int32)),
            wide: ListBuilder::new(Int64Builder::new()).with_field(columns::list_item(DataType::Int64)),
            count: integers(),
            zero_count: integers(),
            floats: [float_lists(), float_lists(), float_lists()],
            float_counts: FloatCounts { buckets: float_lists(), count: float_lists(), zero_count: float_lists() },
            marks: ListBuilder::new(UInt8Builder::new()).with_field(columns::list_item(DataType::UInt8)),
            counts_pending: 0,
        })
    }

    /// Writes all histograms of the next series. `cumulative` only chooses the smaller of two forms.
    pub(crate) fn push(
        &mut self,
        sid: u32,
        column: &Column<HistogramPoint>,
        cumulative: bool,
        timelines: &mut TimelineWriter,
    ) -> Result<(), StoreError> {
        for window in cut::by_time_and_start(&column.times, &column.starts) {
            for piece in by_layout(&column.values, window) {
                self.head.push(sid, &column.times[piece.clone()], &column.starts[piece.clone()], timelines)?;
                self.push_points(&column.values[piece], cumulative);
                if self.head.len() == BATCH_ROWS || self.counts_pending >= BATCH_COUNTS {
                    self.write()?;
                }
            }
        }
        Ok(())
    }

    fn push_points(&mut self, points: &[HistogramPoint], cumulative: bool) {
        let grid = Grid::of(points);
        let float = points.iter().any(|point| point.marks.is_float());
        let increments = cumulative && !float;
        self.layouts.push(&grid.layout);
        self.buckets.push(u32::try_from(grid.buckets).unwrap_or(u32::MAX));
        self.kinds.push(if increments { INCREMENTS } else { AS_THEY_ARE });
        let counts = grid.bucket_major(points, increments);
        self.counts_pending += counts.len() + points.len();
        if float {
            self.push_float_counts(points, &counts);
        } else {
            self.push_whole_counts(points, &counts);
        }
        let fields: [fn(&HistogramPoint) -> f64; 3] = [|point| point.sum, |point| point.min, |point| point.max];
        for (at, (lists, field)) in self.floats.iter_mut().zip(fields).enumerate() {
            let absent = at > 0 && points.iter().all(|point| field(point).to_bits() == f64::NAN.to_bits());
            if absent {
                lists.append_null();
            } else {
                lists.append_value(points.iter().map(|point| Some(field(point))));
            }
        }
        if points.iter().all(|point| point.marks == HistogramMarks::default()) {
            self.marks.append_null();
        } else {
            self.marks.append_value(points.iter().map(|point| Some(point.marks.bits())));
        }
    }

    fn push_whole_counts(&mut self, points: &[HistogramPoint], counts: &[i64]) {
        match counts.iter().map(|&count| i32::try_from(count)).collect::<Result<Vec<i32>, _>>() {
            Ok(list) => {
                self.narrow.values().append_slice(&list);
                self.narrow.append(true);
                self.wide.append_null();
            }
            Err(_) => {
                self.wide.values().append_slice(counts);
                self.wide.append(true);
                self.narrow.append_null();
            }
        }
        let told_by_buckets = points.iter().all(|point| point.count == buckets_total(&point.counts, point.zero_count));
        push_unless(told_by_buckets, &mut self.count, points.iter().map(|point| point.count));
        let no_zeros = points.iter().all(|point| point.zero_count == 0);
        push_unless(no_zeros, &mut self.zero_count, points.iter().map(|point| point.zero_count));
        let float = &mut self.float_counts;
        [&mut float.buckets, &mut float.count, &mut float.zero_count].into_iter().for_each(ListBuilder::append_null);
    }

    fn push_float_counts(&mut self, points: &[HistogramPoint], counts: &[i64]) {
        let double = |bits: u64| Some(f64::from_bits(bits));
        let float = &mut self.float_counts;
        float.buckets.append_value(counts.iter().map(|count| double(count.cast_unsigned())));
        float.count.append_value(points.iter().map(|point| double(point.count)));
        if points.iter().all(|point| point.zero_count == 0) {
            float.zero_count.append_null();
        } else {
            float.zero_count.append_value(points.iter().map(|point| double(point.zero_count)));
        }
        self.narrow.append_null();
        self.wide.append_null();
        self.count.append_null();
        self.zero_count.append_null();
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut all = self.head.take();
        all.extend(std::mem::take(&mut self.layouts).into_columns());
        let [sum, min, max] = &mut self.floats;
        let float = &mut self.float_counts;
        let values: [ArrayRef; 13] = [
            Arc::new(UInt32Array::from(std::mem::take(&mut self.buckets))),
            Arc::new(Int8Array::from(std::mem::take(&mut self.kinds))),
            Arc::new(self.narrow.finish()),
            Arc::new(self.wide.finish()),
            Arc::new(self.count.finish()),
            Arc::new(self.zero_count.finish()),
            Arc::new(sum.finish()),
            Arc::new(min.finish()),
            Arc::new(max.finish()),
            Arc::new(float.buckets.finish()),
            Arc::new(float.count.finish()),
            Arc::new(float.zero_count.finish()),
            Arc::new(self.marks.finish()),
        ];
        all.extend(values);
        self.counts_pending = 0;
        self.table.write(all)
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.table.finish()
    }
}

fn float_lists() -> ListBuilder<Float64Builder> {
    ListBuilder::new(Float64Builder::new()).with_field(columns::list_item(DataType::Float64))
}

fn push_unless(absent: bool, lists: &mut ListBuilder<UInt64Builder>, values: impl Iterator<Item = u64>) {
    if absent {
        lists.append_null();
    } else {
        lists.append_value(values.map(Some));
    }
}

fn buckets_total(counts: &[u64], zero_count: u64) -> u64 {
    counts.iter().fold(zero_count, |total, &count| total.wrapping_add(count))
}

impl LayoutColumns {
    fn push(&mut self, layout: &HistogramLayout) {
        let lists = self.bounds.get_or_insert_with(float_lists);
        let exponential = match layout {
            HistogramLayout::Explicit { bounds } => {
                lists.append_value(bounds.iter().map(|&bound| Some(bound)));
                None
            }
            HistogramLayout::Exponential { scale, zero_threshold, positive_offset, positive_len, negative_offset } => {
                lists.append_null();
                Some((*scale, *zero_threshold, *positive_offset, *positive_len, *negative_offset))
            }
        };
        self.scale.push(exponential.map(|layout| layout.0));
        self.zero_threshold.push(exponential.map(|layout| layout.1));
        self.positive_offset.push(exponential.map(|layout| layout.2));
        self.positive_len.push(exponential.map(|layout| layout.3));
        self.negative_offset.push(exponential.map(|layout| layout.4));
    }

    fn into_columns(self) -> [ArrayRef; 6] {
        [
            Arc::new(self.bounds.unwrap_or_else(float_lists).finish()),
            Arc::new(Int32Array::from(self.scale)),
            Arc::new(Float64Array::from(self.zero_threshold)),
            Arc::new(Int32Array::from(self.positive_offset)),
            Arc::new(UInt32Array::from(self.positive_len)),
            Arc::new(Int32Array::from(self.negative_offset)),
        ]
    }
}

/// Cuts where points no longer fit one grid of buckets.
fn by_layout(points: &[HistogramPoint], window: Range<usize>) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut from = window.start;
    let mut span = Span::of(&points[from]);
    for (at, point) in points.iter().enumerate().take(window.end).skip(window.start + 1) {
        let next = Span::of(point);
        let alike = point.marks.is_float() == points[from].marks.is_float();
        span = match span.with(&next) {
            Some(wider) if alike => wider,
            _ => {
                pieces.push(from..at);
                from = at;
                next
            }
        };
    }
    pieces.push(from..window.end);
    pieces
}

/// What the layouts of some points cover together; a side is first and one past the last index, empty when equal.
#[derive(Clone, Debug)]
enum Span {
    Explicit { bounds: Arc<[f64]>, counts: usize },
    Exponential { scale: i32, zero_threshold: u64, positive: (i64, i64), negative: (i64, i64) },
}

impl Span {
    fn of(point: &HistogramPoint) -> Self {
        match &point.layout {
            HistogramLayout::Explicit { bounds } => {
                Self::Explicit { bounds: Arc::clone(bounds), counts: point.counts.len() }
            }
            HistogramLayout::Exponential { scale, zero_threshold, positive_offset, positive_len, negative_offset } => {
                let positive = i64::from(*positive_len).min(point.counts.len() as i64);
                let negative = point.counts.len() as i64 - positive;
                let side = |offset: i32, len: i64| (i64::from(offset), i64::from(offset) + len);
                Self::Exponential {
                    scale: *scale,
                    zero_threshold: zero_threshold.to_bits(),
                    positive: side(*positive_offset, positive),
                    negative: side(*negative_offset, negative),
                }
            }
        }
    }

    fn with(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Explicit { bounds, counts }, Self::Explicit { bounds: others, counts: other_counts }) => {
                let same = counts == other_counts
                    && bounds.len() == others.len()
                    && bounds.iter().zip(others.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
                same.then(|| self.clone())
            }
            (
                Self::Exponential { scale, zero_threshold, positive, negative },
                Self::Exponential { scale: others, zero_threshold: threshold, positive: more, negative: less },
            ) if scale == others && zero_threshold == threshold => Some(Self::Exponential {
                scale: *scale,
                zero_threshold: *zero_threshold,
                positive: cover(*positive, *more)?,
                negative: cover(*negative, *less)?,
            }),
            _ => None,
        }
    }
}

fn cover(left: (i64, i64), right: (i64, i64)) -> Option<(i64, i64)> {
    if left.0 == left.1 {
        return Some(right);
    }
    if right.0 == right.1 {
        return Some(left);
    }
    let both = (left.0.min(right.0), left.1.max(right.1));
    (both.1 - both.0 <= SPAN_MAX).then_some(both)
}

/// The buckets of a chunk.
struct Grid {
    layout: HistogramLayout,
    buckets: usize,
    positive: (i64, i64),
    negative: (i64, i64),
}

impl Grid {
    /// The grid of points that [`by_layout`] kept together.
    fn of(points: &[HistogramPoint]) -> Self {
        let first = Span::of(&points[0]);
        let span = points.iter().skip(1).fold(first, |span, point| span.with(&Span::of(point)).unwrap_or(span));
        match span {
            Span::Explicit { bounds, counts } => Self {
                layout: HistogramLayout::Explicit { bounds },
                buckets: counts,
                positive: (0, 0),
                negative: (0, 0),
            },
            Span::Exponential { scale, zero_threshold, positive, negative } => Self {
                layout: HistogramLayout::Exponential {
                    scale,
                    zero_threshold: f64::from_bits(zero_threshold),
                    positive_offset: i32::try_from(positive.0).unwrap_or(0),
                    positive_len: u32::try_from(positive.1 - positive.0).unwrap_or(0),
                    negative_offset: i32::try_from(negative.0).unwrap_or(0),
                },
                buckets: usize::try_from(positive.1 - positive.0 + negative.1 - negative.0).unwrap_or(0),
                positive,
                negative,
            },
        }
    }

    /// The counts of `points`, bucket by bucket, as they are or as increments.
    fn bucket_major(&self, points: &[HistogramPoint], increments: bool) -> Vec<i64> {
        let n = points.len();
        let mut counts = vec![0_i64; self.buckets * n];
        for (k, point) in points.iter().enumerate() {
            for (bucket, &count) in self.buckets_of(point).zip(&point.counts) {
                counts[bucket * n + k] = count.cast_signed();
            }
        }
        if increments {
            for bucket in counts.chunks_exact_mut(n.max(1)) {
                for k in (1..n).rev() {
                    bucket[k] = bucket[k].wrapping_sub(bucket[k - 1]);
                }
            }
        }
        counts
    }

    /// The place in the grid of each count of `point`.
    fn buckets_of(&self, point: &HistogramPoint) -> Box<dyn Iterator<Item = usize>> {
        let Span::Exponential { positive, negative, .. } = Span::of(point) else { return Box::new(0..self.buckets) };
        let width = |side: (i64, i64)| usize::try_from(side.1 - side.0).unwrap_or(0);
        let from = usize::try_from(positive.0 - self.positive.0).unwrap_or(0);
        let negative_from = width(self.positive) + usize::try_from(negative.0 - self.negative.0).unwrap_or(0);
        Box::new((from..from + width(positive)).chain(negative_from..negative_from + width(negative)))
    }
}

/// Columns to read for [`decode`].
pub(crate) fn read_columns() -> Vec<&'static str> {
    let values = [
        columns::BOUNDS,
        columns::SCALE,
        columns::ZERO_THRESHOLD,
        columns::POSITIVE_OFFSET,
        columns::POSITIVE_LEN,
        columns::NEGATIVE_OFFSET,
        columns::BUCKETS,
        columns::COUNTS_KIND,
        columns::C32,
        columns::C64,
        columns::COUNT,
        columns::ZERO_COUNT,
        columns::SUM,
        columns::MIN,
        columns::MAX,
        columns::COUNTS_F64,
        columns::COUNT_F64,
        columns::ZERO_COUNT_F64,
        columns::MARKS,
    ];
    HEAD.into_iter().chain(values).collect()
}

/// The chunks of a batch of rows whose timelines are in `lists`.
pub(crate) fn decode(
    rows: Rows<'_>,
    head: &HeadReader<'_>,
    lists: &TimelineLists,
) -> Result<Vec<HistogramChunk>, StoreError> {
    let layouts = LayoutReader::new(rows)?;
    let kinds = rows.numbers::<Int8Type>(columns::COUNTS_KIND)?;
    let narrow = rows.list::<Int32Type>(columns::C32)?;
    let wide = rows.list::<Int64Type>(columns::C64)?;
    let float = rows.later_list::<Float64Type>(columns::COUNTS_F64)?;
    let points = PointReader {
        count: rows.list::<UInt64Type>(columns::COUNT)?,
        zero_count: rows.list::<UInt64Type>(columns::ZERO_COUNT)?,
        floats: [
            rows.list::<Float64Type>(columns::SUM)?,
            rows.list::<Float64Type>(columns::MIN)?,
            rows.list::<Float64Type>(columns::MAX)?,
        ],
        float_count: rows.later_list::<Float64Type>(columns::COUNT_F64)?,
        float_zero_count: rows.later_list::<Float64Type>(columns::ZERO_COUNT_F64)?,
        marks: rows.later_list::<UInt8Type>(columns::MARKS)?,
    };
    let mut chunks = Vec::with_capacity(rows.batch.num_rows());
    for row in 0..rows.batch.num_rows() {
        let (sid, times, starts) = head.row(row, lists)?;
        let n = times.len();
        let (layout, buckets) = layouts.row(row).ok_or_else(|| rows.bad_row(row, "its layout is incomplete"))?;
        let mut counts: Vec<i64> = match (narrow.row(row), wide.row(row), float.row(row)) {
            (Some(list), _, _) => list.iter().map(|&count| i64::from(count)).collect(),
            (None, Some(list), _) => list.to_vec(),
            (None, None, Some(list)) => list.iter().map(|count| count.to_bits().cast_signed()).collect(),
            (None, None, None) => return Err(rows.bad_row(row, "it has no counts")),
        };
        if counts.len() != buckets.saturating_mul(n) {
            return Err(rows.bad_row(row, "its counts do not fit its buckets and timeline"));
        }
        if kinds.value(row) == INCREMENTS {
            running_totals(&mut counts, n);
        }
        let points = points.row(row, &layout, &counts, n).ok_or_else(|| rows.bad_row(row, "a list is too short"))?;
        chunks.push(HistogramChunk { sid, starts, times, points });
    }
    Ok(chunks)
}

fn running_totals(counts: &mut [i64], n: usize) {
    for bucket in counts.chunks_exact_mut(n.max(1)) {
        for k in 1..n {
            bucket[k] = bucket[k].wrapping_add(bucket[k - 1]);
        }
    }
}

struct LayoutReader<'a> {
    bounds: NumberLists<'a, Float64Type>,
    scale: &'a Int32Array,
    zero_threshold: &'a Float64Array,
    positive_offset: &'a Int32Array,
    positive_len: &'a UInt32Array,
    negative_offset: &'a Int32Array,
    buckets: &'a UInt32Array,
}

impl<'a> LayoutReader<'a> {
    fn new(rows: Rows<'a>) -> Result<Self, StoreError> {
        Ok(Self {
            bounds: rows.list::<Float64Type>(columns::BOUNDS)?,
            scale: rows.numbers::<Int32Type>(columns::SCALE)?,
            zero_threshold: rows.numbers::<Float64Type>(columns::ZERO_THRESHOLD)?,
            positive_offset: rows.numbers::<Int32Type>(columns::POSITIVE_OFFSET)?,
            positive_len: rows.numbers::<UInt32Type>(columns::POSITIVE_LEN)?,
            negative_offset: rows.numbers::<Int32Type>(columns::NEGATIVE_OFFSET)?,
            buckets: rows.numbers::<UInt32Type>(columns::BUCKETS)?,
        })
    }

    fn row(&self, row: usize) -> Option<(HistogramLayout, usize)> {
        let buckets = self.buckets.value(row) as usize;
        if let Some(bounds) = self.bounds.row(row) {
            return Some((HistogramLayout::Explicit { bounds: bounds.into() }, buckets));
        }
        let columns: [&dyn Array; 5] =
            [self.scale, self.zero_threshold, self.positive_offset, self.positive_len, self.negative_offset];
        if columns.iter().any(|column| column.is_null(row)) || self.positive_len.value(row) as usize > buckets {
            return None;
        }
        let layout = HistogramLayout::Exponential {
            scale: self.scale.value(row),
            zero_threshold: self.zero_threshold.value(row),
            positive_offset: self.positive_offset.value(row),
            positive_len: self.positive_len.value(row),
            negative_offset: self.negative_offset.value(row),
        };
        Some((layout, buckets))
    }
}

struct PointReader<'a> {
    count: NumberLists<'a, UInt64Type>,
    zero_count: NumberLists<'a, UInt64Type>,
    floats: [NumberLists<'a, Float64Type>; 3],
    float_count: LaterLists<'a, Float64Type>,
    float_zero_count: LaterLists<'a, Float64Type>,
    marks: LaterLists<'a, UInt8Type>,
}

impl PointReader<'_> {
    fn row(&self, row: usize, layout: &HistogramLayout, counts: &[i64], n: usize) -> Option<Vec<HistogramPoint>> {
        let count = self.count.row(row);
        let zero_count = self.zero_count.row(row);
        let [sum, min, max] = [0, 1, 2].map(|at| self.floats[at].row(row));
        let (float_count, float_zero_count) = (self.float_count.row(row), self.float_zero_count.row(row));
        let marks = self.marks.row(row);
        let sum = sum?;
        let fits = sum.len() == n
            && [count, zero_count].iter().flatten().all(|list| list.len() == n)
            && [min, max, float_count, float_zero_count].iter().flatten().all(|list| list.len() == n)
            && marks.is_none_or(|list| list.len() == n);
        if !fits {
            return None;
        }
        let points = (0..n).map(|k| {
            let counts: Box<[u64]> = counts.iter().skip(k).step_by(n).map(|count| count.cast_unsigned()).collect();
            let zeros = zero_count.map(|list| list[k]).or(float_zero_count.map(|list| list[k].to_bits())).unwrap_or(0);
            let total = count.map(|list| list[k]).or(float_count.map(|list| list[k].to_bits()));
            let point = HistogramPoint {
                count: total.unwrap_or_else(|| buckets_total(&counts, zeros)),
                sum: sum[k],
                min: min.map_or(f64::NAN, |list| list[k]),
                max: max.map_or(f64::NAN, |list| list[k]),
                zero_count: zeros,
                layout: layout.clone(),
                counts,
                marks: marks.map_or(Some(HistogramMarks::default()), |list| HistogramMarks::from_bits(list[k]))?,
            };
            Some(point.trimmed())
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(offset: i32, counts: &[u64]) -> HistogramPoint {
        HistogramPoint {
            count: counts.iter().sum(),
            sum: 0.0,
            min: f64::NAN,
            max: f64::NAN,
            zero_count: 0,
            layout: HistogramLayout::Exponential {
                scale: 3,
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
    fn a_grid_covers_all_points_and_stands_bucket_by_bucket() {
        let points = [exponential(2, &[1, 2]), exponential(0, &[]), exponential(-1, &[5, 0, 0, 7])];
        assert_eq!(by_layout(&points, 0..3), [Range { start: 0, end: 3 }]);
        let grid = Grid::of(&points);
        assert_eq!((grid.positive, grid.buckets), ((-1, 4), 5));
        assert_eq!(grid.bucket_major(&points, false), [0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0, 7, 2, 0, 0]);
    }

    #[test]
    fn points_too_far_apart_are_not_one_chunk() {
        let points = [exponential(-2000, &[1]), exponential(2000, &[1])];
        assert_eq!(by_layout(&points, 0..2), [0..1, 1..2]);
    }

    #[test]
    fn increments_add_up_again() {
        let points = [exponential(0, &[1, 9]), exponential(0, &[4, 9]), exponential(0, &[2, 11])];
        let grid = Grid::of(&points);
        let mut counts = grid.bucket_major(&points, true);
        assert_eq!(counts, [1, 3, -2, 9, 0, 2]);
        running_totals(&mut counts, 3);
        assert_eq!(counts, [1, 4, 2, 9, 9, 11]);
    }
}
