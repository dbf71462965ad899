//! `ExportTraceServiceRequest` → [`SpanBatch`]: the walk from resource down to span, event and link.
//!
//! A span's attributes, events and links go into the columns while its fields are walked; when the span is then
//! refused, the columns are cut back to where they were. An event or link that cannot be kept is left out alone and
//! counted among those that the sender dropped.

use super::attributes::Fault;
use super::exemplar::id_or_zero;
use super::rollback::{RowMark, SpanMark};
use super::span_parts::SpanMemory;
use super::wire::{self, Fields, WireError};
use super::{ReadError, ReaderLimits, Refused, broken, row, time};
use crate::batch::SpanBatch;
use crate::read::Reason;

/// Reads OTLP spans and remembers the attributes that it has seen. One owner; not shared.
pub struct TracesReader {
    memory: SpanMemory,
}

impl TracesReader {
    /// A reader that knows no attribute yet.
    #[must_use]
    pub fn new(limits: ReaderLimits) -> Self {
        Self { memory: SpanMemory::new(limits) }
    }

    /// Appends the spans of `body` to `into` and says which were refused.
    ///
    /// # Errors
    /// When the whole body is no protobuf or too large; `into` is then as it was.
    pub fn read(&mut self, body: &[u8], into: &mut SpanBatch) -> Result<Refused, ReadError> {
        let limit = self.memory.limits.body_bytes_max;
        if body.len() > limit {
            return Err(ReadError::TooLarge { bytes: body.len(), limit });
        }
        let mark = SpanMark::of(into);
        self.memory.begin();
        let mut walk = Walk { memory: &mut self.memory, into, refused: Refused::default() };
        match walk.request(body) {
            Ok(()) => Ok(walk.refused),
            Err(error) => {
                mark.restore(into);
                Err(broken(body, error))
            }
        }
    }
}

/// One request being read.
struct Walk<'r> {
    memory: &'r mut SpanMemory,
    into: &'r mut SpanBatch,
    refused: Refused,
}

/// Indices of resource and scope of the spans being read, or why they are refused.
#[derive(Clone, Copy)]
struct Origin<'a> {
    resource_raw: &'a [u8],
    resource: Result<u32, Reason>,
    scope: Result<u32, Reason>,
}

/// A span's own fields, as sent.
#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    trace_state: &'a [u8],
    name: &'a [u8],
    status: &'a [u8],
    kind: u32,
    flags: u32,
    start: u64,
    end: u64,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
}

impl Walk<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), WireError> {
        const RESOURCE_SPANS: u32 = wire::len(1);
        let mut fields = Fields::new(body);
        while let Some(tag) = fields.tag()? {
            match tag {
                RESOURCE_SPANS => self.resource_spans(fields.bytes()?)?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: &[u8]) -> Result<(), WireError> {
        const SCOPE_SPANS: u32 = wire::len(2);
        let resource_raw = wire::last_bytes(message, wire::len(1))?.unwrap_or_default();
        let resource = self.memory.resource(resource_raw, self.into)?;
        let mut fields = Fields::new(message);
        while let Some(tag) = fields.tag()? {
            match tag {
                SCOPE_SPANS => self.scope_spans(resource_raw, resource, fields.bytes()?)?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(())
    }

    fn scope_spans(
        &mut self,
        resource_raw: &[u8],
        resource: Result<u32, Reason>,
        message: &[u8],
    ) -> Result<(), WireError> {
        const SPANS: u32 = wire::len(2);
        let raw = wire::last_bytes(message, wire::len(1))?.unwrap_or_default();
        let origin = Origin { resource_raw, resource, scope: self.memory.scope(raw, self.into)? };
        let mut fields = Fields::new(message);
        while let Some(tag) = fields.tag()? {
            if tag != SPANS {
                fields.skip(tag)?;
                continue;
            }
            let raw = fields.bytes()?;
            let mark = RowMark::of(self.into);
            match self.span(raw, origin) {
                Ok(()) => {}
                Err(Fault::Wire(error)) => return Err(error),
                Err(Fault::Refuse(reason)) => {
                    mark.restore(self.into);
                    self.refused.refuse(reason, || place(raw, origin.resource_raw));
                }
            }
        }
        Ok(())
    }

    /// Appends one Span.
    fn span(&mut self, raw: &[u8], origin: Origin<'_>) -> Result<(), Fault> {
        const ATTRIBUTES: u32 = wire::len(9);
        const EVENTS: u32 = wire::len(11);
        const LINKS: u32 = wire::len(13);
        let (resource, scope) = (origin.resource?, origin.scope?);
        let mut span = Span::default();
        let mut fields = Fields::new(raw);
        while let Some(tag) = fields.tag()? {
            match tag {
                ATTRIBUTES => {
                    let at = self.memory.attribute(fields.bytes()?, self.into)?;
                    self.into.attributes.push(at);
                }
                EVENTS => {
                    let event = fields.bytes()?;
                    span.dropped_events += self.part(raw, origin, |walk| walk.event(event))?;
                }
                LINKS => {
                    let link = fields.bytes()?;
                    span.dropped_links += self.part(raw, origin, |walk| walk.link(link))?;
                }
                _ => span.field(tag, &mut fields)?,
            }
        }
        let before = self.into.attribute_offsets.last().map_or(0, |&at| at as usize);
        if self.into.attributes.len() - before > self.memory.limits.attributes_max {
            return Err(Reason::TooManyAttributes.into());
        }
        self.finish(&span, resource, scope)
    }

    /// Reads an event or link; 1 when it was left out.
    fn part(
        &mut self,
        span: &[u8],
        origin: Origin<'_>,
        read: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<u32, Fault> {
        match read(self) {
            Ok(()) => Ok(0),
            Err(Fault::Refuse(reason)) => {
                self.refused.note(reason, || place(span, origin.resource_raw));
                Ok(1)
            }
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self, span: &Span<'_>, resource: u32, scope: u32) -> Result<(), Fault> {
        let trace_id = id(span.trace_id).ok_or(Reason::BadTraceId)?;
        let span_id = id(span.span_id).ok_or(Reason::BadSpanId)?;
        let parent_span_id = id_or_zero(span.parent_span_id).ok_or(Reason::BadParentSpanId)?;
        if span.start == 0 || span.end == 0 {
            return Err(Reason::NoTime.into());
        }
        let (start_ns, end_ns) = (time(span.start)?, time(span.end)?);
        let (status, status_message) = status(span.status)?;
        let name = self.memory.string(span.name, self.into)?;
        let status_message = self.memory.string(status_message, self.into)?;
        let trace_state = self.memory.string(span.trace_state, self.into)?;
        let into = &mut *self.into;
        into.resource.push(resource);
        into.scope.push(scope);
        into.trace_id.push(trace_id);
        into.span_id.push(span_id);
        into.parent_span_id.push(parent_span_id);
        into.start_ns.push(start_ns);
        into.duration_ns.push(end_ns - start_ns);
        into.name.push(name);
        into.kind.push(u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or(0));
        into.status.push(status);
        into.status_message.push(status_message);
        into.trace_state.push(trace_state);
        into.flags.push(span.flags);
        into.dropped_attributes.push(span.dropped_attributes);
        into.dropped_events.push(span.dropped_events);
        into.dropped_links.push(span.dropped_links);
        into.attribute_offsets.push(row(into.attributes.len()));
        into.event_offsets.push(row(into.events.time_ns.len()));
        into.link_offsets.push(row(into.links.trace_id.len()));
        Ok(())
    }

    fn event(&mut self, raw: &[u8]) -> Result<(), Fault> {
        const TIME: u32 = wire::fixed64(1);
        const NAME: u32 = wire::len(2);
        const ATTRIBUTES: u32 = wire::len(3);
        const DROPPED: u32 = wire::varint(4);
        let (mut at, mut name, mut dropped) = (0, &[][..], 0);
        let mut fields = Fields::new(raw);
        while let Some(tag) = fields.tag()? {
            match tag {
                TIME => at = fields.fixed64()?,
                NAME => name = fields.bytes()?,
                DROPPED => dropped = fields.varint32()?,
                _ => fields.skip(tag)?,
            }
        }
        let time_ns = time(at).map_err(|_| Reason::EventTime)?;
        let name = self.memory.string(name, self.into).map_err(|fault| part(fault, Reason::EventText))?;
        let mut attributes = std::mem::take(&mut self.into.events.attributes);
        let read = self.part_attributes(raw, ATTRIBUTES, &mut attributes);
        self.into.events.attributes = attributes;
        read.map_err(|fault| part(fault, Reason::EventText))?;
        let events = &mut self.into.events;
        events.time_ns.push(time_ns);
        events.name.push(name);
        events.dropped_attributes.push(dropped);
        events.attribute_offsets.push(row(events.attributes.len()));
        Ok(())
    }

    fn link(&mut self, raw: &[u8]) -> Result<(), Fault> {
        const TRACE_ID: u32 = wire::len(1);
        const SPAN_ID: u32 = wire::len(2);
        const TRACE_STATE: u32 = wire::len(3);
        const ATTRIBUTES: u32 = wire::len(4);
        const DROPPED: u32 = wire::varint(5);
        const FLAGS: u32 = wire::fixed32(6);
        let (mut trace_id, mut span_id, mut trace_state) = (&[][..], &[][..], &[][..]);
        let (mut dropped, mut flags) = (0, 0);
        let mut fields = Fields::new(raw);
        while let Some(tag) = fields.tag()? {
            match tag {
                TRACE_ID => trace_id = fields.bytes()?,
                SPAN_ID => span_id = fields.bytes()?,
                TRACE_STATE => trace_state = fields.bytes()?,
                DROPPED => dropped = fields.varint32()?,
                FLAGS => flags = fields.fixed32()?,
                _ => fields.skip(tag)?,
            }
        }
        let trace_id = id_or_zero(trace_id).ok_or(Reason::LinkId)?;
        let span_id = id_or_zero(span_id).ok_or(Reason::LinkId)?;
        let trace_state = self.memory.string(trace_state, self.into).map_err(|fault| part(fault, Reason::LinkText))?;
        let mut attributes = std::mem::take(&mut self.into.links.attributes);
        let read = self.part_attributes(raw, ATTRIBUTES, &mut attributes);
        self.into.links.attributes = attributes;
        read.map_err(|fault| part(fault, Reason::LinkText))?;
        let links = &mut self.into.links;
        links.trace_id.push(trace_id);
        links.span_id.push(span_id);
        links.trace_state.push(trace_state);
        links.flags.push(flags);
        links.dropped_attributes.push(dropped);
        links.attribute_offsets.push(row(links.attributes.len()));
        Ok(())
    }

    /// Appends the attributes (fields `tag` of `raw`) to `indices`, or leaves it as it was.
    fn part_attributes(&mut self, raw: &[u8], tag: u32, indices: &mut Vec<u32>) -> Result<(), Fault> {
        let before = indices.len();
        let mut fields = Fields::new(raw);
        while let Some(found) = fields.tag()? {
            if found != tag {
                fields.skip(found)?;
                continue;
            }
            let read = self.memory.attribute(fields.bytes()?, self.into);
            match read {
                Ok(at) if indices.len() - before < self.memory.limits.attributes_max => indices.push(at),
                Ok(_) => {
                    indices.truncate(before);
                    return Err(Reason::TooManyAttributes.into());
                }
                Err(fault) => {
                    indices.truncate(before);
                    return Err(fault);
                }
            }
        }
        Ok(())
    }
}

impl<'a> Span<'a> {
    /// Takes one field that is not an attribute, event or link.
    #[inline]
    fn field(&mut self, tag: u32, fields: &mut Fields<'a>) -> Result<(), WireError> {
        const TRACE_ID: u32 = wire::len(1);
        const SPAN_ID: u32 = wire::len(2);
        const TRACE_STATE: u32 = wire::len(3);
        const PARENT_SPAN_ID: u32 = wire::len(4);
        const NAME: u32 = wire::len(5);
        const KIND: u32 = wire::varint(6);
        const START: u32 = wire::fixed64(7);
        const END: u32 = wire::fixed64(8);
        const DROPPED_ATTRIBUTES: u32 = wire::varint(10);
        const DROPPED_EVENTS: u32 = wire::varint(12);
        const DROPPED_LINKS: u32 = wire::varint(14);
        const STATUS: u32 = wire::len(15);
        const FLAGS: u32 = wire::fixed32(16);
        match tag {
            TRACE_ID => self.trace_id = fields.bytes()?,
            SPAN_ID => self.span_id = fields.bytes()?,
            TRACE_STATE => self.trace_state = fields.bytes()?,
            PARENT_SPAN_ID => self.parent_span_id = fields.bytes()?,
            NAME => self.name = fields.bytes()?,
            KIND => self.kind = fields.varint32()?,
            START => self.start = fields.fixed64()?,
            END => self.end = fields.fixed64()?,
            DROPPED_ATTRIBUTES => self.dropped_attributes = fields.varint32()?,
            DROPPED_EVENTS => self.dropped_events = self.dropped_events.saturating_add(fields.varint32()?),
            DROPPED_LINKS => self.dropped_links = self.dropped_links.saturating_add(fields.varint32()?),
            STATUS => self.status = fields.bytes()?,
            FLAGS => self.flags = fields.fixed32()?,
            _ => fields.skip(tag)?,
        }
        Ok(())
    }
}

/// Code and message of a Status; an unknown code is unset.
fn status(raw: &[u8]) -> Result<(u8, &[u8]), WireError> {
    const MESSAGE: u32 = wire::len(2);
    const CODE: u32 = wire::varint(3);
    let mut fields = Fields::new(raw);
    let (mut code, mut message) = (0, &[][..]);
    while let Some(tag) = fields.tag()? {
        match tag {
            MESSAGE => message = fields.bytes()?,
            CODE => code = fields.varint32()?,
            _ => fields.skip(tag)?,
        }
    }
    Ok((u8::try_from(code).ok().filter(|code| *code <= 2).unwrap_or(0), message))
}

/// An id of exactly `N` bytes that are not all zero.
fn id<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    raw.try_into().ok().filter(|id| *id != [0; N])
}

/// A refusal inside an event or link becomes that part's refusal.
fn part(fault: Fault, reason: Reason) -> Fault {
    match fault {
        Fault::Refuse(_) => Fault::Refuse(reason),
        broken @ Fault::Wire(_) => broken,
    }
}

/// Names a span and its sender for people.
fn place(span: &[u8], resource: &[u8]) -> String {
    let name = wire::last_bytes(span, wire::len(5)).ok().flatten().unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(200)]);
    match super::attributes::service_name(resource) {
        Some(service) => format!("span \"{name}\" of service \"{service}\""),
        None => format!("span \"{name}\""),
    }
}
