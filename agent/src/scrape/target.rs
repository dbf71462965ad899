//! One target: where it is, how often it is asked, who it is. Made from its labels after relabelling.
//! Source: Prometheus' scrape/target.go (`PopulateLabels`, `URL`, `hash`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use weir_proto::config::PromDuration;
use weir_proto::{Attributes, KeyValue, Resource, semconv};

use super::relabel::{Labels, find, set};

/// One target, never changed.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where its page is.
    pub url: Url,
    /// How often it is asked.
    pub interval: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// `service.name` is its job, `service.instance.id` its instance.
    pub resource: Arc<Resource>,
    /// Its other labels, sorted.
    pub labels: Labels,
    /// Over labels and URL: tells targets apart, and places the beat.
    pub hash: u64,
}

/// Makes the target that `labels` describe, `__address__` and its kin among them.
pub(super) fn from_labels<'a>(
    mut labels: Labels,
    params: &BTreeMap<String, Vec<String>>,
    external_labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Target, String> {
    let address = find(&labels, "__address__").to_owned();
    if address.is_empty() {
        return Err("no address is left after relabelling".to_owned());
    }
    if address.contains('/') {
        return Err("is not a host:port; the path goes to metrics_path, the scheme to scheme".to_owned());
    }
    let duration = |name: &str| PromDuration::parse(find(&labels, name)).map(|duration| duration.0);
    let (interval, timeout) = (duration("__scrape_interval__")?, duration("__scrape_timeout__")?);
    if interval.is_zero() || timeout.is_zero() || timeout > interval {
        return Err("after relabelling, scrape timeout must be more than 0 and at most the interval".to_owned());
    }
    let url = url_of(&labels, &address, params)?;
    labels.retain(|(name, _)| !name.starts_with("__"));
    if find(&labels, "instance").is_empty() {
        set(&mut labels, "instance", &address);
    }
    for (name, value) in external_labels {
        if find(&labels, name).is_empty() {
            set(&mut labels, name, value);
        }
    }
    labels.sort();
    let hash = hash_of(&labels, &url);
    let identifying = [("job", semconv::SERVICE_NAME), ("instance", semconv::SERVICE_INSTANCE_ID)];
    let attributes: Attributes = identifying
        .into_iter()
        .filter_map(|(label, key)| {
            Some(find(&labels, label)).filter(|value| !value.is_empty()).map(|v| KeyValue::new(key, v))
        })
        .collect();
    labels.retain(|(name, _)| !matches!(&**name, "job" | "instance"));
    Ok(Target { url, interval, timeout, resource: Arc::new(Resource { attributes }), labels, hash })
}

fn url_of(labels: &Labels, address: &str, params: &BTreeMap<String, Vec<String>>) -> Result<Url, String> {
    let path = find(labels, "__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{}://{address}{slash}{path}", find(labels, "__scheme__"));
    let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    let mut query: Vec<(String, String)> = Vec::new();
    for (name, values) in params {
        // The first value may be changed, or taken away, by relabelling.
        let first = Some(find(labels, &format!("__param_{name}"))).filter(|value| !value.is_empty());
        let values = first.into_iter().chain(values.iter().skip(1).map(String::as_str));
        query.extend(values.map(|value| (name.clone(), value.to_owned())));
    }
    for (name, value) in labels {
        // Those that only relabelling made.
        if let Some(name) = name.strip_prefix("__param_").filter(|name| !params.contains_key(*name)) {
            query.push((name.to_owned(), value.to_string()));
        }
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

fn hash_of(labels: &Labels, url: &Url) -> u64 {
    let mut text = String::new();
    for (name, value) in labels {
        text.extend([name, "\u{ff}", value, "\u{ff}"]);
    }
    text.push_str(url.as_str());
    fnv(text.as_bytes())
}

/// FNV-1a, 64 bits: the same on every machine and for ever, so that beats outlive restarts and upgrades.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
