//! Number points that the agent itself makes (host metrics, `up` and its kin): from (instrument, attributes, value) to
//! a [`MetricBatch`], with the series remembered so that a tick allocates nothing for series it made before.

use std::fmt::Write;
use std::sync::Arc;

use hashbrown::HashMap;
use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality, Value};

/// What a metric of ours is.
#[derive(Debug)]
pub(crate) struct Instrument {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) kind: MetricKind,
}

/// An attribute value that need not be owned to be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute<'a> {
    Text(&'a str),
    Int(i64),
}

/// Makes batches of number points of one resource.
pub(crate) struct Points {
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    /// By instrument and attributes, written as one string; an entry not used in a whole reading is forgotten.
    known: HashMap<String, Known>,
    key: String,
    reading: u64,
    at_ns: i64,
    start_ns: i64,
    batch: MetricBatch,
}

struct Known {
    identity: Arc<SeriesIdentity>,
    /// The reading that used it last, and its place in that reading's dictionary.
    reading: u64,
    series: u32,
}

impl Points {
    pub(crate) fn new(resource: Arc<Resource>, scope: &str) -> Self {
        let scope = Arc::new(Scope { name: scope.into(), ..Scope::default() });
        Self {
            resource,
            scope,
            known: HashMap::new(),
            key: String::new(),
            reading: 0,
            at_ns: 0,
            start_ns: 0,
            batch: MetricBatch::default(),
        }
    }

    /// Begins a reading: the time of its points, and since when its counters count (0 when not known).
    pub(crate) fn begin(&mut self, at_ns: i64, start_ns: i64) {
        self.reading += 1;
        self.at_ns = at_ns;
        self.start_ns = start_ns;
    }

    /// Adds one point. A series given twice in one reading gets two points.
    pub(crate) fn put(&mut self, instrument: &Instrument, attributes: &[(&str, Attribute<'_>)], value: f64) {
        let sums = matches!(instrument.kind, MetricKind::Counter | MetricKind::UpDownCounter);
        self.write_key(instrument.name, attributes);
        let next = u32::try_from(self.batch.series.len()).expect("a reading has thousands of points");
        let known = match self.known.get_mut(self.key.as_str()) {
            Some(known) => known,
            None => {
                let identity = self.learn(instrument, attributes);
                self.known.entry_ref(self.key.as_str()).or_insert(Known { identity, reading: 0, series: 0 })
            }
        };
        if known.reading != self.reading {
            (known.reading, known.series) = (self.reading, next);
            self.batch.series.push(Arc::clone(&known.identity));
        }
        let series = known.series;
        let numbers = &mut self.batch.numbers;
        numbers.series.push(series);
        numbers.start_ns.push(if sums { self.start_ns } else { 0 });
        numbers.time_ns.push(self.at_ns);
        numbers.value.push(value);
    }

    /// Ends the reading: its points.
    pub(crate) fn finish(&mut self) -> MetricBatch {
        let reading = self.reading;
        self.known.retain(|_, known| known.reading == reading);
        std::mem::take(&mut self.batch)
    }

    fn write_key(&mut self, name: &str, attributes: &[(&str, Attribute<'_>)]) {
        self.key.clear();
        self.key.push_str(name);
        for (key, value) in attributes {
            let written = match value {
                Attribute::Text(text) => write!(self.key, "\0{key}\0{text}"),
                Attribute::Int(number) => write!(self.key, "\0{key}\0{number}"),
            };
            written.expect("writing to a String does not fail");
        }
    }

    fn learn(&self, instrument: &Instrument, attributes: &[(&str, Attribute<'_>)]) -> Arc<SeriesIdentity> {
        let temporality = match instrument.kind {
            MetricKind::Counter | MetricKind::UpDownCounter => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        };
        let to_pair = |(key, value): &(&str, Attribute<'_>)| match value {
            Attribute::Text(text) => KeyValue::new(*key, *text),
            Attribute::Int(number) => KeyValue::new(*key, Value::Int(*number)),
        };
        Arc::new(SeriesIdentity::new(SeriesParts {
            name: instrument.name.into(),
            unit: instrument.unit.into(),
            kind: instrument.kind,
            temporality,
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            attributes: attributes.iter().map(to_pair).collect::<Attributes>(),
        }))
    }
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Attribute<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Instrument = Instrument { name: "cpu.time", unit: "s", kind: MetricKind::Counter };
    const LOAD: Instrument = Instrument { name: "load", unit: "", kind: MetricKind::Gauge };

    #[test]
    fn a_series_is_made_once_and_forgotten_when_a_reading_goes_without_it() {
        let mut points = Points::new(Arc::default(), "weir.host");
        points.begin(100, 7);
        points.put(&TIME, &[("cpu", 0.into()), ("mode", "idle".into())], 1.5);
        points.put(&LOAD, &[], 2.0);
        let first = points.finish();
        assert_eq!(first.numbers.start_ns, [7, 0], "a gauge has no start");
        assert_eq!(first.series[0].attributes.find("cpu"), Some(&Value::Int(0)));
        points.begin(200, 7);
        points.put(&TIME, &[("cpu", 0.into()), ("mode", "idle".into())], 2.5);
        let second = points.finish();
        assert!(Arc::ptr_eq(&first.series[0], &second.series[0]));
        assert_eq!((second.numbers.time_ns[0], second.numbers.value[0]), (200, 2.5));
        assert_eq!(points.known.len(), 1, "load was not read the second time");
    }
}
