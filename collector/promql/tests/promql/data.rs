//! Samples for tests: counters that are set back, gauges with gaps and ends, histograms of both kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_promql::labels::Labels;
use weir_promql::memory::{MemorySample, MemorySource, STALE_NAN};
use weir_promql::script::{SequenceValue, parse_series};
use weir_promql::source::{
    BatchReader, Budget, ReadBatch, Readers, SelectRequest, Selection, SeriesSource, SeriesTable, SourceError,
};
use weir_promql::value::Point;

/// Numbers that look random and are the same in each run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// A source that takes hints at their word and counts how often it is asked.
pub(super) struct Literal<'a> {
    pub(super) samples: &'a MemorySource,
    pub(super) selections: AtomicUsize,
}

impl<'a> Literal<'a> {
    pub(super) fn new(samples: &'a MemorySource) -> Self {
        Self { samples, selections: AtomicUsize::new(0) }
    }
}

impl SeriesSource for Literal<'_> {
    fn select(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Selection, SourceError> {
        self.selections.fetch_add(1, Ordering::Relaxed);
        let mut selection = self.samples.select(request, budget)?;
        if let Some(needed) = &request.hints.labels_needed {
            assert!(needed.is_sorted() && needed.iter().any(|name| &**name == "__name__"), "{needed:?}");
            let labels = selection.series.labels.iter().map(|labels| labels.keep(needed)).collect();
            selection.series = Arc::new(SeriesTable { labels });
        }
        Ok(selection)
    }

    /// Reserves what each batch takes, as a source does that reads from files.
    fn select_readers(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Readers, SourceError> {
        let Selection { series, batches, warnings } = self.select(request, budget)?;
        let budget = Arc::clone(budget);
        let batches = batches.map(move |batch| {
            let budget = Arc::clone(&budget);
            Box::new(move || {
                let batch = batch?;
                // A time and a value each.
                let reserved = 16 * batch.t_ms.len() as u64;
                budget.reserve(reserved)?;
                Ok(ReadBatch { batch, reserved })
            }) as BatchReader
        });
        Ok(Readers { series, batches: Box::new(batches), warnings })
    }
}

/// What may be called otherwise, or happen at another time, without another answer.
#[derive(Clone, Copy)]
pub(super) struct World {
    pub(super) job: &'static str,
    pub(super) instance: &'static str,
    /// When it begins, in seconds.
    pub(super) begin: i64,
}

impl World {
    pub(super) const USUAL: Self = Self { job: "job", instance: "instance", begin: 7200 };
}

/// Distance of two samples.
const INTERVAL_MS: i64 = 15_000;
/// Samples of a series: an hour.
const SAMPLES: i64 = 240;

fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    let all = pairs.iter().copied().chain([("__name__", name)]);
    all.map(|(name, value)| (Arc::from(name), Arc::from(value))).collect()
}

fn histogram(random: &mut Random, grown: u64) -> Point {
    let (a, b, c) = (grown + random.next() % 5, grown * 2, grown / 2);
    let count = a + b + c;
    let text = format!("x {{{{schema:0 count:{count} sum:{} buckets:[{a} {b} {c}]}}}}", count * 2);
    let (_, values) = parse_series(&text).expect("the notation is right");
    match values.into_iter().next() {
        Some(SequenceValue::Histogram(histogram, _)) => Point::Histogram(histogram),
        _ => Point::Float(0.0),
    }
}

/// Everything that expressions of these tests speak of.
pub(super) fn source(world: World) -> MemorySource {
    let mut random = Random::new(42);
    let mut source = MemorySource::new();
    let jobs = ["api", "db", "web"];
    for (job, instance) in jobs.iter().flat_map(|job| ["a", "b", "c", "d"].map(|instance| (*job, instance))) {
        let place = [(world.job, job), (world.instance, instance)];
        let mut append =
            |name: &str, more: &[(&str, &str)], value: &mut dyn FnMut(&mut Random, i64) -> Option<Point>| {
                let pairs: Vec<(&str, &str)> = place.iter().chain(more).copied().collect();
                let mut samples = Vec::new();
                for at in 0..SAMPLES {
                    let jitter = (random.next() % 900) as i64;
                    if let Some(point) = value(&mut random, at) {
                        let t_ms = world.begin * 1000 + at * INTERVAL_MS + jitter;
                        samples.push(MemorySample { t_ms, start_ms: 0, point });
                    }
                }
                source.append(&labels(name, &pairs), samples);
            };
        let mut count = 0;
        append("calls_total", &[], &mut |random, _| {
            count = if random.next().is_multiple_of(60) { 0 } else { count + random.next() % 100 };
            Some(Point::Float(count as f64))
        });
        append("warmth", &[], &mut |random, at| match random.next() % 20 {
            0 => None,
            1 if at > 200 => Some(Point::Float(f64::from_bits(STALE_NAN))),
            _ => Some(Point::Float((random.next() % 4000) as f64 / 7.0 - 100.0)),
        });
        for (bound, share) in [("0.1", 2), ("1", 3), ("+Inf", 4)] {
            let mut count = 0;
            append("wait_bucket", &[("le", bound)], &mut |_, _| {
                count += share;
                Some(Point::Float(count as f64))
            });
        }
        let zone = if instance < "c" { "north" } else { "south" };
        append("place_info", &[("zone", zone)], &mut |_, _| Some(Point::Float(1.0)));
        append("size", &[], &mut |random, at| Some(histogram(random, at as u64 % 90)));
    }
    source
}
