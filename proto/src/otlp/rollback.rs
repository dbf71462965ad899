//! Marks in a batch, so that a body that breaks in the middle leaves the batch as it was.

use crate::batch::{MetricBatch, SpanBatch};

/// Lengths of a metric batch's columns at one moment.
pub(crate) struct MetricMark {
    series: usize,
    numbers: usize,
    histograms: usize,
    layouts: usize,
    counts: usize,
    exemplars: usize,
    exemplar_attributes: usize,
}

impl MetricMark {
    /// The lengths now.
    pub(crate) fn of(batch: &MetricBatch) -> Self {
        Self {
            series: batch.series.len(),
            numbers: batch.numbers.series.len(),
            histograms: batch.histograms.series.len(),
            layouts: batch.histograms.layouts.len(),
            counts: batch.histograms.counts.len(),
            exemplars: batch.exemplars.series.len(),
            exemplar_attributes: batch.exemplars.attributes.len(),
        }
    }

    /// Cuts everything added since.
    pub(crate) fn restore(&self, batch: &mut MetricBatch) {
        batch.series.truncate(self.series);
        let numbers = &mut batch.numbers;
        numbers.series.truncate(self.numbers);
        numbers.start_ns.truncate(self.numbers);
        numbers.time_ns.truncate(self.numbers);
        numbers.value.truncate(self.numbers);
        let histograms = &mut batch.histograms;
        histograms.series.truncate(self.histograms);
        histograms.start_ns.truncate(self.histograms);
        histograms.time_ns.truncate(self.histograms);
        histograms.count.truncate(self.histograms);
        histograms.sum.truncate(self.histograms);
        histograms.min.truncate(self.histograms);
        histograms.max.truncate(self.histograms);
        histograms.zero_count.truncate(self.histograms);
        histograms.layout.truncate(self.histograms);
        histograms.layouts.truncate(self.layouts);
        histograms.counts_offsets.truncate(self.histograms + 1);
        histograms.counts.truncate(self.counts);
        histograms.marks.truncate(self.histograms);
        let exemplars = &mut batch.exemplars;
        exemplars.series.truncate(self.exemplars);
        exemplars.time_ns.truncate(self.exemplars);
        exemplars.value.truncate(self.exemplars);
        exemplars.trace_id.truncate(self.exemplars);
        exemplars.span_id.truncate(self.exemplars);
        exemplars.attribute_offsets.truncate(self.exemplars + 1);
        exemplars.attributes.truncate(self.exemplar_attributes);
    }
}

/// Lengths of a span batch's dictionaries and columns at one moment.
pub(crate) struct SpanMark {
    resources: usize,
    scopes: usize,
    strings: usize,
    key_values: usize,
    row: RowMark,
}

/// Lengths of the columns that grow while one span is read: everything but the dictionaries.
#[derive(Clone, Copy)]
pub(crate) struct RowMark {
    spans: usize,
    attributes: usize,
    events: usize,
    event_attributes: usize,
    links: usize,
    link_attributes: usize,
}

impl SpanMark {
    /// The lengths now.
    pub(crate) fn of(batch: &SpanBatch) -> Self {
        Self {
            resources: batch.resources.len(),
            scopes: batch.scopes.len(),
            strings: batch.strings.len(),
            key_values: batch.key_values.len(),
            row: RowMark::of(batch),
        }
    }

    /// Cuts everything added since.
    pub(crate) fn restore(&self, batch: &mut SpanBatch) {
        batch.resources.truncate(self.resources);
        batch.scopes.truncate(self.scopes);
        batch.strings.truncate(self.strings);
        batch.key_values.truncate(self.key_values);
        self.row.restore(batch);
    }
}

impl RowMark {
    /// The lengths now, between two spans.
    pub(crate) fn of(batch: &SpanBatch) -> Self {
        Self {
            spans: batch.trace_id.len(),
            attributes: batch.attributes.len(),
            events: batch.events.time_ns.len(),
            event_attributes: batch.events.attributes.len(),
            links: batch.links.trace_id.len(),
            link_attributes: batch.links.attributes.len(),
        }
    }

    /// Cuts everything added since but dictionary entries, which later spans may already use.
    pub(crate) fn restore(&self, batch: &mut SpanBatch) {
        let spans = self.spans;
        batch.resource.truncate(spans);
        batch.scope.truncate(spans);
        batch.trace_id.truncate(spans);
        batch.span_id.truncate(spans);
        batch.parent_span_id.truncate(spans);
        batch.start_ns.truncate(spans);
        batch.duration_ns.truncate(spans);
        batch.name.truncate(spans);
        batch.kind.truncate(spans);
        batch.status.truncate(spans);
        batch.status_message.truncate(spans);
        batch.trace_state.truncate(spans);
        batch.flags.truncate(spans);
        batch.dropped_attributes.truncate(spans);
        batch.dropped_events.truncate(spans);
        batch.dropped_links.truncate(spans);
        batch.attribute_offsets.truncate(spans + 1);
        batch.event_offsets.truncate(spans + 1);
        batch.link_offsets.truncate(spans + 1);
        batch.attributes.truncate(self.attributes);
        self.restore_events(batch);
        self.restore_links(batch);
    }

    fn restore_events(&self, batch: &mut SpanBatch) {
        let events = &mut batch.events;
        events.time_ns.truncate(self.events);
        events.name.truncate(self.events);
        events.dropped_attributes.truncate(self.events);
        events.attribute_offsets.truncate(self.events + 1);
        events.attributes.truncate(self.event_attributes);
    }

    fn restore_links(&self, batch: &mut SpanBatch) {
        let links = &mut batch.links;
        links.trace_id.truncate(self.links);
        links.span_id.truncate(self.links);
        links.trace_state.truncate(self.links);
        links.flags.truncate(self.links);
        links.dropped_attributes.truncate(self.links);
        links.attribute_offsets.truncate(self.links + 1);
        links.attributes.truncate(self.link_attributes);
    }
}
