//! Spans that are durable in the log but not yet in a part.
//!
//! One thread inserts, any number read. A batch is kept as it came, shared and never copied, so that an insert costs
//! nanoseconds a span; what reads it (a search, SQL, the flush) turns the rows it wants into record batches. Its
//! bytes are estimated and counted; the bound is the writer's, who freezes it in time. A frozen memtable gets no
//! more spans, which is a promise of its owner, not a state here.
//!
//! ```text
//! insert ─▶ batches [b0 b1 b2 b3 b4 …]
//!             encoded ├─ sealed ─┤├ tail: encoded anew when SQL asks after new batches came
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use weir_proto::{SpanBatch, Value};

use super::CHUNK_ROWS;
use super::encode::{Source, SpanEncoder};
use super::summary::{self, SeenSpan, Summaries, TraceSummary};
use crate::part::TENANT;

/// Bytes of a row's fixed columns.
const ROW_BYTES: u64 = 96;
/// Bytes of an `Arc` of text or resource beside its content.
const ALLOCATION_BYTES: u64 = 40;

/// The spans memtable. See the module.
#[derive(Debug, Default)]
pub struct SpanMemtable {
    head: Mutex<Head>,
    encoded: Mutex<Encoded>,
}

#[derive(Debug, Default)]
struct Head {
    batches: Vec<Arc<SpanBatch>>,
    rows: u64,
    bytes: u64,
    time_range: Option<(i64, i64)>,
}

/// Record batches made for SQL, so that each query encodes only what is new.
#[derive(Debug, Default)]
struct Encoded {
    /// Chunks that will not change, over the first `sealed` batches.
    chunks: Vec<RecordBatch>,
    sealed: usize,
    /// Chunks of the batches from `sealed` to `seen`.
    tail: Vec<RecordBatch>,
    seen: usize,
}

impl SpanMemtable {
    /// Takes in the spans of one batch.
    pub fn insert(&self, spans: SpanBatch) {
        if spans.is_empty() {
            return;
        }
        let bytes = bytes_of(&spans);
        let range = spans.start_ns.iter().fold((i64::MAX, i64::MIN), |(min, max), &at| (min.min(at), max.max(at)));
        let mut head = self.head();
        head.rows += spans.len() as u64;
        head.bytes += bytes;
        let (min, max) = head.time_range.unwrap_or(range);
        head.time_range = Some((min.min(range.0), max.max(range.1)));
        head.batches.push(Arc::new(spans));
    }

    /// How many spans.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.head().rows
    }

    /// Bytes in memory, estimated.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.head().bytes
    }

    /// First and last start of any span, ns.
    #[must_use]
    pub fn time_range(&self) -> Option<(i64, i64)> {
        self.head().time_range
    }

    /// Every batch, in the order of arrival.
    #[must_use]
    pub fn batches(&self) -> Vec<Arc<SpanBatch>> {
        self.head().batches.clone()
    }

    /// Every span as rows of `spans` (`part` empty), in the order of arrival.
    #[must_use]
    pub fn record_batches(&self) -> Vec<RecordBatch> {
        let batches = self.batches();
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        // Another reader may have seen more than this one; then its chunks serve as well.
        if encoded.seen < batches.len() {
            encoded.extend(&batches);
        }
        encoded.chunks.iter().chain(&encoded.tail).cloned().collect()
    }

    /// One row per trace in it, as rows of the table `traces`.
    #[must_use]
    pub fn summary_rows(&self) -> RecordBatch {
        summary::encode(&self.summaries(), TENANT, "")
    }

    /// What the spans here say of every trace, sorted by trace id.
    #[must_use]
    pub fn summaries(&self) -> Vec<TraceSummary> {
        let mut summaries = Summaries::default();
        for batch in self.batches() {
            (0..batch.len()).for_each(|row| summaries.add(&seen(&batch, row)));
        }
        summaries.finish()
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoded {
    fn extend(&mut self, batches: &[Arc<SpanBatch>]) {
        let mut encoder = SpanEncoder::new(TENANT, "");
        self.tail.clear();
        for (at, batch) in batches.iter().enumerate().skip(self.sealed) {
            let source = Source::new(batch);
            for row in 0..batch.len() {
                encoder.push(&source, row);
                if encoder.is_full() {
                    self.tail.push(encoder.finish());
                }
            }
            // Sealed between batches, so that the tail begins with a whole one.
            if !self.tail.is_empty() || encoder.rows() >= CHUNK_ROWS / 2 {
                self.tail.extend((encoder.rows() > 0).then(|| encoder.finish()));
                self.chunks.append(&mut self.tail);
                self.sealed = at + 1;
            }
        }
        self.tail.extend((encoder.rows() > 0).then(|| encoder.finish()));
        self.seen = batches.len();
    }
}

/// What a summary sees of span `row`.
pub(super) fn seen(batch: &SpanBatch, row: usize) -> SeenSpan<'_> {
    SeenSpan {
        trace_id: batch.trace_id[row],
        start_ns: batch.start_ns[row],
        duration_ns: batch.duration_ns[row],
        is_root: batch.parent_span_id[row] == [0; 8],
        is_error: batch.status[row] == weir_proto::semconv::STATUS_CODE_ERROR,
        service: super::encode::service_of(&batch.resources[batch.resource[row] as usize]),
        name: &batch.strings[batch.name[row] as usize],
    }
}

/// Bytes that a batch takes, as if it shared nothing with others: the bound must hold at worst.
fn bytes_of(spans: &SpanBatch) -> u64 {
    let attributes = |attributes: &weir_proto::Attributes| -> u64 {
        attributes.iter().map(|pair| 2 * ALLOCATION_BYTES + pair.key.len() as u64 + value_bytes(&pair.value)).sum()
    };
    let resources: u64 = spans.resources.iter().map(|resource| attributes(&resource.attributes)).sum();
    let scopes: u64 = spans.scopes.iter().map(|scope| ALLOCATION_BYTES + attributes(&scope.attributes)).sum();
    let strings: u64 = spans.strings.iter().map(|text| ALLOCATION_BYTES + text.len() as u64).sum();
    let pairs: u64 = spans.key_values.iter().map(|pair| 2 * ALLOCATION_BYTES + value_bytes(&pair.value)).sum();
    let references = spans.attributes.len() + spans.events.attributes.len() + spans.links.attributes.len();
    let small = 32 * spans.events.name.len() + 48 * spans.links.flags.len() + 4 * references;
    spans.len() as u64 * ROW_BYTES + resources + scopes + strings + pairs + small as u64
}

fn value_bytes(value: &Value) -> u64 {
    match value {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) => text.len() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::Array(values) => values.iter().map(|value| ALLOCATION_BYTES + value_bytes(value)).sum(),
        Value::Map(pairs) => {
            pairs.iter().map(|pair| 2 * ALLOCATION_BYTES + pair.key.len() as u64 + value_bytes(&pair.value)).sum()
        }
    }
}
