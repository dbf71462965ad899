//! From the JSON of Prometheus' API, with `histograms=native`, to what the scripts compare.

use std::sync::Arc;

use serde_json::Value as Json;
use weir_promql::histogram::{FloatHistogram, ResetHint, Span};
use weir_promql::labels::Labels;
use weir_promql::script::Answer;
use weir_promql::value::{Point, Sample, Series, Value};

/// What the API puts before an error of the expression itself.
const PARAMETER: &str = "invalid parameter \"query\": ";

/// The answer, or the message of the error.
pub(super) fn parse(text: &str) -> Result<Answer, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| format!("no JSON ({error}): {text}"))?;
    if let Some(error) = json["error"].as_str() {
        return Err(error.strip_prefix(PARAMETER).unwrap_or(error).to_owned());
    }
    let value = value(&json["data"]).ok_or_else(|| format!("unexpected: {text}"))?;
    let texts = |key: &str| {
        json[key].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(Answer { value, warnings: texts("warnings"), infos: texts("infos") })
}

fn value(data: &Json) -> Option<Value> {
    let result = &data["result"];
    Some(match data["resultType"].as_str()? {
        "scalar" => {
            let (t_ms, value) = float_point(result)?;
            Value::Scalar { t_ms, value }
        }
        "string" => Value::String { t_ms: time(&result[0])?, value: result[1].as_str()?.into() },
        "vector" => Value::Vector(result.as_array()?.iter().map(sample).collect::<Option<_>>()?),
        "matrix" => Value::Matrix(result.as_array()?.iter().map(series).collect::<Option<_>>()?),
        _ => return None,
    })
}

fn sample(json: &Json) -> Option<Sample> {
    let labels = labels(&json["metric"])?;
    let (t_ms, point) = if json["histogram"].is_null() {
        let (t_ms, value) = float_point(&json["value"])?;
        (t_ms, Point::Float(value))
    } else {
        let (t_ms, histogram) = histogram_point(&json["histogram"])?;
        (t_ms, Point::Histogram(histogram))
    };
    Some(Sample { labels, t_ms, point })
}

fn series(json: &Json) -> Option<Series> {
    let points = |key: &str| json[key].as_array().map(Vec::as_slice).unwrap_or_default();
    Some(Series {
        labels: labels(&json["metric"])?,
        floats: points("values").iter().map(float_point).collect::<Option<_>>()?,
        histograms: points("histograms").iter().map(histogram_point).collect::<Option<_>>()?,
    })
}

fn labels(json: &Json) -> Option<Labels> {
    let pairs = json.as_object()?.iter().map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())));
    Some(Labels::new(pairs.collect::<Option<_>>()?))
}

fn float_point(json: &Json) -> Option<(i64, f64)> {
    Some((time(&json[0])?, float(&json[1])?))
}

fn time(json: &Json) -> Option<i64> {
    Some((json.as_f64()? * 1000.0).round() as i64)
}

fn float(json: &Json) -> Option<f64> {
    match json.as_str()? {
        "+Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

fn histogram_point(json: &Json) -> Option<(i64, Arc<FloatHistogram>)> {
    let (sent, native) = (&json[1], &json[1]["native"]);
    let (positive_spans, positive_buckets) = side(&native["positive"])?;
    let (negative_spans, negative_buckets) = side(&native["negative"])?;
    let histogram = FloatHistogram {
        schema: i32::try_from(native["schema"].as_i64()?).ok()?,
        zero_threshold: float(&native["zero_threshold"])?,
        zero_count: float(&native["zero_count"])?,
        count: float(&sent["count"])?,
        sum: float(&sent["sum"])?,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        custom_values: native["custom_values"].as_array()?.iter().map(float).collect::<Option<_>>()?,
        reset_hint: match native["reset_hint"].as_str()? {
            "reset" => ResetHint::Reset,
            "not_reset" => ResetHint::NotReset,
            "gauge" => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
    };
    Some((time(&json[0])?, Arc::new(histogram)))
}

/// A run for each bucket: what spans say is the same.
fn side(json: &Json) -> Option<(Vec<Span>, Vec<f64>)> {
    let (mut spans, mut counts, mut next) = (Vec::new(), Vec::new(), 0);
    for bucket in json.as_array()? {
        let index = i32::try_from(bucket[0].as_i64()?).ok()?;
        spans.push(Span { offset: index - next, length: 1 });
        counts.push(float(&bucket[1])?);
        next = index + 1;
    }
    Some((spans, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_lose_what_the_api_puts_before_them() {
        let text =
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:2: parse error"}"#;
        assert_eq!(parse(text).unwrap_err(), "1:2: parse error");
        assert!(parse("not json").is_err());
    }

    #[test]
    fn vectors_with_histograms_are_read_whole() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},
            "histogram":[1.5,{"count":"3","sum":"+Inf","native":{"schema":2,"zero_threshold":"0","zero_count":"1",
            "reset_hint":"gauge","positive":[[-1,"1"],[3,"1"]],"negative":[],"custom_values":[]}}]}]},"warnings":["w"]}"#;
        let answer = parse(text).unwrap();
        assert_eq!(answer.warnings, ["w"]);
        let Value::Vector(samples) = answer.value else { panic!("a vector") };
        let Point::Histogram(histogram) = &samples[0].point else { panic!("a histogram") };
        assert_eq!((samples[0].t_ms, histogram.sum), (1500, f64::INFINITY));
        assert_eq!(histogram.positive_spans, [Span { offset: -1, length: 1 }, Span { offset: 3, length: 1 }]);
    }
}
