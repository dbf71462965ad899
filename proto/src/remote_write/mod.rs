//! Prometheus remote write, 1.0 and 2.0, read straight from the protobuf wire into columns.
//!
//! ```text
//! prometheus.WriteRequest        ─▶ v1 (texts)  ─┐
//! io.prometheus.write.v2.Request ─▶ v2 (symbols) ┴─▶ SeriesMessage ─▶ series: labels ─▶ identity
//!                                                                     samples, histograms, exemplars ─▶ MetricBatch
//! ```
//! Names and labels are kept as sent: scope [`SCOPE_REMOTE_WRITE`], resource `service.name` = `job` and
//! `service.instance.id` = `instance` as for a scraped target, attributes the other labels, so PromQL gives back
//! exactly the labels that came. What 2.0 tells of a series (type, unit, help) is part of its identity; 1.0 sends it
//! apart from the series, and as in Prometheus' own receiver it is then not kept.
//!
//! Floats and native histograms of one label set are two identities that PromQL shows as one series. Native
//! histograms are of kind `ExponentialHistogram`, whatever their buckets; what OTLP's columns do not say of them
//! (float counts, reset hint, a zero threshold of 0) is in [`HistogramMarks`](crate::HistogramMarks).
//!
//! **Broken against refused.** Bytes that are not protobuf fail the request, and the batch is left as it was. A series
//! or sample that cannot be kept is refused alone, with a reason; everything else of the request is kept.
//! Source: prometheus.io/docs/specs/prw/remote_write_spec{,_2_0}, Prometheus prompb/types.proto,
//! prompb/io/prometheus/write/v2/types.proto, model/histogram (validation).

mod histogram;
mod message;
mod series;
#[cfg(test)]
mod tests;
mod write;

pub use crate::read::{ReadError, Refused};
pub use write::{Counts, NativeHistogram, RequestWriter, Span};

use crate::attribute::KeyValue;
use crate::batch::MetricBatch;
use crate::exposition::hex;
use crate::otlp::rollback::MetricMark;
use crate::otlp::wire::{self, Fields, WireError};
use crate::read::Reason;

use message::{Exemplar, SeriesMessage};
use series::{Described, SeriesTable};

/// Scope of every series that came by remote write.
pub const SCOPE_REMOTE_WRITE: &str = "weir.remote_write";
/// Attribute of the scope: the help text of the metric, where one was sent.
pub const HELP: &str = "help";

/// Nanoseconds of a millisecond.
const NS_PER_MS: i64 = 1_000_000;

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// What became of a request: what the `X-Prometheus-Remote-Write-*-Written` headers tell, and what was left out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Float samples taken.
    pub samples: u64,
    /// Native histograms taken.
    pub histograms: u64,
    /// Exemplars taken.
    pub exemplars: u64,
    /// Samples and histograms that were refused; exemplars only among its reasons.
    pub refused: Refused,
}

/// Appends the samples of a request, decompressed, to `into`.
///
/// # Errors
/// When the bytes are not a message of that type; `into` is then as it was.
pub fn read(message: Message, body: &[u8], into: &mut MetricBatch) -> Result<Outcome, ReadError> {
    let mark = MetricMark::of(into);
    let table = SeriesTable::new(into);
    let mut pass = Pass { message, table, into, outcome: Outcome::default(), buckets_left: BUCKETS_MAX };
    match message::walk(message, body, |series| pass.series(series)) {
        Ok(()) => Ok(pass.outcome),
        Err(error) => {
            mark.restore(into);
            Err(ReadError::NotProtobuf { at: error.address.saturating_sub(body.as_ptr() as usize), what: error.what })
        }
    }
}

/// Buckets of all native histograms of one request, empty ones between others included: 32 MiB of counts.
const BUCKETS_MAX: usize = 4 << 20;

/// One request.
struct Pass<'a, 'b> {
    message: Message,
    into: &'b mut MetricBatch,
    table: SeriesTable<'a>,
    outcome: Outcome,
    buckets_left: usize,
}

impl<'a> Pass<'a, '_> {
    /// Takes one series with all that it has. An error means that the bytes are not protobuf.
    fn series(&mut self, series: &SeriesMessage<'a, '_>) -> Result<(), WireError> {
        if let Err(reason) = series.labels_fit().and_then(|()| self.table.read_labels(&series.labels)) {
            return self.refuse_all(series, reason);
        }
        let described = Described::of(series.metadata, series.symbols)?;
        self.samples(series, &described)?;
        self.histograms(series, &described)?;
        self.exemplars(series, &described)
    }

    fn samples(&mut self, series: &SeriesMessage<'a, '_>, described: &Described<'a>) -> Result<(), WireError> {
        const VALUE: u32 = wire::fixed64(1);
        const TIME: u32 = wire::varint(2);
        const START: u32 = wire::varint(3);
        let mut place = None;
        for sample in &series.samples {
            let (mut value, mut time_ms, mut start_ms) = (0.0, 0, 0);
            let mut fields = Fields::new(sample);
            while let Some(tag) = fields.tag()? {
                match tag {
                    VALUE => value = fields.double()?,
                    TIME => time_ms = fields.int64()?,
                    START => start_ms = fields.int64()?,
                    _ => fields.skip(tag)?,
                }
            }
            let Some((time_ns, start_ns)) = series.times(time_ms, start_ms) else {
                self.refuse(Reason::MillisOutOfRange);
                continue;
            };
            let at = *place.get_or_insert_with(|| self.table.number(described, self.into));
            let numbers = &mut self.into.numbers;
            numbers.series.push(at);
            numbers.start_ns.push(start_ns);
            numbers.time_ns.push(time_ns);
            numbers.value.push(value);
            self.outcome.samples += 1;
        }
        Ok(())
    }

    fn histograms(&mut self, series: &SeriesMessage<'a, '_>, described: &Described<'a>) -> Result<(), WireError> {
        let mut place = None;
        for message in &series.histograms {
            let sent = histogram::Sent::read(message)?;
            let checked = series.times(sent.time_ms, sent.start_ms).ok_or(Reason::MillisOutOfRange);
            let checked = checked.and_then(|times| Ok((times, sent.checked(self.buckets_left)?)));
            match checked {
                Ok(((time_ns, start_ns), point)) => {
                    let at = *place.get_or_insert_with(|| self.table.histogram(described, self.into));
                    self.buckets_left = self.buckets_left.saturating_sub(point.counts.len());
                    point.push(at, time_ns, start_ns, &mut self.into.histograms);
                    self.outcome.histograms += 1;
                }
                Err(reason) => self.refuse(reason),
            }
        }
        Ok(())
    }

    /// Exemplars belong to the float series where there are floats, else to the histogram.
    fn exemplars(&mut self, series: &SeriesMessage<'a, '_>, described: &Described<'a>) -> Result<(), WireError> {
        let mut place = None;
        for message in &series.exemplars {
            let sent = Exemplar::read(message, series.symbols, self.message)?;
            let (labels, time_ns) = match sent.checked() {
                Ok(checked) => checked,
                Err(reason) => {
                    self.note(reason);
                    continue;
                }
            };
            let at = *place.get_or_insert_with(|| {
                if series.histograms.is_empty() || !series.samples.is_empty() {
                    self.table.number(described, self.into)
                } else {
                    self.table.histogram(described, self.into)
                }
            });
            let into = &mut self.into.exemplars;
            let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
            for (name, value) in labels {
                let is_id = match name {
                    "trace_id" => hex(value, &mut trace_id),
                    "span_id" => hex(value, &mut span_id),
                    _ => false,
                };
                if !is_id {
                    into.attributes.push(KeyValue::new(name, value));
                }
            }
            into.series.push(at);
            into.time_ns.push(time_ns);
            into.value.push(sent.value);
            into.trace_id.push(trace_id);
            into.span_id.push(span_id);
            into.attribute_offsets.push(row(into.attributes.len()));
            self.outcome.exemplars += 1;
        }
        Ok(())
    }

    fn refuse_all(&mut self, series: &SeriesMessage<'a, '_>, reason: Reason) -> Result<(), WireError> {
        for _ in 0..series.samples.len() + series.histograms.len() {
            self.outcome.refused.refuse(reason, || series.shown());
        }
        if series.samples.is_empty() && series.histograms.is_empty() {
            self.outcome.refused.note(reason, || series.shown());
        }
        Ok(())
    }

    fn refuse(&mut self, reason: Reason) {
        let table = &self.table;
        self.outcome.refused.refuse(reason, || table.shown());
    }

    fn note(&mut self, reason: Reason) {
        let table = &self.table;
        self.outcome.refused.note(reason, || table.shown());
    }
}

/// A length as a row number.
fn row(length: usize) -> u32 {
    u32::try_from(length).expect("a request is bounded far below 2^32 rows")
}
