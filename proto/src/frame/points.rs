//! Metric points of a frame. Each is sent as its difference from what its series makes one expect: the same start
//! (for deltas: the time before), and a value near the last one.
//!
//! ```text
//! series   ┌────────────┬────────┬──────────────────────────────────┐
//!          │ list slot  │ same   │ if not the same: series numbers  │   the batch's own series table
//!          └────────────┴────────┴──────────────────────────────────┘
//! numbers  ┌─────────┬────────────┬──────┬─────────────┬──────────────────┬─────────────┐
//!          │ series  │ start minus│ time │ value class │ whole, thousandth│ other values│
//!          │ (local) │ expected   │      │             │ steps (zigzag)   │ (bits)      │
//!          └─────────┴────────────┴──────┴─────────────┴──────────────────┴─────────────┘
//! class    0 the series' last value · 1 whole number, minus the last · 2 other bits · 3 thousandths, minus the last
//! histograms: series, start, time, layout columns; layouts; count and zero count minus the last (cumulative only);
//!             sum, min, max bits; numbers of buckets; buckets minus the last (cumulative of as many buckets);
//!             marks, where the header's flag says so
//! exemplars: series, time, value columns; trace ids, span ids as bytes; attributes are with the others'
//! ```

use std::sync::Arc;

use super::FrameError;
use super::bytes::{Cursor, unzigzag, zigzag};
use super::column::{put_column, take_column};
use super::dictionary::{Known, LISTS, LastHistogram, LastPoint, Told};
use crate::batch::{ExemplarColumns, HistogramColumns, HistogramLayout, HistogramMarks, NumberColumns};
use crate::identity::{SeriesIdentity, Temporality};

/// Whole numbers up to here are exact in a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

const SAME: u64 = 0;
const WHOLE: u64 = 1;
const OTHER: u64 = 2;
const THOUSANDTHS: u64 = 3;

/// Numbers the series of a batch, remembering new ones (they are appended to `new`); says which list was expected.
pub(super) fn number_series(
    known: &mut Known,
    series: &[Arc<SeriesIdentity>],
    new: &mut Vec<Arc<SeriesIdentity>>,
) -> (usize, Vec<u32>) {
    let Some(first) = series.first() else { return (0, Vec::new()) };
    let begins = |list: &Vec<u32>| list.first().is_some_and(|&at| Arc::ptr_eq(&known.series[at as usize], first));
    let expected = known.lists.iter().position(begins);
    let slot = expected.unwrap_or(known.next_list);
    let list = expected.map(|slot| std::mem::take(&mut known.lists[slot])).unwrap_or_default();
    let mut numbers = Vec::with_capacity(series.len());
    for (at, identity) in series.iter().enumerate() {
        let number = match list.get(at) {
            Some(&number) if Arc::ptr_eq(&known.series[number as usize], identity) => number,
            _ => {
                let (number, is_new) = known.series(identity);
                if is_new {
                    new.push(Arc::clone(identity));
                }
                number
            }
        };
        numbers.push(number);
    }
    if expected.is_some() {
        known.lists[slot] = list;
    }
    (slot, numbers)
}

/// Appends the numbers of the batch's series, or only that they are those of list `slot`.
pub(super) fn put_series(known: &mut Known, slot: usize, numbers: &[u32], out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    out.push(u8::try_from(slot).expect("there are few lists"));
    let same = known.lists.get(slot).is_some_and(|list| list == numbers);
    out.push(u8::from(same));
    if same {
        return;
    }
    put_column(&widen(numbers), out);
    known.bytes += 4 * numbers.len();
    match known.lists.get_mut(slot) {
        Some(list) => {
            known.bytes = known.bytes.saturating_sub(4 * list.len());
            *list = numbers.to_vec();
        }
        None => known.lists.push(numbers.to_vec()),
    }
    if slot == known.next_list {
        known.next_list = (slot + 1) % LISTS;
    }
}

/// The numbers of the batch's `n` series.
pub(super) fn take_series(cursor: &mut Cursor<'_>, told: &mut Told, n: usize) -> Result<Vec<u32>, FrameError> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let slot = usize::from(cursor.byte()?);
    if cursor.byte()? != 0 {
        let list = told.lists.get(slot).filter(|list| list.len() == n);
        return Ok(list.ok_or_else(|| cursor.malformed("series list that was never sent"))?.clone());
    }
    let numbers = narrow(cursor, n, told.series.len(), "series that was never defined")?;
    told.bytes += 4 * n;
    let count = told.lists.len();
    match told.lists.get_mut(slot) {
        Some(list) => {
            told.bytes = told.bytes.saturating_sub(4 * list.len());
            list.clone_from(&numbers);
        }
        None if slot == count && slot < LISTS => told.lists.push(numbers.clone()),
        None => return Err(cursor.malformed("series list out of order")),
    }
    Ok(numbers)
}

/// Appends number points; `numbers` are the batch's series as the epoch numbers them.
pub(super) fn put_numbers(known: &mut Known, numbers: &[u32], points: &NumberColumns, out: &mut Vec<u8>) {
    let n = points.series.len();
    if n == 0 {
        return;
    }
    put_column(&widen(&points.series), out);
    let (mut starts, mut classes) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut steps, mut others) = (Vec::with_capacity(n), Vec::new());
    for row in 0..n {
        let at = numbers[points.series[row] as usize] as usize;
        let last = &mut known.last[at];
        starts.push(start_residual(last, points.start_ns[row], points.time_ns[row]));
        let bits = points.value[row].to_bits();
        let before = std::mem::replace(&mut last.value, bits);
        if bits == before {
            classes.push(SAME);
        } else if let Some(now) = whole(bits) {
            classes.push(WHOLE);
            steps.push(zigzag(now - whole(before).unwrap_or(0)));
        } else if let Some(now) = thousandths(bits) {
            classes.push(THOUSANDTHS);
            steps.push(zigzag(now - thousandths(before).unwrap_or(0)));
        } else {
            classes.push(OTHER);
            others.push(bits);
        }
    }
    put_column(&starts, out);
    put_column(&cast(&points.time_ns), out);
    put_column(&classes, out);
    put_column(&steps, out);
    put_column(&others, out);
}

/// The `n` number points.
pub(super) fn take_numbers(
    cursor: &mut Cursor<'_>,
    told: &mut Told,
    numbers: &[u32],
    n: usize,
) -> Result<NumberColumns, FrameError> {
    let mut points = NumberColumns::default();
    if n == 0 {
        return Ok(points);
    }
    points.series = narrow(cursor, n, numbers.len(), "point of a series that the batch has not")?;
    let starts = column(cursor, n)?;
    points.time_ns = uncast(&column(cursor, n)?);
    let classes = column(cursor, n)?;
    let count = |wanted: &[u64]| classes.iter().filter(|class| wanted.contains(class)).count();
    let mut steps = column(cursor, count(&[WHOLE, THOUSANDTHS]))?.into_iter();
    let mut others = column(cursor, count(&[OTHER]))?.into_iter();
    points.start_ns.reserve(n);
    points.value.reserve(n);
    let counted = "the columns were taken with the counts of these classes";
    for row in 0..n {
        let at = numbers[points.series[row] as usize] as usize;
        let last = &mut told.last[at];
        points.start_ns.push(undo_start(last, starts[row], points.time_ns[row]));
        let bits = match classes[row] {
            SAME => last.value,
            WHOLE => {
                let before = whole(last.value).unwrap_or(0);
                (before.wrapping_add(unzigzag(steps.next().expect(counted))) as f64).to_bits()
            }
            THOUSANDTHS => {
                let before = thousandths(last.value).unwrap_or(0);
                (before.wrapping_add(unzigzag(steps.next().expect(counted))) as f64 / 1000.0).to_bits()
            }
            OTHER => others.next().expect(counted),
            _ => return Err(cursor.malformed("value of an unknown class")),
        };
        last.value = bits;
        points.value.push(f64::from_bits(bits));
    }
    Ok(points)
}

/// The whole number that a double is, bit for bit (so not -0.0).
#[inline]
fn whole(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let whole = value as i64;
    ((whole as f64).to_bits() == bits && value.abs() < EXACT_MAX).then_some(whole)
}

/// The thousandths of which a double is the nearest to their quotient, bit for bit.
#[inline]
fn thousandths(bits: u64) -> Option<i64> {
    let scaled = f64::from_bits(bits) * 1000.0;
    // To the nearest by truncation: `round` is a function call without SSE 4.1. The bound keeps the sum exact.
    let thousandths = (scaled + 0.5_f64.copysign(scaled)) as i64;
    (scaled.abs() < EXACT_MAX / 4.0 && (thousandths as f64 / 1000.0).to_bits() == bits).then_some(thousandths)
}

/// What the start differs by from what is expected, and remembers both times.
#[inline]
fn start_residual(last: &mut LastPoint, start_ns: i64, time_ns: i64) -> u64 {
    let residual = start_ns.wrapping_sub(expected_start(last));
    (last.start_ns, last.time_ns) = (start_ns, time_ns);
    zigzag(residual)
}

#[inline]
fn undo_start(last: &mut LastPoint, residual: u64, time_ns: i64) -> i64 {
    let start_ns = expected_start(last).wrapping_add(unzigzag(residual));
    (last.start_ns, last.time_ns) = (start_ns, time_ns);
    start_ns
}

/// A delta begins where the one before ended; everything else began when it did.
#[inline]
fn expected_start(last: &LastPoint) -> i64 {
    if last.temporality == Temporality::Delta { last.time_ns } else { last.start_ns }
}

/// Appends histogram points.
pub(super) fn put_histograms(known: &mut Known, numbers: &[u32], points: &HistogramColumns, out: &mut Vec<u8>) {
    let n = points.series.len();
    if n == 0 {
        return;
    }
    put_column(&widen(&points.series), out);
    let mut starts = Vec::with_capacity(n);
    let (mut counts, mut zeros) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut buckets = Vec::with_capacity(points.counts.len());
    for row in 0..n {
        let at = numbers[points.series[row] as usize] as usize;
        let last = &mut known.last[at];
        starts.push(start_residual(last, points.start_ns[row], points.time_ns[row]));
        let owned = points.counts_offsets[row] as usize..points.counts_offsets[row + 1] as usize;
        let now = LastHistogram {
            count: points.count[row],
            zero_count: points.zero_count[row],
            counts: points.counts[owned].to_vec(),
        };
        let nothing = LastHistogram::default();
        let before = last.histogram.as_deref().unwrap_or(&nothing);
        counts.push(difference(now.count, before.count));
        zeros.push(difference(now.zero_count, before.zero_count));
        for (bucket, &value) in now.counts.iter().enumerate() {
            buckets.push(difference(value, expected_bucket(before, &now, bucket)));
        }
        remember_histogram(last, now);
    }
    put_column(&starts, out);
    put_column(&cast(&points.time_ns), out);
    put_column(&widen(&points.layout), out);
    put_layouts(&points.layouts, out);
    put_column(&counts, out);
    put_column(&zeros, out);
    for doubles in [&points.sum, &points.min, &points.max] {
        put_column(&bits(doubles), out);
    }
    put_column(&lengths(&points.counts_offsets), out);
    put_column(&buckets, out);
}

/// The `n` histogram points with `layouts` layouts.
pub(super) fn take_histograms(
    cursor: &mut Cursor<'_>,
    told: &mut Told,
    numbers: &[u32],
    (n, layouts): (usize, usize),
) -> Result<HistogramColumns, FrameError> {
    let mut points = HistogramColumns::default();
    if n == 0 {
        return Ok(points);
    }
    points.series = narrow(cursor, n, numbers.len(), "point of a series that the batch has not")?;
    let starts = column(cursor, n)?;
    points.time_ns = uncast(&column(cursor, n)?);
    points.layout = narrow(cursor, n, layouts, "point of a layout that the batch has not")?;
    points.layouts = take_layouts(cursor, layouts)?;
    let counts = column(cursor, n)?;
    let zeros = column(cursor, n)?;
    points.sum = unbits(&column(cursor, n)?);
    points.min = unbits(&column(cursor, n)?);
    points.max = unbits(&column(cursor, n)?);
    points.counts_offsets = take_offsets(cursor, n, 24)?;
    let total = points.counts_offsets[n] as usize;
    points.counts = column(cursor, total)?;
    for row in 0..n {
        let at = numbers[points.series[row] as usize] as usize;
        let last = &mut told.last[at];
        points.start_ns.push(undo_start(last, starts[row], points.time_ns[row]));
        let nothing = LastHistogram::default();
        let before = last.histogram.as_deref().unwrap_or(&nothing);
        let owned = points.counts_offsets[row] as usize..points.counts_offsets[row + 1] as usize;
        let mut now = LastHistogram {
            count: sum(before.count, counts[row]),
            zero_count: sum(before.zero_count, zeros[row]),
            counts: points.counts[owned.clone()].to_vec(),
        };
        for bucket in 0..now.counts.len() {
            now.counts[bucket] = sum(expected_bucket(before, &now, bucket), now.counts[bucket]);
        }
        points.count.push(now.count);
        points.zero_count.push(now.zero_count);
        points.counts[owned].copy_from_slice(&now.counts);
        remember_histogram(last, now);
    }
    Ok(points)
}

fn difference(now: u64, before: u64) -> u64 {
    zigzag(now.wrapping_sub(before) as i64)
}

fn sum(before: u64, difference: u64) -> u64 {
    before.wrapping_add(unzigzag(difference) as u64)
}

fn expected_bucket(before: &LastHistogram, now: &LastHistogram, bucket: usize) -> u64 {
    if before.counts.len() == now.counts.len() { before.counts[bucket] } else { 0 }
}

/// Deltas are small as they are; only cumulative buckets are worth keeping.
fn remember_histogram(last: &mut LastPoint, now: LastHistogram) {
    if last.temporality == Temporality::Cumulative {
        last.histogram = Some(Box::new(now));
    }
}

fn put_layouts(layouts: &[HistogramLayout], out: &mut Vec<u8>) {
    let mut columns: [Vec<u64>; 8] = Default::default();
    let [kinds, lengths, bounds, scales, thresholds, offsets, positives, negatives] = &mut columns;
    for layout in layouts {
        match layout {
            HistogramLayout::Explicit { bounds: upper } => {
                kinds.push(0);
                lengths.push(upper.len() as u64);
                bounds.extend(upper.iter().map(|bound| bound.to_bits()));
            }
            HistogramLayout::Exponential { scale, zero_threshold, positive_offset, positive_len, negative_offset } => {
                kinds.push(1);
                scales.push(zigzag(i64::from(*scale)));
                thresholds.push(zero_threshold.to_bits());
                offsets.push(zigzag(i64::from(*positive_offset)));
                positives.push(u64::from(*positive_len));
                negatives.push(zigzag(i64::from(*negative_offset)));
            }
        }
    }
    columns.iter().for_each(|column| put_column(column, out));
}

fn take_layouts(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<HistogramLayout>, FrameError> {
    let kinds = column(cursor, n)?;
    let explicit = kinds.iter().filter(|&&kind| kind == 0).count();
    let offsets = take_offsets(cursor, explicit, 16)?;
    let bounds = unbits(&column(cursor, offsets[explicit] as usize)?);
    let exponential = n - explicit;
    let scales = small(cursor, exponential)?;
    let thresholds = unbits(&column(cursor, exponential)?);
    let positive_offsets = small(cursor, exponential)?;
    let positive_lens = narrow(cursor, exponential, usize::MAX, "more buckets than can be")?;
    let negative_offsets = small(cursor, exponential)?;
    let (mut layouts, mut at, mut next_explicit) = (Vec::with_capacity(n), 0, 0);
    for kind in kinds {
        if kind == 0 {
            let owned = offsets[next_explicit] as usize..offsets[next_explicit + 1] as usize;
            layouts.push(HistogramLayout::Explicit { bounds: bounds[owned].into() });
            next_explicit += 1;
        } else {
            layouts.push(HistogramLayout::Exponential {
                scale: scales[at],
                zero_threshold: thresholds[at],
                positive_offset: positive_offsets[at],
                positive_len: positive_lens[at],
                negative_offset: negative_offsets[at],
            });
            at += 1;
        }
    }
    Ok(layouts)
}

/// Appends the marks of histograms, where there are any; the frame's header says so.
pub(super) fn put_marks(points: &HistogramColumns, out: &mut Vec<u8>) {
    if !points.marks.is_empty() {
        let marks = (0..points.series.len()).map(|row| u64::from(points.marks_of(row).bits()));
        put_column(&marks.collect::<Vec<_>>(), out);
    }
}

/// The marks of `n` histograms.
pub(super) fn take_marks(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<HistogramMarks>, FrameError> {
    let bits = column(cursor, n)?;
    let marks: Option<Vec<HistogramMarks>> =
        bits.into_iter().map(|bits| u8::try_from(bits).ok().and_then(HistogramMarks::from_bits)).collect();
    marks.ok_or_else(|| cursor.malformed("marks of a histogram that nobody writes"))
}

/// Appends exemplars; their attributes are collected elsewhere.
pub(super) fn put_exemplars(exemplars: &ExemplarColumns, out: &mut Vec<u8>) {
    put_column(&widen(&exemplars.series), out);
    put_column(&cast(&exemplars.time_ns), out);
    put_column(&bits(&exemplars.value), out);
    exemplars.trace_id.iter().for_each(|id| out.extend_from_slice(id));
    exemplars.span_id.iter().for_each(|id| out.extend_from_slice(id));
}

/// The `n` exemplars of a batch with `series` series, without their attributes.
pub(super) fn take_exemplars(cursor: &mut Cursor<'_>, series: usize, n: usize) -> Result<ExemplarColumns, FrameError> {
    let mut exemplars = ExemplarColumns {
        series: narrow(cursor, n, series, "exemplar of a series that the batch has not")?,
        time_ns: uncast(&column(cursor, n)?),
        value: unbits(&column(cursor, n)?),
        ..ExemplarColumns::default()
    };
    exemplars.trace_id = take_ids(cursor, n)?;
    exemplars.span_id = take_ids(cursor, n)?;
    Ok(exemplars)
}

/// `n` ids of `N` bytes.
pub(super) fn take_ids<const N: usize>(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<[u8; N]>, FrameError> {
    let bytes = cursor.take(n.saturating_mul(N))?;
    Ok(bytes.chunks_exact(N).map(|id| id.try_into().expect("chunks are exact")).collect())
}

/// A column of `n` values on its own; the caller has charged for the rows.
pub(super) fn column(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<u64>, FrameError> {
    let mut values = Vec::new();
    take_column(cursor, n, &mut values)?;
    Ok(values)
}

/// A column of `n` 32-bit numbers, each below `limit` (`usize::MAX`: any).
pub(super) fn narrow(
    cursor: &mut Cursor<'_>,
    n: usize,
    limit: usize,
    what: &'static str,
) -> Result<Vec<u32>, FrameError> {
    let values = column(cursor, n)?;
    if values.iter().any(|&value| value >= limit as u64 || value > u64::from(u32::MAX)) {
        return Err(cursor.malformed(what));
    }
    Ok(values.into_iter().map(|value| value as u32).collect())
}

/// A zigzag column of `n` 32-bit numbers.
fn small(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<i32>, FrameError> {
    let values = column(cursor, n)?;
    let narrowed: Result<Vec<i32>, _> = values.into_iter().map(|value| i32::try_from(unzigzag(value))).collect();
    narrowed.map_err(|_| cursor.malformed("number beyond 32 bits"))
}

/// A column of `n` lengths as offsets, the things counted charged at `each` bytes.
pub(super) fn take_offsets(cursor: &mut Cursor<'_>, n: usize, each: usize) -> Result<Vec<u32>, FrameError> {
    let mut offsets = Vec::with_capacity(n + 1);
    let mut end = 0_u32;
    offsets.push(end);
    for length in column(cursor, n)? {
        cursor.charge(usize::try_from(length).unwrap_or(usize::MAX), each)?;
        let next = u32::try_from(length).ok().and_then(|length| end.checked_add(length));
        end = next.ok_or_else(|| cursor.malformed("more entries than a batch can have"))?;
        offsets.push(end);
    }
    Ok(offsets)
}

/// How many each row owns.
pub(super) fn lengths(offsets: &[u32]) -> Vec<u64> {
    offsets.windows(2).map(|pair| u64::from(pair[1] - pair[0])).collect()
}

/// Indices as a column's numbers.
pub(super) fn widen(values: &[u32]) -> Vec<u64> {
    values.iter().map(|&value| u64::from(value)).collect()
}

/// Times as a column's numbers: it steps from one to the next.
pub(super) fn cast(values: &[i64]) -> Vec<u64> {
    values.iter().map(|&value| value as u64).collect()
}

/// Undoes [`cast`].
pub(super) fn uncast(values: &[u64]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn unbits(values: &[u64]) -> Vec<f64> {
    values.iter().map(|&value| f64::from_bits(value)).collect()
}
