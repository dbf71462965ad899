//! Requests of remote write 2.0, as a sender makes them: for whoever replays samples into a collector.

use std::collections::HashMap;

use crate::batch::ResetHint;

/// One request in the making. Symbols are given once; series come in the order of the calls.
#[derive(Debug, Default)]
pub struct RequestWriter {
    symbols: HashMap<String, u32>,
    symbol_bytes: Vec<u8>,
    series_bytes: Vec<u8>,
    /// The series that was begun last.
    open: Vec<u8>,
}

/// A run of buckets: gap to the run before, or index of the first bucket; how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap, or index.
    pub offset: i32,
    /// How many.
    pub length: u32,
}

/// Whole or float counts: of all observations, of the zero bucket, of positive and of negative buckets.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Whole.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// By positive bucket.
        positive: Vec<u64>,
        /// By negative bucket.
        negative: Vec<u64>,
    },
    /// Float.
    Float {
        /// All observations.
        count: f64,
        /// Those in the zero bucket.
        zero: f64,
        /// By positive bucket.
        positive: Vec<f64>,
        /// By negative bucket.
        negative: Vec<f64>,
    },
}

/// A native histogram to send.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeHistogram {
    /// -4 to 8, or -53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<Span>,
    /// All counts.
    pub counts: Counts,
    /// Upper bounds with schema -53.
    pub custom_values: Vec<f64>,
    /// What is known about a reset.
    pub reset_hint: ResetHint,
}

impl RequestWriter {
    /// A request without series.
    #[must_use]
    pub fn new() -> Self {
        let mut writer = Self::default();
        // The first symbol is always empty.
        writer.symbol("");
        writer
    }

    /// Begins a series; samples and histograms that follow are its own.
    pub fn series<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.close();
        let mut references = Vec::new();
        for (name, value) in labels {
            varint(&mut references, u64::from(self.symbol(name)));
            varint(&mut references, u64::from(self.symbol(value)));
        }
        bytes(&mut self.open, 1, &references);
    }

    /// Tells type (`Metadata.MetricType`), help and unit of the series.
    pub fn metadata(&mut self, metric_type: u8, help: &str, unit: &str) {
        let mut message = Vec::new();
        number(&mut message, 1, u64::from(metric_type));
        number(&mut message, 3, u64::from(self.symbol(help)));
        number(&mut message, 4, u64::from(self.symbol(unit)));
        bytes(&mut self.open, 5, &message);
    }

    /// Adds a float sample; a start of 0 is not known.
    pub fn sample(&mut self, time_ms: i64, start_ms: i64, value: f64) {
        let mut message = Vec::new();
        double(&mut message, 1, value);
        number(&mut message, 2, time_ms.cast_unsigned());
        number(&mut message, 3, start_ms.cast_unsigned());
        bytes(&mut self.open, 2, &message);
    }

    /// Adds a native histogram; a start of 0 is not known.
    pub fn histogram(&mut self, time_ms: i64, start_ms: i64, histogram: &NativeHistogram) {
        let mut message = Vec::new();
        let out = &mut message;
        match &histogram.counts {
            Counts::Integer { count, zero, .. } => {
                tagged(out, 1, 0, *count);
                tagged(out, 6, 0, *zero);
            }
            Counts::Float { count, zero, .. } => {
                double(out, 2, *count);
                double(out, 7, *zero);
            }
        }
        double(out, 3, histogram.sum);
        number(out, 4, u64::from(zigzag32(histogram.schema)));
        double(out, 5, histogram.zero_threshold);
        spans(out, 8, &histogram.negative_spans);
        spans(out, 11, &histogram.positive_spans);
        match &histogram.counts {
            Counts::Integer { positive, negative, .. } => {
                bytes(out, 9, &deltas(negative));
                bytes(out, 12, &deltas(positive));
            }
            Counts::Float { positive, negative, .. } => {
                bytes(out, 10, &packed(negative));
                bytes(out, 13, &packed(positive));
            }
        }
        number(out, 14, histogram.reset_hint as u64);
        number(out, 15, time_ms.cast_unsigned());
        bytes(out, 16, &packed(&histogram.custom_values));
        number(out, 17, start_ms.cast_unsigned());
        bytes(&mut self.open, 3, &message);
    }

    /// Adds an exemplar.
    pub fn exemplar<'a>(&mut self, time_ms: i64, value: f64, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut references = Vec::new();
        for (name, text) in labels {
            varint(&mut references, u64::from(self.symbol(name)));
            varint(&mut references, u64::from(self.symbol(text)));
        }
        let mut message = Vec::new();
        bytes(&mut message, 1, &references);
        double(&mut message, 2, value);
        number(&mut message, 3, time_ms.cast_unsigned());
        bytes(&mut self.open, 4, &message);
    }

    /// The request, not compressed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        let mut body = self.symbol_bytes;
        body.append(&mut self.series_bytes);
        body
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let open = std::mem::take(&mut self.open);
            bytes(&mut self.series_bytes, 5, &open);
        }
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.symbols.get(text) {
            return known;
        }
        let next = super::row(self.symbols.len());
        self.symbols.insert(text.to_owned(), next);
        tagged(&mut self.symbol_bytes, 4, 2, text.len() as u64);
        self.symbol_bytes.extend_from_slice(text.as_bytes());
        next
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Field `field` of wire type `kind`, then a varint: its value, or its length.
fn tagged(out: &mut Vec<u8>, field: u32, kind: u32, value: u64) {
    varint(out, u64::from(field << 3 | kind));
    varint(out, value);
}

/// A varint field; 0 is the default and not written.
fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        tagged(out, field, 0, value);
    }
}

fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

/// A length-delimited field; an empty one is not written.
fn bytes(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    if !content.is_empty() {
        tagged(out, field, 2, content.len() as u64);
        out.extend_from_slice(content);
    }
}

fn spans(out: &mut Vec<u8>, field: u32, spans: &[Span]) {
    for span in spans {
        let mut message = Vec::new();
        number(&mut message, 1, u64::from(zigzag32(span.offset)));
        number(&mut message, 2, u64::from(span.length));
        tagged(out, field, 2, message.len() as u64);
        out.extend_from_slice(&message);
    }
}

/// Each count less the one before, zigzag.
fn deltas(counts: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0;
    for &count in counts {
        let delta = count.wrapping_sub(before).cast_signed();
        varint(&mut out, (delta << 1 ^ delta >> 63).cast_unsigned());
        before = count;
    }
    out
}

fn packed(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn zigzag32(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}
