//! Rows of the table `spans` back into a [`SpanBatch`], as they were sent.
//!
//! Columns are found by name, so that files older than a column are read too. A span comes back with every attribute
//! under the name and with the type that it was sent with, sorted by key. Nothing here trusts the file: what does
//! not fit is an error in words, never a panic.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int8Array, Int64Array, ListArray,
    MapArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array,
};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::schema::traces::{self as schema, ColumnType, SPAN_COLUMNS};
use weir_proto::{Attributes, KeyValue, Resource, Scope, SpanBatch, Value, semconv};

use super::json;

/// What is wrong with a table, in words; the caller knows the file.
pub(super) type Wrong = String;

/// Resources by their id.
pub(super) type Resources = HashMap<i64, Arc<Resource>, FixedState>;

/// The column `name`, of type `T`.
pub(super) fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, Wrong> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    column.as_any().downcast_ref().ok_or_else(|| format!("column {name} is {}", column.data_type()))
}

/// As [`column`](column()), for one that older files may lack.
fn newer_column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a T>, Wrong> {
    match batch.column_by_name(name) {
        Some(_) => column(batch, name).map(Some),
        None => Ok(None),
    }
}

fn id<const N: usize>(ids: &FixedSizeBinaryArray, row: usize) -> Result<[u8; N], Wrong> {
    ids.value(row).try_into().map_err(|_| format!("an id of {} bytes", ids.value_length()))
}

fn text(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

/// Reads the rows of `resources`.
pub(super) fn resources(batch: &RecordBatch, into: &mut Resources) -> Result<(), Wrong> {
    let ids: &Int64Array = column(batch, schema::RESOURCE_ID)?;
    let maps = MapColumns::of(batch)?;
    for row in 0..batch.num_rows() {
        let mut pairs = Vec::new();
        maps.read(row, &mut pairs)?;
        into.insert(ids.value(row), Arc::new(Resource { attributes: Attributes::new(pairs) }));
    }
    Ok(())
}

/// The five columns of attributes without a column of their own.
struct MapColumns<'a> {
    texts: &'a MapArray,
    integers: &'a MapArray,
    doubles: &'a MapArray,
    booleans: &'a MapArray,
    other: &'a StringArray,
}

impl<'a> MapColumns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Wrong> {
        Ok(Self {
            texts: column(batch, schema::ATTRS_STR)?,
            integers: column(batch, schema::ATTRS_INT)?,
            doubles: column(batch, schema::ATTRS_DBL)?,
            booleans: column(batch, schema::ATTRS_BOOL)?,
            other: column(batch, schema::ATTRS_OTHER)?,
        })
    }

    fn read(&self, row: usize, into: &mut Vec<KeyValue>) -> Result<(), Wrong> {
        read_map(self.texts, row, into, |values: &StringArray, at| values.value(at).into())?;
        read_map(self.integers, row, into, |values: &Int64Array, at| values.value(at).into())?;
        read_map(self.doubles, row, into, |values: &Float64Array, at| values.value(at).into())?;
        read_map(self.booleans, row, into, |values: &BooleanArray, at| values.value(at).into())?;
        read_other(self.other, row, into)
    }
}

fn read_map<V: Array + 'static>(
    map: &MapArray,
    row: usize,
    into: &mut Vec<KeyValue>,
    value_at: impl Fn(&V, usize) -> Value,
) -> Result<(), Wrong> {
    if map.is_null(row) {
        return Ok(());
    }
    let keys = map.keys().as_string_opt::<i32>().ok_or("map keys that are no text")?;
    let values = map.values().as_any().downcast_ref::<V>();
    let values = values.ok_or_else(|| format!("map values of type {}", map.values().data_type()))?;
    for at in range(map.value_offsets(), row)? {
        into.push(KeyValue::new(keys.value(at), value_at(values, at)));
    }
    Ok(())
}

fn read_other(other: &StringArray, row: usize, into: &mut Vec<KeyValue>) -> Result<(), Wrong> {
    if let Some(object) = text(other, row) {
        into.extend(json::parse_object(object)?);
    }
    Ok(())
}

fn range(offsets: &[i32], row: usize) -> Result<std::ops::Range<usize>, Wrong> {
    let at = |row: usize| usize::try_from(offsets[row]).map_err(|_| "a negative list offset".to_owned());
    Ok(at(row)?..at(row + 1)?)
}

/// Name, version and attributes (as stored) of a scope.
type ScopeKey = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// Gathers rows of any number of record batches into one [`SpanBatch`].
#[derive(Default)]
pub(super) struct SpanDecoder {
    spans: SpanBatch,
    strings: HashMap<Arc<str>, u32, FixedState>,
    resources: HashMap<i64, u32, FixedState>,
    scopes: HashMap<ScopeKey, u32, FixedState>,
}

/// The columns of one record batch of `spans`.
struct Rows<'a> {
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a FixedSizeBinaryArray,
    parent_span_id: &'a FixedSizeBinaryArray,
    start: &'a TimestampNanosecondArray,
    duration_ns: &'a Int64Array,
    name: &'a StringArray,
    kind: &'a Int8Array,
    status: &'a Int8Array,
    status_message: &'a StringArray,
    trace_state: &'a StringArray,
    flags: &'a UInt32Array,
    scope_name: &'a StringArray,
    scope_version: &'a StringArray,
    scope_attributes: &'a StringArray,
    resource_id: &'a Int64Array,
    attributes: AttributeColumns<'a>,
    dropped: [&'a UInt32Array; 3],
    events: &'a ListArray,
    links: &'a ListArray,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Wrong> {
        Ok(Self {
            trace_id: column(batch, schema::TRACE_ID)?,
            span_id: column(batch, schema::SPAN_ID)?,
            parent_span_id: column(batch, schema::PARENT_SPAN_ID)?,
            start: column(batch, schema::START)?,
            duration_ns: column(batch, schema::DURATION_NS)?,
            name: column(batch, schema::NAME)?,
            kind: column(batch, schema::KIND)?,
            status: column(batch, schema::STATUS)?,
            status_message: column(batch, schema::STATUS_MESSAGE)?,
            trace_state: column(batch, schema::TRACE_STATE)?,
            flags: column(batch, schema::FLAGS)?,
            scope_name: column(batch, schema::SCOPE_NAME)?,
            scope_version: column(batch, schema::SCOPE_VERSION)?,
            scope_attributes: column(batch, schema::SCOPE_ATTRIBUTES)?,
            resource_id: column(batch, schema::RESOURCE_ID)?,
            attributes: AttributeColumns::of(batch)?,
            dropped: [
                column(batch, schema::DROPPED_ATTRIBUTES)?,
                column(batch, schema::DROPPED_EVENTS)?,
                column(batch, schema::DROPPED_LINKS)?,
            ],
            events: column(batch, schema::EVENTS)?,
            links: column(batch, schema::LINKS)?,
        })
    }
}

/// Everything that holds attributes of spans.
struct AttributeColumns<'a> {
    columns: Vec<(&'static str, &'a ArrayRef, ColumnType)>,
    sent_as: &'a StringArray,
    maps: MapColumns<'a>,
}

impl<'a> AttributeColumns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Wrong> {
        let present = SPAN_COLUMNS.iter().filter_map(|column| {
            let array = batch.column_by_name(column.column)?;
            Some((column.attribute, array, column.of))
        });
        Ok(Self { columns: present.collect(), sent_as: column(batch, schema::SENT_AS)?, maps: MapColumns::of(batch)? })
    }

    /// The attributes of a span of this kind, sorted by key.
    fn read(&self, row: usize, kind: u8) -> Result<Vec<KeyValue>, Wrong> {
        let mut pairs = Vec::new();
        let old_names: Vec<(&str, &str)> = text(self.sent_as, row)
            .map(|names| names.split(','))
            .into_iter()
            .flatten()
            .filter_map(|old| Some((semconv::canonical_span_key(old, kind)?, old)))
            .collect();
        for (attribute, array, of) in &self.columns {
            if array.is_null(row) {
                continue;
            }
            let value = match of {
                ColumnType::Text => array.as_string_opt::<i32>().map(|texts| Value::from(texts.value(row))),
                ColumnType::Number => {
                    array.as_any().downcast_ref::<Int64Array>().map(|numbers| Value::Int(numbers.value(row)))
                }
            };
            let value = value.ok_or_else(|| format!("column of {attribute} is {}", array.data_type()))?;
            let name = old_names.iter().find(|(today, _)| today == attribute).map_or(*attribute, |(_, old)| *old);
            pairs.push(KeyValue::new(name, value));
        }
        self.maps.read(row, &mut pairs)?;
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(pairs)
    }
}

impl SpanDecoder {
    /// Appends every row of `batch`. A resource that is not in `resources` comes back empty but for its service.
    pub(super) fn push(&mut self, batch: &RecordBatch, resources: &Resources) -> Result<(), Wrong> {
        let rows = Rows::of(batch)?;
        let services: Option<&StringArray> = newer_column(batch, schema::SERVICE_NAME)?;
        for row in 0..batch.num_rows() {
            self.push_resource(&rows, row, resources, services)?;
            self.push_row(&rows, row)?;
        }
        Ok(())
    }

    /// What was gathered.
    pub(super) fn finish(self) -> SpanBatch {
        self.spans
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&at) = self.strings.get(text) {
            return at;
        }
        let text: Arc<str> = text.into();
        self.spans.strings.push(Arc::clone(&text));
        let at = index(self.spans.strings.len() - 1);
        self.strings.insert(text, at);
        at
    }

    fn push_pairs(&mut self, pairs: Vec<KeyValue>) -> impl Iterator<Item = u32> + use<> {
        let first = index(self.spans.key_values.len());
        self.spans.key_values.extend(pairs);
        first..index(self.spans.key_values.len())
    }

    fn push_resource(
        &mut self,
        rows: &Rows<'_>,
        row: usize,
        resources: &Resources,
        services: Option<&StringArray>,
    ) -> Result<(), Wrong> {
        let resource_id = rows.resource_id.value(row);
        let spans = &mut self.spans;
        let at = *self.resources.entry(resource_id).or_insert_with(|| {
            let service = || services.map(|services| KeyValue::new(semconv::SERVICE_NAME, services.value(row)));
            let lost = || Arc::new(Resource { attributes: service().into_iter().collect() });
            spans.resources.push(resources.get(&resource_id).map_or_else(lost, Arc::clone));
            index(spans.resources.len() - 1)
        });
        self.spans.resource.push(at);
        let name = rows.scope_name.value(row);
        let version = rows.scope_version.value(row);
        let attributes = text(rows.scope_attributes, row);
        let key = (Arc::from(name), Arc::from(version), attributes.map(Arc::from));
        if let Some(&at) = self.scopes.get(&key) {
            self.spans.scope.push(at);
            return Ok(());
        }
        let pairs = attributes.map_or(Ok(Vec::new()), json::parse_object)?;
        let (name, version) = (Arc::clone(&key.0), Arc::clone(&key.1));
        self.spans.scopes.push(Arc::new(Scope { name, version, attributes: Attributes::new(pairs) }));
        let at = index(self.spans.scopes.len() - 1);
        self.scopes.insert(key, at);
        self.spans.scope.push(at);
        Ok(())
    }

    fn push_row(&mut self, rows: &Rows<'_>, row: usize) -> Result<(), Wrong> {
        let kind = rows.kind.value(row).cast_unsigned();
        let parent = if rows.parent_span_id.is_null(row) { [0; 8] } else { id(rows.parent_span_id, row)? };
        let name = self.string(rows.name.value(row));
        let status_message = self.string(text(rows.status_message, row).unwrap_or_default());
        let trace_state = self.string(text(rows.trace_state, row).unwrap_or_default());
        let attributes = self.push_pairs(rows.attributes.read(row, kind)?);
        let start_ns = rows.start.value(row);
        let spans = &mut self.spans;
        spans.trace_id.push(id(rows.trace_id, row)?);
        spans.span_id.push(id(rows.span_id, row)?);
        spans.parent_span_id.push(parent);
        spans.start_ns.push(start_ns);
        spans.duration_ns.push(rows.duration_ns.value(row));
        spans.name.push(name);
        spans.kind.push(kind);
        spans.status.push(rows.status.value(row).cast_unsigned());
        spans.status_message.push(status_message);
        spans.trace_state.push(trace_state);
        spans.flags.push(rows.flags.value(row));
        spans.attributes.extend(attributes);
        spans.attribute_offsets.push(index(spans.attributes.len()));
        spans.dropped_attributes.push(rows.dropped[0].value(row));
        spans.dropped_events.push(rows.dropped[1].value(row));
        spans.dropped_links.push(rows.dropped[2].value(row));
        self.push_events(rows.events, row, start_ns)?;
        self.push_links(rows.links, row)
    }

    fn push_events(&mut self, events: &ListArray, row: usize, start_ns: i64) -> Result<(), Wrong> {
        let fields = fields_of(events)?;
        let offset_ns: &Int64Array = field(fields, schema::OFFSET_NS)?;
        let names: &StringArray = field(fields, schema::NAME)?;
        let dropped: &UInt32Array = field(fields, schema::DROPPED_ATTRIBUTES)?;
        for at in list_range(events, row)? {
            let pairs = small_attributes(fields, at)?;
            let name = self.string(names.value(at));
            let attributes = self.push_pairs(pairs);
            let events = &mut self.spans.events;
            events.time_ns.push(start_ns.wrapping_add(offset_ns.value(at)));
            events.name.push(name);
            events.attributes.extend(attributes);
            events.attribute_offsets.push(index(events.attributes.len()));
            events.dropped_attributes.push(dropped.value(at));
        }
        self.spans.event_offsets.push(index(self.spans.events.time_ns.len()));
        Ok(())
    }

    fn push_links(&mut self, links: &ListArray, row: usize) -> Result<(), Wrong> {
        let fields = fields_of(links)?;
        let trace_ids: &FixedSizeBinaryArray = field(fields, schema::TRACE_ID)?;
        let span_ids: &FixedSizeBinaryArray = field(fields, schema::SPAN_ID)?;
        let trace_states: &StringArray = field(fields, schema::TRACE_STATE)?;
        let flags: &UInt32Array = field(fields, schema::FLAGS)?;
        let dropped: &UInt32Array = field(fields, schema::DROPPED_ATTRIBUTES)?;
        for at in list_range(links, row)? {
            let pairs = small_attributes(fields, at)?;
            let trace_state = self.string(text(trace_states, at).unwrap_or_default());
            let attributes = self.push_pairs(pairs);
            let links = &mut self.spans.links;
            links.trace_id.push(id(trace_ids, at)?);
            links.span_id.push(id(span_ids, at)?);
            links.trace_state.push(trace_state);
            links.flags.push(flags.value(at));
            links.attributes.extend(attributes);
            links.attribute_offsets.push(index(links.attributes.len()));
            links.dropped_attributes.push(dropped.value(at));
        }
        self.spans.link_offsets.push(index(self.spans.links.flags.len()));
        Ok(())
    }
}

fn list_range(list: &ListArray, row: usize) -> Result<std::ops::Range<usize>, Wrong> {
    if list.is_null(row) { Ok(0..0) } else { range(list.value_offsets(), row) }
}

fn fields_of(list: &ListArray) -> Result<&StructArray, Wrong> {
    list.values().as_struct_opt().ok_or_else(|| format!("a list of {}", list.values().data_type()))
}

fn field<'a, T: 'static>(fields: &'a StructArray, name: &str) -> Result<&'a T, Wrong> {
    let column = fields.column_by_name(name).ok_or_else(|| format!("no field {name}"))?;
    column.as_any().downcast_ref().ok_or_else(|| format!("field {name} is {}", column.data_type()))
}

/// Attributes of one event or link, sorted by key.
fn small_attributes(fields: &StructArray, at: usize) -> Result<Vec<KeyValue>, Wrong> {
    let mut pairs = Vec::new();
    let texts = field(fields, schema::ATTRIBUTES)?;
    read_map(texts, at, &mut pairs, |values: &StringArray, at| values.value(at).into())?;
    read_other(field(fields, schema::ATTRIBUTES_OTHER)?, at, &mut pairs)?;
    pairs.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(pairs)
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a trace or chunk holds far less than 2^32 of anything")
}
