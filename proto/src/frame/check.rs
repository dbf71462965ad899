//! Whether a batch is consistent, so that encoding it cannot index out of bounds. The readers build consistent
//! batches; this turns their bug into an error in one place, at about a nanosecond a row.

use std::sync::Arc;

use super::dictionary::DEFINITION_BYTES;
use super::value::weight;
use super::{BATCH_BYTES_MAX, FrameError};
use crate::attribute::KeyValue;
use crate::batch::{Batch, HistogramLayout, MetricBatch, SpanBatch};
use crate::identity::{Scope, SeriesIdentity};

/// What an attribute's place in its owner is counted as.
const PLACE_BYTES: usize = 48;

/// What a resource, scope or series is counted as, with its texts' places and, at worst, a shape of its own.
const OWNER_BYTES: usize = 4 * DEFINITION_BYTES;

/// `Ok` when all columns of `batch` have the lengths and all indices the ranges that its documentation says.
pub(super) fn check(batch: &Batch) -> Result<(), FrameError> {
    check_metrics(&batch.metrics)?;
    check_spans(&batch.spans)?;
    let bytes = weigh_metrics(&batch.metrics) + weigh_spans(&batch.spans);
    if bytes > BATCH_BYTES_MAX {
        return Err(FrameError::TooBig { what: "batch", bytes, left: BATCH_BYTES_MAX });
    }
    Ok(())
}

/// At least the memory that the decoder will charge, so that what was taken from a sender can be decoded.
fn weigh_metrics(metrics: &MetricBatch) -> usize {
    let mut bytes = 0;
    let mut before: Option<&SeriesIdentity> = None;
    for series in &metrics.series {
        bytes += OWNER_BYTES + series.name.len() + series.unit.len() + pairs(series.attributes.iter());
        // Neighbours share theirs; what is counted too often only errs on the safe side.
        if before.is_none_or(|before| !Arc::ptr_eq(&before.resource, &series.resource)) {
            bytes += OWNER_BYTES + pairs(series.resource.attributes.iter());
        }
        if before.is_none_or(|before| !Arc::ptr_eq(&before.scope, &series.scope)) {
            bytes += weigh_scope(&series.scope);
        }
        before = Some(series);
    }
    let layouts = metrics.histograms.layouts.iter().map(|layout| match layout {
        HistogramLayout::Explicit { bounds } => 128 + 24 * bounds.len(),
        HistogramLayout::Exponential { .. } => 128,
    });
    bytes
        + layouts.sum::<usize>()
        + 64 * metrics.numbers.series.len()
        + 224 * metrics.histograms.series.len()
        + 24 * metrics.histograms.counts.len()
        + 160 * metrics.exemplars.series.len()
        + pairs(metrics.exemplars.attributes.iter())
}

fn weigh_scope(scope: &Scope) -> usize {
    OWNER_BYTES + scope.name.len() + scope.version.len() + pairs(scope.attributes.iter())
}

fn weigh_spans(spans: &SpanBatch) -> usize {
    let (events, links) = (&spans.events, &spans.links);
    let places = spans.attributes.len() + events.attributes.len() + links.attributes.len();
    let strings: usize = spans.strings.iter().map(|text| 8 * PLACE_BYTES + text.len()).sum();
    let resources: usize = spans.resources.iter().map(|resource| OWNER_BYTES + pairs(resource.attributes.iter())).sum();
    let scopes: usize = spans.scopes.iter().map(|scope| weigh_scope(scope)).sum();
    strings
        + resources
        + scopes
        + 400 * spans.len()
        + 160 * (events.time_ns.len() + links.trace_id.len())
        + PLACE_BYTES * places
        + pairs(spans.key_values.iter())
}

fn pairs<'a>(pairs: impl Iterator<Item = &'a KeyValue>) -> usize {
    pairs.map(|pair| DEFINITION_BYTES + 2 * PLACE_BYTES + pair.key.len() + 2 * weight(&pair.value)).sum()
}

fn check_metrics(metrics: &MetricBatch) -> Result<(), FrameError> {
    let series = metrics.series.len();
    let numbers = &metrics.numbers;
    let n = numbers.series.len();
    same(n, &[numbers.start_ns.len(), numbers.time_ns.len(), numbers.value.len()])?;
    below(&numbers.series, series)?;

    let points = &metrics.histograms;
    let n = points.series.len();
    same(n, &[points.start_ns.len(), points.time_ns.len(), points.count.len(), points.sum.len(), points.min.len()])?;
    same(n, &[points.max.len(), points.zero_count.len(), points.layout.len()])?;
    below(&points.series, series)?;
    below(&points.layout, points.layouts.len())?;
    offsets(&points.counts_offsets, n, points.counts.len())?;
    if points.marks.len() > n {
        return Err(FrameError::BadBatch { what: "more marks than histograms" });
    }

    let exemplars = &metrics.exemplars;
    let n = exemplars.series.len();
    same(n, &[exemplars.time_ns.len(), exemplars.value.len(), exemplars.trace_id.len(), exemplars.span_id.len()])?;
    below(&exemplars.series, series)?;
    offsets(&exemplars.attribute_offsets, n, exemplars.attributes.len())
}

fn check_spans(spans: &SpanBatch) -> Result<(), FrameError> {
    let n = spans.len();
    same(n, &[spans.resource.len(), spans.scope.len(), spans.span_id.len(), spans.parent_span_id.len()])?;
    same(n, &[spans.start_ns.len(), spans.duration_ns.len(), spans.name.len(), spans.kind.len(), spans.status.len()])?;
    same(n, &[spans.status_message.len(), spans.trace_state.len(), spans.flags.len()])?;
    same(n, &[spans.dropped_attributes.len(), spans.dropped_events.len(), spans.dropped_links.len()])?;
    below(&spans.resource, spans.resources.len())?;
    below(&spans.scope, spans.scopes.len())?;
    for texts in [&spans.name, &spans.status_message, &spans.trace_state] {
        below(texts, spans.strings.len())?;
    }
    let (events, links) = (&spans.events, &spans.links);
    let (event_count, link_count) = (events.time_ns.len(), links.trace_id.len());
    same(event_count, &[events.name.len(), events.dropped_attributes.len()])?;
    same(link_count, &[links.span_id.len(), links.trace_state.len(), links.flags.len()])?;
    same(link_count, &[links.dropped_attributes.len()])?;
    below(&events.name, spans.strings.len())?;
    below(&links.trace_state, spans.strings.len())?;
    offsets(&spans.event_offsets, n, event_count)?;
    offsets(&spans.link_offsets, n, link_count)?;
    offsets(&spans.attribute_offsets, n, spans.attributes.len())?;
    offsets(&events.attribute_offsets, event_count, events.attributes.len())?;
    offsets(&links.attribute_offsets, link_count, links.attributes.len())?;
    for attributes in [&spans.attributes, &events.attributes, &links.attributes] {
        below(attributes, spans.key_values.len())?;
    }
    Ok(())
}

fn same(n: usize, lengths: &[usize]) -> Result<(), FrameError> {
    if lengths.iter().all(|&length| length == n) {
        return Ok(());
    }
    Err(FrameError::BadBatch { what: "columns of different lengths" })
}

fn below(indices: &[u32], limit: usize) -> Result<(), FrameError> {
    match indices.iter().max() {
        Some(&max) if max as usize >= limit => Err(FrameError::BadBatch { what: "index beyond its table" }),
        _ => Ok(()),
    }
}

fn offsets(offsets: &[u32], n: usize, pool: usize) -> Result<(), FrameError> {
    let fits = offsets.len() == n + 1
        && offsets.first() == Some(&0)
        && offsets.last().is_some_and(|&end| end as usize == pool)
        && offsets.is_sorted();
    if fits { Ok(()) } else { Err(FrameError::BadBatch { what: "offsets that do not cover their pool" }) }
}
