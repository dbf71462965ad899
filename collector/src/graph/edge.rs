//! Edges of the graph and their durations, on the way into a batch.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, KeyValue, MetricKind, Resource, Scope, SeriesIdentity, Temporality, Value, semconv};
use weir_red::{DurationHistogram, HistogramSink};

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// CLIENT or PRODUCER.
    Client,
    /// SERVER or CONSUMER.
    Server,
}

/// How the two sides are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    /// Both sides sent a span.
    Direct,
    /// The server is a database.
    Database,
    /// Through a queue.
    Messaging,
    /// One side sent nothing; its name is taken from the other.
    Virtual,
}

impl Connection {
    /// The attribute `connection_type`; absent for a direct call.
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Database => Some("database"),
            Self::Messaging => Some("messaging_system"),
            Self::Virtual => Some("virtual_node"),
        }
    }
}

/// What makes a series of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Edge {
    pub(crate) side: Side,
    pub(crate) client: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) connection: Connection,
    pub(crate) failed: bool,
}

impl Edge {
    fn identity(&self) -> SeriesIdentity {
        let mut attributes = vec![
            KeyValue::new("client", Arc::clone(&self.client)),
            KeyValue::new("server", Arc::clone(&self.server)),
            KeyValue::new("failed", Value::from(if self.failed { "true" } else { "false" })),
        ];
        attributes.extend(self.connection.as_str().map(|kind| KeyValue::new("connection_type", kind)));
        let name = if self.side == Side::Client { semconv::GRAPH_CLIENT } else { semconv::GRAPH_SERVER };
        SeriesIdentity::new(SeriesParts {
            name: name.into(),
            unit: "s".into(),
            kind: MetricKind::ExponentialHistogram,
            temporality: Temporality::Delta,
            resource: Arc::new(Resource::default()),
            scope: Arc::new(Scope { name: semconv::SCOPE_RED.into(), ..Scope::default() }),
            attributes: Attributes::new(attributes),
        })
    }
}

/// Durations by edge, in the order in which the edges came.
#[derive(Default)]
pub(crate) struct Edges {
    places: HashMap<Edge, usize, FixedState>,
    histograms: Vec<(Edge, u64, DurationHistogram)>,
}

impl Edges {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.histograms.is_empty()
    }

    /// Adds the duration of one span.
    pub(crate) fn add(&mut self, edge: Edge, duration_ns: i64, weight: u64) {
        let at = *self.places.entry(edge).or_insert_with_key(|edge| {
            self.histograms.push((edge.clone(), 0, DurationHistogram::default()));
            self.histograms.len() - 1
        });
        let (_, spans, histogram) = &mut self.histograms[at];
        *spans += 1;
        histogram.record(duration_ns, weight);
    }

    /// Lets `rename` change each edge; it is told how many spans the edge has here.
    pub(crate) fn rename(&mut self, mut rename: impl FnMut(&mut Edge, u64)) {
        self.histograms.iter_mut().for_each(|(edge, spans, _)| rename(edge, *spans));
    }

    /// Appends a point per edge. Two edges may have become one by renaming: their points add up.
    pub(crate) fn write(self, sink: &mut HistogramSink<'_>) {
        for (edge, _, histogram) in self.histograms {
            let series = sink.series(&Arc::new(edge.identity()));
            sink.point(series, &histogram);
        }
    }
}
