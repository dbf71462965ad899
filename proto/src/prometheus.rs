//! What a series is called in PromQL: the translation of OTLP names and attributes to a metric name and labels.
//!
//! ```text
//! name, unit, kind ──▶ http_server_request_duration_seconds      (letters, digits, _ and :, unit, _total)
//! point attributes ──▶ http_route="/cart"                        win over
//! resource ──────────▶ job, instance and the promoted ones       service_name="cart", k8s_pod_name="…"
//! ```
//! This is the default of Prometheus 3 (`UnderscoreEscapingWithSuffixes`), with more resource attributes promoted.
//! Series that were scraped or remote-written ([`SeriesIdentity::has_prometheus_names`]) already have Prometheus names
//! and are shown exactly as they came.
//! Nothing is stored under these names alone: they are computed from the identity wherever they are needed.
//! Source: the OpenTelemetry specification's `compatibility/prometheus_and_openmetrics.md`; Prometheus' behaviour
//! where it differs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::attribute::{Attributes, KeyValue, Value};
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

/// The name and labels of `series` in PromQL. For many series, keep a [`Translator`].
#[must_use]
pub fn translate(series: &SeriesIdentity, promotion: &Promotion) -> Translated {
    Translator::new(promotion.clone()).translate(series)
}

/// The `target_info` series of a resource: its attributes that do not identify it. `None` when it has neither job
/// nor instance, or nothing to tell.
#[must_use]
pub fn target_info(resource: &Resource) -> Option<Translated> {
    const IDENTIFYING: [&str; 3] = [semconv::SERVICE_NAME, semconv::SERVICE_NAMESPACE, semconv::SERVICE_INSTANCE_ID];
    let told = resource.attributes.iter().filter(|pair| !IDENTIFYING.contains(&pair.key.as_ref()));
    let mut names = Names::default();
    let told = names.labels(told);
    let identifying = names.identifying(resource);
    if told.is_empty() || identifying.is_empty() {
        return None;
    }
    Some(Translated { name: TARGET_INFO.into(), labels: first_of_each(identifying.into_iter().chain(told).collect()) })
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

/// Translates series and shares the names, values and resource labels that they have in common: a million series
/// have a few hundred label names.
#[derive(Debug, Default)]
pub struct Translator {
    promotion: Promotion,
    names: Names,
    metrics: HashMap<MetricKey, Arc<str>, RandomState>,
    /// The last resource: series of one sender come together.
    last: Option<ResourceLabels>,
}

/// Name, unit and kind as sent: what the PromQL name depends on.
type MetricKey = (Arc<str>, Arc<str>, MetricKind);

/// A label's name and value.
type Label = (Arc<str>, Arc<str>);

/// What every series of a resource has.
#[derive(Debug)]
struct ResourceLabels {
    resource: Arc<Resource>,
    identifying: Vec<Label>,
    promoted: Vec<Label>,
}

/// Label names by attribute key, and texts of values that are no text.
#[derive(Debug, Default)]
struct Names {
    labels: HashMap<Arc<str>, Arc<str>, RandomState>,
    numbers: HashMap<i64, Arc<str>, RandomState>,
}

/// Names, numbers or metrics that a translator remembers before it forgets them all.
const REMEMBERED_MAX: usize = 65_536;

impl Translator {
    /// A translator that promotes these resource attributes.
    #[must_use]
    pub fn new(promotion: Promotion) -> Self {
        Self { promotion, ..Self::default() }
    }

    /// The name and labels of `series` in PromQL.
    pub fn translate(&mut self, series: &SeriesIdentity) -> Translated {
        if !self.last.as_ref().is_some_and(|last| Arc::ptr_eq(&last.resource, &series.resource)) {
            self.last = None;
        }
        let Self { promotion, names, metrics, last } = self;
        let of_resource = last.get_or_insert_with(|| ResourceLabels {
            resource: Arc::clone(&series.resource),
            identifying: names.identifying(&series.resource),
            promoted: names.labels(series.resource.attributes.iter().filter(|pair| promotion.promotes(&pair.key))),
        });
        let identifying = of_resource.identifying.iter().cloned();
        if series.has_prometheus_names() {
            let own = series.attributes.iter().map(|pair| (Arc::clone(&pair.key), names.value(&pair.value)));
            let labels = first_of_each(own.chain(identifying).collect());
            return Translated { name: Arc::clone(&series.name), labels };
        }
        let own = names.labels(series.attributes.iter());
        let labels = first_of_each(identifying.chain(own).chain(of_resource.promoted.iter().cloned()).collect());
        if metrics.len() >= REMEMBERED_MAX {
            metrics.clear();
        }
        let key = (Arc::clone(&series.name), Arc::clone(&series.unit), series.kind);
        let name = metrics.entry(key).or_insert_with(|| metric_name(&series.name, &series.unit, series.kind).into());
        Translated { name: Arc::clone(name), labels }
    }
}

impl Names {
    /// `job` and `instance` of a resource, as far as it has them.
    fn identifying(&mut self, resource: &Resource) -> Vec<Label> {
        let instance = resource.attributes.find(semconv::SERVICE_INSTANCE_ID).map(label_value);
        let both = [("instance", instance), ("job", job(&resource.attributes))];
        let present = both.into_iter().filter_map(|(name, value)| Some((name, value.filter(|text| !text.is_empty())?)));
        present.map(|(name, value)| (self.label(&Arc::from(name)), value)).collect()
    }

    /// Attributes as labels sorted by name. Attributes whose names collide are joined by `;` in the order of their
    /// keys; empty ones are left out.
    fn labels<'a>(&mut self, pairs: impl Iterator<Item = &'a KeyValue>) -> Vec<Label> {
        let named = pairs.map(|pair| (self.label(&pair.key), self.value(&pair.value)));
        let mut labels: Vec<Label> = named.filter(|label| !label.0.is_empty() && !label.1.is_empty()).collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, first| {
            let collide = later.0 == first.0;
            if collide {
                first.1 = format!("{};{}", first.1, later.1).into();
            }
            collide
        });
        labels
    }

    fn label(&mut self, key: &Arc<str>) -> Arc<str> {
        if let Some(name) = self.labels.get(key) {
            return Arc::clone(name);
        }
        if self.labels.len() >= REMEMBERED_MAX {
            self.labels.clear();
        }
        let name = match label_name(key) {
            Cow::Borrowed(_) => Arc::clone(key),
            Cow::Owned(escaped) => escaped.into(),
        };
        self.labels.insert(Arc::clone(key), Arc::clone(&name));
        name
    }

    fn value(&mut self, value: &Value) -> Arc<str> {
        let Value::Int(number) = value else { return label_value(value) };
        if self.numbers.len() >= REMEMBERED_MAX {
            self.numbers.clear();
        }
        Arc::clone(self.numbers.entry(*number).or_insert_with(|| label_value(value)))
    }
}

/// Sorts by name, keeps the first of each name, and leaves out empty values.
fn first_of_each(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.dedup_by(|later, first| later.0 == first.0);
    labels.retain(|label| !label.1.is_empty());
    labels
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
