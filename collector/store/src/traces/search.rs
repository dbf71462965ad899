//! The traces of one service: the newest, the slowest, the newest that failed.
//!
//! A trace stands for itself by the service's *entry* span (SERVER, CONSUMER or root), as RED counts it. The rows of
//! a service lie together, sorted by start, so the newest are read from the end of that run backwards, in pieces
//! that double, until there are enough; the slowest need one pass over (start, duration, trace id), with the details
//! decoded only for rows that beat what was found before. Results are the same for the same data, whatever lies in
//! memory and what in parts: ordered by start (or duration), ties by ids.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, BooleanArray, FixedSizeBinaryArray, Int8Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::error::ArrowError;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use parquet::arrow::arrow_reader::RowSelection;
use weir_proto::schema::traces as schema;
use weir_proto::{SpanBatch, Value, semconv};

use super::decode::{Wrong, column};
use super::encode::{is_entry, service_of};
use super::read::{Columns, RowTest, SpanPart};
use super::summary::TraceSummary;
use super::view::{TracesView, readable};
use crate::error::StoreError;

/// Rows of the first piece read backwards.
const FIRST_PIECE_ROWS: usize = 8_192;

/// Which traces come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceOrder {
    /// Newest first.
    Recent,
    /// Longest entry span first.
    Slow,
    /// Newest first, of those whose entry span has status error.
    Failed,
}

/// What to look for.
#[derive(Clone, Debug)]
pub struct ServiceSearch {
    /// `service.name`.
    pub service: String,
    /// `service.namespace`; any when `None`.
    pub namespace: Option<String>,
    /// Which come first.
    pub order: TraceOrder,
    /// Earliest start of the entry span, ns.
    pub from_ns: i64,
    /// Latest start of the entry span, ns.
    pub to_ns: i64,
    /// Most traces in the answer.
    pub limit: usize,
}

/// A trace, and the entry span of the service asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTrace {
    /// What is known of the whole trace.
    pub trace: TraceSummary,
    /// The entry span.
    pub span: EntrySpan,
}

/// An entry span, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySpan {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Itself.
    pub span_id: [u8; 8],
    /// When it began, ns.
    pub start_ns: i64,
    /// How long it took, ns.
    pub duration_ns: i64,
    /// The operation.
    pub name: String,
    /// OTLP SpanKind.
    pub kind: u8,
    /// OTLP StatusCode.
    pub status: u8,
    /// Empty when none was sent.
    pub status_message: String,
    /// `http.response.status_code`, under either name.
    pub http_status: Option<i64>,
    /// `service.version`.
    pub version: Option<String>,
}

impl TracesView {
    /// The traces of a service, at most `search.limit`.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn of_service(&self, search: &ServiceSearch) -> Result<Vec<ServiceTrace>, StoreError> {
        if search.limit == 0 {
            return Ok(Vec::new());
        }
        let mut best = Best::new(search);
        for batch in self.memtables.iter().flat_map(|memtable| memtable.batches()) {
            scan_batch(&batch, search, &mut best);
        }
        let mut parts: Vec<&Arc<SpanPart>> = self.parts.iter().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.entry().time_max_ns));
        for part in parts {
            let entry = part.entry();
            let has_service = entry.services.as_ref().is_none_or(|services| services.contains(&search.service));
            let too_old = search.order != TraceOrder::Slow && best.floor() > entry.time_max_ns;
            if has_service && !too_old && entry.overlaps(search.from_ns, search.to_ns) {
                readable(part, scan_part(part, search, &mut best))?;
            }
        }
        let spans = best.finish();
        let trace_ids: Vec<[u8; 16]> = spans.iter().map(|span| span.trace_id).collect();
        let mut traces = self.summaries(&trace_ids)?;
        let found = spans.into_iter().filter_map(|span| {
            let trace = traces.remove(&span.trace_id)?;
            Some(ServiceTrace { trace, span })
        });
        Ok(found.collect())
    }
}

/// The best spans so far, one per trace.
struct Best<'a> {
    search: &'a ServiceSearch,
    spans: Vec<EntrySpan>,
}

/// What a span is ordered by, best first when sorted descending.
fn rank(order: TraceOrder, span: &EntrySpan) -> (i64, [u8; 16], [u8; 8]) {
    let score = if order == TraceOrder::Slow { span.duration_ns } else { span.start_ns };
    (score, span.trace_id, span.span_id)
}

impl<'a> Best<'a> {
    fn new(search: &'a ServiceSearch) -> Self {
        Self { search, spans: Vec::new() }
    }

    fn add(&mut self, span: EntrySpan) {
        self.spans.push(span);
        if self.spans.len() > 4 * self.search.limit + 256 {
            self.prune();
        }
    }

    /// Keeps the best span of each of the best traces.
    fn prune(&mut self) {
        let order = self.search.order;
        self.spans.sort_unstable_by_key(|span| std::cmp::Reverse(rank(order, span)));
        let mut traces: HashSet<[u8; 16], FixedState> = HashSet::default();
        self.spans.retain(|span| traces.insert(span.trace_id));
        self.spans.truncate(self.search.limit);
    }

    /// The score below which no span makes a difference any more.
    fn floor(&mut self) -> i64 {
        self.prune();
        if self.spans.len() < self.search.limit {
            return i64::MIN;
        }
        self.spans.last().map_or(i64::MIN, |span| rank(self.search.order, span).0)
    }

    fn finish(mut self) -> Vec<EntrySpan> {
        self.prune();
        self.spans
    }
}

/// As [`Best`], of scores alone: tells which rows are worth decoding.
struct Floor {
    limit: usize,
    scores: Vec<(i64, [u8; 16])>,
    floor: i64,
}

impl Floor {
    fn admits(&mut self, score: i64, trace_id: [u8; 16]) -> bool {
        if score < self.floor {
            return false;
        }
        self.scores.push((score, trace_id));
        if self.scores.len() > 4 * self.limit + 256 {
            self.scores.sort_unstable_by(|a, b| b.cmp(a));
            let mut traces: HashSet<[u8; 16], FixedState> = HashSet::default();
            self.scores.retain(|(_, trace_id)| traces.insert(*trace_id));
            self.scores.truncate(self.limit);
            if self.scores.len() == self.limit {
                self.floor = self.scores.last().map_or(i64::MIN, |(score, _)| *score);
            }
        }
        true
    }
}

fn scan_batch(batch: &SpanBatch, search: &ServiceSearch, best: &mut Best<'_>) {
    let wanted: Vec<bool> = batch
        .resources
        .iter()
        .map(|resource| {
            let namespace = resource.attributes.find(semconv::SERVICE_NAMESPACE).and_then(Value::as_str);
            let namespace_fits = search.namespace.is_none() || search.namespace.as_deref() == namespace;
            namespace_fits && service_of(resource) == search.service
        })
        .collect();
    for row in 0..batch.len() {
        let resource = batch.resource[row] as usize;
        let start_ns = batch.start_ns[row];
        let fits = wanted[resource]
            && (search.from_ns..=search.to_ns).contains(&start_ns)
            && is_entry(batch.kind[row], batch.parent_span_id[row] == [0; 8])
            && (search.order != TraceOrder::Failed || batch.status[row] == semconv::STATUS_CODE_ERROR);
        if !fits {
            continue;
        }
        let http_status = ["http.response.status_code", "http.status_code"];
        let version = batch.resources[resource].attributes.find(semconv::SERVICE_VERSION);
        best.add(EntrySpan {
            trace_id: batch.trace_id[row],
            span_id: batch.span_id[row],
            start_ns,
            duration_ns: batch.duration_ns[row],
            name: batch.strings[batch.name[row] as usize].to_string(),
            kind: batch.kind[row],
            status: batch.status[row],
            status_message: batch.strings[batch.status_message[row] as usize].to_string(),
            http_status: http_status.iter().find_map(|key| batch.find(row, key)).and_then(Value::as_int),
            version: version.and_then(Value::as_str).map(str::to_owned),
        });
    }
}

fn scan_part(part: &SpanPart, search: &ServiceSearch, best: &mut Best<'_>) -> Result<(), StoreError> {
    const SHOWN: [&str; 10] = [
        schema::TRACE_ID,
        schema::SPAN_ID,
        schema::START,
        schema::DURATION_NS,
        schema::NAME,
        schema::KIND,
        schema::STATUS,
        schema::STATUS_MESSAGE,
        "http_response_status_code",
        "service_version",
    ];
    let table = part.spans()?;
    let services = table.text_pages(schema::SERVICE_NAME, &search.service)?;
    let pages = services.intersection(&table.start_pages(search.from_ns, search.to_ns)?);
    let mut ranges = ranges_of(&pages);
    let mut piece_rows = if search.order == TraceOrder::Slow { usize::MAX } else { FIRST_PIECE_ROWS };
    while let Some(piece) = take_last(&mut ranges, piece_rows) {
        let rows = RowSelection::from_consecutive_ranges(piece.into_iter(), table.rows());
        let mut earliest_ns = i64::MAX;
        for rows in table.read(rows, &Columns::Named(&SHOWN), Some(row_test(search)))? {
            let rows = rows.map_err(|error| table.error(error.into()))?;
            earliest_ns = earliest_ns.min(add_rows(&rows, best).map_err(|wrong| table.corrupt(wrong))?);
        }
        if best.floor() > earliest_ns {
            // Every wanted row before this piece is older than the oldest in the answer.
            return Ok(());
        }
        piece_rows = piece_rows.saturating_mul(2);
    }
    Ok(())
}

fn ranges_of(rows: &RowSelection) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for selector in rows.iter() {
        if !selector.skip {
            ranges.push(at..at + selector.row_count);
        }
        at += selector.row_count;
    }
    ranges
}

/// Takes the last rows off `ranges`, at most `count`, in ascending order; `None` when nothing is left.
fn take_last(ranges: &mut Vec<Range<usize>>, count: usize) -> Option<Vec<Range<usize>>> {
    let mut taken = Vec::new();
    let mut left = count;
    while left > 0
        && let Some(range) = ranges.pop()
    {
        let begin = range.end.saturating_sub(left).max(range.start);
        left -= range.end - begin;
        if begin > range.start {
            ranges.push(range.start..begin);
        }
        taken.push(begin..range.end);
    }
    taken.reverse();
    (!taken.is_empty()).then_some(taken)
}

/// Passes the rows that `search` is about; of a search for the slowest only those that beat the ones before them.
fn row_test(search: &ServiceSearch) -> RowTest {
    let search = search.clone();
    let mut floor = Floor { limit: search.limit, scores: Vec::new(), floor: i64::MIN };
    let mut columns = vec![schema::SERVICE_NAME, schema::START, schema::IS_ENTRY];
    match search.order {
        TraceOrder::Slow => columns.extend([schema::TRACE_ID, schema::DURATION_NS]),
        TraceOrder::Failed => columns.push(schema::STATUS),
        TraceOrder::Recent => {}
    }
    columns.extend(search.namespace.as_ref().map(|_| "service_namespace"));
    RowTest::new(&columns, move |rows| test_rows(rows, &search, &mut floor).map_err(ArrowError::InvalidArgumentError))
}

fn test_rows(rows: &RecordBatch, search: &ServiceSearch, floor: &mut Floor) -> Result<BooleanArray, Wrong> {
    let services: &StringArray = column(rows, schema::SERVICE_NAME)?;
    let starts: &TimestampNanosecondArray = column(rows, schema::START)?;
    let entries: &BooleanArray = column(rows, schema::IS_ENTRY)?;
    let namespaces: Option<&StringArray> = match &search.namespace {
        Some(_) => Some(column(rows, "service_namespace")?),
        None => None,
    };
    let fits = |row: usize| {
        services.value(row) == search.service
            && (search.from_ns..=search.to_ns).contains(&starts.value(row))
            && entries.value(row)
            && namespaces.is_none_or(|names| text(names, row) == search.namespace.as_deref())
    };
    match search.order {
        TraceOrder::Recent => Ok((0..rows.num_rows()).map(|row| Some(fits(row))).collect()),
        TraceOrder::Failed => {
            let statuses: &Int8Array = column(rows, schema::STATUS)?;
            let failed = |row| statuses.value(row).cast_unsigned() == semconv::STATUS_CODE_ERROR;
            Ok((0..rows.num_rows()).map(|row| Some(fits(row) && failed(row))).collect())
        }
        TraceOrder::Slow => {
            let durations: &Int64Array = column(rows, schema::DURATION_NS)?;
            let trace_ids: &FixedSizeBinaryArray = column(rows, schema::TRACE_ID)?;
            let mut beats = |row| {
                let trace_id = trace_ids.value(row).try_into().map_err(|_| "a trace id that is not 16 bytes")?;
                Ok(Some(fits(row) && floor.admits(durations.value(row), trace_id)))
            };
            (0..rows.num_rows()).map(&mut beats).collect()
        }
    }
}

fn text(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

/// Adds every row and gives the earliest start among them.
fn add_rows(rows: &RecordBatch, best: &mut Best<'_>) -> Result<i64, Wrong> {
    let trace_ids: &FixedSizeBinaryArray = column(rows, schema::TRACE_ID)?;
    let span_ids: &FixedSizeBinaryArray = column(rows, schema::SPAN_ID)?;
    let starts: &TimestampNanosecondArray = column(rows, schema::START)?;
    let durations: &Int64Array = column(rows, schema::DURATION_NS)?;
    let names: &StringArray = column(rows, schema::NAME)?;
    let kinds: &Int8Array = column(rows, schema::KIND)?;
    let statuses: &Int8Array = column(rows, schema::STATUS)?;
    let messages: &StringArray = column(rows, schema::STATUS_MESSAGE)?;
    let http_statuses: &Int64Array = column(rows, "http_response_status_code")?;
    let versions: &StringArray = column(rows, "service_version")?;
    for row in 0..rows.num_rows() {
        best.add(EntrySpan {
            trace_id: trace_ids.value(row).try_into().map_err(|_| "a trace id that is not 16 bytes")?,
            span_id: span_ids.value(row).try_into().map_err(|_| "a span id that is not 8 bytes")?,
            start_ns: starts.value(row),
            duration_ns: durations.value(row),
            name: names.value(row).to_owned(),
            kind: kinds.value(row).cast_unsigned(),
            status: statuses.value(row).cast_unsigned(),
            status_message: text(messages, row).unwrap_or_default().to_owned(),
            http_status: http_statuses.is_valid(row).then(|| http_statuses.value(row)),
            version: text(versions, row).map(str::to_owned),
        });
    }
    Ok(starts.values().iter().copied().min().unwrap_or(i64::MAX))
}
