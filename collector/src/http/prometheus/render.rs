//! Values of PromQL as Prometheus' API writes them: `[seconds, "value"]`, histograms with their buckets.
//!
//! Prometheus' form of a native histogram, `{count, sum, buckets}`, does not tell its schema. Who asks with
//! `histograms=native` is given a member `native` beside them, from which the histogram can be made again:
//!
//! ```text
//! {"schema":0,"zero_threshold":"0.001","zero_count":"2","reset_hint":"unknown","positive":[[index,"count"],…],
//!  "negative":[…],"custom_values":["1","2.5"]}
//! ```
//! Source: Prometheus web/api/v1/json_codec.go, util/jsonutil/marshal.go.

use weir_promql::histogram::{FloatHistogram, ResetHint, SCHEMA_CUSTOM, Span};
use weir_promql::value::{Point, QueryStats, Sample, Series, Value};

use super::super::number::{push_labels, push_quoted_float, push_text, push_time};

/// How native histograms are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Histograms {
    /// As Prometheus does.
    Buckets,
    /// With all that they are.
    Native,
}

/// `{"resultType": …, "result": …}`.
pub(super) fn push_data(out: &mut String, value: &Value, as_what: Histograms) {
    out.push_str("{\"resultType\":\"");
    out.push_str(value.value_type().name());
    out.push_str("\",\"result\":");
    match value {
        Value::Scalar { t_ms, value } => push_float_point(out, *t_ms, *value),
        Value::String { t_ms, value } => {
            out.push('[');
            push_time(out, *t_ms);
            out.push(',');
            push_text(out, value);
            out.push(']');
        }
        Value::Vector(samples) => push_list(out, samples, |out, sample| push_sample(out, sample, as_what)),
        Value::Matrix(series) => push_list(out, series, |out, series| push_series(out, series, as_what)),
    }
    out.push('}');
}

/// `,"stats": …`, as `stats=all` asks for it.
pub(super) fn push_stats(out: &mut String, stats: &QueryStats) {
    out.push_str(",\"stats\":{\"samples\":{\"totalQueryableSamples\":");
    out.push_str(&stats.samples_read.to_string());
    out.push_str(",\"peakSamples\":");
    out.push_str(&stats.samples_peak.to_string());
    out.push_str("},\"bytesPeak\":");
    out.push_str(&stats.bytes_peak.to_string());
    out.push('}');
}

fn push_list<T>(out: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

fn push_sample(out: &mut String, sample: &Sample, as_what: Histograms) {
    out.push_str("{\"metric\":");
    push_labels(out, &sample.labels);
    match &sample.point {
        Point::Float(value) => {
            out.push_str(",\"value\":");
            push_float_point(out, sample.t_ms, *value);
        }
        Point::Histogram(histogram) => {
            out.push_str(",\"histogram\":");
            push_histogram_point(out, sample.t_ms, histogram, as_what);
        }
    }
    out.push('}');
}

fn push_series(out: &mut String, series: &Series, as_what: Histograms) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.push_str(",\"values\":");
        push_list(out, &series.floats, |out, (t_ms, value)| push_float_point(out, *t_ms, *value));
    }
    if !series.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        push_list(out, &series.histograms, |out, (t_ms, one)| push_histogram_point(out, *t_ms, one, as_what));
    }
    out.push('}');
}

fn push_float_point(out: &mut String, t_ms: i64, value: f64) {
    out.push('[');
    push_time(out, t_ms);
    out.push(',');
    push_quoted_float(out, value);
    out.push(']');
}

fn push_histogram_point(out: &mut String, t_ms: i64, histogram: &FloatHistogram, as_what: Histograms) {
    out.push('[');
    push_time(out, t_ms);
    out.push_str(",{\"count\":");
    push_quoted_float(out, histogram.count);
    out.push_str(",\"sum\":");
    push_quoted_float(out, histogram.sum);
    let buckets = buckets(histogram);
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        push_list(out, &buckets, |out, bucket| {
            out.push('[');
            out.push_str(bucket.rule);
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(',');
                push_quoted_float(out, number);
            }
            out.push(']');
        });
    }
    if as_what == Histograms::Native {
        push_native(out, histogram);
    }
    out.push_str("}]");
}

/// `,"native": …`.
fn push_native(out: &mut String, histogram: &FloatHistogram) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Reset => "reset",
        ResetHint::NotReset => "not_reset",
        ResetHint::Gauge => "gauge",
    };
    out.push_str(",\"native\":{\"schema\":");
    out.push_str(&histogram.schema.to_string());
    for (name, value) in [("zero_threshold", histogram.zero_threshold), ("zero_count", histogram.zero_count)] {
        out.push_str(&format!(",\"{name}\":"));
        push_quoted_float(out, value);
    }
    out.push_str(&format!(",\"reset_hint\":\"{hint}\""));
    let sides = [
        ("positive", indexed(&histogram.positive_spans, &histogram.positive_buckets)),
        ("negative", indexed(&histogram.negative_spans, &histogram.negative_buckets)),
    ];
    for (name, buckets) in sides {
        out.push_str(&format!(",\"{name}\":"));
        push_list(out, &buckets, |out, (index, count)| {
            out.push_str(&format!("[{index},"));
            push_quoted_float(out, *count);
            out.push(']');
        });
    }
    out.push_str(",\"custom_values\":");
    push_list(out, &histogram.custom_values, |out, value| push_quoted_float(out, *value));
    out.push('}');
}

/// Buckets with their indices.
fn indexed(spans: &[Span], buckets: &[f64]) -> Vec<(i64, f64)> {
    let mut next = 0_i64;
    let runs = spans.iter().flat_map(|span| {
        let from = next + i64::from(span.offset);
        next = from + i64::from(span.length);
        from..next
    });
    runs.zip(buckets.iter().copied()).collect()
}

/// A bucket that is not empty. `rule`: 0 open left, 1 open right, 2 open both, 3 closed both.
struct Bucket {
    rule: &'static str,
    lower: f64,
    upper: f64,
    count: f64,
}

/// All buckets that are not empty, in ascending order; none reaches into the zero bucket.
fn buckets(histogram: &FloatHistogram) -> Vec<Bucket> {
    let zero = if histogram.schema == SCHEMA_CUSTOM { None } else { Some(histogram.zero_threshold) };
    let full = histogram.all_buckets().into_iter().filter(|bucket| bucket.count != 0.0);
    full.map(|bucket| {
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => "0",
            (true, false) => "1",
            (false, false) => "2",
            (true, true) => "3",
        };
        let (lower, upper) = match (rule, zero) {
            ("0", Some(zero)) => (bucket.lower.max(zero), bucket.upper),
            ("1", Some(zero)) => (bucket.lower, bucket.upper.min(-zero)),
            _ => (bucket.lower, bucket.upper),
        };
        Bucket { rule, lower, upper, count: bucket.count }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_promql::histogram::Span;
    use weir_promql::labels::Labels;

    use super::*;

    fn data(value: &Value) -> String {
        let mut out = String::new();
        push_data(&mut out, value, Histograms::Buckets);
        out
    }

    fn labels() -> Labels {
        Labels::new(vec![("__name__".into(), "up".into()), ("job".into(), "a".into())])
    }

    #[test]
    fn scalars_texts_vectors_and_matrices() {
        assert_eq!(data(&Value::Scalar { t_ms: 1_500, value: 2.0 }), r#"{"resultType":"scalar","result":[1.500,"2"]}"#);
        assert_eq!(
            data(&Value::String { t_ms: 1_000, value: "a\"".into() }),
            r#"{"resultType":"string","result":[1,"a\""]}"#
        );
        let sample = Sample { labels: labels(), t_ms: 1_000, point: Point::Float(f64::INFINITY) };
        assert_eq!(
            data(&Value::Vector(vec![sample])),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1,"+Inf"]}]}"#
        );
        let series = Series { labels: labels(), floats: vec![(0, 0.5), (250, f64::NAN)], histograms: vec![] };
        assert_eq!(
            data(&Value::Matrix(vec![series])),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"0.5"],[0.250,"NaN"]]}]}"#
        );
        assert_eq!(data(&Value::Matrix(vec![])), r#"{"resultType":"matrix","result":[]}"#);
    }

    #[test]
    fn native_histograms_list_their_buckets_in_order() {
        let histogram = FloatHistogram {
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 12.0,
            sum: 18.5,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 0.0, 4.0],
            negative_spans: vec![Span { offset: 1, length: 2 }],
            negative_buckets: vec![3.0, 2.0],
            ..FloatHistogram::default()
        };
        let series =
            Series { labels: Labels::default(), floats: vec![], histograms: vec![(1_000, Arc::new(histogram))] };
        assert_eq!(
            data(&Value::Matrix(vec![series])),
            concat!(
                r#"{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{"count":"12","sum":"18.5","buckets":["#,
                r#"[1,"-4","-2","2"],[1,"-2","-1","3"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"4","8","4"]]}]]}]}"#
            )
        );
    }

    #[test]
    fn a_native_histogram_is_told_whole_to_who_asks() {
        let histogram = FloatHistogram {
            schema: 1,
            count: 6.0,
            sum: 2.5,
            positive_spans: vec![Span { offset: -1, length: 1 }, Span { offset: 2, length: 2 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            reset_hint: ResetHint::Gauge,
            ..FloatHistogram::default()
        };
        let mut out = String::new();
        push_native(&mut out, &histogram);
        assert_eq!(
            out,
            concat!(
                r#","native":{"schema":1,"zero_threshold":"0","zero_count":"0","reset_hint":"gauge","#,
                r#""positive":[[-1,"1"],[2,"2"],[3,"3"]],"negative":[],"custom_values":[]}"#
            )
        );
    }

    #[test]
    fn custom_buckets_reach_from_infinity_to_infinity() {
        let histogram = FloatHistogram {
            schema: SCHEMA_CUSTOM,
            count: 3.0,
            sum: 1.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            custom_values: vec![5.0],
            ..FloatHistogram::default()
        };
        let sample = Sample { labels: Labels::default(), t_ms: 0, point: Point::Histogram(Arc::new(histogram)) };
        let text = data(&Value::Vector(vec![sample]));
        assert!(text.contains(r#"[[0,"-Inf","5","1"],[0,"5","+Inf","2"]]"#), "{text}");
    }
}
