//! Samples of a script as requests of remote write 2.0.

use weir_promql::histogram::{FloatHistogram, ResetHint};
use weir_promql::labels::Labels;
use weir_promql::memory::MemorySample;
use weir_promql::value::Point;
use weir_proto::remote_write::{Counts, NativeHistogram, RequestWriter, Span};

/// Whole numbers up to here are exact in a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Requests of about `samples_max` samples, none for nothing.
pub(super) fn requests(
    series: &[(Labels, Vec<MemorySample>)],
    samples_max: usize,
) -> impl Iterator<Item = Vec<u8>> + '_ {
    let pieces = series.iter().flat_map(move |(labels, samples)| samples.chunks(samples_max).map(move |c| (labels, c)));
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        pieces.peek()?;
        let (mut writer, mut taken) = (RequestWriter::new(), 0);
        while let Some((labels, samples)) = pieces.next_if(|piece| taken == 0 || taken + piece.1.len() <= samples_max) {
            taken += samples.len();
            put_series(&mut writer, labels, samples);
        }
        Some(writer.finish())
    })
}

/// Floats and histograms of one label set are two series of a request, as the specification wants.
fn put_series(writer: &mut RequestWriter, labels: &Labels, samples: &[MemorySample]) {
    let begin = |writer: &mut RequestWriter| writer.series(labels.iter().map(|(name, value)| (&**name, &**value)));
    if samples.iter().any(|sample| matches!(sample.point, Point::Float(_))) {
        begin(writer);
    }
    for sample in samples {
        if let Point::Float(value) = sample.point {
            writer.sample(sample.t_ms, sample.start_ms, value);
        }
    }
    let histograms = || {
        samples.iter().filter_map(|sample| match &sample.point {
            Point::Histogram(histogram) => Some((sample, histogram)),
            Point::Float(_) => None,
        })
    };
    if histograms().next().is_some() {
        begin(writer);
    }
    // A sender's histograms are all whole or all floats: a change between them hides whether counters were reset.
    let counts = histograms().map(|(_, histogram)| integer(histogram)).collect::<Option<Vec<_>>>();
    let counts = counts.unwrap_or_else(|| histograms().map(|(_, histogram)| float(histogram)).collect());
    for ((sample, histogram), counts) in histograms().zip(counts) {
        writer.histogram(sample.t_ms, sample.start_ms, &native(histogram, counts));
    }
}

fn native(histogram: &FloatHistogram, counts: Counts) -> NativeHistogram {
    let spans = |spans: &[weir_promql::histogram::Span]| {
        spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
    };
    NativeHistogram {
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        sum: histogram.sum,
        positive_spans: spans(&histogram.positive_spans),
        negative_spans: spans(&histogram.negative_spans),
        counts,
        custom_values: histogram.custom_values.clone(),
        reset_hint: match histogram.reset_hint {
            ResetHint::Unknown => weir_proto::ResetHint::Unknown,
            ResetHint::Reset => weir_proto::ResetHint::Reset,
            ResetHint::NotReset => weir_proto::ResetHint::NotReset,
            ResetHint::Gauge => weir_proto::ResetHint::Gauge,
        },
    }
}

/// The counts as whole ones, where all are whole and sum up, as Prometheus wants of integer histograms.
fn integer(histogram: &FloatHistogram) -> Option<Counts> {
    let whole = |count: f64| ((0.0..EXACT_MAX).contains(&count) && count.fract() == 0.0).then_some(count as u64);
    let all = |counts: &[f64]| counts.iter().map(|&count| whole(count)).collect::<Option<Vec<u64>>>();
    let (count, zero) = (whole(histogram.count)?, whole(histogram.zero_count)?);
    let (positive, negative) = (all(&histogram.positive_buckets)?, all(&histogram.negative_buckets)?);
    let total = zero + positive.iter().sum::<u64>() + negative.iter().sum::<u64>();
    let sums_up = if histogram.sum.is_nan() { total <= count } else { total == count };
    sums_up.then_some(Counts::Integer { count, zero, positive, negative })
}

fn float(histogram: &FloatHistogram) -> Counts {
    Counts::Float {
        count: histogram.count,
        zero: histogram.zero_count,
        positive: histogram.positive_buckets.clone(),
        negative: histogram.negative_buckets.clone(),
    }
}
