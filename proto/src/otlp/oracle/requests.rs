//! Strategies for OTLP requests, good and bad points mixed.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::{self as m, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as t;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["", "a", "b", "service.name", "http.method", "ü"]).prop_map(str::to_owned),
        1 => "[a-z]{0,300}",
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), -10.0..10.0, any::<f64>()]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = option::of(prop_oneof![
        4 => text().prop_map(Value::StringValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        2 => any::<i64>().prop_map(Value::IntValue),
        1 => number().prop_map(Value::DoubleValue),
        1 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Value::BytesValue),
    ])
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 8, 3, |inner| {
        let value = prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            prop::collection::vec((text(), option::of(inner)), 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| KeyValue { key, value, ..Default::default() });
                Value::KvlistValue(KeyValueList { values: values.collect() })
            }),
        ];
        value.prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (text(), option::weighted(0.9, any_value()));
    let pair = pair.prop_map(|(key, value)| KeyValue { key, value, ..Default::default() });
    prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(pair, 0..4)]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 1..1_000_u64, 1 => Just(0), 1 => Just(u64::MAX), 1 => Just(i64::MAX.unsigned_abs())]
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => prop::collection::vec(any::<u8>(), len),
        1 => Just(vec![0; len]),
        1 => Just(Vec::new()),
        1 => Just(vec![7; len - 1]),
    ]
}

fn exemplars() -> impl Strategy<Value = Vec<m::Exemplar>> {
    let value = prop_oneof![
        Just(None),
        number().prop_map(|value| Some(m::exemplar::Value::AsDouble(value))),
        any::<i64>().prop_map(|value| Some(m::exemplar::Value::AsInt(value))),
    ];
    let exemplar = (attributes(), time(), id(16), id(8), value).prop_map(
        |(filtered_attributes, time_unix_nano, trace_id, span_id, value)| m::Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(exemplar, 1..3)]
}

fn number_points() -> impl Strategy<Value = Vec<m::NumberDataPoint>> {
    let value = prop_oneof![
        1 => Just(None),
        4 => number().prop_map(|value| Some(m::number_data_point::Value::AsDouble(value))),
        4 => any::<i64>().prop_map(|value| Some(m::number_data_point::Value::AsInt(value))),
    ];
    let point = (attributes(), time(), time(), exemplars(), 0..3_u32, value);
    let point = point.prop_map(|(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| {
        m::NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value }
    });
    prop::collection::vec(point, 0..4)
}

fn histogram_points() -> impl Strategy<Value = Vec<m::HistogramDataPoint>> {
    let bounds = prop_oneof![
        select(vec![vec![], vec![1.0], vec![1.0, 2.0], vec![2.0, 1.0], vec![1.0, f64::INFINITY], vec![f64::NAN]]),
        prop::collection::vec(number(), 0..3),
    ];
    let buckets = (bounds, 0..3_usize, prop::collection::vec(any::<u32>(), 8)).prop_map(|(bounds, more, counts)| {
        let len = if more == 0 { 0 } else { bounds.len() + more.min(2) };
        let counts: Vec<u64> = counts.into_iter().take(len).map(u64::from).collect();
        (bounds, counts)
    });
    let stats = (any::<u64>(), option::of(number()), option::of(number()), option::of(number()));
    let point = (attributes(), (time(), time()), buckets, stats, exemplars(), 0..3_u32);
    let point = point.prop_map(|(attributes, times, (explicit_bounds, bucket_counts), stats, exemplars, flags)| {
        m::HistogramDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            count: stats.0,
            sum: stats.1,
            bucket_counts,
            explicit_bounds,
            exemplars,
            flags,
            min: stats.2,
            max: stats.3,
        }
    });
    prop::collection::vec(point, 0..4)
}

fn side() -> impl Strategy<Value = Option<m::exponential_histogram_data_point::Buckets>> {
    let offset = prop_oneof![6 => -5..5_i32, 1 => Just(i32::MAX), 1 => Just(i32::MIN)];
    let counts = prop::collection::vec(prop_oneof![Just(0), any::<u64>()], 0..4);
    option::of(
        (offset, counts)
            .prop_map(|(offset, bucket_counts)| m::exponential_histogram_data_point::Buckets { offset, bucket_counts }),
    )
}

fn exponential_points() -> impl Strategy<Value = Vec<m::ExponentialHistogramDataPoint>> {
    let stats = (any::<u64>(), option::of(number()), option::of(number()), option::of(number()));
    let layout = (-11..22_i32, any::<u64>(), number(), side(), side());
    let point = (attributes(), (time(), time()), stats, layout, exemplars(), 0..3_u32);
    let point =
        point.prop_map(|(attributes, times, stats, layout, exemplars, flags)| m::ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            count: stats.0,
            sum: stats.1,
            scale: layout.0,
            zero_count: layout.1,
            positive: layout.3,
            negative: layout.4,
            flags,
            exemplars,
            min: stats.2,
            max: stats.3,
            zero_threshold: layout.2,
        });
    prop::collection::vec(point, 0..4)
}

fn summary_points() -> impl Strategy<Value = Vec<m::SummaryDataPoint>> {
    let quantile = (prop_oneof![Just(0.5), Just(0.99), Just(1.0)], number());
    let quantile = quantile.prop_map(|(quantile, value)| m::summary_data_point::ValueAtQuantile { quantile, value });
    let quantiles = prop::collection::vec(quantile, 0..3);
    let point = (attributes(), (time(), time()), any::<u64>(), number(), quantiles, 0..3_u32);
    let point = point.prop_map(|(attributes, times, count, sum, quantile_values, flags)| m::SummaryDataPoint {
        attributes,
        start_time_unix_nano: times.0,
        time_unix_nano: times.1,
        count,
        sum,
        quantile_values,
        flags,
    });
    prop::collection::vec(point, 0..3)
}

fn data() -> impl Strategy<Value = Option<Data>> {
    prop_oneof![
        1 => Just(None),
        4 => number_points().prop_map(|data_points| Some(Data::Gauge(m::Gauge { data_points }))),
        4 => (number_points(), 0..4_i32, any::<bool>()).prop_map(|(data_points, temporality, is_monotonic)| {
            Some(Data::Sum(m::Sum { data_points, aggregation_temporality: temporality, is_monotonic }))
        }),
        4 => (histogram_points(), 0..4_i32).prop_map(|(data_points, temporality)| {
            Some(Data::Histogram(m::Histogram { data_points, aggregation_temporality: temporality }))
        }),
        4 => (exponential_points(), 0..4_i32).prop_map(|(data_points, temporality)| {
            let histogram = m::ExponentialHistogram { data_points, aggregation_temporality: temporality };
            Some(Data::ExponentialHistogram(histogram))
        }),
        2 => summary_points().prop_map(|data_points| Some(Data::Summary(m::Summary { data_points }))),
    ]
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of(attributes().prop_map(|attributes| Resource { attributes, ..Default::default() }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of((text(), text(), attributes()).prop_map(|(name, version, attributes)| InstrumentationScope {
        name,
        version,
        attributes,
        dropped_attributes_count: 1,
    }))
}

/// An arbitrary metrics request.
pub(super) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric = (text(), text(), text(), data()).prop_map(|(name, description, unit, data)| m::Metric {
        name,
        description,
        unit,
        data,
        ..Default::default()
    });
    let scope_metrics = (scope(), prop::collection::vec(metric, 0..4)).prop_map(|(scope, metrics)| m::ScopeMetrics {
        scope,
        metrics,
        schema_url: "https://opentelemetry.io/schemas/1.37.0".to_owned(),
    });
    let resource_metrics = (resource(), prop::collection::vec(scope_metrics, 0..3))
        .prop_map(|(resource, scope_metrics)| m::ResourceMetrics { resource, scope_metrics, ..Default::default() });
    prop::collection::vec(resource_metrics, 0..3)
        .prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

fn event() -> impl Strategy<Value = t::span::Event> {
    (time(), text(), attributes(), any::<u32>()).prop_map(|(time_unix_nano, name, attributes, dropped)| {
        t::span::Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped }
    })
}

fn link() -> impl Strategy<Value = t::span::Link> {
    (id(16), id(8), text(), attributes(), any::<(u32, u32)>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, (dropped, flags))| t::span::Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: dropped,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = t::Span> {
    let ids = (id(16), id(8), id(8));
    let status = option::of((text(), -1..5_i32).prop_map(|(message, code)| t::Status { message, code }));
    let numbers = (-1..8_i32, any::<u32>(), 0..9_u32, 0..9_u32, 0..9_u32);
    let parts = (prop::collection::vec(event(), 0..3), prop::collection::vec(link(), 0..3));
    (ids, text(), text(), (time(), time()), attributes(), parts, numbers, status).prop_map(
        |(ids, name, trace_state, times, attributes, (events, links), numbers, status)| t::Span {
            trace_id: ids.0,
            span_id: ids.1,
            parent_span_id: ids.2,
            name,
            trace_state,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes,
            events,
            links,
            kind: numbers.0,
            flags: numbers.1,
            dropped_attributes_count: numbers.2,
            dropped_events_count: numbers.3,
            dropped_links_count: numbers.4,
            status,
        },
    )
}

/// An arbitrary traces request.
pub(super) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (scope(), prop::collection::vec(span(), 0..4)).prop_map(|(scope, spans)| t::ScopeSpans {
        scope,
        spans,
        ..Default::default()
    });
    let resource_spans = (resource(), prop::collection::vec(scope_spans, 0..3))
        .prop_map(|(resource, scope_spans)| t::ResourceSpans { resource, scope_spans, ..Default::default() });
    prop::collection::vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}
