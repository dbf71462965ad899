//! Traces over memtables and parts, as of one moment.
//!
//! A span that was sent twice and lies in two places is given once: rows are dropped by (trace_id, span_id), the
//! place first in the view wins. A part that turns out corrupt is reported and left out, so that one bad file does not take
//! every trace with it; any other failure to read is an error.

use std::sync::Arc;

use arrow::array::{FixedSizeBinaryArray, RecordBatch, TimestampNanosecondArray};
use arrow::compute::interleave_record_batch;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use weir_proto::SpanBatch;
use weir_proto::schema::traces as schema;

use super::decode::{Resources, SpanDecoder, column};
use super::encode::{Source, SpanEncoder};
use super::memtable::{SpanMemtable, seen};
use super::read::SpanPart;
use super::summary::{Summaries, TraceSummary};
use crate::error::{ErrorKind, StoreError};
use crate::part::TENANT;

/// The traces that a snapshot sees.
#[derive(Clone, Debug, Default)]
pub struct TracesView {
    /// What is not in a part yet: the frozen memtables, oldest first, then the active one.
    pub memtables: Vec<Arc<SpanMemtable>>,
    /// Live parts.
    pub parts: Vec<Arc<SpanPart>>,
}

/// Summaries by trace.
pub(super) type SummaryMap = HashMap<[u8; 16], TraceSummary, FixedState>;

/// `None` when `part` is corrupt, which is reported.
pub(super) fn readable<T>(part: &SpanPart, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            part.part().report_corrupt(&error);
            Ok(None)
        }
        other => other.map(Some),
    }
}

impl TracesView {
    /// All spans of a trace, each once, sorted by (start, span_id), as they were sent but for the order of their
    /// attributes, which is by key. `None` when there are none.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn trace(&self, trace_id: [u8; 16]) -> Result<Option<SpanBatch>, StoreError> {
        let Some((rows, resources)) = self.gather(trace_id)? else { return Ok(None) };
        let mut decoder = SpanDecoder::default();
        decoder.push(&rows, &resources).map_err(StoreError::Internal)?;
        Ok(Some(decoder.finish()))
    }

    /// As [`Self::trace`], as rows of the table `spans`.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn trace_rows(&self, trace_id: [u8; 16]) -> Result<Option<RecordBatch>, StoreError> {
        Ok(self.gather(trace_id)?.map(|(rows, _)| rows))
    }

    /// What all places together know of a trace.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn summary(&self, trace_id: [u8; 16]) -> Result<Option<TraceSummary>, StoreError> {
        Ok(self.summaries(&[trace_id])?.remove(&trace_id))
    }

    /// What all places together know of several traces, each part being read once.
    pub(super) fn summaries(&self, trace_ids: &[[u8; 16]]) -> Result<SummaryMap, StoreError> {
        let mut here = Summaries::default();
        let wanted: HashSet<[u8; 16], FixedState> = trace_ids.iter().copied().collect();
        for batch in self.memtables.iter().flat_map(|memtable| memtable.batches()) {
            let rows = (0..batch.len()).filter(|&row| wanted.contains(&batch.trace_id[row]));
            rows.for_each(|row| here.add(&seen(&batch, row)));
        }
        for part in &self.parts {
            let found = readable(part, part.summaries(trace_ids))?;
            found.into_iter().flatten().for_each(|summary| here.merge(summary));
        }
        Ok(here.finish().into_iter().map(|summary| (summary.trace_id, summary)).collect())
    }

    fn gather(&self, trace_id: [u8; 16]) -> Result<Option<(RecordBatch, Resources)>, StoreError> {
        let mut batches = Vec::new();
        let mut resources = Resources::default();
        for part in &self.parts {
            let rows = || -> Result<_, StoreError> {
                let Some(summary) = part.summaries(&[trace_id])?.pop() else { return Ok(None) };
                Ok(Some((part.rows_of(&summary)?, part.resources()?)))
            };
            let Some(Some((rows, known))) = readable(part, rows())? else { continue };
            batches.extend(rows);
            resources.extend(known.iter().map(|(id, resource)| (*id, Arc::clone(resource))));
        }
        let mut encoder = SpanEncoder::new(TENANT, "");
        for batch in self.memtables.iter().flat_map(|memtable| memtable.batches()) {
            let rows: Vec<usize> = rows_of(&batch, trace_id).collect();
            if rows.is_empty() {
                continue;
            }
            let source = Source::new(&batch);
            rows.into_iter().for_each(|row| encoder.push(&source, row));
            resources.extend(
                batch.resources.iter().enumerate().map(|(at, resource)| (source.resource_id(at), Arc::clone(resource))),
            );
        }
        if encoder.rows() > 0 {
            batches.push(encoder.finish());
        }
        let rows = distinct_rows(&batches)?;
        Ok(rows.map(|rows| (rows, resources)))
    }
}

fn rows_of(batch: &SpanBatch, trace_id: [u8; 16]) -> impl Iterator<Item = usize> {
    batch.trace_id.iter().enumerate().filter(move |(_, id)| **id == trace_id).map(|(row, _)| row)
}

/// The rows of one trace, each span once, sorted by (start, span_id); `None` when there are none.
fn distinct_rows(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, StoreError> {
    let mut rows = Vec::new();
    let mut known: HashSet<&[u8], FixedState> = HashSet::default();
    for (at, batch) in batches.iter().enumerate() {
        let span_ids: &FixedSizeBinaryArray = column(batch, schema::SPAN_ID).map_err(StoreError::Internal)?;
        let starts: &TimestampNanosecondArray = column(batch, schema::START).map_err(StoreError::Internal)?;
        for row in 0..batch.num_rows() {
            if known.insert(span_ids.value(row)) {
                rows.push((starts.value(row), span_ids.value(row), (at, row)));
            }
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    rows.sort_unstable();
    let places: Vec<(usize, usize)> = rows.into_iter().map(|(_, _, place)| place).collect();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let rows = interleave_record_batch(&batches, &places);
    rows.map(Some).map_err(|error| StoreError::Internal(error.to_string()))
}
