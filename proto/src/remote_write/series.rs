//! From labels to a series of the batch.
//!
//! Texts, resources, scopes and series are made once per request: senders group their samples by target, and repeat
//! few names and values.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::message::RawLabel;
use super::{HELP, SCOPE_REMOTE_WRITE, row};
use crate::attribute::{Attributes, KeyValue};
use crate::batch::MetricBatch;
use crate::identity::{Fingerprint, MetricKind, Resource, Scope, SeriesIdentity, SeriesParts, Temporality};
use crate::otlp::wire::{self, Fields, WireError};
use crate::read::Reason;
use crate::semconv;

const METRIC_NAME: &str = "__name__";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// The series of a request, and what they share.
pub(super) struct SeriesTable<'a> {
    texts: HashMap<&'a str, Arc<str>, RandomState>,
    resources: HashMap<[&'a str; 2], Arc<Resource>, RandomState>,
    scopes: HashMap<&'a str, Arc<Scope>, RandomState>,
    places: HashMap<Fingerprint, u32, RandomState>,
    /// The labels read last: sorted, none empty, the name not among them.
    labels: Vec<(&'a str, &'a str)>,
    name: &'a str,
}

/// What a 2.0 request tells of a series.
#[derive(Clone, Copy, Default)]
pub(super) struct Described<'a> {
    kind: u64,
    help: &'a str,
    unit: &'a str,
}

/// `Metadata.MetricType` of 2.0.
mod metric_type {
    pub(super) const COUNTER: u64 = 1;
    pub(super) const GAUGE: u64 = 2;
    pub(super) const HISTOGRAM: u64 = 3;
    pub(super) const GAUGE_HISTOGRAM: u64 = 4;
    pub(super) const SUMMARY: u64 = 5;
    pub(super) const INFO: u64 = 6;
    pub(super) const STATE_SET: u64 = 7;
}

impl<'a> SeriesTable<'a> {
    /// An empty table for a batch that may hold series already.
    pub(super) fn new(batch: &MetricBatch) -> Self {
        Self {
            texts: HashMap::default(),
            resources: HashMap::default(),
            scopes: HashMap::default(),
            places: batch.series.iter().enumerate().map(|(at, series)| (series.fingerprint, row(at))).collect(),
            labels: Vec::new(),
            name: "",
        }
    }

    /// Takes the labels of the next series. As in Prometheus, empty values are no labels.
    pub(super) fn read_labels(&mut self, sent: &[RawLabel<'a>]) -> Result<(), Reason> {
        self.labels.clear();
        self.name = "";
        for (name, value) in sent {
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Reason::BadUtf8);
            let (name, value) = (text(name)?, text(value)?);
            if name.is_empty() {
                return Err(Reason::EmptyLabelName);
            }
            if !value.is_empty() {
                self.labels.push((name, value));
            }
        }
        self.labels.sort_unstable();
        if self.labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Reason::DuplicateLabel);
        }
        let at = self.labels.iter().position(|label| label.0 == METRIC_NAME).ok_or(Reason::EmptyName)?;
        self.name = self.labels.remove(at).1;
        Ok(())
    }

    /// The labels read last, as a person reads them.
    pub(super) fn shown(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("series {}{{{}}}", self.name, labels.join(", "))
    }

    /// The place of the float series with the labels read last.
    pub(super) fn number(&mut self, described: &Described<'a>, into: &mut MetricBatch) -> u32 {
        let kind = described.kind_of(self.name);
        let temporality = if kind == MetricKind::Counter { Temporality::Cumulative } else { Temporality::Unspecified };
        self.place((kind, temporality), described, into)
    }

    /// The place of the histogram series with the labels read last.
    pub(super) fn histogram(&mut self, described: &Described<'a>, into: &mut MetricBatch) -> u32 {
        let gauge = described.kind == metric_type::GAUGE_HISTOGRAM;
        let temporality = if gauge { Temporality::Unspecified } else { Temporality::Cumulative };
        self.place((MetricKind::ExponentialHistogram, temporality), described, into)
    }

    fn place(
        &mut self,
        (kind, temporality): (MetricKind, Temporality),
        described: &Described<'a>,
        into: &mut MetricBatch,
    ) -> u32 {
        let find = |labels: &[(&'a str, &'a str)], wanted: &str| {
            labels.iter().find(|label| label.0 == wanted).map_or("", |label| label.1)
        };
        let resource = self.resource(find(&self.labels, JOB), find(&self.labels, INSTANCE));
        let scope = self.scope(described.help);
        let labels = std::mem::take(&mut self.labels);
        let own = labels.iter().filter(|label| label.0 != JOB && label.0 != INSTANCE);
        let attributes: Attributes =
            own.map(|(name, value)| KeyValue::new(self.text(name), self.text(value))).collect();
        self.labels = labels;
        let identity = SeriesIdentity::new(SeriesParts {
            name: self.text(self.name),
            unit: self.text(described.unit),
            kind,
            temporality,
            resource,
            scope,
            attributes,
        });
        *self.places.entry(identity.fingerprint).or_insert_with(|| {
            into.series.push(Arc::new(identity));
            row(into.series.len() - 1)
        })
    }

    fn resource(&mut self, job: &'a str, instance: &'a str) -> Arc<Resource> {
        if let Some(known) = self.resources.get(&[job, instance]) {
            return Arc::clone(known);
        }
        let pairs = [(semconv::SERVICE_NAME, job), (semconv::SERVICE_INSTANCE_ID, instance)];
        let present = pairs.into_iter().filter(|pair| !pair.1.is_empty());
        let attributes = present.map(|(key, value)| KeyValue::new(key, value)).collect();
        let resource = Arc::new(Resource { attributes });
        self.resources.insert([job, instance], Arc::clone(&resource));
        resource
    }

    fn scope(&mut self, help: &'a str) -> Arc<Scope> {
        let scope = self.scopes.entry(help).or_insert_with(|| {
            let help = if help.is_empty() { None } else { Some(KeyValue::new(HELP, help)) };
            let attributes = help.into_iter().collect();
            Arc::new(Scope { name: SCOPE_REMOTE_WRITE.into(), version: "".into(), attributes })
        });
        Arc::clone(scope)
    }

    fn text(&mut self, text: &'a str) -> Arc<str> {
        Arc::clone(self.texts.entry(text).or_insert_with(|| text.into()))
    }
}

impl<'a> Described<'a> {
    /// Reads `Metadata`. Texts that are not there or not UTF-8 are taken as not sent: the samples are worth more.
    pub(super) fn of(metadata: Option<&'a [u8]>, symbols: &[&'a [u8]]) -> Result<Self, WireError> {
        const TYPE: u32 = wire::varint(1);
        const HELP: u32 = wire::varint(3);
        const UNIT: u32 = wire::varint(4);
        let mut described = Self::default();
        let text = |at: u32| symbols.get(at as usize).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("");
        let mut fields = Fields::new(metadata.unwrap_or_default());
        while let Some(tag) = fields.tag()? {
            match tag {
                TYPE => described.kind = fields.varint()?,
                HELP => described.help = text(fields.varint32()?),
                UNIT => described.unit = text(fields.varint32()?),
                _ => fields.skip(tag)?,
            }
        }
        Ok(described)
    }

    /// What the float series `name` of a family of this type is.
    fn kind_of(&self, name: &str) -> MetricKind {
        let counts = name.ends_with("_bucket") || name.ends_with("_sum") || name.ends_with("_count");
        match self.kind {
            metric_type::COUNTER => MetricKind::Counter,
            metric_type::HISTOGRAM | metric_type::SUMMARY if counts => MetricKind::Counter,
            metric_type::HISTOGRAM => MetricKind::Unknown,
            metric_type::GAUGE
            | metric_type::GAUGE_HISTOGRAM
            | metric_type::SUMMARY
            | metric_type::INFO
            | metric_type::STATE_SET => MetricKind::Gauge,
            _ => MetricKind::Unknown,
        }
    }
}
