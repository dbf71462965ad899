//! A reading of all counters, gauges and latencies as a [`MetricBatch`], so that Weir stores itself like any service.
//!
//! Latencies become exponential histograms of OTLP scale 3 (buckets 9 % wide), cumulative. Identities are kept
//! between readings, so a reading costs a hash look-up per metric.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use metrics::Key;
use weir_proto::identity::SeriesParts;
use weir_proto::{
    Attributes, HistogramLayout, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality,
};

use crate::{Latencies, Recorder, US_PER_SECOND};

/// Buckets per doubling: OTLP scale 3.
const SCALE: i32 = 3;

/// Takes readings; one per place that sends them.
pub struct Reader {
    recorder: Recorder,
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    start_ns: i64,
    known: HashMap<Key, Arc<SeriesIdentity>>,
}

impl Reader {
    /// Reads `recorder` as the process that `resource` describes, running since `start_ns`.
    #[must_use]
    pub fn new(recorder: Recorder, resource: Resource, start_ns: i64) -> Self {
        let scope = Scope { name: "weir".into(), version: env!("CARGO_PKG_VERSION").into(), ..Scope::default() };
        Self { recorder, resource: Arc::new(resource), scope: Arc::new(scope), start_ns, known: HashMap::new() }
    }

    /// Everything recorded so far, at `now_ns`.
    #[must_use]
    pub fn batch(&mut self, now_ns: i64) -> MetricBatch {
        let mut batch = MetricBatch::default();
        let registry = Arc::clone(&self.recorder.0);
        registry.visit_counters(|key, cell| {
            let series = self.series(key, MetricKind::Counter);
            #[expect(clippy::cast_precision_loss, reason = "counts below 2^53 are exact")]
            push_number(&mut batch, series, (self.start_ns, now_ns), cell.load(Ordering::Relaxed) as f64);
        });
        registry.visit_gauges(|key, cell| {
            let series = self.series(key, MetricKind::Gauge);
            push_number(&mut batch, series, (0, now_ns), f64::from_bits(cell.load(Ordering::Relaxed)));
        });
        registry.visit_histograms(|key, cell| {
            let series = self.series(key, MetricKind::ExponentialHistogram);
            push_latencies(&mut batch, series, (self.start_ns, now_ns), cell);
        });
        batch
    }

    fn series(&mut self, key: &Key, kind: MetricKind) -> Arc<SeriesIdentity> {
        if let Some(known) = self.known.get(key) {
            return Arc::clone(known);
        }
        let attributes: Attributes =
            key.labels().map(|label| KeyValue::new(label.key().to_owned(), label.value())).collect();
        let (unit, temporality) = match kind {
            MetricKind::ExponentialHistogram => ("s", Temporality::Cumulative),
            MetricKind::Counter => ("", Temporality::Cumulative),
            _ => ("", Temporality::Unspecified),
        };
        let series = Arc::new(SeriesIdentity::new(SeriesParts {
            name: key.name().into(),
            unit: unit.into(),
            kind,
            temporality,
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            attributes,
        }));
        self.known.insert(key.clone(), Arc::clone(&series));
        series
    }
}

fn add_series(batch: &mut MetricBatch, series: Arc<SeriesIdentity>) -> u32 {
    batch.series.push(series);
    u32::try_from(batch.series.len() - 1).expect("a process has fewer than 2^32 metrics")
}

fn push_number(batch: &mut MetricBatch, series: Arc<SeriesIdentity>, (start, time): (i64, i64), value: f64) {
    let series = add_series(batch, series);
    batch.numbers.series.push(series);
    batch.numbers.start_ns.push(start);
    batch.numbers.time_ns.push(time);
    batch.numbers.value.push(value);
}

fn push_latencies(batch: &mut MetricBatch, series: Arc<SeriesIdentity>, times: (i64, i64), cell: &Latencies) {
    let series = add_series(batch, series);
    cell.read(|hdr, sum| {
        let mut buckets: Vec<(i32, u64)> = Vec::new();
        for step in hdr.iter_recorded() {
            #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^53")]
            let index = bucket_of(step.value_iterated_to() as f64 / US_PER_SECOND);
            match buckets.last_mut() {
                Some(last) if last.0 == index => last.1 += step.count_since_last_iteration(),
                _ => buckets.push((index, step.count_since_last_iteration())),
            }
        }
        let first = buckets.first().map_or(0, |bucket| bucket.0);
        let last = buckets.last().map_or(first - 1, |bucket| bucket.0);
        let from = batch.histograms.counts.len();
        #[expect(clippy::cast_sign_loss, reason = "last + 1 >= first")]
        batch.histograms.counts.resize(from + (last + 1 - first) as usize, 0);
        for (index, count) in buckets {
            #[expect(clippy::cast_sign_loss, reason = "indices ascend from first")]
            let at = from + (index - first) as usize;
            batch.histograms.counts[at] += count;
        }
        let layout = HistogramLayout::Exponential {
            scale: SCALE,
            zero_threshold: 0.0,
            positive_offset: first,
            positive_len: u32::try_from(last + 1 - first).expect("last + 1 >= first"),
            negative_offset: 0,
        };
        push_row(batch, (series, times), hdr, (sum, layout));
    });
}

fn push_row(
    batch: &mut MetricBatch,
    (series, (start, time)): (u32, (i64, i64)),
    hdr: &hdrhistogram::Histogram<u64>,
    (sum, layout): (f64, HistogramLayout),
) {
    let rows = &mut batch.histograms;
    rows.series.push(series);
    rows.start_ns.push(start);
    rows.time_ns.push(time);
    rows.count.push(hdr.len());
    rows.sum.push(sum);
    rows.min.push(f64::NAN);
    rows.max.push(f64::NAN);
    rows.zero_count.push(0);
    rows.layout.push(u32::try_from(rows.layouts.len()).expect("one layout per row, rows are few"));
    rows.layouts.push(layout);
    rows.counts_offsets.push(u32::try_from(rows.counts.len()).expect("a few hundred buckets per row"));
}

/// OTLP's index of the bucket that holds `value`: `(2^(i/8), 2^((i+1)/8)]`.
fn bucket_of(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "log2 of a latency is small")]
    let index = (value.log2() * f64::from(1 << SCALE)).ceil() as i32 - 1;
    index
}

#[cfg(test)]
mod tests {
    use metrics::{Level, Metadata, Recorder as _};

    use super::*;

    const HERE: Metadata<'static> = Metadata::new("tests", Level::INFO, None);

    #[test]
    fn a_reading_holds_what_was_counted() {
        let recorder = Recorder::new();
        recorder.register_counter(&Key::from_parts("weir_a_total", [("reason", "x")].as_slice()), &HERE).increment(3);
        recorder.register_gauge(&Key::from_name("weir_b"), &HERE).set(-1.5);
        let latency = recorder.register_histogram(&Key::from_name("weir_c"), &HERE);
        for seconds in [0.001, 0.001, 0.5] {
            latency.record(seconds);
        }
        let batch = Reader::new(recorder, Resource::default(), 7).batch(9);
        assert_eq!(batch.numbers.value, [3.0, -1.5]);
        assert_eq!(batch.numbers.start_ns, [7, 0]);
        assert_eq!(batch.series[0].attributes.find("reason").unwrap().as_str(), Some("x"));
        assert_eq!(batch.histograms.count, [3]);
        assert_eq!(batch.histograms.counts.iter().sum::<u64>(), 3);
        assert!((batch.histograms.sum[0] - 0.502).abs() < 1e-12);
        assert_eq!(batch.histograms.counts_offsets, [0, batch.histograms.counts.len() as u32]);
    }

    #[test]
    fn a_value_lies_in_its_bucket() {
        for value in [0.000_001, 0.25, 0.5, 1.0, 1.1, 3600.0] {
            let index = f64::from(bucket_of(value));
            assert!((index / 8.0).exp2() < value * (1.0 + 1e-12), "{value}");
            assert!(((index + 1.0) / 8.0).exp2() >= value * (1.0 - 1e-12), "{value}");
        }
    }
}
