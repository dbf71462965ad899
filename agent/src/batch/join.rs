//! Joining batches: columns are appended, references are shifted, and series of one fingerprint become one entry of
//! the dictionary, as [`MetricBatch`] promises. The largest batch is kept and the others are appended to it.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::{Batch, ExemplarColumns, Fingerprint, HistogramColumns, HistogramMarks, MetricBatch, SpanBatch};

/// All of `batches` as one; rows keep their order within a batch, and batches theirs but for the largest, which leads.
pub(super) fn join(mut batches: Vec<Batch>) -> Batch {
    let size = |batch: &Batch| batch.metrics.points() + batch.spans.len();
    let Some(largest) = (0..batches.len()).max_by_key(|&at| size(&batches[at])) else { return Batch::default() };
    batches[..=largest].rotate_right(1);
    let mut batches = batches.into_iter();
    let mut joined = batches.next().unwrap_or_default();
    let mut known = Series::default();
    for other in batches {
        if other.metrics.points() > 0 {
            known.learn(&joined.metrics);
            append_metrics(&mut joined.metrics, other.metrics, &mut known);
        }
        if !other.spans.is_empty() {
            append_spans(&mut joined.spans, other.spans);
        }
    }
    joined
}

/// Where each series stands in the joined dictionary.
#[derive(Default)]
struct Series {
    /// Fingerprints are hashes already.
    places: HashMap<Fingerprint, u32, FixedState>,
}

impl Series {
    fn learn(&mut self, batch: &MetricBatch) {
        if self.places.is_empty() {
            self.places.extend((0_u32..).zip(&batch.series).map(|(at, series)| (series.fingerprint, at)));
        }
    }
}

fn append_metrics(into: &mut MetricBatch, other: MetricBatch, known: &mut Series) {
    let moved: Vec<u32> = other
        .series
        .into_iter()
        .map(|series| {
            *known.places.entry(series.fingerprint).or_insert_with(|| {
                into.series.push(series);
                reference(into.series.len() - 1)
            })
        })
        .collect();
    let to_joined = |series: Vec<u32>| series.into_iter().map(|at| moved[at as usize]).collect::<Vec<_>>();
    into.numbers.series.extend(to_joined(other.numbers.series));
    into.numbers.start_ns.extend(other.numbers.start_ns);
    into.numbers.time_ns.extend(other.numbers.time_ns);
    into.numbers.value.extend(other.numbers.value);
    append_histograms(&mut into.histograms, other.histograms, to_joined);
    append_exemplars(&mut into.exemplars, other.exemplars, to_joined);
}

fn append_histograms(into: &mut HistogramColumns, other: HistogramColumns, to_joined: impl Fn(Vec<u32>) -> Vec<u32>) {
    if !other.marks.is_empty() {
        into.marks.resize(into.series.len(), HistogramMarks::default());
        into.marks.extend(other.marks);
    }
    into.series.extend(to_joined(other.series));
    into.start_ns.extend(other.start_ns);
    into.time_ns.extend(other.time_ns);
    into.count.extend(other.count);
    into.sum.extend(other.sum);
    into.min.extend(other.min);
    into.max.extend(other.max);
    into.zero_count.extend(other.zero_count);
    shift_into(&mut into.layout, other.layout, into.layouts.len());
    into.layouts.extend(other.layouts);
    append_offsets(&mut into.counts_offsets, &other.counts_offsets);
    into.counts.extend(other.counts);
}

fn append_exemplars(into: &mut ExemplarColumns, other: ExemplarColumns, to_joined: impl Fn(Vec<u32>) -> Vec<u32>) {
    into.series.extend(to_joined(other.series));
    into.time_ns.extend(other.time_ns);
    into.value.extend(other.value);
    into.trace_id.extend(other.trace_id);
    into.span_id.extend(other.span_id);
    append_offsets(&mut into.attribute_offsets, &other.attribute_offsets);
    into.attributes.extend(other.attributes);
}

fn append_spans(into: &mut SpanBatch, other: SpanBatch) {
    // Entry 0 is the empty string in both, and is not taken twice.
    let strings = into.strings.len() - 1;
    let to_string = |refs: Vec<u32>| refs.into_iter().map(move |at| if at == 0 { 0 } else { at + reference(strings) });
    let pairs = into.key_values.len();
    into.name.extend(to_string(other.name));
    into.status_message.extend(to_string(other.status_message));
    into.trace_state.extend(to_string(other.trace_state));
    into.events.name.extend(to_string(other.events.name));
    into.links.trace_state.extend(to_string(other.links.trace_state));
    into.strings.extend(other.strings.into_iter().skip(1));
    shift_into(&mut into.attributes, other.attributes, pairs);
    shift_into(&mut into.events.attributes, other.events.attributes, pairs);
    shift_into(&mut into.links.attributes, other.links.attributes, pairs);
    into.key_values.extend(other.key_values);
    shift_into(&mut into.resource, other.resource, into.resources.len());
    into.resources.extend(other.resources);
    shift_into(&mut into.scope, other.scope, into.scopes.len());
    into.scopes.extend(other.scopes);

    append_offsets(&mut into.attribute_offsets, &other.attribute_offsets);
    append_offsets(&mut into.event_offsets, &other.event_offsets);
    append_offsets(&mut into.link_offsets, &other.link_offsets);
    append_offsets(&mut into.events.attribute_offsets, &other.events.attribute_offsets);
    append_offsets(&mut into.links.attribute_offsets, &other.links.attribute_offsets);

    into.trace_id.extend(other.trace_id);
    into.span_id.extend(other.span_id);
    into.parent_span_id.extend(other.parent_span_id);
    into.start_ns.extend(other.start_ns);
    into.duration_ns.extend(other.duration_ns);
    into.kind.extend(other.kind);
    into.status.extend(other.status);
    into.flags.extend(other.flags);
    into.dropped_attributes.extend(other.dropped_attributes);
    into.dropped_events.extend(other.dropped_events);
    into.dropped_links.extend(other.dropped_links);
    into.events.time_ns.extend(other.events.time_ns);
    into.events.dropped_attributes.extend(other.events.dropped_attributes);
    into.links.trace_id.extend(other.links.trace_id);
    into.links.span_id.extend(other.links.span_id);
    into.links.flags.extend(other.links.flags);
    into.links.dropped_attributes.extend(other.links.dropped_attributes);
}

/// Appends references, each `by` higher.
fn shift_into(into: &mut Vec<u32>, refs: Vec<u32>, by: usize) {
    let by = reference(by);
    into.extend(refs.into_iter().map(|at| at + by));
}

/// Appends offsets that began at 0 behind offsets that end somewhere.
fn append_offsets(into: &mut Vec<u32>, offsets: &[u32]) {
    let end = into.last().copied().unwrap_or(0);
    into.extend(offsets.iter().skip(1).map(|offset| offset + end));
}

fn reference(at: usize) -> u32 {
    u32::try_from(at).expect("bodies are capped at megabytes and batches are joined up to some thousand rows")
}
