//! Number points (gauges and sums) and summary points, which become one number series per quantile, one for the sum
//! and one for the count.

use super::attributes::Fault;
use super::exemplar;
use super::memory::{MetricCursor, Run, RunBytes};
use super::metrics::Walk;
use super::time;
use super::wire::{self, Fields};
use crate::batch::{NumberColumns, STALE_NAN_BITS};
use crate::read::Reason;

/// Bit of a point's flags: no recorded value.
pub(super) const NO_RECORDED_VALUE: u32 = 1;

/// The three metrics that a summary becomes.
pub(super) struct SummaryCursors {
    pub(super) quantile: MetricCursor,
    pub(super) sum: MetricCursor,
    pub(super) count: MetricCursor,
}

/// A summary point, taken apart.
#[derive(Default)]
struct Summary {
    start: u64,
    at: u64,
    count: u64,
    sum: f64,
    flags: u32,
    run: Run,
}

impl Walk<'_> {
    /// Appends one NumberDataPoint.
    #[inline]
    pub(super) fn number_point(&mut self, metric: &mut MetricCursor, point: &[u8]) -> Result<(), Fault> {
        const START: u32 = wire::fixed64(2);
        const TIME: u32 = wire::fixed64(3);
        const DOUBLE: u32 = wire::fixed64(4);
        const EXEMPLARS: u32 = wire::len(5);
        const INT: u32 = wire::fixed64(6);
        const ATTRIBUTES: u32 = wire::len(7);
        const FLAGS: u32 = wire::varint(8);
        let (mut start, mut at, mut value, mut flags, mut has_exemplars) = (0, 0, None, 0, false);
        let mut run = Run::default();
        let mut fields = Fields::new(point);
        while let Some(tag) = fields.tag()? {
            match tag {
                START => start = fields.fixed64()?,
                TIME => at = fields.fixed64()?,
                DOUBLE => value = Some(fields.double()?),
                INT => value = Some(fields.fixed64()?.cast_signed() as f64),
                ATTRIBUTES => run.extend(&mut fields, point, self.memory.predicted(metric))?,
                EXEMPLARS => {
                    fields.bytes()?;
                    has_exemplars = true;
                }
                FLAGS => flags = fields.varint32()?,
                _ => fields.skip(tag)?,
            }
        }
        let (start_ns, time_ns) = times(start, at)?;
        let value =
            if flags & NO_RECORDED_VALUE == 0 { value.ok_or(Reason::NoValue)? } else { f64::from_bits(STALE_NAN_BITS) };
        let run = run.finish(point, ATTRIBUTES, self.scratch);
        let series = self.memory.series(metric, &run, &mut self.into.series)?;
        push(&mut self.into.numbers, series, (start_ns, time_ns), value);
        if has_exemplars {
            self.exemplars(point, EXEMPLARS, series)?;
        }
        Ok(())
    }

    /// Appends the exemplars of a point that was kept.
    pub(super) fn exemplars(&mut self, point: &[u8], tag: u32, series: u32) -> Result<(), Fault> {
        let refused = exemplar::read(point, tag, self.memory, &mut self.into.exemplars, series)?;
        self.refused.merge(&refused);
        Ok(())
    }

    /// Appends one SummaryDataPoint.
    pub(super) fn summary_point(&mut self, metric: &mut SummaryCursors, point: &[u8]) -> Result<(), Fault> {
        const ATTRIBUTES: u32 = wire::len(7);
        const QUANTILES: u32 = wire::len(6);
        let summary = Summary::of(point)?;
        let times = times(summary.start, summary.at)?;
        let stale = (summary.flags & NO_RECORDED_VALUE != 0).then_some(f64::from_bits(STALE_NAN_BITS));
        let mut joined = Vec::new();
        let run = summary.run.finish(point, ATTRIBUTES, &mut joined);
        let mut fields = Fields::new(point);
        while let Some(tag) = fields.tag()? {
            if tag != QUANTILES {
                fields.skip(tag)?;
                continue;
            }
            let (quantile, value) = quantile(fields.bytes()?)?;
            put_quantile(self.scratch, quantile);
            self.scratch.extend_from_slice(run.bytes);
            let with_quantile = RunBytes { bytes: self.scratch, tag: ATTRIBUTES, predicted: false };
            let series = self.memory.series(&mut metric.quantile, &with_quantile, &mut self.into.series)?;
            push(&mut self.into.numbers, series, times, stale.unwrap_or(value));
        }
        let sum = self.memory.series(&mut metric.sum, &run, &mut self.into.series)?;
        let count = self.memory.series(&mut metric.count, &run, &mut self.into.series)?;
        push(&mut self.into.numbers, sum, times, stale.unwrap_or(summary.sum));
        push(&mut self.into.numbers, count, times, stale.unwrap_or(summary.count as f64));
        Ok(())
    }
}

impl Summary {
    fn of(point: &[u8]) -> Result<Self, Fault> {
        const START: u32 = wire::fixed64(2);
        const TIME: u32 = wire::fixed64(3);
        const COUNT: u32 = wire::fixed64(4);
        const SUM: u32 = wire::fixed64(5);
        const ATTRIBUTES: u32 = wire::len(7);
        const FLAGS: u32 = wire::varint(8);
        let mut summary = Self::default();
        let mut fields = Fields::new(point);
        while let Some(tag) = fields.tag()? {
            match tag {
                START => summary.start = fields.fixed64()?,
                TIME => summary.at = fields.fixed64()?,
                COUNT => summary.count = fields.fixed64()?,
                SUM => summary.sum = fields.double()?,
                ATTRIBUTES => summary.run.extend(&mut fields, point, None)?,
                FLAGS => summary.flags = fields.varint32()?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(summary)
    }
}

/// Start and time of a point.
#[inline]
pub(super) fn times(start: u64, at: u64) -> Result<(i64, i64), Fault> {
    if at == 0 {
        return Err(Reason::NoTime.into());
    }
    Ok((time(start)?, time(at)?))
}

#[inline]
fn push(numbers: &mut NumberColumns, series: u32, (start_ns, time_ns): (i64, i64), value: f64) {
    numbers.series.push(series);
    numbers.start_ns.push(start_ns);
    numbers.time_ns.push(time_ns);
    numbers.value.push(value);
}

/// Quantile and value of a ValueAtQuantile.
fn quantile(raw: &[u8]) -> Result<(f64, f64), Fault> {
    const QUANTILE: u32 = wire::fixed64(1);
    const VALUE: u32 = wire::fixed64(2);
    let mut fields = Fields::new(raw);
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(tag) = fields.tag()? {
        match tag {
            QUANTILE => quantile = fields.double()?,
            VALUE => value = fields.double()?,
            _ => fields.skip(tag)?,
        }
    }
    Ok((quantile, value))
}

/// Replaces `bytes` by the attribute `quantile` as a wire field, so that a quantile series has byte forms like any
/// other. It comes first: a sender's own attribute of that name gives way.
fn put_quantile(bytes: &mut Vec<u8>, quantile: f64) {
    let text = quantile.to_string();
    let text = &text.as_bytes()[..text.len().min(100)];
    let length = u8::try_from(text.len()).expect("cut to a hundred bytes just above");
    bytes.clear();
    bytes.extend_from_slice(&[0x3a, length + 14, 0x0a, 8]);
    bytes.extend_from_slice(b"quantile");
    bytes.extend_from_slice(&[0x12, length + 2, 0x0a, length]);
    bytes.extend_from_slice(text);
}
