//! Native histograms: spans and deltas become dense counts, checked as Prometheus checks what is appended.
//!
//! ```text
//! spans (gap, length)… + deltas or counts ─▶ counts from the first to the last bucket of each sign
//! Prometheus' bucket i covers (b^(i-1), b^i]; OTLP's, which columns hold, (b^i, b^(i+1)]: one lower
//! ```
//! Schemas over 8 that Prometheus has reserved (to 52) are halved until they are 8, as it does; others are refused.
//! Source: Prometheus model/histogram/histogram.go and float_histogram.go, `Validate`.

use super::row;
use crate::batch::{HistogramColumns, HistogramLayout, HistogramMarks, ResetHint, STALE_NAN_BITS};
use crate::otlp::wire::{self, Fields, WireError};
use crate::read::Reason;

/// Schema of histograms with custom buckets.
const SCHEMA_CUSTOM: i32 = -53;
/// The coarsest exponential schema.
const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema.
const SCHEMA_MAX: i32 = 8;
/// The finest schema that is halved until it is [`SCHEMA_MAX`].
const SCHEMA_RESERVED_MAX: i32 = 52;
/// Buckets between the first and the last of one sign, empty ones included: 60 powers of two at schema 8.
const SIDE_BUCKETS_MAX: usize = 16_384;

/// A histogram as sent, of either version.
#[derive(Default)]
pub(super) struct Sent {
    count: Number,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Number,
    positive: Side,
    negative: Side,
    custom_values: Vec<f64>,
    reset_hint: u64,
    pub(super) time_ms: i64,
    pub(super) start_ms: i64,
}

/// `count_int` or `count_float`.
#[derive(Clone, Copy)]
enum Number {
    Integer(u64),
    Float(f64),
}

/// Buckets of one sign as sent.
#[derive(Default)]
struct Side {
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Buckets of one sign between the first and the last, as numbers or as the bits of doubles.
#[derive(Default)]
struct Dense {
    /// Prometheus' index of the first.
    first: i64,
    counts: Vec<u64>,
}

/// A histogram that can be kept.
pub(super) struct Point {
    count: u64,
    sum: f64,
    zero_count: u64,
    layout: HistogramLayout,
    pub(super) counts: Vec<u64>,
    marks: HistogramMarks,
}

impl Default for Number {
    fn default() -> Self {
        Self::Integer(0)
    }
}

impl Sent {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        const COUNT_INT: u32 = wire::varint(1);
        const COUNT_FLOAT: u32 = wire::fixed64(2);
        const SUM: u32 = wire::fixed64(3);
        const SCHEMA: u32 = wire::varint(4);
        const ZERO_THRESHOLD: u32 = wire::fixed64(5);
        const ZERO_INT: u32 = wire::varint(6);
        const ZERO_FLOAT: u32 = wire::fixed64(7);
        const CUSTOM_VALUES: u32 = wire::len(16);
        const CUSTOM_VALUE_ALONE: u32 = wire::fixed64(16);
        const RESET_HINT: u32 = wire::varint(14);
        const TIME: u32 = wire::varint(15);
        const START: u32 = wire::varint(17);
        let mut sent = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.tag()? {
            match tag {
                COUNT_INT => sent.count = Number::Integer(fields.varint()?),
                COUNT_FLOAT => sent.count = Number::Float(fields.double()?),
                SUM => sent.sum = fields.double()?,
                SCHEMA => sent.schema = fields.sint32()?,
                ZERO_THRESHOLD => sent.zero_threshold = fields.double()?,
                ZERO_INT => sent.zero_count = Number::Integer(fields.varint()?),
                ZERO_FLOAT => sent.zero_count = Number::Float(fields.double()?),
                CUSTOM_VALUES => doubles(fields.bytes()?, &mut sent.custom_values)?,
                CUSTOM_VALUE_ALONE => sent.custom_values.push(fields.double()?),
                RESET_HINT => sent.reset_hint = fields.varint()?,
                TIME => sent.time_ms = fields.int64()?,
                START => sent.start_ms = fields.int64()?,
                // Spans, deltas and counts: 8 to 10 of the negative side, 11 to 13 of the positive one.
                _ => match tag >> 3 {
                    8..=10 => sent.negative.read(tag + (3 << 3), &mut fields)?,
                    11..=13 => sent.positive.read(tag, &mut fields)?,
                    _ => fields.skip(tag)?,
                },
            }
        }
        Ok(sent)
    }

    /// As columns hold it. `buckets_left` is what the request may still use.
    pub(super) fn checked(&self, buckets_left: usize) -> Result<Point, Reason> {
        let float = matches!(self.count, Number::Float(_));
        let marks = HistogramMarks::native(float, self.hint());
        if self.sum.to_bits() == STALE_NAN_BITS {
            let layout = exponential(0, 0.0, &Dense::default(), &Dense::default());
            return Ok(Point { count: 0, sum: self.sum, zero_count: 0, layout, counts: Vec::new(), marks });
        }
        let most = buckets_left.min(SIDE_BUCKETS_MAX);
        let (mut positive, mut negative) = (self.positive.dense(float, most)?, self.negative.dense(float, most)?);
        let (count, zero_count) = (bits(self.count, float)?, bits(self.zero_count, float)?);
        if !float {
            self.sums_up(&positive, &negative)?;
        }
        let (layout, counts) = if self.schema == SCHEMA_CUSTOM {
            self.custom(positive, &negative)?
        } else {
            let schema = self.schema;
            if !(SCHEMA_MIN..=SCHEMA_RESERVED_MAX).contains(&schema) || !self.custom_values.is_empty() {
                return Err(Reason::BadSchema);
            }
            if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
                return Err(Reason::BadNativeBuckets);
            }
            let halvings = u32::try_from(schema - SCHEMA_MAX).unwrap_or(0);
            positive.coarsen(halvings, float);
            negative.coarsen(halvings, float);
            let layout = exponential(schema.min(SCHEMA_MAX), self.zero_threshold, &positive, &negative);
            positive.counts.append(&mut negative.counts);
            (layout, positive.counts)
        };
        Ok(Point { count, sum: self.sum, zero_count, layout, counts, marks })
    }

    fn hint(&self) -> ResetHint {
        match self.reset_hint {
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        }
    }

    /// Whole counts must be the sum of their buckets, but for observations of NaN, which are in no bucket.
    fn sums_up(&self, positive: &Dense, negative: &Dense) -> Result<(), Reason> {
        let Number::Integer(count) = self.count else { return Ok(()) };
        let Number::Integer(zero_count) = self.zero_count else { return Err(Reason::BadNativeBuckets) };
        let all = positive.counts.iter().chain(&negative.counts);
        let total = all.fold(u128::from(zero_count), |total, &count| total + u128::from(count));
        let fits = if self.sum.is_nan() { total <= u128::from(count) } else { total == u128::from(count) };
        if fits { Ok(()) } else { Err(Reason::CountMismatch) }
    }

    /// One count per bound and one above the last.
    fn custom(&self, positive: Dense, negative: &Dense) -> Result<(HistogramLayout, Vec<u64>), Reason> {
        let bounds = &self.custom_values;
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let finite = bounds.iter().all(|bound| !bound.is_nan() && *bound != f64::INFINITY);
        let no_zero = matches!(self.zero_count, Number::Integer(0) | Number::Float(0.0)) && self.zero_threshold == 0.0;
        if !ascending || !finite || !no_zero || !negative.counts.is_empty() || bounds.len() >= SIDE_BUCKETS_MAX {
            return Err(Reason::BadNativeBuckets);
        }
        let mut counts = vec![0; bounds.len() + 1];
        for (index, count) in (positive.first..).zip(positive.counts) {
            let place = usize::try_from(index).ok().and_then(|at| counts.get_mut(at));
            *place.ok_or(Reason::BadNativeBuckets)? = count;
        }
        Ok((HistogramLayout::Explicit { bounds: bounds.as_slice().into() }, counts))
    }
}

impl Point {
    /// Appends the point.
    pub(super) fn push(self, series: u32, time_ns: i64, start_ns: i64, into: &mut HistogramColumns) {
        into.marks.resize(into.series.len(), HistogramMarks::default());
        into.marks.push(self.marks);
        into.series.push(series);
        into.start_ns.push(start_ns);
        into.time_ns.push(time_ns);
        into.count.push(self.count);
        into.sum.push(self.sum);
        into.min.push(f64::NAN);
        into.max.push(f64::NAN);
        into.zero_count.push(self.zero_count);
        // Points of one series follow each other, and mostly have the layout of the one before.
        if into.layouts.last() != Some(&self.layout) {
            into.layouts.push(self.layout);
        }
        into.layout.push(row(into.layouts.len() - 1));
        into.counts.extend_from_slice(&self.counts);
        into.counts_offsets.push(row(into.counts.len()));
    }
}

impl Side {
    /// Reads one of the side's three fields, numbered as the positive side's are.
    fn read(&mut self, tag: u32, fields: &mut Fields<'_>) -> Result<(), WireError> {
        const SPANS: u32 = wire::len(11);
        const DELTAS: u32 = wire::len(12);
        const DELTA_ALONE: u32 = wire::varint(12);
        const COUNTS: u32 = wire::len(13);
        const COUNT_ALONE: u32 = wire::fixed64(13);
        match tag {
            SPANS => self.spans.push(span(fields.bytes()?)?),
            DELTAS => {
                let mut packed = Fields::new(fields.bytes()?);
                while packed.remaining() > 0 {
                    self.deltas.push(packed.sint64()?);
                }
            }
            DELTA_ALONE => self.deltas.push(fields.sint64()?),
            COUNTS => doubles(fields.bytes()?, &mut self.counts)?,
            COUNT_ALONE => self.counts.push(fields.double()?),
            _ => fields.skip(tag)?,
        }
        Ok(())
    }

    /// All buckets from the first to the last.
    fn dense(&self, float: bool, most: usize) -> Result<Dense, Reason> {
        let counts = self.absolute(float)?;
        let lengths = self.spans.iter().map(|span| u64::from(span.1)).sum::<u64>();
        if lengths != counts.len() as u64 {
            return Err(Reason::BadNativeBuckets);
        }
        let mut dense = Dense::default();
        let mut counts = counts.into_iter();
        let mut next = 0_i64;
        for (at, &(offset, length)) in self.spans.iter().enumerate() {
            if at > 0 && offset < 0 {
                return Err(Reason::BadNativeBuckets);
            }
            next += i64::from(offset);
            if length == 0 {
                continue;
            }
            if dense.counts.is_empty() {
                dense.first = next;
            }
            let begin = usize::try_from(next - dense.first).unwrap_or(usize::MAX);
            if begin.saturating_add(length as usize) > most {
                return Err(Reason::TooManyBuckets);
            }
            dense.counts.resize(begin, 0);
            dense.counts.extend(counts.by_ref().take(length as usize));
            next += i64::from(length);
        }
        // One more or less than an i32 is where OTLP's index is.
        let last = dense.first + dense.counts.len() as i64;
        let fits = dense.first > i64::from(i32::MIN) && last < i64::from(i32::MAX);
        if fits { Ok(dense) } else { Err(Reason::BadNativeBuckets) }
    }

    /// The counts themselves, as numbers or as the bits of doubles.
    fn absolute(&self, float: bool) -> Result<Vec<u64>, Reason> {
        let other = if float { self.deltas.len() } else { self.counts.len() };
        if other > 0 {
            return Err(Reason::BadNativeBuckets);
        }
        if float {
            let counts = self.counts.iter().map(|&count| if count >= 0.0 { Some(count.to_bits()) } else { None });
            return counts.collect::<Option<_>>().ok_or(Reason::BadNativeBuckets);
        }
        let mut count = 0_i64;
        let counts = self.deltas.iter().map(|delta| {
            count = count.checked_add(*delta)?;
            u64::try_from(count).ok()
        });
        counts.collect::<Option<_>>().ok_or(Reason::BadNativeBuckets)
    }
}

impl Dense {
    /// Joins buckets until the schema is `halvings` lower.
    fn coarsen(&mut self, halvings: u32, float: bool) {
        if halvings == 0 || self.counts.is_empty() {
            return;
        }
        let shift = halvings.min(62);
        let coarse = |index: i64| ((index - 1) >> shift) + 1;
        let first = coarse(self.first);
        let mut joined: Vec<u64> = Vec::new();
        for (index, &count) in (self.first..).zip(&self.counts) {
            let at = usize::try_from(coarse(index) - first).unwrap_or(0);
            if joined.len() <= at {
                joined.resize(at + 1, 0);
            }
            joined[at] = if float {
                (f64::from_bits(joined[at]) + f64::from_bits(count)).to_bits()
            } else {
                joined[at].saturating_add(count)
            };
        }
        *self = Self { first, counts: joined };
    }

    /// OTLP's index of the first bucket; 0 when there is none.
    fn offset(&self) -> i32 {
        if self.counts.is_empty() { 0 } else { i32::try_from(self.first - 1).unwrap_or(0) }
    }
}

fn exponential(scale: i32, zero_threshold: f64, positive: &Dense, negative: &Dense) -> HistogramLayout {
    HistogramLayout::Exponential {
        scale,
        zero_threshold,
        positive_offset: positive.offset(),
        positive_len: row(positive.counts.len()),
        negative_offset: negative.offset(),
    }
}

/// A count as columns hold it; it must be of the kind that the histogram's count is.
fn bits(number: Number, float: bool) -> Result<u64, Reason> {
    match number {
        Number::Integer(count) if !float => Ok(count),
        // An absent zero count reads as the integer 0.
        Number::Integer(0) => Ok(0),
        Number::Float(count) if float && count >= 0.0 => Ok(count.to_bits()),
        _ => Err(Reason::BadNativeBuckets),
    }
}

fn span(bytes: &[u8]) -> Result<(i32, u32), WireError> {
    const OFFSET: u32 = wire::varint(1);
    const LENGTH: u32 = wire::varint(2);
    let (mut offset, mut length) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(tag) = fields.tag()? {
        match tag {
            OFFSET => offset = fields.sint32()?,
            LENGTH => length = fields.varint32()?,
            _ => fields.skip(tag)?,
        }
    }
    Ok((offset, length))
}

fn doubles(packed: &[u8], into: &mut Vec<f64>) -> Result<(), WireError> {
    let mut fields = Fields::new(packed);
    while fields.remaining() > 0 {
        into.push(fields.double()?);
    }
    Ok(())
}
