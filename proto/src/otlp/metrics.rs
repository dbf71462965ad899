//! `ExportMetricsServiceRequest` → [`MetricBatch`]: the walk from resource down to data point.
//!
//! Fields may come in any order, yet a point needs its resource, scope, name and temporality first: each level looks
//! ahead for the one or two fields that it needs (jumping over the rest by length), then walks its children.

use super::attributes::Fault;
use super::layout::Layouts;
use super::memory::{MetricCursor, RawMetric, SeriesMemory};
use super::rollback::MetricMark;
use super::wire::{self, Fields, WireError};
use super::{ReadError, ReaderLimits, Refused, broken};
use crate::batch::MetricBatch;
use crate::identity::{MetricKind, Temporality};
use crate::read::Reason;

/// Reads OTLP metrics and remembers the series that it has seen. One owner; not shared.
pub struct MetricsReader {
    memory: SeriesMemory,
    layouts: Layouts,
    counts: Vec<u64>,
    scratch: Vec<u8>,
    /// Number points of the last request: the next one is likely to have as many.
    numbers_last: usize,
}

/// Bytes that a number point takes at least on the wire (tag, length, time, value).
const NUMBER_BYTES_MIN: usize = 20;

impl MetricsReader {
    /// A reader that knows no series yet.
    #[must_use]
    pub fn new(limits: ReaderLimits) -> Self {
        Self {
            memory: SeriesMemory::new(limits),
            layouts: Layouts::default(),
            counts: Vec::new(),
            scratch: Vec::new(),
            numbers_last: 0,
        }
    }

    /// Appends the points of `body` to `into` and says which were refused.
    ///
    /// # Errors
    /// When the whole body is no protobuf or too large; `into` is then as it was.
    pub fn read(&mut self, body: &[u8], into: &mut MetricBatch) -> Result<Refused, ReadError> {
        let limit = self.memory.limits().body_bytes_max;
        if body.len() > limit {
            return Err(ReadError::TooLarge { bytes: body.len(), limit });
        }
        let mark = MetricMark::of(into);
        self.memory.begin(&into.series);
        self.layouts.begin();
        reserve(into, self.numbers_last.min(body.len() / NUMBER_BYTES_MIN));
        let numbers_before = into.numbers.series.len();
        let mut walk = Walk {
            memory: &mut self.memory,
            layouts: &mut self.layouts,
            counts: &mut self.counts,
            scratch: &mut self.scratch,
            into,
            refused: Refused::default(),
        };
        match walk.request(body) {
            Ok(()) => {
                let refused = walk.refused;
                self.numbers_last = into.numbers.series.len() - numbers_before;
                Ok(refused)
            }
            Err(error) => {
                mark.restore(into);
                Err(broken(body, error))
            }
        }
    }
}

/// Makes room for `numbers` more number points, each likely a series of its own.
fn reserve(into: &mut MetricBatch, numbers: usize) {
    into.series.reserve(numbers);
    into.numbers.series.reserve(numbers);
    into.numbers.start_ns.reserve(numbers);
    into.numbers.time_ns.reserve(numbers);
    into.numbers.value.reserve(numbers);
}

/// One request being read.
pub(super) struct Walk<'r> {
    pub(super) memory: &'r mut SeriesMemory,
    pub(super) layouts: &'r mut Layouts,
    pub(super) counts: &'r mut Vec<u64>,
    pub(super) scratch: &'r mut Vec<u8>,
    pub(super) into: &'r mut MetricBatch,
    pub(super) refused: Refused,
}

/// Resource and scope of the metrics being read, and why all of their points are refused, if they are.
#[derive(Clone, Copy)]
struct Origin<'a> {
    resource_raw: &'a [u8],
    resource: u32,
    scope: u32,
    refuse: Option<Reason>,
}

/// What kind of points a metric has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// One Metric message, taken apart but for its points.
struct MetricFields<'a> {
    name: &'a [u8],
    unit: &'a [u8],
    data: Option<(Shape, &'a [u8])>,
}

impl Walk<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), WireError> {
        const RESOURCE_METRICS: u32 = wire::len(1);
        let mut fields = Fields::new(body);
        while let Some(tag) = fields.tag()? {
            match tag {
                RESOURCE_METRICS => self.resource_metrics(fields.bytes()?)?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &[u8]) -> Result<(), WireError> {
        const SCOPE_METRICS: u32 = wire::len(2);
        let resource_raw = wire::last_bytes(message, wire::len(1))?.unwrap_or_default();
        let (resource, refuse) = self.memory.resource(resource_raw)?;
        let origin = Origin { resource_raw, resource, scope: 0, refuse };
        let mut fields = Fields::new(message);
        while let Some(tag) = fields.tag()? {
            match tag {
                SCOPE_METRICS => self.scope_metrics(origin, fields.bytes()?)?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(())
    }

    fn scope_metrics(&mut self, mut origin: Origin<'_>, message: &[u8]) -> Result<(), WireError> {
        const METRICS: u32 = wire::len(2);
        let raw = wire::last_bytes(message, wire::len(1))?.unwrap_or_default();
        let (scope, refuse) = self.memory.scope(raw)?;
        origin.scope = scope;
        origin.refuse = origin.refuse.or(refuse);
        let mut fields = Fields::new(message);
        while let Some(tag) = fields.tag()? {
            match tag {
                METRICS => self.metric(origin, fields.bytes()?)?,
                _ => fields.skip(tag)?,
            }
        }
        Ok(())
    }

    fn metric(&mut self, origin: Origin<'_>, message: &[u8]) -> Result<(), WireError> {
        let metric = MetricFields::of(message)?;
        let Some((shape, data)) = metric.data else {
            self.refused.note(Reason::UnknownType, || place(metric.name, origin.resource_raw));
            return Ok(());
        };
        let (kind, temporality) = match head(shape, data)? {
            Ok(head) => head,
            Err(reason) => return self.refuse_all(data, reason, &metric, origin),
        };
        if let Some(reason) = origin.refuse {
            return self.refuse_all(data, reason, &metric, origin);
        }
        let mut raw = RawMetric {
            resource: origin.resource,
            scope: origin.scope,
            kind,
            temporality,
            name: metric.name,
            unit: metric.unit,
        };
        let mut open = match self.memory.metric(&raw) {
            Ok(open) => open,
            Err(reason) => return self.refuse_all(data, reason, &metric, origin),
        };
        if shape == Shape::Summary {
            return self.summary(&mut raw, open, &metric, origin);
        }
        let mut fields = Fields::new(data);
        while let Some(tag) = fields.tag()? {
            if tag != POINTS {
                fields.skip(tag)?;
                continue;
            }
            let point = fields.bytes()?;
            let read = match shape {
                Shape::Histogram => self.histogram_point(&mut open, point),
                Shape::Exponential => self.exponential_point(&mut open, point),
                _ => self.number_point(&mut open, point),
            };
            self.settle(read, &metric, origin)?;
        }
        Ok(())
    }

    fn summary(
        &mut self,
        raw: &mut RawMetric<'_>,
        quantile: MetricCursor,
        metric: &MetricFields<'_>,
        origin: Origin<'_>,
    ) -> Result<(), WireError> {
        let Some((_, data)) = metric.data else { return Ok(()) };
        raw.temporality = Temporality::Cumulative;
        raw.kind = MetricKind::SummarySum;
        let sum = self.memory.metric(raw);
        raw.kind = MetricKind::SummaryCount;
        let count = self.memory.metric(raw);
        let (Ok(sum), Ok(count)) = (sum, count) else { return Ok(()) };
        let mut open = super::number::SummaryCursors { quantile, sum, count };
        let mut fields = Fields::new(data);
        while let Some(tag) = fields.tag()? {
            if tag == POINTS {
                let read = self.summary_point(&mut open, fields.bytes()?);
                self.settle(read, metric, origin)?;
            } else {
                fields.skip(tag)?;
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        read: Result<(), Fault>,
        metric: &MetricFields<'_>,
        origin: Origin<'_>,
    ) -> Result<(), WireError> {
        match read {
            Ok(()) => Ok(()),
            Err(Fault::Wire(error)) => Err(error),
            Err(Fault::Refuse(reason)) => {
                self.refused.refuse(reason, || place(metric.name, origin.resource_raw));
                Ok(())
            }
        }
    }

    fn refuse_all(
        &mut self,
        data: &[u8],
        reason: Reason,
        metric: &MetricFields<'_>,
        origin: Origin<'_>,
    ) -> Result<(), WireError> {
        let mut fields = Fields::new(data);
        while let Some(tag) = fields.tag()? {
            fields.skip(tag)?;
            if tag == POINTS {
                self.refused.refuse(reason, || place(metric.name, origin.resource_raw));
            }
        }
        Ok(())
    }
}

/// `data_points` has this number in every metric type.
const POINTS: u32 = wire::len(1);

impl<'a> MetricFields<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        const NAME: u32 = wire::len(1);
        const UNIT: u32 = wire::len(3);
        const GAUGE: u32 = wire::len(5);
        const SUM: u32 = wire::len(7);
        const HISTOGRAM: u32 = wire::len(9);
        const EXPONENTIAL: u32 = wire::len(10);
        const SUMMARY: u32 = wire::len(11);
        let mut fields = Fields::new(message);
        let mut found = Self { name: &[], unit: &[], data: None };
        while let Some(tag) = fields.tag()? {
            match tag {
                NAME => found.name = fields.bytes()?,
                UNIT => found.unit = fields.bytes()?,
                GAUGE => found.data = Some((Shape::Gauge, fields.bytes()?)),
                SUM => found.data = Some((Shape::Sum, fields.bytes()?)),
                HISTOGRAM => found.data = Some((Shape::Histogram, fields.bytes()?)),
                EXPONENTIAL => found.data = Some((Shape::Exponential, fields.bytes()?)),
                SUMMARY => found.data = Some((Shape::Summary, fields.bytes()?)),
                _ => fields.skip(tag)?,
            }
        }
        Ok(found)
    }
}

/// Kind and temporality of a metric's data; an unset temporality refuses its points.
fn head(shape: Shape, data: &[u8]) -> Result<Result<(MetricKind, Temporality), Reason>, WireError> {
    const TEMPORALITY: u32 = wire::varint(2);
    const MONOTONIC: u32 = wire::varint(3);
    match shape {
        Shape::Gauge => return Ok(Ok((MetricKind::Gauge, Temporality::Unspecified))),
        Shape::Summary => return Ok(Ok((MetricKind::SummaryQuantile, Temporality::Unspecified))),
        _ => {}
    }
    let (mut temporality, mut monotonic) = (0, false);
    let mut fields = Fields::new(data);
    while let Some(tag) = fields.tag()? {
        match tag {
            TEMPORALITY => temporality = fields.varint32()?,
            MONOTONIC => monotonic = fields.varint()? != 0,
            _ => fields.skip(tag)?,
        }
    }
    let temporality = match temporality {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => return Ok(Err(Reason::UnknownTemporality)),
    };
    let kind = match shape {
        Shape::Histogram => MetricKind::Histogram,
        Shape::Exponential => MetricKind::ExponentialHistogram,
        _ if monotonic => MetricKind::Counter,
        _ => MetricKind::UpDownCounter,
    };
    Ok(Ok((kind, temporality)))
}

/// Names a metric and its sender for people.
fn place(name: &[u8], resource: &[u8]) -> String {
    let name = String::from_utf8_lossy(&name[..name.len().min(200)]);
    match super::attributes::service_name(resource) {
        Some(service) => format!("metric \"{name}\" of service \"{service}\""),
        None => format!("metric \"{name}\""),
    }
}
