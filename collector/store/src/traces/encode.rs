//! Rows of span batches become record batches of the table `spans`.
//!
//! [`Source`] looks once at a batch's dictionaries: which column or map each attribute goes to, what each resource
//! is called. [`SpanEncoder::push`] then places one row. Attributes are placed by today's name: a column holds the
//! attribute that has its name, else one whose old name folds to it (then `sent_as` says so); what is left goes to
//! the map of its type, sorted by key. Of attributes with one key the first one is kept, as OTLP asks of senders.
//! Copies: every text is copied once, into its column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int8Builder, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampNanosecondBuilder, UInt32Builder,
};
use weir_proto::schema::traces::{self as schema, AttributeColumn, ColumnType, RESOURCE_COLUMNS, SPAN_COLUMNS};
use weir_proto::{KeyValue, Resource, SpanBatch, Value, semconv};

use super::lists::{EventBuilder, LinkBuilder};
use super::maps::{AttributeMaps, distinct};
use super::{CHUNK_BYTES, CHUNK_ROWS, json};

/// Where an attribute goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The column of today's name, place in [`SPAN_COLUMNS`].
    Column(usize),
    /// As `Column`, sent under an old name.
    OldColumn(usize),
    /// An old name whose meaning depends on the span's kind.
    ByKind,
    /// The map of its type, though its name has a column: the value is of another type.
    Misfit,
    /// The map of its type.
    Map,
}

/// One batch, with what every row of it would otherwise look up again.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) batch: &'a SpanBatch,
    targets: Vec<Target>,
    resources: Vec<ResourceView<'a>>,
    scope_attributes: Vec<Option<String>>,
}

#[derive(Debug)]
struct ResourceView<'a> {
    id: i64,
    service: &'a str,
    columns: [Option<&'a str>; RESOURCE_COLUMNS.len()],
}

impl<'a> Source<'a> {
    pub(super) fn new(batch: &'a SpanBatch) -> Self {
        Self {
            batch,
            targets: batch.key_values.iter().map(target).collect(),
            resources: batch.resources.iter().map(|resource| ResourceView::new(resource)).collect(),
            scope_attributes: batch
                .scopes
                .iter()
                .map(|scope| json::object(scope.attributes.iter().map(|pair| (pair.key.as_ref(), &pair.value))))
                .collect(),
        }
    }

    /// The service of each resource of the batch.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a str> {
        self.resources.iter().map(|resource| resource.service)
    }

    /// The id of the batch's resource `at`.
    pub(super) fn resource_id(&self, at: usize) -> i64 {
        self.resources[at].id
    }

    /// The attributes of span `row`. Repeats of a key are settled here when one may go to a column and the other to a
    /// map, which no later step would see; else where the key goes.
    fn references(&self, row: usize) -> Cow<'a, [u32]> {
        let batch = self.batch;
        let range = batch.attribute_offsets[row] as usize..batch.attribute_offsets[row + 1] as usize;
        let references = &batch.attributes[range];
        let is_settled = |at: &u32| !matches!(self.targets[*at as usize], Target::Misfit | Target::ByKind);
        if references.iter().all(is_settled) {
            return Cow::Borrowed(references);
        }
        let key = |at: &u32| &batch.key_values[*at as usize].key;
        let mut references = references.to_vec();
        references.sort_by(|a, b| key(a).cmp(key(b)));
        references.dedup_by(|later, first| key(later) == key(first));
        Cow::Owned(references)
    }

    fn target(&self, at: u32, kind: u8) -> Target {
        match self.targets[at as usize] {
            Target::ByKind => {
                let pair = &self.batch.key_values[at as usize];
                let name = semconv::canonical_span_key(&pair.key, kind);
                name.and_then(|name| column_of(name, &pair.value)).map_or(Target::Misfit, Target::OldColumn)
            }
            known => known,
        }
    }
}

/// The service that a resource names.
pub(super) fn service_of(resource: &Resource) -> &str {
    match resource.attributes.find(semconv::SERVICE_NAME) {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => semconv::UNKNOWN_SERVICE,
    }
}

impl<'a> ResourceView<'a> {
    fn new(resource: &'a Resource) -> Self {
        let mut columns = [None; RESOURCE_COLUMNS.len()];
        for pair in &resource.attributes {
            let Value::String(text) = &pair.value else { continue };
            let (name, is_old) = match semconv::canonical_key(&pair.key) {
                Some(name) => (name, true),
                None => (pair.key.as_ref(), false),
            };
            let at = RESOURCE_COLUMNS.iter().position(|column| column.attribute == name);
            if let Some(column) = at.map(|at| &mut columns[at])
                && (column.is_none() || !is_old)
            {
                *column = Some(text.as_ref());
            }
        }
        Self { id: resource.id(), service: service_of(resource), columns }
    }
}

fn column_of(name: &str, value: &Value) -> Option<usize> {
    let at = position_of(name)?;
    let fits = match SPAN_COLUMNS[at].of {
        ColumnType::Text => matches!(value, Value::String(_)),
        ColumnType::Number => matches!(value, Value::Int(_)),
    };
    fits.then_some(at)
}

fn position_of(name: &str) -> Option<usize> {
    SPAN_COLUMNS.iter().position(|column| column.attribute == name)
}

fn target(pair: &KeyValue) -> Target {
    if let Some(at) = column_of(&pair.key, &pair.value) {
        return Target::Column(at);
    }
    let as_client = semconv::canonical_span_key(&pair.key, semconv::SPAN_KIND_CLIENT);
    let as_server = semconv::canonical_span_key(&pair.key, semconv::SPAN_KIND_SERVER);
    match as_client {
        _ if as_client != as_server => Target::ByKind,
        Some(name) => column_of(name, &pair.value).map_or(Target::Misfit, Target::OldColumn),
        None if position_of(&pair.key).is_some() => Target::Misfit,
        None => Target::Map,
    }
}

/// A column of an attribute.
enum AttributeBuilder {
    Text(StringBuilder),
    Number(Int64Builder),
}

impl AttributeBuilder {
    fn of(column: &AttributeColumn) -> Self {
        match column.of {
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Number => Self::Number(Int64Builder::new()),
        }
    }

    fn push(&mut self, value: Option<&Value>) {
        match self {
            Self::Text(texts) => texts.append_option(value.and_then(Value::as_str)),
            Self::Number(numbers) => numbers.append_option(value.and_then(Value::as_int)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(texts) => Arc::new(texts.finish()),
            Self::Number(numbers) => Arc::new(numbers.finish()),
        }
    }
}

/// Builds record batches of `spans`, row by row.
pub(super) struct SpanEncoder {
    tenant: String,
    part: String,
    rows: usize,
    bytes: usize,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    parent_span_id: FixedSizeBinaryBuilder,
    start: TimestampNanosecondBuilder,
    duration_ns: Int64Builder,
    name: StringBuilder,
    kind: Int8Builder,
    status: Int8Builder,
    status_message: StringBuilder,
    trace_state: StringBuilder,
    flags: UInt32Builder,
    is_entry: BooleanBuilder,
    scope_name: StringBuilder,
    scope_version: StringBuilder,
    scope_attributes: StringBuilder,
    resource_id: Int64Builder,
    service_name: StringBuilder,
    resource_columns: Vec<StringBuilder>,
    span_columns: Vec<AttributeBuilder>,
    sent_as: StringBuilder,
    maps: AttributeMaps,
    dropped: [UInt32Builder; 3],
    events: EventBuilder,
    links: LinkBuilder,
}

impl SpanEncoder {
    /// An encoder of rows for `part` (empty for a memtable).
    pub(super) fn new(tenant: &str, part: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            part: part.to_owned(),
            rows: 0,
            bytes: 0,
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            parent_span_id: FixedSizeBinaryBuilder::new(8),
            start: TimestampNanosecondBuilder::new().with_data_type(schema::timestamp()),
            duration_ns: Int64Builder::new(),
            name: StringBuilder::new(),
            kind: Int8Builder::new(),
            status: Int8Builder::new(),
            status_message: StringBuilder::new(),
            trace_state: StringBuilder::new(),
            flags: UInt32Builder::new(),
            is_entry: BooleanBuilder::new(),
            scope_name: StringBuilder::new(),
            scope_version: StringBuilder::new(),
            scope_attributes: StringBuilder::new(),
            resource_id: Int64Builder::new(),
            service_name: StringBuilder::new(),
            resource_columns: RESOURCE_COLUMNS.iter().map(|_| StringBuilder::new()).collect(),
            span_columns: SPAN_COLUMNS.iter().map(AttributeBuilder::of).collect(),
            sent_as: StringBuilder::new(),
            maps: AttributeMaps::new(),
            dropped: [UInt32Builder::new(), UInt32Builder::new(), UInt32Builder::new()],
            events: EventBuilder::new(),
            links: LinkBuilder::new(),
        }
    }

    /// Rows since the last [`Self::finish`].
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it is time to [`Self::finish`] a chunk: enough rows, or so much text that offsets of 32 bits near
    /// their end.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }

    /// Appends span `row`.
    pub(super) fn push(&mut self, source: &Source<'_>, row: usize) {
        self.rows += 1;
        self.push_fixed(source.batch, row);
        self.push_resource_and_scope(source, row);
        self.push_attributes(source, row);
        self.events.push(source.batch, row);
        self.links.push(source.batch, row);
    }

    fn push_fixed(&mut self, batch: &SpanBatch, row: usize) {
        const WIDTH: &str = "the id has the column's width";
        let parent = batch.parent_span_id[row];
        let is_root = parent == [0; 8];
        let kind = batch.kind[row];
        self.trace_id.append_value(batch.trace_id[row]).expect(WIDTH);
        self.span_id.append_value(batch.span_id[row]).expect(WIDTH);
        if is_root {
            self.parent_span_id.append_null();
        } else {
            self.parent_span_id.append_value(parent).expect(WIDTH);
        }
        self.start.append_value(batch.start_ns[row]);
        self.duration_ns.append_value(batch.duration_ns[row]);
        self.name.append_value(&batch.strings[batch.name[row] as usize]);
        self.kind.append_value(kind.cast_signed());
        self.status.append_value(batch.status[row].cast_signed());
        self.status_message.append_option(non_empty(batch, batch.status_message[row]));
        self.trace_state.append_option(non_empty(batch, batch.trace_state[row]));
        self.flags.append_value(batch.flags[row]);
        self.is_entry.append_value(is_entry(kind, is_root));
        self.dropped[0].append_value(batch.dropped_attributes[row]);
        self.dropped[1].append_value(batch.dropped_events[row]);
        self.dropped[2].append_value(batch.dropped_links[row]);
    }

    fn push_resource_and_scope(&mut self, source: &Source<'_>, row: usize) {
        let resource = &source.resources[source.batch.resource[row] as usize];
        self.resource_id.append_value(resource.id);
        self.service_name.append_value(resource.service);
        for (builder, value) in self.resource_columns.iter_mut().zip(resource.columns) {
            builder.append_option(value);
        }
        let at = source.batch.scope[row] as usize;
        let scope = &source.batch.scopes[at];
        self.scope_name.append_value(&scope.name);
        self.scope_version.append_value(&scope.version);
        self.scope_attributes.append_option(source.scope_attributes[at].as_deref());
    }

    fn push_attributes(&mut self, source: &Source<'_>, row: usize) {
        let batch = source.batch;
        let mut columns: [Option<(&KeyValue, bool)>; SPAN_COLUMNS.len()] = [None; SPAN_COLUMNS.len()];
        let mut rest: Vec<&KeyValue> = Vec::new();
        for &at in source.references(row).iter() {
            let pair = &batch.key_values[at as usize];
            self.bytes += pair.value.as_str().map_or(16, str::len);
            let (column, is_old) = match source.target(at, batch.kind[row]) {
                Target::Column(column) => (column, false),
                Target::OldColumn(column) => (column, true),
                Target::ByKind | Target::Misfit | Target::Map => {
                    rest.push(pair);
                    continue;
                }
            };
            match &mut columns[column] {
                Some((held, _)) if held.key == pair.key => {}
                Some((held, held_is_old)) if *held_is_old && !is_old => {
                    rest.push(held);
                    columns[column] = Some((pair, false));
                }
                Some(_) => rest.push(pair),
                empty => *empty = Some((pair, is_old)),
            }
        }
        for (builder, column) in self.span_columns.iter_mut().zip(&columns) {
            builder.push(column.map(|(pair, _)| &pair.value));
        }
        let old_names = columns.iter().flatten().filter(|(_, is_old)| *is_old).map(|(pair, _)| pair.key.as_ref());
        self.sent_as.append_option(joined(old_names));
        self.maps.push(distinct(rest.into_iter()).into_iter());
    }

    /// The rows pushed since the last call.
    pub(super) fn finish(&mut self) -> RecordBatch {
        let constant =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, self.rows))) };
        let mut columns: Vec<ArrayRef> = vec![
            constant(&self.tenant),
            constant(&self.part),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.parent_span_id.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.duration_ns.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.status_message.finish()),
            Arc::new(self.trace_state.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.is_entry.finish()),
            Arc::new(self.scope_name.finish()),
            Arc::new(self.scope_version.finish()),
            Arc::new(self.scope_attributes.finish()),
            Arc::new(self.resource_id.finish()),
            Arc::new(self.service_name.finish()),
        ];
        columns.extend(self.resource_columns.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        columns.extend(self.span_columns.iter_mut().map(AttributeBuilder::finish));
        columns.push(Arc::new(self.sent_as.finish()));
        columns.extend(self.maps.finish());
        columns.extend(self.dropped.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        columns.push(self.events.finish());
        columns.push(self.links.finish());
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(schema::spans(), columns).expect("columns are built in the order and types of the schema")
    }
}

/// Whether a span is an entry into its service.
pub(super) fn is_entry(kind: u8, is_root: bool) -> bool {
    is_root || matches!(kind, semconv::SPAN_KIND_SERVER | semconv::SPAN_KIND_CONSUMER)
}

pub(super) fn non_empty(batch: &SpanBatch, at: u32) -> Option<&str> {
    let text = batch.strings[at as usize].as_ref();
    (!text.is_empty()).then_some(text)
}

fn joined<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<Cow<'a, str>> {
    let first = names.next()?;
    Some(names.fold(Cow::Borrowed(first), |all, name| Cow::Owned(format!("{all},{name}"))))
}
