//! Explicit and exponential histogram points.

use super::attributes::Fault;
use super::memory::{MetricCursor, Run};
use super::metrics::Walk;
use super::number::{NO_RECORDED_VALUE, times};
use super::row;
use super::wire::{self, Fields, WireError};
use crate::batch::{HistogramLayout, STALE_NAN_BITS};
use crate::read::Reason;

/// What both kinds of histogram points have.
struct Common {
    start: u64,
    at: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    zero_count: u64,
    flags: u32,
    has_exemplars: bool,
    run: Run,
}

/// One side of an exponential histogram.
#[derive(Clone, Copy, Default)]
struct Side {
    offset: i32,
    len: usize,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            start: 0,
            at: 0,
            count: 0,
            sum: f64::NAN,
            min: f64::NAN,
            max: f64::NAN,
            zero_count: 0,
            flags: 0,
            has_exemplars: false,
            run: Run::default(),
        }
    }
}

impl Walk<'_> {
    /// Appends one HistogramDataPoint.
    pub(super) fn histogram_point(&mut self, metric: &mut MetricCursor, point: &[u8]) -> Result<(), Fault> {
        const START: u32 = wire::fixed64(2);
        const TIME: u32 = wire::fixed64(3);
        const COUNT: u32 = wire::fixed64(4);
        const SUM: u32 = wire::fixed64(5);
        const COUNTS: u32 = wire::len(6);
        const COUNT_ALONE: u32 = wire::fixed64(6);
        const BOUNDS: u32 = wire::len(7);
        const BOUND_ALONE: u32 = wire::fixed64(7);
        const EXEMPLARS: u32 = wire::len(8);
        const ATTRIBUTES: u32 = wire::len(9);
        const FLAGS: u32 = wire::varint(10);
        const MIN: u32 = wire::fixed64(11);
        const MAX: u32 = wire::fixed64(12);
        let mut common = Common::default();
        self.counts.clear();
        self.scratch.clear();
        let mut fields = Fields::new(point);
        while let Some(tag) = fields.tag()? {
            match tag {
                START => common.start = fields.fixed64()?,
                TIME => common.at = fields.fixed64()?,
                COUNT => common.count = fields.fixed64()?,
                SUM => common.sum = fields.double()?,
                COUNTS => put_counts(self.counts, fields.bytes()?)?,
                COUNT_ALONE => self.counts.push(fields.fixed64()?),
                BOUNDS => self.scratch.extend_from_slice(fields.bytes()?),
                BOUND_ALONE => self.scratch.extend_from_slice(&fields.fixed64()?.to_le_bytes()),
                EXEMPLARS => {
                    fields.bytes()?;
                    common.has_exemplars = true;
                }
                ATTRIBUTES => common.run.extend(&mut fields, point, self.memory.predicted(metric))?,
                FLAGS => common.flags = fields.varint32()?,
                MIN => common.min = fields.double()?,
                MAX => common.max = fields.double()?,
                _ => fields.skip(tag)?,
            }
        }
        times(common.start, common.at)?;
        let layout = self.explicit_layout()?;
        self.push_histogram(metric, point, common, Rest { attributes: ATTRIBUTES, exemplars: EXEMPLARS, layout })
    }

    /// Checks counts against bounds, which lie in the scratch, and finds the layout.
    fn explicit_layout(&mut self) -> Result<u32, Fault> {
        let bounds_sent = self.scratch.len() / 8;
        if self.counts.len().max(bounds_sent) > self.memory.limits().buckets_max {
            return Err(Reason::TooManyBuckets.into());
        }
        if !self.scratch.len().is_multiple_of(8) || !(self.counts.is_empty() || self.counts.len() == bounds_sent + 1) {
            return Err(Reason::BadBuckets.into());
        }
        let layout = self.layouts.explicit(self.scratch, &mut self.into.histograms.layouts)?;
        if layout.bounds < bounds_sent
            && let Some(beyond_infinity) = self.counts.pop()
            && let Some(last) = self.counts.last_mut()
        {
            *last = last.saturating_add(beyond_infinity);
        }
        Ok(layout.at)
    }

    /// Appends one ExponentialHistogramDataPoint.
    pub(super) fn exponential_point(&mut self, metric: &mut MetricCursor, point: &[u8]) -> Result<(), Fault> {
        const ATTRIBUTES: u32 = wire::len(1);
        const START: u32 = wire::fixed64(2);
        const TIME: u32 = wire::fixed64(3);
        const COUNT: u32 = wire::fixed64(4);
        const SUM: u32 = wire::fixed64(5);
        const SCALE: u32 = wire::varint(6);
        const ZERO_COUNT: u32 = wire::fixed64(7);
        const POSITIVE: u32 = wire::len(8);
        const NEGATIVE: u32 = wire::len(9);
        const FLAGS: u32 = wire::varint(10);
        const EXEMPLARS: u32 = wire::len(11);
        const MIN: u32 = wire::fixed64(12);
        const MAX: u32 = wire::fixed64(13);
        const ZERO_THRESHOLD: u32 = wire::fixed64(14);
        let mut common = Common::default();
        let (mut scale, mut zero_threshold) = (0, 0.0);
        let (mut positive, mut negative) = (&[][..], &[][..]);
        let mut fields = Fields::new(point);
        while let Some(tag) = fields.tag()? {
            match tag {
                ATTRIBUTES => common.run.extend(&mut fields, point, self.memory.predicted(metric))?,
                START => common.start = fields.fixed64()?,
                TIME => common.at = fields.fixed64()?,
                COUNT => common.count = fields.fixed64()?,
                SUM => common.sum = fields.double()?,
                SCALE => scale = fields.sint32()?,
                ZERO_COUNT => common.zero_count = fields.fixed64()?,
                POSITIVE => positive = fields.bytes()?,
                NEGATIVE => negative = fields.bytes()?,
                FLAGS => common.flags = fields.varint32()?,
                EXEMPLARS => {
                    fields.bytes()?;
                    common.has_exemplars = true;
                }
                MIN => common.min = fields.double()?,
                MAX => common.max = fields.double()?,
                ZERO_THRESHOLD => zero_threshold = fields.double()?,
                _ => fields.skip(tag)?,
            }
        }
        times(common.start, common.at)?;
        let layout = self.exponential_layout((scale, zero_threshold), positive, negative)?;
        self.push_histogram(metric, point, common, Rest { attributes: ATTRIBUTES, exemplars: EXEMPLARS, layout })
    }

    /// Reads both sides' counts and finds the layout.
    fn exponential_layout(
        &mut self,
        (scale, zero_threshold): (i32, f64),
        positive: &[u8],
        negative: &[u8],
    ) -> Result<u32, Fault> {
        if !(-10..=20).contains(&scale) {
            return Err(Reason::BadScale.into());
        }
        self.counts.clear();
        let buckets_max = self.memory.limits().buckets_max;
        let positive = side(positive, self.counts, buckets_max)?;
        let negative = side(negative, self.counts, buckets_max)?;
        if zero_threshold.is_nan() || zero_threshold < 0.0 || !positive.fits() || !negative.fits() {
            return Err(Reason::BadBuckets.into());
        }
        let layout = HistogramLayout::Exponential {
            scale,
            zero_threshold,
            positive_offset: positive.offset,
            positive_len: row(positive.len),
            negative_offset: negative.offset,
        };
        self.layouts.exponential(&layout, &mut self.into.histograms.layouts)
    }

    fn push_histogram(
        &mut self,
        metric: &mut MetricCursor,
        point: &[u8],
        common: Common,
        rest: Rest,
    ) -> Result<(), Fault> {
        let (start_ns, time_ns) = times(common.start, common.at)?;
        let run = common.run.finish(point, rest.attributes, self.scratch);
        let series = self.memory.series(metric, &run, &mut self.into.series)?;
        let stale = common.flags & NO_RECORDED_VALUE != 0;
        let columns = &mut self.into.histograms;
        columns.series.push(series);
        columns.start_ns.push(start_ns);
        columns.time_ns.push(time_ns);
        columns.count.push(common.count);
        columns.sum.push(if stale { f64::from_bits(STALE_NAN_BITS) } else { common.sum });
        columns.min.push(common.min);
        columns.max.push(common.max);
        columns.zero_count.push(common.zero_count);
        columns.layout.push(rest.layout);
        columns.counts.extend_from_slice(self.counts);
        columns.counts_offsets.push(row(columns.counts.len()));
        if common.has_exemplars {
            self.exemplars(point, rest.exemplars, series)?;
        }
        Ok(())
    }
}

/// Tags of the parts of a point that are read last, and its layout.
struct Rest {
    attributes: u32,
    exemplars: u32,
    layout: u32,
}

impl Side {
    /// Whether the index of the last bucket is still an `i32`.
    fn fits(self) -> bool {
        i32::try_from(self.len).is_ok_and(|len| self.offset.checked_add(len).is_some())
    }
}

fn put_counts(counts: &mut Vec<u64>, packed: &[u8]) -> Result<(), WireError> {
    let (chunks, rest) = packed.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(WireError { address: rest.as_ptr() as usize, what: "packed numbers of a wrong length" });
    }
    counts.extend(chunks.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    Ok(())
}

/// Appends the counts of a Buckets message.
fn side(raw: &[u8], counts: &mut Vec<u64>, buckets_max: usize) -> Result<Side, Fault> {
    const OFFSET: u32 = wire::varint(1);
    const COUNTS: u32 = wire::len(2);
    const COUNT_ALONE: u32 = wire::varint(2);
    let before = counts.len();
    let mut offset = 0;
    let mut fields = Fields::new(raw);
    while let Some(tag) = fields.tag()? {
        match tag {
            OFFSET => offset = fields.sint32()?,
            COUNTS => {
                let mut packed = Fields::new(fields.bytes()?);
                while packed.remaining() > 0 && counts.len() <= buckets_max {
                    counts.push(packed.varint()?);
                }
            }
            COUNT_ALONE => counts.push(fields.varint()?),
            _ => fields.skip(tag)?,
        }
        if counts.len() > buckets_max {
            return Err(Reason::TooManyBuckets.into());
        }
    }
    Ok(Side { offset, len: counts.len() - before })
}
