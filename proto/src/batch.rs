//! A batch: what one request, one scrape or one push frame carries, in columns.
//!
//! Rows reference dictionaries local to the batch (series, resources, scopes, strings, key-values) by `u32`, so a
//! repeated label costs four bytes and no allocation. Times are nanoseconds since the epoch in `i64`.
//!
//! ```text
//! Batch
//! ├─ metrics: series[ref] ◀── numbers {series, start, time, value}
//! │                       ◀── histograms {series, start, time, count, sum, min, max, layout, counts[…]}
//! │                       ◀── exemplars {series, time, value, trace, span, attributes}
//! └─ spans:   resources[ref], scopes[ref], strings[ref], key_values[ref] ◀── one row per span, events, links
//! ```
//! A batch is built by one reader and read by many; nothing here locks. Offsets columns have one entry more than
//! rows, begin with 0, and row `i` owns `offsets[i]..offsets[i + 1]`.

use std::sync::Arc;

use crate::attribute::KeyValue;
use crate::identity::{Resource, Scope, SeriesIdentity};

/// NaN bit pattern that ends a series: Prometheus `value.StaleNaN`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Everything that one request or frame carries.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Points of all metric kinds.
    pub metrics: MetricBatch,
    /// Spans.
    pub spans: SpanBatch,
}

/// Metric points in columns.
#[derive(Clone, Debug, Default)]
pub struct MetricBatch {
    /// The batch's dictionary of series; rows hold indices into it. Each fingerprint at most once.
    pub series: Vec<Arc<SeriesIdentity>>,
    /// Points of every kind but histograms.
    pub numbers: NumberColumns,
    /// Explicit and exponential histogram points.
    pub histograms: HistogramColumns,
    /// Exemplars of any point.
    pub exemplars: ExemplarColumns,
}

/// Number points; all columns have one length.
#[derive(Clone, Debug, Default)]
pub struct NumberColumns {
    /// Index into [`MetricBatch::series`].
    pub series: Vec<u32>,
    /// Start of the counted interval, ns; 0 when not sent.
    pub start_ns: Vec<i64>,
    /// When it was observed, ns.
    pub time_ns: Vec<i64>,
    /// The value; [`STALE_NAN_BITS`] for "no recorded value".
    pub value: Vec<f64>,
}

/// Where a histogram's buckets lie. Belongs to the point, not to the identity, since senders change it.
#[derive(Clone, Debug, PartialEq)]
pub enum HistogramLayout {
    /// Upper bounds, ascending, without +Inf; a point has `bounds.len() + 1` counts (or none: only count and sum).
    /// In a series of kind [`ExponentialHistogram`](crate::MetricKind::ExponentialHistogram) these are the custom
    /// buckets of a native histogram.
    Explicit {
        /// Inclusive upper bounds.
        bounds: Arc<[f64]>,
    },
    /// Base-2 exponential: bucket `i` covers `(b^i, b^(i+1)]` with `b = 2^(2^-scale)` (OTLP's index, not
    /// Prometheus', which is one higher).
    Exponential {
        /// OTLP scale, -10 to 20.
        scale: i32,
        /// Values at most this far from zero are in `zero_count`.
        zero_threshold: f64,
        /// Index of the first positive bucket.
        positive_offset: i32,
        /// How many positive buckets the point's counts begin with.
        positive_len: u32,
        /// Index of the first negative bucket; the rest of the counts.
        negative_offset: i32,
    },
}

/// What Prometheus says of a histogram beyond its numbers, in one byte. The default is a point of OTLP, whose counts
/// are whole.
///
/// | bits | |
/// |---|---|
/// | 1 | native: sent as a native histogram, so that a zero threshold of 0 and a sum of NaN are meant |
/// | 2 | float: count, zero count and bucket counts are the bits of doubles |
/// | 12 | the reset hint as sent, see [`ResetHint`] |
/// | 16 | goes on: it was compared with the stored point before it, and is no reset of it |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramMarks(u8);

/// What a sender knows about a reset between a native histogram and the one before it.
/// Source: io.prometheus.write.v2, `Histogram.ResetHint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing: compare and see.
    #[default]
    Unknown = 0,
    /// It was reset.
    Reset = 1,
    /// It was not.
    NotReset = 2,
    /// It does not count up.
    Gauge = 3,
}

/// Histogram points; all columns but the pooled ones and `marks` have one length.
#[derive(Clone, Debug)]
pub struct HistogramColumns {
    /// Index into [`MetricBatch::series`].
    pub series: Vec<u32>,
    /// Start of the counted interval, ns; 0 when not sent.
    pub start_ns: Vec<i64>,
    /// When it was observed, ns.
    pub time_ns: Vec<i64>,
    /// How many observations.
    pub count: Vec<u64>,
    /// Their sum; NaN when not sent; [`STALE_NAN_BITS`] for "no recorded value".
    pub sum: Vec<f64>,
    /// Smallest observation; NaN when not sent.
    pub min: Vec<f64>,
    /// Largest observation; NaN when not sent.
    pub max: Vec<f64>,
    /// Observations in the zero bucket (exponential only, else 0).
    pub zero_count: Vec<u64>,
    /// Index into `layouts`.
    pub layout: Vec<u32>,
    /// The batch's distinct layouts.
    pub layouts: Vec<HistogramLayout>,
    /// Row `i` owns `counts[counts_offsets[i]..counts_offsets[i + 1]]`.
    pub counts_offsets: Vec<u32>,
    /// Bucket counts, not cumulative over buckets.
    pub counts: Vec<u64>,
    /// Rows past its end have the default: only who takes native histograms fills it. See [`Self::marks_of`].
    pub marks: Vec<HistogramMarks>,
}

/// Exemplars; all columns but the pooled one have one length.
#[derive(Clone, Debug)]
pub struct ExemplarColumns {
    /// Index into [`MetricBatch::series`].
    pub series: Vec<u32>,
    /// When it was observed, ns.
    pub time_ns: Vec<i64>,
    /// The observed value.
    pub value: Vec<f64>,
    /// Trace id; zero when not sent.
    pub trace_id: Vec<[u8; 16]>,
    /// Span id; zero when not sent.
    pub span_id: Vec<[u8; 8]>,
    /// Row `i` owns `attributes[attribute_offsets[i]..attribute_offsets[i + 1]]`.
    pub attribute_offsets: Vec<u32>,
    /// Filtered attributes.
    pub attributes: Vec<KeyValue>,
}

/// Spans in columns; all row columns have one length.
#[derive(Clone, Debug)]
pub struct SpanBatch {
    /// The batch's resources.
    pub resources: Vec<Arc<Resource>>,
    /// The batch's scopes.
    pub scopes: Vec<Arc<Scope>>,
    /// The batch's strings (names, status messages, trace states); entry 0 is always the empty string.
    pub strings: Vec<Arc<str>>,
    /// The batch's attributes; equal pairs usually, but not always, share an entry.
    pub key_values: Vec<KeyValue>,
    /// Index into `resources`.
    pub resource: Vec<u32>,
    /// Index into `scopes`.
    pub scope: Vec<u32>,
    /// Trace id, never all zero.
    pub trace_id: Vec<[u8; 16]>,
    /// Span id, never all zero.
    pub span_id: Vec<[u8; 8]>,
    /// Parent span id; zero for a root.
    pub parent_span_id: Vec<[u8; 8]>,
    /// Start, ns.
    pub start_ns: Vec<i64>,
    /// End minus start, ns; negative when the sender said so.
    pub duration_ns: Vec<i64>,
    /// Index into `strings`.
    pub name: Vec<u32>,
    /// OTLP SpanKind, 0 to 5.
    pub kind: Vec<u8>,
    /// OTLP StatusCode: 0 unset, 1 ok, 2 error.
    pub status: Vec<u8>,
    /// Index into `strings`.
    pub status_message: Vec<u32>,
    /// Index into `strings`.
    pub trace_state: Vec<u32>,
    /// W3C trace flags and OTLP's is-remote bits.
    pub flags: Vec<u32>,
    /// Row `i` owns `attributes[attribute_offsets[i]..attribute_offsets[i + 1]]`.
    pub attribute_offsets: Vec<u32>,
    /// Indices into `key_values`.
    pub attributes: Vec<u32>,
    /// How many attributes the sender dropped.
    pub dropped_attributes: Vec<u32>,
    /// How many events the sender dropped.
    pub dropped_events: Vec<u32>,
    /// How many links the sender dropped.
    pub dropped_links: Vec<u32>,
    /// Row `i` owns `events` `event_offsets[i]..event_offsets[i + 1]`.
    pub event_offsets: Vec<u32>,
    /// Events of all spans.
    pub events: SpanEvents,
    /// Row `i` owns `links` `link_offsets[i]..link_offsets[i + 1]`.
    pub link_offsets: Vec<u32>,
    /// Links of all spans.
    pub links: SpanLinks,
}

/// Span events; all row columns have one length.
#[derive(Clone, Debug)]
pub struct SpanEvents {
    /// When, ns.
    pub time_ns: Vec<i64>,
    /// Index into [`SpanBatch::strings`].
    pub name: Vec<u32>,
    /// Event `i` owns `attributes[attribute_offsets[i]..attribute_offsets[i + 1]]`.
    pub attribute_offsets: Vec<u32>,
    /// Indices into [`SpanBatch::key_values`].
    pub attributes: Vec<u32>,
    /// How many attributes the sender dropped.
    pub dropped_attributes: Vec<u32>,
}

/// Span links; all row columns have one length.
#[derive(Clone, Debug)]
pub struct SpanLinks {
    /// The linked trace.
    pub trace_id: Vec<[u8; 16]>,
    /// The linked span.
    pub span_id: Vec<[u8; 8]>,
    /// Index into [`SpanBatch::strings`].
    pub trace_state: Vec<u32>,
    /// W3C trace flags.
    pub flags: Vec<u32>,
    /// Link `i` owns `attributes[attribute_offsets[i]..attribute_offsets[i + 1]]`.
    pub attribute_offsets: Vec<u32>,
    /// Indices into [`SpanBatch::key_values`].
    pub attributes: Vec<u32>,
    /// How many attributes the sender dropped.
    pub dropped_attributes: Vec<u32>,
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.points() == 0 && self.spans.is_empty()
    }
}

impl MetricBatch {
    /// Number points plus histogram points.
    #[must_use]
    pub fn points(&self) -> usize {
        self.numbers.series.len() + self.histograms.series.len()
    }
}

impl HistogramColumns {
    /// The marks of `row`.
    #[must_use]
    pub fn marks_of(&self, row: usize) -> HistogramMarks {
        self.marks.get(row).copied().unwrap_or_default()
    }
}

impl HistogramMarks {
    const NATIVE: u8 = 1;
    const FLOAT: u8 = 2;
    const HINT_SHIFT: u8 = 2;
    const GOES_ON: u8 = 16;
    const ALL: u8 = 31;

    /// Those of a native histogram.
    #[must_use]
    pub fn native(float: bool, hint: ResetHint) -> Self {
        Self(Self::NATIVE | if float { Self::FLOAT } else { 0 } | (hint as u8) << Self::HINT_SHIFT)
    }

    /// Whether it was sent as a native histogram.
    #[must_use]
    pub fn is_native(self) -> bool {
        self.0 & Self::NATIVE != 0
    }

    /// Whether counts are the bits of doubles.
    #[must_use]
    pub fn is_float(self) -> bool {
        self.0 & Self::FLOAT != 0
    }

    /// The hint as sent.
    #[must_use]
    pub fn hint(self) -> ResetHint {
        match self.0 >> Self::HINT_SHIFT & 3 {
            0 => ResetHint::Unknown,
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            _ => ResetHint::Gauge,
        }
    }

    /// Whether it was found to be no reset of the stored point before it.
    #[must_use]
    pub fn goes_on(self) -> bool {
        self.0 & Self::GOES_ON != 0
    }

    /// The same, with or without [`Self::goes_on`].
    #[must_use]
    pub fn with_goes_on(self, goes_on: bool) -> Self {
        Self(self.0 & !Self::GOES_ON | if goes_on { Self::GOES_ON } else { 0 })
    }

    /// As stored and sent.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From [`Self::bits`]; `None` for bits that nobody writes.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }
}

impl SpanBatch {
    /// How many spans.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trace_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trace_id.is_empty()
    }

    /// The attributes of span `row`, in the order sent.
    pub fn attributes_of(&self, row: usize) -> impl Iterator<Item = &KeyValue> {
        let range = self.attribute_offsets[row] as usize..self.attribute_offsets[row + 1] as usize;
        self.attributes[range].iter().map(|&at| &self.key_values[at as usize])
    }

    /// The first attribute of span `row` under `key`.
    #[must_use]
    pub fn find(&self, row: usize, key: &str) -> Option<&crate::Value> {
        self.attributes_of(row).find(|pair| pair.key.as_ref() == key).map(|pair| &pair.value)
    }
}

impl Default for HistogramColumns {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            start_ns: Vec::new(),
            time_ns: Vec::new(),
            count: Vec::new(),
            sum: Vec::new(),
            min: Vec::new(),
            max: Vec::new(),
            zero_count: Vec::new(),
            layout: Vec::new(),
            layouts: Vec::new(),
            counts_offsets: vec![0],
            counts: Vec::new(),
            marks: Vec::new(),
        }
    }
}

impl Default for ExemplarColumns {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            time_ns: Vec::new(),
            value: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            attribute_offsets: vec![0],
            attributes: Vec::new(),
        }
    }
}

impl Default for SpanBatch {
    fn default() -> Self {
        Self {
            resources: Vec::new(),
            scopes: Vec::new(),
            strings: vec!["".into()],
            key_values: Vec::new(),
            resource: Vec::new(),
            scope: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            parent_span_id: Vec::new(),
            start_ns: Vec::new(),
            duration_ns: Vec::new(),
            name: Vec::new(),
            kind: Vec::new(),
            status: Vec::new(),
            status_message: Vec::new(),
            trace_state: Vec::new(),
            flags: Vec::new(),
            attribute_offsets: vec![0],
            attributes: Vec::new(),
            dropped_attributes: Vec::new(),
            dropped_events: Vec::new(),
            dropped_links: Vec::new(),
            event_offsets: vec![0],
            events: SpanEvents::default(),
            link_offsets: vec![0],
            links: SpanLinks::default(),
        }
    }
}

impl Default for SpanEvents {
    fn default() -> Self {
        Self {
            time_ns: Vec::new(),
            name: Vec::new(),
            attribute_offsets: vec![0],
            attributes: Vec::new(),
            dropped_attributes: Vec::new(),
        }
    }
}

impl Default for SpanLinks {
    fn default() -> Self {
        Self {
            trace_id: Vec::new(),
            span_id: Vec::new(),
            trace_state: Vec::new(),
            flags: Vec::new(),
            attribute_offsets: vec![0],
            attributes: Vec::new(),
            dropped_attributes: Vec::new(),
        }
    }
}
