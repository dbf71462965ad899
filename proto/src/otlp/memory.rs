//! Which series a point belongs to, without decoding it: raw identity bytes → series, remembered over requests.
//!
//! ```text
//! resource bytes ─▶ id ┐
//! scope bytes ────▶ id ┼─▶ metric id {name, unit, kind, temporality} ─▶ form = (metric id, attribute bytes) ─▶ series
//! name, unit, type ────┘                         first form ─▶ next ─▶ next …  (the order of the last request)
//! ```
//! Every metric remembers the order in which its forms came last time. The next point is first compared with the
//! form that followed last time (one memcmp, no hash: this is where position prediction lives), then looked up by
//! a keyed hash and verified, and only then decoded. Several forms may be one series (attributes in another order);
//! the fingerprint brings them together.
//!
//! Memory is bounded by [`ReaderLimits`]: past a limit everything is forgotten at the start of the next request.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::attributes::{Fault, Pairs};
use super::wire::{self, Fields, WireError};
use super::{ReaderLimits, row};
use crate::identity::{Fingerprint, MetricKind, Resource, Scope, SeriesIdentity, SeriesParts, Temporality};
use crate::raw_table::RawTable;
use crate::read::Reason;

/// No form: predicts nothing.
const NONE: u32 = u32::MAX;

/// Identities that were decoded before, and where they stand in the batch that is being filled.
pub(super) struct SeriesMemory {
    limits: ReaderLimits,
    pairs: Pairs,
    resources: RawTable<Result<Arc<Resource>, Reason>>,
    scopes: RawTable<Result<Arc<Scope>, Reason>>,
    metrics: RawTable<Metric>,
    forms: RawTable<Form>,
    series: Vec<Known>,
    by_fingerprint: HashMap<Fingerprint, u32, RandomState>,
    /// Series that the batch held before this request.
    present: HashMap<Fingerprint, u32, RandomState>,
    /// Number of this request; a stamp of another number is out of date.
    epoch: u64,
    scratch: Vec<u8>,
}

struct Metric {
    head: Result<Head, Reason>,
    first: u32,
}

#[derive(Clone)]
struct Head {
    name: Arc<str>,
    unit: Arc<str>,
    kind: MetricKind,
    temporality: Temporality,
    resource: Arc<Resource>,
    scope: Arc<Scope>,
}

struct Form {
    series: u32,
    next: u32,
}

struct Known {
    identity: Arc<SeriesIdentity>,
    epoch: u64,
    at: u32,
}

/// A metric as it stands on the wire.
pub(super) struct RawMetric<'a> {
    pub(super) resource: u32,
    pub(super) scope: u32,
    pub(super) kind: MetricKind,
    pub(super) temporality: Temporality,
    pub(super) name: &'a [u8],
    pub(super) unit: &'a [u8],
}

/// A metric whose points are being read: its id and the form that the last point had.
pub(super) struct MetricCursor {
    id: u32,
    previous: u32,
}

/// The attribute bytes of one point, usually one run of its message.
#[derive(Default)]
pub(super) struct Run {
    start: usize,
    end: usize,
    before: Vec<(usize, usize)>,
    predicted: bool,
}

impl SeriesMemory {
    pub(super) fn new(limits: ReaderLimits) -> Self {
        Self {
            limits,
            pairs: Pairs::default(),
            resources: RawTable::default(),
            scopes: RawTable::default(),
            metrics: RawTable::default(),
            forms: RawTable::default(),
            series: Vec::new(),
            by_fingerprint: HashMap::default(),
            present: HashMap::default(),
            epoch: 0,
            scratch: Vec::new(),
        }
    }

    /// Starts a request into a batch that already holds `present`.
    pub(super) fn begin(&mut self, present: &[Arc<SeriesIdentity>]) {
        self.epoch += 1;
        let bytes = self.forms.bytes_len() + self.metrics.bytes_len() + self.resources.bytes_len();
        let entries = self.forms.len().max(self.metrics.len()).max(self.resources.len()).max(self.scopes.len());
        if entries > self.limits.series_remembered_max
            || bytes + self.scopes.bytes_len() > self.limits.bytes_remembered_max
        {
            self.forget();
        }
        self.present.clear();
        self.present.extend(present.iter().enumerate().map(|(at, series)| (series.fingerprint, row(at))));
    }

    fn forget(&mut self) {
        self.resources.clear();
        self.scopes.clear();
        self.metrics.clear();
        self.forms.clear();
        self.series = Vec::new();
        self.by_fingerprint = HashMap::default();
    }

    /// What is taken at most.
    pub(super) fn limits(&self) -> &ReaderLimits {
        &self.limits
    }

    /// The cache of attributes, for exemplars.
    pub(super) fn pairs(&mut self) -> (&mut Pairs, &ReaderLimits) {
        (&mut self.pairs, &self.limits)
    }

    /// The resource with these bytes, and why all of its points are refused, if they are.
    pub(super) fn resource(&mut self, raw: &[u8]) -> Result<(u32, Option<Reason>), WireError> {
        if let Some(id) = self.resources.find(0, raw) {
            return Ok((id, self.resources.value(id).as_ref().err().copied()));
        }
        let resource = match resource(raw, &mut self.pairs, &self.limits) {
            Ok(resource) => Ok(Arc::new(resource)),
            Err(Fault::Refuse(reason)) => Err(reason),
            Err(Fault::Wire(error)) => return Err(error),
        };
        let reason = resource.as_ref().err().copied();
        Ok((self.resources.insert(0, raw, resource), reason))
    }

    /// The scope with these bytes, and why all of its points are refused, if they are.
    pub(super) fn scope(&mut self, raw: &[u8]) -> Result<(u32, Option<Reason>), WireError> {
        if let Some(id) = self.scopes.find(0, raw) {
            return Ok((id, self.scopes.value(id).as_ref().err().copied()));
        }
        let scope = match scope(raw, &mut self.pairs, &self.limits) {
            Ok(scope) => Ok(Arc::new(scope)),
            Err(Fault::Refuse(reason)) => Err(reason),
            Err(Fault::Wire(error)) => return Err(error),
        };
        let reason = scope.as_ref().err().copied();
        Ok((self.scopes.insert(0, raw, scope), reason))
    }

    /// Opens a metric, or says why all of its points are refused.
    pub(super) fn metric(&mut self, raw: &RawMetric<'_>) -> Result<MetricCursor, Reason> {
        let mut key = std::mem::take(&mut self.scratch);
        key.clear();
        key.extend_from_slice(&raw.scope.to_le_bytes());
        key.extend_from_slice(&[raw.kind as u8, raw.temporality as u8]);
        key.extend_from_slice(&row(raw.name.len()).to_le_bytes());
        key.extend_from_slice(raw.name);
        key.extend_from_slice(raw.unit);
        let id = match self.metrics.find(raw.resource, &key) {
            Some(id) => id,
            None => {
                let head = self.head(raw);
                self.metrics.insert(raw.resource, &key, Metric { head, first: NONE })
            }
        };
        self.scratch = key;
        self.metrics.value(id).head.as_ref().map_err(|reason| *reason)?;
        Ok(MetricCursor { id, previous: NONE })
    }

    fn head(&mut self, raw: &RawMetric<'_>) -> Result<Head, Reason> {
        if raw.name.is_empty() {
            return Err(Reason::EmptyName);
        }
        if raw.name.len() > self.limits.identity_bytes_max || raw.unit.len() > self.limits.identity_bytes_max {
            return Err(Reason::IdentityTooLong);
        }
        let (Ok(name), Ok(unit)) = (self.pairs.text(raw.name), self.pairs.text(raw.unit)) else {
            return Err(Reason::BadUtf8);
        };
        let resource = Arc::clone(self.resources.value(raw.resource).as_ref().map_err(|reason| *reason)?);
        let scope = Arc::clone(self.scopes.value(raw.scope).as_ref().map_err(|reason| *reason)?);
        Ok(Head { name, unit, kind: raw.kind, temporality: raw.temporality, resource, scope })
    }

    /// The attribute bytes that the next point of `metric` had last time.
    #[inline]
    pub(super) fn predicted(&self, metric: &MetricCursor) -> Option<&[u8]> {
        self.forms.bytes_under(self.next_form(metric), metric.id)
    }

    #[inline]
    fn next_form(&self, metric: &MetricCursor) -> u32 {
        match metric.previous {
            NONE => self.metrics.value(metric.id).first,
            previous => self.forms.value(previous).next,
        }
    }

    /// The index in `batch` of the series whose attribute bytes are `run` (fields `tag`); added when it is new there.
    #[inline]
    pub(super) fn series(
        &mut self,
        metric: &mut MetricCursor,
        run: &RunBytes<'_>,
        batch: &mut Vec<Arc<SeriesIdentity>>,
    ) -> Result<u32, Fault> {
        let next = self.next_form(metric);
        let form = if run.predicted || self.forms.holds(next, metric.id, run.bytes) {
            next
        } else {
            let form = match self.forms.find(metric.id, run.bytes) {
                Some(form) => form,
                None => self.learn(metric.id, run)?,
            };
            match metric.previous {
                NONE => self.metrics.value_mut(metric.id).first = form,
                previous => self.forms.value_mut(previous).next = form,
            }
            form
        };
        metric.previous = form;
        let known = &mut self.series[self.forms.value(form).series as usize];
        if known.epoch != self.epoch {
            known.epoch = self.epoch;
            known.at = match self.present.get(&known.identity.fingerprint) {
                Some(&at) => at,
                None => {
                    batch.push(Arc::clone(&known.identity));
                    row(batch.len() - 1)
                }
            };
        }
        Ok(known.at)
    }

    #[cold]
    fn learn(&mut self, metric: u32, run: &RunBytes<'_>) -> Result<u32, Fault> {
        if run.bytes.len() > self.limits.identity_bytes_max {
            return Err(Reason::IdentityTooLong.into());
        }
        let attributes = self.pairs.attributes(run.bytes, run.tag, &self.limits)?;
        let head = self.metrics.value(metric).head.clone()?;
        let Head { name, unit, kind, temporality, resource, scope } = head;
        let identity = SeriesIdentity::new(SeriesParts { name, unit, kind, temporality, resource, scope, attributes });
        let series = match self.by_fingerprint.get(&identity.fingerprint) {
            Some(&series) => series,
            None => {
                let series = row(self.series.len());
                self.by_fingerprint.insert(identity.fingerprint, series);
                self.series.push(Known { identity: Arc::new(identity), epoch: 0, at: 0 });
                series
            }
        };
        Ok(self.forms.insert(metric, run.bytes, Form { series, next: NONE }))
    }
}

/// A finished [`Run`].
pub(super) struct RunBytes<'a> {
    /// The fields, tags included.
    pub(super) bytes: &'a [u8],
    /// Their tag.
    pub(super) tag: u32,
    /// Whether they are exactly the predicted bytes.
    pub(super) predicted: bool,
}

impl Run {
    /// Takes the attribute whose (one-byte) tag was just read from `fields`, and as many more as were predicted.
    #[inline]
    pub(super) fn extend(
        &mut self,
        fields: &mut Fields<'_>,
        point: &[u8],
        predicted: Option<&[u8]>,
    ) -> Result<(), WireError> {
        let start = point.len() - fields.remaining() - 1;
        let first = self.end == 0;
        self.predicted = first && predicted.is_some_and(|bytes| bytes.len() > 1 && fields.take(&bytes[1..]));
        if !self.predicted {
            fields.bytes()?;
        }
        if first {
            self.start = start;
        } else if start != self.end {
            self.before.push((self.start, self.end));
            self.start = start;
        }
        self.end = point.len() - fields.remaining();
        Ok(())
    }

    /// The run of `point`, put together in `scratch` when other fields lay between.
    #[inline]
    pub(super) fn finish<'a>(&self, point: &'a [u8], tag: u32, scratch: &'a mut Vec<u8>) -> RunBytes<'a> {
        let last = &point[self.start..self.end];
        if self.before.is_empty() {
            return RunBytes { bytes: last, tag, predicted: self.predicted };
        }
        scratch.clear();
        for &(start, end) in &self.before {
            scratch.extend_from_slice(&point[start..end]);
        }
        scratch.extend_from_slice(last);
        RunBytes { bytes: scratch, tag, predicted: false }
    }
}

/// Decodes a Resource.
pub(super) fn resource(raw: &[u8], pairs: &mut Pairs, limits: &ReaderLimits) -> Result<Resource, Fault> {
    Ok(Resource { attributes: pairs.attributes(raw, wire::len(1), limits)? })
}

/// Decodes an InstrumentationScope.
pub(super) fn scope(raw: &[u8], pairs: &mut Pairs, limits: &ReaderLimits) -> Result<Scope, Fault> {
    const NAME: u32 = wire::len(1);
    const VERSION: u32 = wire::len(2);
    const ATTRIBUTES: u32 = wire::len(3);
    let mut fields = Fields::new(raw);
    let (mut name, mut version) = (&[][..], &[][..]);
    while let Some(tag) = fields.tag()? {
        match tag {
            NAME => name = fields.bytes()?,
            VERSION => version = fields.bytes()?,
            _ => fields.skip(tag)?,
        }
    }
    if name.len().max(version.len()) > limits.identity_bytes_max {
        return Err(Reason::IdentityTooLong.into());
    }
    Ok(Scope {
        name: pairs.text(name)?,
        version: pairs.text(version)?,
        attributes: pairs.attributes(raw, ATTRIBUTES, limits)?,
    })
}
