//! What a series is called in PromQL: the translation of OTLP names and attributes to a metric name and labels.
//!
//! ```text
//! name, unit, kind ──▶ http_server_request_duration_seconds      (letters, digits, _ and :, unit, _total)
//! point attributes ──▶ http_route="/cart"                        win over
//! resource ──────────▶ job, instance and the promoted ones       service_name="cart", k8s_pod_name="…"
//! ```
//! This is the default of Prometheus 3 (`UnderscoreEscapingWithSuffixes`), with more resource attributes promoted.
//! Scraped series (scope [`SCOPE_SCRAPE`]) already have Prometheus names and are shown exactly as scraped.
//! Nothing is stored under these names alone: they are computed from the identity wherever they are needed.
//! Source: the OpenTelemetry specification's `compatibility/prometheus_and_openmetrics.md`; Prometheus' behaviour
//! where it differs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::attribute::{Attributes, Value};
use crate::exposition::SCOPE_SCRAPE;
use crate::identity::{MetricKind, Resource, SeriesIdentity};
use crate::semconv;

/// Metric that carries the resource attributes which are not labels of every series.
pub const TARGET_INFO: &str = "target_info";

/// Which resource attributes become labels of every series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// All of them.
    All,
    /// Those with one of these keys; a key that ends in `.` stands for all keys that begin with it.
    Keys(Vec<Arc<str>>),
}

/// A series as PromQL sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The value of `__name__`. Explicit histograms are read as `_bucket`, `_count` and `_sum` of it.
    pub name: Arc<str>,
    /// Labels sorted by name, without `__name__`, none of them empty.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

impl Default for Promotion {
    /// `service.*`, `k8s.*`, `deployment.environment.*` (and the old `deployment.environment`) and `host.name`.
    fn default() -> Self {
        let keys = ["service.", "k8s.", "deployment.environment.", "deployment.environment", "host.name"];
        Self::Keys(keys.into_iter().map(Arc::from).collect())
    }
}

impl Promotion {
    /// Whether the resource attribute `key` becomes a label.
    #[must_use]
    pub fn promotes(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys
                .iter()
                .any(|wanted| key == wanted.as_ref() || (wanted.ends_with('.') && key.starts_with(&**wanted))),
        }
    }
}

/// The name and labels of `series` in PromQL.
#[must_use]
pub fn translate(series: &SeriesIdentity, promotion: &Promotion) -> Translated {
    if series.scope.name.as_ref() == SCOPE_SCRAPE {
        return as_scraped(series);
    }
    let mut labels = BTreeMap::new();
    for pair in &series.attributes {
        join(&mut labels, label_name(&pair.key), &pair.value);
    }
    let mut promoted = BTreeMap::new();
    for pair in series.resource.attributes.iter().filter(|pair| promotion.promotes(&pair.key)) {
        join(&mut promoted, label_name(&pair.key), &pair.value);
    }
    for (name, value) in promoted {
        labels.entry(name).or_insert(value);
    }
    identify(&series.resource, &mut labels);
    Translated { name: metric_name(&series.name, &series.unit, series.kind).into(), labels: finish(labels) }
}

/// The `target_info` series of a resource: its attributes that do not identify it. `None` when it has neither job
/// nor instance, or nothing to tell.
#[must_use]
pub fn target_info(resource: &Resource) -> Option<Translated> {
    const IDENTIFYING: [&str; 3] = [semconv::SERVICE_NAME, semconv::SERVICE_NAMESPACE, semconv::SERVICE_INSTANCE_ID];
    let mut labels = BTreeMap::new();
    for pair in resource.attributes.iter().filter(|pair| !IDENTIFYING.contains(&pair.key.as_ref())) {
        join(&mut labels, label_name(&pair.key), &pair.value);
    }
    let tells = labels.len();
    identify(resource, &mut labels);
    if tells == 0 || !(labels.contains_key("job") || labels.contains_key("instance")) {
        return None;
    }
    Some(Translated { name: TARGET_INFO.into(), labels: finish(labels) })
}

/// The value of `job` for a resource: `namespace/name`, or just the name of the service.
#[must_use]
pub fn job(resource: &Attributes) -> Option<Arc<str>> {
    let name = label_value(resource.find(semconv::SERVICE_NAME)?);
    match resource.find(semconv::SERVICE_NAMESPACE).map(label_value) {
        Some(namespace) if !namespace.is_empty() => Some(format!("{namespace}/{name}").into()),
        _ => Some(name),
    }
}

fn as_scraped(series: &SeriesIdentity) -> Translated {
    let mut labels: BTreeMap<Arc<str>, Arc<str>> =
        series.attributes.iter().map(|pair| (Arc::clone(&pair.key), label_value(&pair.value))).collect();
    let instance = series.resource.attributes.find(semconv::SERVICE_INSTANCE_ID).map(label_value);
    for (name, value) in [("job", job(&series.resource.attributes)), ("instance", instance)] {
        if let Some(value) = value {
            labels.entry(name.into()).or_insert(value);
        }
    }
    Translated { name: Arc::clone(&series.name), labels: finish(labels) }
}

/// Sets `job` and `instance`, over labels of these names.
fn identify(resource: &Resource, labels: &mut BTreeMap<Arc<str>, Arc<str>>) {
    if let Some(job) = job(&resource.attributes) {
        labels.insert("job".into(), job);
    }
    if let Some(instance) = resource.attributes.find(semconv::SERVICE_INSTANCE_ID) {
        labels.insert("instance".into(), label_value(instance));
    }
}

/// Adds a label; attributes whose names collide are joined by `;` in the order of their keys.
fn join(labels: &mut BTreeMap<Arc<str>, Arc<str>>, name: Cow<'_, str>, value: &Value) {
    let value = label_value(value);
    if name.is_empty() || value.is_empty() {
        return;
    }
    match labels.get_mut(name.as_ref()) {
        Some(known) => *known = format!("{known};{value}").into(),
        None => {
            labels.insert(name.into(), value);
        }
    }
}

fn finish(labels: BTreeMap<Arc<str>, Arc<str>>) -> Vec<(Arc<str>, Arc<str>)> {
    labels.into_iter().filter(|label| !label.1.is_empty()).collect()
}

/// The label name of an attribute key: what is no letter, digit or `_` becomes `_`; a leading digit is prefixed
/// with `key_`, a single leading `_` with `key`.
#[must_use]
pub fn label_name(key: &str) -> Cow<'_, str> {
    let valid = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let escaped = if valid {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect())
    };
    let first_is_digit = escaped.starts_with(|c: char| c.is_ascii_digit());
    if first_is_digit {
        Cow::Owned(format!("key_{escaped}"))
    } else if escaped == "__name__" || (escaped.starts_with('_') && !escaped.starts_with("__")) {
        Cow::Owned(format!("key{escaped}"))
    } else {
        escaped
    }
}

/// The metric name in PromQL of an OTLP metric: words joined by `_`, with the unit and, for counters, `total`.
#[must_use]
pub fn metric_name(name: &str, unit: &str, kind: MetricKind) -> String {
    let mut words: Vec<&str> = name.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let (main, per) = unit_words(unit);
    if !main.is_empty() && !words.contains(&main.as_str()) {
        words.push(&main);
    }
    if !per.is_empty() && !words.contains(&per.as_str()) {
        words.push(&per);
    }
    if kind == MetricKind::Counter {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    if kind == MetricKind::Gauge && unit == "1" {
        words.retain(|word| *word != "ratio");
        words.push("ratio");
    }
    let mut joined = words.join("_");
    if joined.is_empty() {
        joined.push('_');
    }
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        joined.insert(0, '_');
    }
    match kind {
        MetricKind::SummarySum => joined.push_str("_sum"),
        MetricKind::SummaryCount => joined.push_str("_count"),
        _ => {}
    }
    joined
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// A UCUM unit as words: the unit, and `per_…` for what it is divided by. `{annotations}` say nothing.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let spoken = |word: &str| !word.is_empty() && !word.contains(['{', '}']);
    let main = if spoken(main) { clean(unit_word(main)) } else { String::new() };
    let per = if spoken(per) { clean(per_word(per)) } else { String::new() };
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    (main, per)
}

/// `word` with every run of other characters as one `_`, none at the ends.
fn clean(word: &str) -> String {
    word.split(|c: char| !is_word(c)).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

fn unit_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tebibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// An attribute value as a label value: text as it is, numbers in decimal, bytes in base64, arrays and maps as JSON.
#[must_use]
pub fn label_value(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => Arc::clone(text),
        Value::Empty => "".into(),
        Value::Bool(truth) => if *truth { "true" } else { "false" }.into(),
        Value::Int(number) => number.to_string().into(),
        Value::Double(number) => double(*number).into(),
        Value::Bytes(bytes) => base64(bytes).into(),
        Value::Array(_) | Value::Map(_) => {
            let mut text = String::new();
            put_json(&mut text, value);
            text.into()
        }
    }
}

/// A double in the shortest form that reads back, with an exponent only where it is very small or very large.
fn double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        format!("{number:e}")
    } else {
        number.to_string()
    }
}

fn put_json(text: &mut String, value: &Value) {
    match value {
        Value::Empty => text.push_str("null"),
        Value::Bool(_) | Value::Int(_) => text.push_str(&label_value(value)),
        Value::Double(number) if number.is_finite() => text.push_str(&double(*number)),
        Value::Array(values) => {
            text.push('[');
            for (at, inner) in values.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                put_json(text, inner);
            }
            text.push(']');
        }
        Value::Map(pairs) => {
            text.push('{');
            for (at, pair) in pairs.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                put_json_text(text, &pair.key);
                text.push(':');
                put_json(text, &pair.value);
            }
            text.push('}');
        }
        Value::String(_) | Value::Double(_) | Value::Bytes(_) => put_json_text(text, &label_value(value)),
    }
}

fn put_json_text(text: &mut String, content: &str) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c if c < ' ' => write!(text, "\\u{:04x}", u32::from(c)).expect("writing to a String does not fail"),
            c => text.push(c),
        }
    }
    text.push('"');
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let block = chunk.iter().fold(0_u32, |block, byte| block << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let six = (block >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
