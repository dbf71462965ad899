//! Spans of a frame: one column per field. Attributes and texts are with the others' (see `attributes`).
//!
//! ```text
//! ┌───────────────────┬──────────┬───────────┬──────────┬──────────────┬───────┬──────────┐
//! │ the batch's       │ resource,│ trace code│ trace ids│ span ids     │ parent│ parent   │
//! │ resources, scopes │ scope    │           │ not yet  │ 8 bytes each │ code  │ ids      │
//! │ (epoch numbers)   │          │           │ seen     │              │       │          │
//! ├───────┬──────────┬┴─────┬────┴───┬───────┼─────────┬────┴──────────────┴───────┴──────────┤
//! │ start │ duration │ kind │ status │ flags │ dropped │ numbers of events, links; events;    │
//! │       │ (zigzag) │      │        │       │ × 3     │ links                                │
//! └───────┴──────────┴──────┴────────┴───────┴─────────┴──────────────────────────────────────┘
//! trace code   0 = a new id, else how many distinct ids back it is (1 = the newest)
//! parent code  0 = a root, 1 = an id that follows, else 2 + zigzag(row of the parent minus this row)
//! event        time minus its span's start (zigzag), dropped attributes
//! link         trace id, span id, flags, dropped attributes
//! ```
//! Ids are random and cost their bytes; spans that share a trace or have their parent at hand do not pay twice.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::FrameError;
use super::attributes::{Collected, Taken};
use super::bytes::{Cursor, unzigzag, zigzag};
use super::column::put_column;
use super::dictionary::{Known, NONE, Told, number, text};
use super::points::{cast, column, lengths, narrow, take_ids, take_offsets, uncast, widen};
use super::{Counts, Numbered};
use crate::attribute::Value;
use crate::batch::{SpanBatch, SpanEvents, SpanLinks};

const ROOT: u64 = 0;
const ELSEWHERE: u64 = 1;
const AT_HAND: u64 = 2;

/// Memory that an event or a link takes, without its attributes.
const CHILD_BYTES: usize = 64;

/// Collects the attributes of spans, then events, then links.
pub(super) fn collect_attributes(known: &mut Known, spans: &SpanBatch, collected: &mut Collected) {
    let mut places = vec![(NONE, NONE); spans.key_values.len()];
    let owners = [
        (&spans.attribute_offsets, &spans.attributes),
        (&spans.events.attribute_offsets, &spans.events.attributes),
        (&spans.links.attribute_offsets, &spans.links.attributes),
    ];
    for (offsets, attributes) in owners {
        for owned in offsets.windows(2) {
            for &at in &attributes[owned[0] as usize..owned[1] as usize] {
                let place = &mut places[at as usize];
                if place.0 == NONE {
                    *place = collected.place(known, &spans.key_values[at as usize]);
                }
                collected.push(*place);
            }
            collected.end_owner(known);
        }
    }
}

/// Collects the texts of spans, events and links.
pub(super) fn collect_texts(known: &mut Known, spans: &SpanBatch, collected: &mut Collected) {
    let columns = [
        (text::SPAN_NAME, &spans.name),
        (text::STATUS_MESSAGE, &spans.status_message),
        (text::SPAN_STATE, &spans.trace_state),
        (text::EVENT_NAME, &spans.events.name),
        (text::LINK_STATE, &spans.links.trace_state),
    ];
    for (column, indices) in columns {
        let mut ranks = vec![NONE; spans.strings.len()];
        for &at in indices {
            let rank = &mut ranks[at as usize];
            if *rank == NONE {
                *rank = collected.place_text(known, column, &spans.strings[at as usize]);
            }
            collected.push_text(column, *rank);
        }
    }
}

/// Appends spans, their events and links.
pub(super) fn put_spans(spans: &SpanBatch, numbered: &Numbered, out: &mut Vec<u8>) {
    if spans.is_empty() {
        return;
    }
    put_column(&widen(&numbered.span_resources), out);
    put_column(&widen(&numbered.span_scopes), out);
    put_column(&widen(&spans.resource), out);
    put_column(&widen(&spans.scope), out);
    put_ids(spans, out);
    put_column(&cast(&spans.start_ns), out);
    put_column(&zigzags(&spans.duration_ns), out);
    put_column(&bytes(&spans.kind), out);
    put_column(&bytes(&spans.status), out);
    for numbers in [&spans.flags, &spans.dropped_attributes, &spans.dropped_events, &spans.dropped_links] {
        put_column(&widen(numbers), out);
    }
    put_column(&lengths(&spans.event_offsets), out);
    put_column(&lengths(&spans.link_offsets), out);

    let mut after = Vec::with_capacity(spans.events.time_ns.len());
    for (row, owned) in spans.event_offsets.windows(2).enumerate() {
        for &time_ns in &spans.events.time_ns[owned[0] as usize..owned[1] as usize] {
            after.push(zigzag(time_ns.wrapping_sub(spans.start_ns[row])));
        }
    }
    put_column(&after, out);
    put_column(&widen(&spans.events.dropped_attributes), out);

    spans.links.trace_id.iter().for_each(|id| out.extend_from_slice(id));
    spans.links.span_id.iter().for_each(|id| out.extend_from_slice(id));
    put_column(&widen(&spans.links.flags), out);
    put_column(&widen(&spans.links.dropped_attributes), out);
}

fn put_ids(spans: &SpanBatch, out: &mut Vec<u8>) {
    let n = spans.len();
    let mut distinct: HashMap<[u8; 16], u64> = HashMap::with_capacity(n);
    let (mut trace_codes, mut traces) = (Vec::with_capacity(n), Vec::new());
    for id in &spans.trace_id {
        let count = distinct.len() as u64;
        match distinct.entry(*id) {
            Entry::Occupied(seen) => trace_codes.push(count - seen.get()),
            Entry::Vacant(free) => {
                free.insert(count);
                trace_codes.push(0);
                traces.extend_from_slice(id);
            }
        }
    }
    put_column(&trace_codes, out);
    out.extend_from_slice(&traces);
    spans.span_id.iter().for_each(|id| out.extend_from_slice(id));

    let rows: HashMap<[u8; 8], usize> = spans.span_id.iter().enumerate().map(|(row, id)| (*id, row)).collect();
    let (mut parent_codes, mut parents) = (Vec::with_capacity(n), Vec::new());
    for (row, parent) in spans.parent_span_id.iter().enumerate() {
        parent_codes.push(if *parent == [0; 8] {
            ROOT
        } else if let Some(&at) = rows.get(parent) {
            AT_HAND + zigzag(at as i64 - row as i64)
        } else {
            parents.extend_from_slice(parent);
            ELSEWHERE
        });
    }
    put_column(&parent_codes, out);
    out.extend_from_slice(&parents);
}

/// The spans, events and links that `counts` promises; attributes and texts come from `taken`.
pub(super) fn take_spans(
    cursor: &mut Cursor<'_>,
    told: &Told,
    counts: &Counts,
    taken: &mut Taken,
) -> Result<SpanBatch, FrameError> {
    let n = counts.spans;
    let mut spans = SpanBatch::default();
    if n == 0 {
        return Ok(spans);
    }
    for at in narrow(cursor, counts.span_resources, told.resources.len(), "resource that was never defined")? {
        spans.resources.push(Arc::clone(&told.resources[at as usize]));
    }
    for at in narrow(cursor, counts.span_scopes, told.scopes.len(), "scope that was never defined")? {
        spans.scopes.push(Arc::clone(&told.scopes[at as usize]));
    }
    spans.resource = narrow(cursor, n, counts.span_resources, "span of a resource that the batch has not")?;
    spans.scope = narrow(cursor, n, counts.span_scopes, "span of a scope that the batch has not")?;
    take_span_ids(cursor, n, &mut spans)?;
    spans.start_ns = uncast(&column(cursor, n)?);
    spans.duration_ns = column(cursor, n)?.into_iter().map(unzigzag).collect();
    spans.kind = take_bytes(cursor, n, "span of an unknown kind")?;
    spans.status = take_bytes(cursor, n, "span of an unknown status")?;
    let any = usize::MAX;
    spans.flags = narrow(cursor, n, any, "flags beyond 32 bits")?;
    spans.dropped_attributes = narrow(cursor, n, any, "count beyond 32 bits")?;
    spans.dropped_events = narrow(cursor, n, any, "count beyond 32 bits")?;
    spans.dropped_links = narrow(cursor, n, any, "count beyond 32 bits")?;
    spans.event_offsets = take_offsets(cursor, n, CHILD_BYTES)?;
    spans.link_offsets = take_offsets(cursor, n, CHILD_BYTES)?;
    if spans.event_offsets[n] as usize != counts.events || spans.link_offsets[n] as usize != counts.links {
        return Err(cursor.malformed("spans whose events or links are not as many as was said"));
    }
    spans.events = take_events(cursor, &spans)?;
    let links = counts.links;
    spans.links = SpanLinks {
        trace_id: take_ids(cursor, links)?,
        span_id: take_ids(cursor, links)?,
        flags: narrow(cursor, links, any, "flags beyond 32 bits")?,
        dropped_attributes: narrow(cursor, links, any, "count beyond 32 bits")?,
        ..SpanLinks::default()
    };
    take_texts(&mut spans, taken)?;
    take_attributes(&mut spans, told, taken);
    Ok(spans)
}

fn take_span_ids(cursor: &mut Cursor<'_>, n: usize, spans: &mut SpanBatch) -> Result<(), FrameError> {
    let codes = column(cursor, n)?;
    let distinct: Vec<[u8; 16]> = take_ids(cursor, codes.iter().filter(|&&code| code == 0).count())?;
    let mut seen = 0;
    for code in codes {
        if code == 0 {
            seen += 1;
        }
        let back = usize::try_from(code.max(1)).unwrap_or(usize::MAX);
        let at = usize::checked_sub(seen, back).ok_or_else(|| cursor.malformed("trace id from before the frame"))?;
        spans.trace_id.push(distinct[at]);
    }
    spans.span_id = take_ids(cursor, n)?;
    let codes = column(cursor, n)?;
    let elsewhere = codes.iter().filter(|&&code| code == ELSEWHERE).count();
    let mut elsewhere = take_ids::<8>(cursor, elsewhere)?.into_iter();
    for (row, code) in codes.into_iter().enumerate() {
        spans.parent_span_id.push(match code {
            ROOT => [0; 8],
            ELSEWHERE => elsewhere.next().expect("as many ids were taken as there are ones"),
            at_hand => {
                let at = (row as i64).checked_add(unzigzag(at_hand - AT_HAND));
                let id = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| spans.span_id.get(at));
                *id.ok_or_else(|| cursor.malformed("parent beyond the frame"))?
            }
        });
    }
    Ok(())
}

fn take_events(cursor: &mut Cursor<'_>, spans: &SpanBatch) -> Result<SpanEvents, FrameError> {
    let n = spans.event_offsets.last().map_or(0, |&n| n as usize);
    let mut time_ns = uncast(&column(cursor, n)?);
    for (row, owned) in spans.event_offsets.windows(2).enumerate() {
        for time in &mut time_ns[owned[0] as usize..owned[1] as usize] {
            *time = spans.start_ns[row].wrapping_add(unzigzag(*time as u64));
        }
    }
    let dropped_attributes = narrow(cursor, n, usize::MAX, "count beyond 32 bits")?;
    Ok(SpanEvents { time_ns, dropped_attributes, ..SpanEvents::default() })
}

fn take_texts(spans: &mut SpanBatch, taken: &mut Taken) -> Result<(), FrameError> {
    let (rows, events, links) = (spans.len(), spans.events.time_ns.len(), spans.links.trace_id.len());
    let columns = [
        (text::SPAN_NAME, rows, &mut spans.name),
        (text::STATUS_MESSAGE, rows, &mut spans.status_message),
        (text::SPAN_STATE, rows, &mut spans.trace_state),
        (text::EVENT_NAME, events, &mut spans.events.name),
        (text::LINK_STATE, links, &mut spans.links.trace_state),
    ];
    for (column, n, indices) in columns {
        let slot = &mut taken.texts[column];
        let mut places = Vec::with_capacity(slot.entries.len());
        for entry in &slot.entries {
            let Value::String(text) = entry else {
                return Err(FrameError::Malformed { what: "text column without a text", at: 0 });
            };
            // Entry 0 of a batch's strings is the empty one, for everybody.
            if text.is_empty() {
                places.push(0);
            } else {
                places.push(number(spans.strings.len()));
                spans.strings.push(Arc::clone(text));
            }
        }
        indices.extend((0..n).map(|_| places[slot.next_rank()]));
    }
    Ok(())
}

fn take_attributes(spans: &mut SpanBatch, told: &Told, taken: &mut Taken) {
    let (rows, events, links) = (spans.len(), spans.events.time_ns.len(), spans.links.trace_id.len());
    let table = &mut spans.key_values;
    let owners = [
        (rows, &mut spans.attribute_offsets, &mut spans.attributes),
        (events, &mut spans.events.attribute_offsets, &mut spans.events.attributes),
        (links, &mut spans.links.attribute_offsets, &mut spans.links.attributes),
    ];
    for (n, offsets, attributes) in owners {
        for _ in 0..n {
            taken.next_owner_indices(told, table, attributes);
            offsets.push(number(attributes.len()));
        }
    }
}

fn take_bytes(cursor: &mut Cursor<'_>, n: usize, what: &'static str) -> Result<Vec<u8>, FrameError> {
    Ok(narrow(cursor, n, 256, what)?.into_iter().map(|value| value as u8).collect())
}

fn bytes(values: &[u8]) -> Vec<u64> {
    values.iter().map(|&value| u64::from(value)).collect()
}

fn zigzags(values: &[i64]) -> Vec<u64> {
    values.iter().map(|&value| zigzag(value)).collect()
}
