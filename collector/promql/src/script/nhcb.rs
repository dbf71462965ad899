//! `load_with_nhcb`: beside classic histograms, the same as native histograms with custom buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::histogram::{FloatHistogram, SCHEMA_CUSTOM, spans_of};
use crate::labels::{Labels, METRIC_NAME};
use crate::memory::MemorySample;
use crate::value::Point;

/// What is known of a histogram at one time.
#[derive(Default)]
struct Parts {
    /// Cumulative counts by the bits of their bound, in order of bounds.
    buckets: Vec<(f64, f64)>,
    sum: f64,
    count: Option<f64>,
}

/// Adds the native form of all classic histograms.
pub(super) fn with_custom_histograms(mut series: Vec<(Labels, Vec<MemorySample>)>) -> Vec<(Labels, Vec<MemorySample>)> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, samples) in &series {
        let name = labels.name();
        let Some((base, suffix)) = name.rsplit_once('_') else { continue };
        let bound = labels.value("le").parse::<f64>();
        if !matches!((suffix, &bound), ("bucket", Ok(_)) | ("sum" | "count", _)) {
            continue;
        }
        let whole = labels.with("le", "").with(METRIC_NAME, base);
        let parts = found.entry(whole).or_default();
        for sample in samples {
            let Point::Float(value) = sample.point else { continue };
            let parts = parts.entry(sample.t_ms).or_default();
            match (suffix, &bound) {
                ("sum", _) => parts.sum = value,
                ("count", _) => parts.count = Some(value),
                (_, Ok(bound)) if !parts.buckets.iter().any(|(known, _)| known == bound) => {
                    parts.buckets.push((*bound, value));
                }
                _ => {}
            }
        }
    }
    for (labels, times) in found {
        if times.values().all(|parts| parts.buckets.is_empty()) {
            continue;
        }
        let sample = |(t_ms, parts): (i64, Parts)| MemorySample {
            t_ms,
            start_ms: 0,
            point: Point::Histogram(Arc::new(histogram(parts))),
        };
        series.push((labels, times.into_iter().map(sample).collect()));
    }
    series
}

fn histogram(mut parts: Parts) -> FloatHistogram {
    parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let highest = parts.buckets.last().map_or(0.0, |(_, count)| *count);
    let count = parts.count.unwrap_or(highest);
    if parts.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        parts.buckets.push((f64::INFINITY, count));
    }
    let mut below = 0.0;
    let single = parts.buckets.iter().enumerate().map(|(index, (_, cumulative))| {
        let own = cumulative - below;
        below = *cumulative;
        (index as i32, own)
    });
    let (positive_spans, positive_buckets) = spans_of(single.collect::<Vec<_>>().into_iter());
    FloatHistogram {
        schema: SCHEMA_CUSTOM,
        count,
        sum: parts.sum,
        positive_spans,
        positive_buckets,
        custom_values: parts.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
        ..FloatHistogram::default()
    }
}
