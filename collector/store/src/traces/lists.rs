//! The columns `events` and `links`: one list per span, in the order sent.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, FixedSizeBinaryBuilder, Int64Builder, ListArray, StringBuilder, StructArray, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use weir_proto::SpanBatch;
use weir_proto::schema::traces::{event_fields, link_fields};

use super::encode::non_empty;
use super::maps::SmallAttributes;

/// The column `events`.
pub(super) struct EventBuilder {
    offsets: Vec<i32>,
    offset_ns: Int64Builder,
    name: StringBuilder,
    attributes: SmallAttributes,
    dropped: UInt32Builder,
}

impl EventBuilder {
    pub(super) fn new() -> Self {
        Self {
            offsets: vec![0],
            offset_ns: Int64Builder::new(),
            name: StringBuilder::new(),
            attributes: SmallAttributes::new(),
            dropped: UInt32Builder::new(),
        }
    }

    /// Appends the list of span `row`.
    pub(super) fn push(&mut self, batch: &SpanBatch, row: usize) {
        let events = &batch.events;
        for event in batch.event_offsets[row] as usize..batch.event_offsets[row + 1] as usize {
            // Wrapping, so that every pair of times comes back.
            self.offset_ns.append_value(events.time_ns[event].wrapping_sub(batch.start_ns[row]));
            self.name.append_value(&batch.strings[events.name[event] as usize]);
            let range = events.attribute_offsets[event] as usize..events.attribute_offsets[event + 1] as usize;
            self.attributes.push(batch, &events.attributes[range]);
            self.dropped.append_value(events.dropped_attributes[event]);
        }
        self.offsets.push(offset(self.name.len()));
    }

    /// The lists pushed since the last call.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let [texts, other] = self.attributes.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.offset_ns.finish()),
            Arc::new(self.name.finish()),
            texts,
            other,
            Arc::new(self.dropped.finish()),
        ];
        list_of(event_fields(), columns, &mut self.offsets)
    }
}

/// The column `links`.
pub(super) struct LinkBuilder {
    offsets: Vec<i32>,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    trace_state: StringBuilder,
    flags: UInt32Builder,
    attributes: SmallAttributes,
    dropped: UInt32Builder,
}

impl LinkBuilder {
    pub(super) fn new() -> Self {
        Self {
            offsets: vec![0],
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            trace_state: StringBuilder::new(),
            flags: UInt32Builder::new(),
            attributes: SmallAttributes::new(),
            dropped: UInt32Builder::new(),
        }
    }

    /// Appends the list of span `row`.
    pub(super) fn push(&mut self, batch: &SpanBatch, row: usize) {
        const WIDTH: &str = "the id has the column's width";
        let links = &batch.links;
        for link in batch.link_offsets[row] as usize..batch.link_offsets[row + 1] as usize {
            self.trace_id.append_value(links.trace_id[link]).expect(WIDTH);
            self.span_id.append_value(links.span_id[link]).expect(WIDTH);
            self.trace_state.append_option(non_empty(batch, links.trace_state[link]));
            self.flags.append_value(links.flags[link]);
            let range = links.attribute_offsets[link] as usize..links.attribute_offsets[link + 1] as usize;
            self.attributes.push(batch, &links.attributes[range]);
            self.dropped.append_value(links.dropped_attributes[link]);
        }
        self.offsets.push(offset(self.flags.len()));
    }

    /// The lists pushed since the last call.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let [texts, other] = self.attributes.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.trace_state.finish()),
            Arc::new(self.flags.finish()),
            texts,
            other,
            Arc::new(self.dropped.finish()),
        ];
        list_of(link_fields(), columns, &mut self.offsets)
    }
}

/// The list column over `columns`, one list per pair of offsets; starts the offsets anew.
fn list_of(fields: Fields, columns: Vec<ArrayRef>, offsets: &mut Vec<i32>) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Struct(fields.clone()), false));
    let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
    Arc::new(ListArray::new(item, offsets, Arc::new(StructArray::new(fields, columns, None)), None))
}

fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("a chunk of rows holds far less than 2^31 events or links")
}
