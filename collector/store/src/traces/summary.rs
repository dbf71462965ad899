//! One row per trace: the card of a search result, the way to its spans, and whether its root has come.
//!
//! A part holds a row for every trace with spans in it; rows of one trace merge ([`TraceSummary::merge`]) over parts
//! and memtables, in any order to the same result. Counts add up, so a span that was sent twice and lies in two
//! parts counts twice until they are merged.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array, Int64Builder, ListArray,
    ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray, TimestampNanosecondBuilder,
    UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::schema::traces as schema;
use weir_proto::semconv;

use super::decode::{Wrong, column};

/// What is known of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSummary {
    /// Its id.
    pub trace_id: [u8; 16],
    /// Earliest start of a span, ns.
    pub start_ns: i64,
    /// Latest end of a span, ns.
    pub end_ns: i64,
    /// Service and name of the root span, the earliest one if there are several; `None` while it has not been seen.
    pub root: Option<Root>,
    /// Spans seen.
    pub span_count: u32,
    /// Spans with status error.
    pub error_count: u32,
    /// Services with spans in it, sorted, each once.
    pub services: Vec<Arc<str>>,
}

/// The span without a parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// When it began; with the names the order among several roots.
    pub start_ns: i64,
    /// Its service.
    pub service: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl TraceSummary {
    /// Takes in what another place knows of the same trace.
    pub fn merge(&mut self, other: Self) {
        debug_assert_eq!(self.trace_id, other.trace_id, "summaries of one trace merge");
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        self.root = match (self.root.take(), other.root) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.span_count = self.span_count.saturating_add(other.span_count);
        self.error_count = self.error_count.saturating_add(other.error_count);
        for service in other.services {
            if let Err(at) = self.services.binary_search(&service) {
                self.services.insert(at, service);
            }
        }
    }
}

/// One span, as far as a summary looks at it.
pub(super) struct SeenSpan<'a> {
    pub(super) trace_id: [u8; 16],
    pub(super) start_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) is_root: bool,
    pub(super) is_error: bool,
    pub(super) service: &'a str,
    pub(super) name: &'a str,
}

/// Gathers spans, in any order, into summaries.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    traces: HashMap<[u8; 16], TraceSummary, FixedState>,
    /// Services and root names, so that each text is held once.
    texts: hashbrown::HashSet<Arc<str>, FixedState>,
}

impl Summaries {
    /// Takes in one span.
    pub(super) fn add(&mut self, span: &SeenSpan<'_>) {
        let service = self.text(span.service);
        let root = span.is_root.then(|| Root {
            start_ns: span.start_ns,
            service: Arc::clone(&service),
            name: self.text(span.name),
        });
        let one = TraceSummary {
            trace_id: span.trace_id,
            start_ns: span.start_ns,
            end_ns: span.start_ns.saturating_add(span.duration_ns.max(0)),
            root,
            span_count: 1,
            error_count: u32::from(span.is_error),
            services: vec![service],
        };
        self.merge(one);
    }

    /// Takes in every row of a record batch of `spans`.
    pub(super) fn add_rows(&mut self, batch: &RecordBatch) -> Result<(), Wrong> {
        let trace_ids: &FixedSizeBinaryArray = column(batch, schema::TRACE_ID)?;
        let parents: &FixedSizeBinaryArray = column(batch, schema::PARENT_SPAN_ID)?;
        let starts: &TimestampNanosecondArray = column(batch, schema::START)?;
        let durations: &Int64Array = column(batch, schema::DURATION_NS)?;
        let statuses: &arrow::array::Int8Array = column(batch, schema::STATUS)?;
        let services: &StringArray = column(batch, schema::SERVICE_NAME)?;
        let names: &StringArray = column(batch, schema::NAME)?;
        for row in 0..batch.num_rows() {
            self.add(&SeenSpan {
                trace_id: trace_ids.value(row).try_into().map_err(|_| "a trace id that is not 16 bytes")?,
                start_ns: starts.value(row),
                duration_ns: durations.value(row),
                is_root: parents.is_null(row),
                is_error: statuses.value(row).cast_unsigned() == semconv::STATUS_CODE_ERROR,
                service: services.value(row),
                name: names.value(row),
            });
        }
        Ok(())
    }

    /// Takes in what another place knows of a trace.
    pub(super) fn merge(&mut self, one: TraceSummary) {
        match self.traces.entry(one.trace_id) {
            hashbrown::hash_map::Entry::Occupied(mut known) => known.get_mut().merge(one),
            hashbrown::hash_map::Entry::Vacant(new) => {
                new.insert(one);
            }
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        Arc::clone(self.texts.get_or_insert_with(text, |text: &str| Arc::from(text)))
    }

    /// The summaries, sorted by trace id.
    pub(super) fn finish(self) -> Vec<TraceSummary> {
        let mut traces: Vec<TraceSummary> = self.traces.into_values().collect();
        traces.sort_unstable_by_key(|trace| trace.trace_id);
        traces
    }
}

/// Rows of the table `traces`.
pub(super) fn encode(traces: &[TraceSummary], tenant: &str, part: &str) -> RecordBatch {
    let constant =
        |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, traces.len()))) };
    let mut ids = FixedSizeBinaryBuilder::new(16);
    let mut starts = TimestampNanosecondBuilder::new().with_data_type(schema::timestamp());
    let mut durations = Int64Builder::new();
    let mut root_services = StringBuilder::new();
    let mut root_names = StringBuilder::new();
    let mut span_counts = UInt32Builder::new();
    let mut error_counts = UInt32Builder::new();
    let mut services = ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
    for trace in traces {
        ids.append_value(trace.trace_id).expect("an id has 16 bytes");
        starts.append_value(trace.start_ns);
        durations.append_value(trace.end_ns.saturating_sub(trace.start_ns));
        root_services.append_option(trace.root.as_ref().map(|root| &root.service));
        root_names.append_option(trace.root.as_ref().map(|root| &root.name));
        span_counts.append_value(trace.span_count);
        error_counts.append_value(trace.error_count);
        trace.services.iter().for_each(|service| services.values().append_value(service));
        services.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        constant(tenant),
        constant(part),
        Arc::new(ids.finish()),
        Arc::new(starts.finish()),
        Arc::new(durations.finish()),
        Arc::new(root_services.finish()),
        Arc::new(root_names.finish()),
        Arc::new(span_counts.finish()),
        Arc::new(error_counts.finish()),
        Arc::new(services.finish()),
    ];
    RecordBatch::try_new(schema::traces(), columns).expect("columns are built in the order and types of the schema")
}

/// The summary in one row of `traces`. A root's own start is not stored: the trace's stands for it.
pub(super) fn decode(batch: &RecordBatch, row: usize) -> Result<TraceSummary, Wrong> {
    let ids: &FixedSizeBinaryArray = column(batch, schema::TRACE_ID)?;
    let start_ns = column::<TimestampNanosecondArray>(batch, schema::START)?.value(row);
    let duration_ns = column::<Int64Array>(batch, schema::DURATION_NS)?.value(row);
    let root_services: &StringArray = column(batch, schema::ROOT_SERVICE)?;
    let root_names: &StringArray = column(batch, schema::ROOT_NAME)?;
    let services: &ListArray = column(batch, schema::SERVICES)?;
    let services = services.value(row);
    let services = services.as_string_opt::<i32>().ok_or("services that are no text")?;
    Ok(TraceSummary {
        trace_id: ids.value(row).try_into().map_err(|_| "a trace id that is not 16 bytes")?,
        start_ns,
        end_ns: start_ns.saturating_add(duration_ns),
        root: root_services.is_valid(row).then(|| Root {
            start_ns,
            service: root_services.value(row).into(),
            name: root_names.value(row).into(),
        }),
        span_count: column::<UInt32Array>(batch, schema::SPAN_COUNT)?.value(row),
        error_count: column::<UInt32Array>(batch, schema::ERROR_COUNT)?.value(row),
        services: services.iter().flatten().map(Arc::from).collect(),
    })
}
