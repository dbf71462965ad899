//! Names that Prometheus gives, and the label rules.

use super::*;
use crate::attribute::KeyValue;
use crate::exposition::SCOPE_SCRAPE;
use crate::identity::{Scope, SeriesParts, Temporality};

fn series(scope: &str, resource: Vec<KeyValue>, attributes: Vec<KeyValue>) -> SeriesIdentity {
    SeriesIdentity::new(SeriesParts {
        name: "http.server.request.duration".into(),
        unit: "s".into(),
        kind: MetricKind::Histogram,
        temporality: Temporality::Cumulative,
        resource: Arc::new(Resource { attributes: Attributes::new(resource) }),
        scope: Arc::new(Scope { name: scope.into(), ..Scope::default() }),
        attributes: Attributes::new(attributes),
    })
}

fn shown(translated: &Translated) -> String {
    let labels: Vec<_> = translated.labels.iter().map(|label| format!("{}={}", label.0, label.1)).collect();
    format!("{} {}", translated.name, labels.join(" "))
}

#[test]
fn metric_names_are_those_that_prometheus_gives() {
    let cases = [
        ("http.server.request.duration", "s", MetricKind::Histogram, "http_server_request_duration_seconds"),
        ("http.server.duration", "ms", MetricKind::Histogram, "http_server_duration_milliseconds"),
        ("system.cpu.time", "s", MetricKind::Counter, "system_cpu_time_seconds_total"),
        ("system.cpu.utilization", "1", MetricKind::Gauge, "system_cpu_utilization_ratio"),
        ("system.memory.usage", "By", MetricKind::UpDownCounter, "system_memory_usage_bytes"),
        ("requests", "{request}/s", MetricKind::Gauge, "requests_per_second"),
        ("requests", "{request}", MetricKind::Counter, "requests_total"),
        ("requests.total.count", "1", MetricKind::Counter, "requests_count_total"),
        ("io", "By/s", MetricKind::Gauge, "io_bytes_per_second"),
        ("foo.bytes", "By", MetricKind::Gauge, "foo_bytes"),
        ("foo..bar--baz", "", MetricKind::Gauge, "foo_bar_baz"),
        ("1st.place", "", MetricKind::Gauge, "_1st_place"),
        ("a:b", "m", MetricKind::Gauge, "a:b_meters"),
        ("odd", "§foo/bär", MetricKind::Gauge, "odd_foo_per_b_r"),
        ("rpc", "ms", MetricKind::SummaryQuantile, "rpc_milliseconds"),
        ("rpc", "ms", MetricKind::SummarySum, "rpc_milliseconds_sum"),
        ("rpc", "ms", MetricKind::SummaryCount, "rpc_milliseconds_count"),
        ("traces.span.metrics.duration", "s", MetricKind::ExponentialHistogram, "traces_span_metrics_duration_seconds"),
        ("---", "", MetricKind::Gauge, "_"),
    ];
    for (name, unit, kind, expected) in cases {
        assert_eq!(metric_name(name, unit, kind), expected, "{name} {unit} {kind:?}");
    }
}

#[test]
fn label_names_are_escaped() {
    let cases = [
        ("http.route", "http_route"),
        ("already_fine", "already_fine"),
        ("9lives", "key_9lives"),
        ("_hidden", "key_hidden"),
        ("__reserved__", "__reserved__"),
        ("__name__", "key__name__"),
        ("naïve.key", "na_ve_key"),
        ("a..b", "a__b"),
    ];
    for (key, expected) in cases {
        assert_eq!(label_name(key), expected);
    }
}

#[test]
fn job_and_instance_come_from_the_resource_and_point_attributes_win_over_promoted_ones() {
    let resource = vec![
        KeyValue::new("service.name", "cart"),
        KeyValue::new("service.namespace", "shop"),
        KeyValue::new("service.instance.id", "i-1"),
        KeyValue::new("k8s.pod.name", "cart-1"),
        KeyValue::new("process.pid", 7_i64),
    ];
    let attributes = vec![
        KeyValue::new("http.route", "/a"),
        KeyValue::new("k8s_pod_name", "mine"),
        KeyValue::new("job", "not mine"),
        KeyValue::new("status", 200_i64),
        KeyValue::new("empty", ""),
    ];
    let translated = translate(&series("lib", resource.clone(), attributes), &Promotion::default());
    assert_eq!(
        shown(&translated),
        "http_server_request_duration_seconds http_route=/a instance=i-1 job=shop/cart k8s_pod_name=mine \
         service_instance_id=i-1 service_name=cart service_namespace=shop status=200"
    );
    let all = translate(&series("lib", resource.clone(), vec![]), &Promotion::All);
    assert!(shown(&all).contains("process_pid=7"));
    let info = target_info(&Resource { attributes: Attributes::new(resource) }).unwrap();
    assert_eq!(shown(&info), "target_info instance=i-1 job=shop/cart k8s_pod_name=cart-1 process_pid=7");
}

#[test]
fn target_info_needs_an_identity_and_something_to_tell() {
    let info = |pairs| target_info(&Resource { attributes: Attributes::new(pairs) });
    assert_eq!(info(vec![KeyValue::new("host.name", "h")]), None);
    assert_eq!(info(vec![KeyValue::new("service.name", "s")]), None);
    assert!(info(vec![KeyValue::new("service.name", "s"), KeyValue::new("host.name", "h")]).is_some());
}

#[test]
fn colliding_attributes_are_joined_in_the_order_of_their_keys() {
    let attributes = vec![KeyValue::new("a_b", "third"), KeyValue::new("a.b", "second"), KeyValue::new("a-b", "first")];
    let translated = translate(&series("lib", vec![], attributes), &Promotion::default());
    assert_eq!(shown(&translated), "http_server_request_duration_seconds a_b=first;second;third");
}

#[test]
fn a_scraped_series_is_shown_as_scraped() {
    let resource = vec![KeyValue::new("service.name", "node"), KeyValue::new("service.instance.id", "localhost:9100")];
    let attributes = vec![KeyValue::new("cpu", "0"), KeyValue::new("job", "from the page")];
    let translated = translate(&series(SCOPE_SCRAPE, resource, attributes), &Promotion::default());
    assert_eq!(shown(&translated), "http.server.request.duration cpu=0 instance=localhost:9100 job=from the page");
}

#[test]
fn values_of_all_types_have_a_text() {
    let pairs: Arc<[KeyValue]> = [KeyValue::new("k", "say \"hi\"\n"), KeyValue::new("n", 0.5)].into();
    let cases = [
        (Value::Bool(true), "true"),
        (Value::Int(-3), "-3"),
        (Value::Double(1.0), "1"),
        (Value::Double(1e-7), "1e-7"),
        (Value::Double(f64::INFINITY), "+Inf"),
        (Value::Bytes((*b"any carnal").into()), "YW55IGNhcm5hbA=="),
        (Value::Bytes((*b"any").into()), "YW55"),
        (Value::Map(pairs), r#"{"k":"say \"hi\"\n","n":0.5}"#),
        (Value::Array([Value::Empty, Value::Int(1), Value::Double(f64::NAN)].into()), r#"[null,1,"NaN"]"#),
    ];
    for (value, expected) in cases {
        assert_eq!(label_value(&value).as_ref(), expected);
    }
}

#[test]
fn a_translator_says_the_same_as_translating_alone_and_shares_names() {
    let resource =
        |number: i64| vec![KeyValue::new("service.name", format!("s{number}")), KeyValue::new("host.name", "h")];
    let attributes = |number: i64| vec![KeyValue::new("http.status", number % 3), KeyValue::new("job", "mine")];
    let all: Vec<_> = (0..20).map(|number| series("lib", resource(number / 5), attributes(number))).collect();
    let mut translator = Translator::new(Promotion::default());
    let together: Vec<_> = all.iter().map(|series| translator.translate(series)).collect();
    for (series, translated) in all.iter().zip(&together) {
        assert_eq!(*translated, translate(series, &Promotion::default()));
    }
    let [first, last] = [&together[0], &together[18]];
    assert!(Arc::ptr_eq(&first.name, &last.name));
    let named = |translated: &Translated, name: &str| translated.labels.iter().find(|l| l.0.as_ref() == name).cloned();
    let (first, last) = (named(first, "http_status").unwrap(), named(last, "http_status").unwrap());
    assert!(Arc::ptr_eq(&first.0, &last.0) && Arc::ptr_eq(&first.1, &last.1));
}
