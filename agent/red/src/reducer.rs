//! The reducer: one pass over a batch's spans into one delta histogram per series.
//!
//! Spans are grouped by what they reference in the batch's dictionaries (fifteen small numbers), so that labels are
//! admitted, identities looked up and strings compared once per group and not once per span. Groups are emitted in
//! the order of their first span: the same batch and state give the same bytes.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::identity::SeriesParts;
use weir_proto::{
    Attributes, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, SpanBatch, Temporality, Value,
    semconv,
};

use crate::RedLimits;
use crate::histogram::{DurationHistogram, HistogramSink, SpanExemplar};
use crate::labels::{
    ATTRIBUTE_LABELS, Admission, Calendar, Generations, Label, OVERFLOW, Room, SPAN_NAME_LABEL, label_of, label_value,
    resource_key,
};
use crate::weight::{span_weight, threshold};

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Bytes of a remembered series beside its texts: identity, attributes, table slots.
const SERIES_BYTES: usize = 700;
/// Bytes of a remembered service.
const SERVICE_BYTES: usize = 500;

/// What the reducer has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedStats {
    /// Spans observed.
    pub spans: u64,
    /// Spans whose service was one too many.
    pub services_overflowed: u64,
    /// Spans whose series was one too many.
    pub series_overflowed: u64,
    labels_overflowed: [u64; SPAN_NAME_LABEL + 1],
}

impl RedStats {
    /// Per label, how many spans were counted under [`OVERFLOW`].
    pub fn labels_overflowed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ATTRIBUTE_LABELS.into_iter().chain(["span.name"]).zip(self.labels_overflowed)
    }

    fn count(&mut self, overflowed: Overflowed) {
        self.spans += 1;
        self.services_overflowed += u64::from(overflowed.service);
        self.series_overflowed += u64::from(overflowed.series);
        if overflowed.labels != 0 {
            for (at, count) in self.labels_overflowed.iter_mut().enumerate() {
                *count += u64::from(overflowed.labels >> at & 1);
            }
        }
    }
}

/// Turns spans into RED points. One owner; see the crate's header.
#[derive(Debug)]
pub struct RedReducer {
    limits: RedLimits,
    scope: Arc<Scope>,
    calendar: Calendar,
    admission: Admission,
    services: Generations<Arc<Resource>, u32>,
    services_made: u32,
    series: Generations<SeriesKey, SeriesState>,
    stats: RedStats,
}

/// A reduced resource and its number.
#[derive(Clone, Debug)]
struct Service {
    id: u32,
    resource: Arc<Resource>,
    overflowed: bool,
}

/// What makes a series one, within this process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SeriesKey {
    service: u32,
    kind: u8,
    status: u8,
    name: Arc<str>,
    labels: Vec<(u8, Value)>,
}

/// What is remembered of a series.
#[derive(Debug)]
struct SeriesState {
    identity: Arc<SeriesIdentity>,
    /// End of the slot that the exemplars below were given in.
    slot_end_ns: i64,
    slowest_ns: i64,
    newest_error_ns: i64,
}

/// References that make a group: resource, name, kind and status, then one per attribute label (0 for none).
type GroupKey = [u32; 3 + ATTRIBUTE_LABELS.len()];

/// One series of this batch.
struct Group {
    key: SeriesKey,
    series: u32,
    histogram: DurationHistogram,
    slowest: Option<SpanExemplar>,
    newest_error: Option<SpanExemplar>,
}

/// What was not admitted of the spans of one group key; several keys may end in one series.
#[derive(Clone, Copy, Default)]
struct Overflowed {
    /// Labels, as bits.
    labels: u32,
    service: bool,
    series: bool,
}

impl RedReducer {
    /// A reducer that has seen nothing.
    #[must_use]
    pub fn new(limits: RedLimits) -> Self {
        let scope = Scope { name: semconv::SCOPE_RED.into(), ..Scope::default() };
        Self {
            limits,
            scope: Arc::new(scope),
            calendar: Calendar::default(),
            admission: Admission::default(),
            services: Generations::default(),
            services_made: 0,
            series: Generations::default(),
            stats: RedStats::default(),
        }
    }

    /// Appends to `into` the delta points of exactly these spans, in the slot that holds `now_ns`.
    pub fn observe(&mut self, spans: &SpanBatch, now_ns: i64, into: &mut MetricBatch) {
        if spans.is_empty() {
            return;
        }
        if self.calendar.turns(now_ns) {
            self.admission.turn();
            self.services.turn();
            self.series.turn();
        }
        let mut sink = HistogramSink::new(into, now_ns);
        let groups = self.group(spans, &mut sink);
        let (_, slot_end_ns) = crate::slot_of(now_ns);
        for group in groups {
            sink.point(group.series, &group.histogram);
            self.emit_exemplars(&group, slot_end_ns, &mut sink);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &RedStats {
        &self.stats
    }

    /// Bytes of everything remembered, estimated.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.admission.bytes() + self.services.bytes() + self.series.bytes()
    }

    fn group(&mut self, spans: &SpanBatch, sink: &mut HistogramSink<'_>) -> Vec<Group> {
        let labels: Vec<Option<Label>> = spans.key_values.iter().map(|pair| label_of(&pair.key)).collect();
        let services: Vec<Service> = spans.resources.iter().map(|resource| self.service(resource)).collect();
        let mut thresholds: HashMap<u32, Option<u64>, FixedState> = HashMap::default();
        let mut by_key: HashMap<GroupKey, (usize, Overflowed), FixedState> = HashMap::default();
        let mut by_series: HashMap<u32, usize, FixedState> = HashMap::default();
        let mut groups: Vec<Group> = Vec::new();
        for row in 0..spans.len() {
            let key = group_key(spans, &labels, row);
            let (at, overflowed) = *by_key.entry(key).or_insert_with(|| {
                let service = &services[spans.resource[row] as usize];
                let (group, overflowed) = self.open(spans, service, &key, sink);
                // Two keys of the batch may be one series: overflow, or one attribute value stored twice.
                let at = *by_series.entry(group.series).or_insert_with(|| {
                    groups.push(group);
                    groups.len() - 1
                });
                (at, overflowed)
            });
            self.stats.count(overflowed);
            let state = spans.trace_state[row];
            let threshold = match state {
                0 => None,
                _ => *thresholds.entry(state).or_insert_with(|| threshold(&spans.strings[state as usize])),
            };
            let weight = threshold.map_or(1, |threshold| span_weight(threshold, spans.span_id[row]));
            groups[at].record(spans, row, weight);
        }
        groups
    }

    /// The reduced form of a resource, or the service that stands for too many.
    fn service(&mut self, resource: &Resource) -> Service {
        let reduced = reduce(resource);
        if let Some(&mut id) = self.services.touch(&reduced) {
            return Service { id, resource: Arc::new(reduced), overflowed: false };
        }
        let full = self.services.alive() >= self.limits.services_max || self.is_full();
        let reduced = if full { service_named(OVERFLOW) } else { reduced };
        let resource = Arc::new(reduced);
        if let Some(&mut id) = self.services.touch(&resource) {
            return Service { id, resource, overflowed: full };
        }
        self.services_made += 1;
        self.services.insert(Arc::clone(&resource), self.services_made, SERVICE_BYTES);
        Service { id: self.services_made, resource, overflowed: full }
    }

    fn is_full(&self) -> bool {
        self.state_bytes() >= self.limits.state_bytes_max
    }

    /// Resolves the references of a new group to its series.
    fn open(
        &mut self,
        spans: &SpanBatch,
        service: &Service,
        group: &GroupKey,
        sink: &mut HistogramSink<'_>,
    ) -> (Group, Overflowed) {
        let values_max = if self.is_full() { 0 } else { self.limits.label_values_max };
        let room = Room { bytes_max: self.limits.label_bytes_max, values_max };
        let mut overflowed = Overflowed { service: service.overflowed, ..Overflowed::default() };
        let mut admitted = |at: usize, value: Value| {
            let label = u8::try_from(at).expect("there are thirteen labels");
            if self.admission.admits(service.id, label, &value, room) {
                return value;
            }
            overflowed.labels |= 1 << at;
            Value::from(OVERFLOW)
        };
        let name = admitted(SPAN_NAME_LABEL, Value::String(Arc::clone(&spans.strings[group[1] as usize])));
        let mut labels = Vec::new();
        for (at, &reference) in group[3..].iter().enumerate().filter(|(_, reference)| **reference != 0) {
            let value = &spans.key_values[reference as usize - 1].value;
            if let Some(value) = label_value(at, value) {
                labels.push((u8::try_from(at).expect("there are twelve labels"), admitted(at, value)));
            }
        }
        let Value::String(name) = name else { unreachable!("a name is admitted or replaced as text") };
        let [kind, status, ..] = group[2].to_le_bytes();
        let mut key = SeriesKey { service: service.id, kind, status, name, labels };
        if self.series.touch(&key).is_none() && (self.series.alive() >= self.limits.series_max || self.is_full()) {
            overflowed.series = true;
            key.name = OVERFLOW.into();
            key.labels.clear();
        }
        let series = sink.series(&self.identity(&key, service));
        (Group::new(key, series), overflowed)
    }

    /// The identity of a series, made when it is not remembered.
    fn identity(&mut self, key: &SeriesKey, service: &Service) -> Arc<SeriesIdentity> {
        if let Some(state) = self.series.touch(key) {
            return Arc::clone(&state.identity);
        }
        let identity = Arc::new(make_identity(key, &service.resource, &self.scope));
        let texts: usize = key.labels.iter().filter_map(|(_, value)| value.as_str()).map(str::len).sum();
        let bytes = SERIES_BYTES + 2 * (texts + key.name.len());
        let state = SeriesState {
            identity: Arc::clone(&identity),
            slot_end_ns: i64::MIN,
            slowest_ns: i64::MIN,
            newest_error_ns: i64::MIN,
        };
        self.series.insert(key.clone(), state, bytes);
        identity
    }

    /// Gives the slowest span and the newest error of the series' slot, as far as they beat what was given in it.
    fn emit_exemplars(&mut self, group: &Group, slot_end_ns: i64, sink: &mut HistogramSink<'_>) {
        let Some(state) = self.series.touch(&group.key) else { return };
        if state.slot_end_ns != slot_end_ns {
            (state.slot_end_ns, state.slowest_ns, state.newest_error_ns) = (slot_end_ns, i64::MIN, i64::MIN);
        }
        let slowest = group.slowest.filter(|slowest| slowest.duration_ns > state.slowest_ns);
        let newest_error = group.newest_error.filter(|newest| newest.time_ns > state.newest_error_ns);
        if let Some(slowest) = slowest {
            state.slowest_ns = slowest.duration_ns;
            sink.exemplar(group.series, &slowest);
        }
        if let Some(newest_error) = newest_error {
            state.newest_error_ns = newest_error.time_ns;
            if slowest != Some(newest_error) {
                sink.exemplar(group.series, &newest_error);
            }
        }
    }
}

impl Group {
    fn new(key: SeriesKey, series: u32) -> Self {
        Self { key, series, histogram: DurationHistogram::default(), slowest: None, newest_error: None }
    }

    fn record(&mut self, spans: &SpanBatch, row: usize, weight: u64) {
        let duration_ns = spans.duration_ns[row];
        self.histogram.record(duration_ns, weight);
        let time_ns = spans.start_ns[row].saturating_add(duration_ns.max(0));
        let exemplar =
            || SpanExemplar { time_ns, duration_ns, trace_id: spans.trace_id[row], span_id: spans.span_id[row] };
        if self.slowest.is_none_or(|slowest| duration_ns > slowest.duration_ns) {
            self.slowest = Some(exemplar());
        }
        let is_error = spans.status[row] == semconv::STATUS_CODE_ERROR;
        if is_error && self.newest_error.is_none_or(|newest| time_ns > newest.time_ns) {
            self.newest_error = Some(exemplar());
        }
    }
}

/// The references of span `row` that decide its series.
fn group_key(spans: &SpanBatch, labels: &[Option<Label>], row: usize) -> GroupKey {
    let mut key: GroupKey = Default::default();
    key[0] = spans.resource[row];
    key[1] = spans.name[row];
    // Numbers that OTLP does not know yet count as unspecified: they must not make series.
    let kind = if usize::from(spans.kind[row]) < KINDS.len() { spans.kind[row] } else { 0 };
    let status = if usize::from(spans.status[row]) < STATUSES.len() { spans.status[row] } else { 0 };
    key[2] = u32::from_le_bytes([kind, status, 0, 0]);
    let mut old = 0_u32;
    let range = spans.attribute_offsets[row] as usize..spans.attribute_offsets[row + 1] as usize;
    for &reference in &spans.attributes[range] {
        let Some(label) = labels[reference as usize] else { continue };
        let place = &mut key[3 + usize::from(label.at)];
        let is_old = old >> label.at & 1 == 1;
        if *place == 0 || (is_old && !label.old) {
            *place = reference + 1;
            old = old & !(1 << label.at) | u32::from(label.old) << label.at;
        }
    }
    key
}

/// Keeps of a resource what identifies its service; today's names win over old ones.
fn reduce(resource: &Resource) -> Resource {
    let mut pairs: Vec<KeyValue> = Vec::with_capacity(6);
    for today in [true, false] {
        for pair in &resource.attributes {
            let Some(key) = resource_key(&pair.key) else { continue };
            let is_text = matches!(&pair.value, Value::String(text) if !text.is_empty());
            if is_text && (key == pair.key.as_ref()) == today {
                pairs.push(KeyValue { key: key.into(), value: pair.value.clone() });
            }
        }
    }
    if !pairs.iter().any(|pair| pair.key.as_ref() == semconv::SERVICE_NAME) {
        pairs.push(KeyValue::new(semconv::SERVICE_NAME, semconv::UNKNOWN_SERVICE));
    }
    Resource { attributes: Attributes::new(pairs) }
}

fn service_named(name: &str) -> Resource {
    Resource { attributes: Attributes::new(vec![KeyValue::new(semconv::SERVICE_NAME, name)]) }
}

fn make_identity(key: &SeriesKey, resource: &Arc<Resource>, scope: &Arc<Scope>) -> SeriesIdentity {
    let mut attributes = vec![
        KeyValue::new("span.name", Arc::clone(&key.name)),
        KeyValue::new("span.kind", KINDS[usize::from(key.kind)]),
        KeyValue::new("status.code", STATUSES[usize::from(key.status)]),
    ];
    let labels = key.labels.iter();
    attributes.extend(labels.map(|(at, value)| KeyValue::new(ATTRIBUTE_LABELS[usize::from(*at)], value.clone())));
    SeriesIdentity::new(SeriesParts {
        name: semconv::RED_DURATION.into(),
        unit: "s".into(),
        kind: MetricKind::ExponentialHistogram,
        temporality: Temporality::Delta,
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        attributes: Attributes::new(attributes),
    })
}

#[cfg(test)]
mod tests;
