//! Exemplars of a point, read after the point itself was kept. A bad exemplar is left out alone.

use super::attributes::Fault;
use super::memory::SeriesMemory;
use super::wire::{self, Fields, WireError};
use super::{row, time};
use crate::batch::ExemplarColumns;
use crate::read::{Reason, Refused};

/// Appends the exemplars of `point` (its fields `tag`).
pub(super) fn read(
    point: &[u8],
    tag: u32,
    memory: &mut SeriesMemory,
    into: &mut ExemplarColumns,
    series: u32,
) -> Result<Refused, WireError> {
    let mut refused = Refused::default();
    let mut fields = Fields::new(point);
    while let Some(found) = fields.tag()? {
        if found != tag {
            fields.skip(found)?;
            continue;
        }
        match exemplar(fields.bytes()?, memory, into, series) {
            Ok(()) => {}
            Err(Fault::Wire(error)) => return Err(error),
            Err(Fault::Refuse(reason)) => refused.note(reason, || "an exemplar was left out".to_owned()),
        }
    }
    Ok(refused)
}

fn exemplar(raw: &[u8], memory: &mut SeriesMemory, into: &mut ExemplarColumns, series: u32) -> Result<(), Fault> {
    const TIME: u32 = wire::fixed64(2);
    const DOUBLE: u32 = wire::fixed64(3);
    const SPAN_ID: u32 = wire::len(4);
    const TRACE_ID: u32 = wire::len(5);
    const INT: u32 = wire::fixed64(6);
    const ATTRIBUTES: u32 = wire::len(7);
    let mut fields = Fields::new(raw);
    let (mut at, mut value, mut trace_id, mut span_id) = (0, None, &[][..], &[][..]);
    while let Some(tag) = fields.tag()? {
        match tag {
            TIME => at = fields.fixed64()?,
            DOUBLE => value = Some(fields.double()?),
            INT => value = Some(fields.fixed64()?.cast_signed() as f64),
            TRACE_ID => trace_id = fields.bytes()?,
            SPAN_ID => span_id = fields.bytes()?,
            _ => fields.skip(tag)?,
        }
    }
    let time_ns = time(at).map_err(|_| Reason::ExemplarTime)?;
    let value = value.ok_or(Reason::ExemplarValue)?;
    let trace_id = id_or_zero(trace_id).ok_or(Reason::ExemplarId)?;
    let span_id = id_or_zero(span_id).ok_or(Reason::ExemplarId)?;
    let before = into.attributes.len();
    let (pairs, limits) = memory.pairs();
    if let Err(fault) = pairs.list(raw, ATTRIBUTES, limits, &mut into.attributes) {
        into.attributes.truncate(before);
        return Err(match fault {
            Fault::Wire(error) => Fault::Wire(error),
            Fault::Refuse(_) => Fault::Refuse(Reason::ExemplarAttributes),
        });
    }
    into.series.push(series);
    into.time_ns.push(time_ns);
    into.value.push(value);
    into.trace_id.push(trace_id);
    into.span_id.push(span_id);
    into.attribute_offsets.push(row(into.attributes.len()));
    Ok(())
}

/// An id of exactly `N` bytes; all zero when none was sent; `None` for any other length.
pub(super) fn id_or_zero<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    if raw.is_empty() { Some([0; N]) } else { raw.try_into().ok() }
}
