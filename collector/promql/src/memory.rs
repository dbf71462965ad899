//! A source that holds its samples in memory: for the text scripts, for tests and for benches.
//!
//! Reset hints of histograms are given out as Prometheus' storage gives them out: the first histogram after a reset, a
//! change of layout or a float is of unknown relation to what was before, those that follow it are known not to be
//! reset, gauges stay gauges.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::eval::is_stale;
use crate::histogram::{FloatHistogram, ResetHint};
use crate::labels::{Labels, METRIC_NAME};
use crate::matchers::CompiledMatcher;
use crate::source::{
    Budget, HistogramRows, MatchOp, SelectRequest, Selection, SeriesBatch, SeriesSource, SeriesTable, SourceError,
};
use crate::value::Point;

/// The bits of the NaN that marks the end of a series.
pub const STALE_NAN: u64 = crate::eval::STALE_NAN;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySample {
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// When the counter began, in ms; 0 for unknown.
    pub start_ms: i64,
    /// Its value.
    pub point: Point,
}

/// The samples of one series, in columns.
#[derive(Clone, Default)]
struct Samples {
    t_ms: Vec<i64>,
    values: Vec<f64>,
    starts: Option<Vec<i64>>,
    histograms: Option<Vec<Option<Arc<FloatHistogram>>>>,
}

/// Samples of a batch: enough to keep a thread busy, few enough to bound what is held.
const BATCH_SAMPLES: usize = 1 << 16;

/// Series with their samples.
#[derive(Default)]
pub struct MemorySource {
    /// By the name of the metric.
    series: HashMap<String, BTreeMap<Labels, Arc<Samples>>>,
}

impl MemorySource {
    /// A source without series.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out all series.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// Adds samples to a series; one at the time of another replaces it.
    pub fn append(&mut self, labels: &Labels, samples: Vec<MemorySample>) {
        if samples.is_empty() {
            return;
        }
        let named = self.series.entry(labels.name().to_owned()).or_default();
        Arc::make_mut(named.entry(labels.clone()).or_default()).append(samples);
    }
}

impl Samples {
    fn append(&mut self, samples: Vec<MemorySample>) {
        let in_order = samples.windows(2).all(|pair| pair[0].t_ms < pair[1].t_ms)
            && self.t_ms.last().is_none_or(|last| *last < samples[0].t_ms);
        if !in_order {
            let mut all: BTreeMap<i64, MemorySample> = BTreeMap::new();
            for at in 0..self.t_ms.len() {
                all.insert(self.t_ms[at], self.sample(at));
            }
            all.extend(samples.into_iter().map(|sample| (sample.t_ms, sample)));
            *self = Self::default();
            return self.append(all.into_values().collect());
        }
        for sample in samples {
            let rows = self.t_ms.len();
            self.t_ms.push(sample.t_ms);
            if sample.start_ms != 0 && self.starts.is_none() {
                self.starts = Some(vec![0; rows]);
            }
            if let Some(starts) = &mut self.starts {
                starts.push(sample.start_ms);
            }
            let (value, histogram) = match sample.point {
                Point::Float(value) => (value, None),
                Point::Histogram(histogram) => (0.0, Some(histogram)),
            };
            self.values.push(value);
            if histogram.is_some() && self.histograms.is_none() {
                self.histograms = Some(vec![None; rows]);
            }
            if let Some(histograms) = &mut self.histograms {
                histograms.push(histogram);
            }
        }
        self.give_hints();
    }

    fn sample(&self, at: usize) -> MemorySample {
        let histogram = self.histograms.as_ref().and_then(|all| all[at].clone());
        MemorySample {
            t_ms: self.t_ms[at],
            start_ms: self.starts.as_ref().map_or(0, |starts| starts[at]),
            point: histogram.map_or(Point::Float(self.values[at]), Point::Histogram),
        }
    }

    fn give_hints(&mut self) {
        let Some(histograms) = &mut self.histograms else { return };
        let mut before: Option<Arc<FloatHistogram>> = None;
        for histogram in histograms.iter_mut() {
            let Some(histogram) = histogram else {
                before = None;
                continue;
            };
            if histogram.reset_hint == ResetHint::Gauge {
                before = None;
                continue;
            }
            let forced = histogram.reset_hint == ResetHint::Reset;
            let now = Arc::make_mut(histogram);
            now.reset_hint = ResetHint::Unknown;
            let goes_on = before.as_ref().is_some_and(|before| {
                !forced
                    && now.schema == before.schema
                    && now.zero_threshold == before.zero_threshold
                    && now.custom_values == before.custom_values
                    && !now.detect_reset(before)
            });
            if goes_on {
                now.reset_hint = ResetHint::NotReset;
            }
            before = Some(Arc::clone(histogram));
        }
    }
}

impl SeriesSource for MemorySource {
    fn select(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Selection, SourceError> {
        let compile = |matcher| CompiledMatcher::new(matcher).map_err(SourceError::Storage);
        let matchers = request.matchers.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let (from, to) = (request.start_ms, request.end_ms);
        let fits = |(labels, samples): &(&Labels, &Arc<Samples>)| {
            // Once the query is over nothing fits, and the check below says so.
            budget.check().is_ok()
                && samples.t_ms.first().is_some_and(|first| *first <= to)
                && samples.t_ms.last().is_some_and(|last| *last >= from)
                && matchers.iter().all(|matcher| matcher.matches_labels(labels))
        };
        let name = request.matchers.iter().find(|m| &*m.name == METRIC_NAME && m.op == MatchOp::Equal);
        let mut found: Vec<(&Labels, &Arc<Samples>)> = match name {
            Some(name) => self.series.get(&*name.value).into_iter().flatten().filter(fits).collect(),
            None => self.series.values().flatten().filter(fits).collect(),
        };
        budget.check()?;
        if name.is_none() {
            // Those of one name are in order already.
            found.sort_unstable_by_key(|(labels, _)| *labels);
        }
        let labels: Vec<Labels> = found.iter().map(|(labels, _)| Labels::clone(labels)).collect();
        let found = found.into_iter().map(|(_, samples)| Arc::clone(samples)).collect();
        budget.admit_series(labels.len() as u64)?;
        let batches = Batches { found, next: 0, from, to, budget: Arc::clone(budget) };
        Ok(Selection { series: Arc::new(SeriesTable { labels }), batches: Box::new(batches), warnings: Vec::new() })
    }
}

struct Batches {
    found: Vec<Arc<Samples>>,
    next: usize,
    from: i64,
    to: i64,
    budget: Arc<Budget>,
}

impl Iterator for Batches {
    type Item = Result<SeriesBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.budget.check() {
            self.next = self.found.len();
            return Some(Err(error));
        }
        let mut batch = SeriesBatch { offsets: vec![0], ..SeriesBatch::default() };
        let mut rows = Vec::new();
        let mut total = 0;
        while self.next < self.found.len() && total < BATCH_SAMPLES {
            let id = self.next;
            self.next += 1;
            let times = &self.found[id].t_ms;
            let from = times.partition_point(|t| *t < self.from);
            let to = times.partition_point(|t| *t <= self.to);
            if from < to {
                total += to - from;
                rows.push(from..to);
                batch.ids.push(id as u32);
                batch.offsets.push(total as u32);
            }
        }
        batch.t_ms.reserve_exact(total);
        batch.value.reserve_exact(total);
        for (id, rows) in batch.ids.clone().into_iter().zip(rows) {
            push(&mut batch, &self.found[id as usize], rows.start, rows.end);
        }
        (!batch.ids.is_empty()).then_some(Ok(batch))
    }
}

fn push(batch: &mut SeriesBatch, samples: &Samples, from: usize, to: usize) {
    let rows = batch.t_ms.len();
    batch.t_ms.extend_from_slice(&samples.t_ms[from..to]);
    batch.value.extend_from_slice(&samples.values[from..to]);
    if samples.starts.is_some() && batch.start_ms.is_none() {
        batch.start_ms = Some(vec![0; rows]);
    }
    if let Some(starts) = &mut batch.start_ms {
        match &samples.starts {
            Some(ours) => starts.extend_from_slice(&ours[from..to]),
            None => starts.resize(batch.t_ms.len(), 0),
        }
    }
    if samples.histograms.is_some() && batch.histograms.is_none() {
        batch.histograms = Some(HistogramRows { row: vec![0; rows], values: Vec::new() });
    }
    let Some(histograms) = &mut batch.histograms else { return };
    for at in from..to {
        let histogram = samples.histograms.as_ref().and_then(|all| all[at].as_ref());
        // The end of a series is a float, whatever its series is.
        match histogram.filter(|_| !is_stale(samples.values[at])) {
            Some(histogram) => {
                histograms.values.push(Arc::clone(histogram));
                histograms.row.push(histograms.values.len() as u32);
            }
            None => histograms.row.push(0),
        }
    }
}
