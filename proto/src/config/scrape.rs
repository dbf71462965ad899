//! `scrape_configs` as Prometheus writes them. A key that Weir does not support refuses the file at its line.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, GlobalSection, PromDuration};

/// One scrape job.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// The `job` label. Required, unique.
    pub job_name: String,
    /// How often. Default: `global`.
    pub scrape_interval: Option<PromDuration>,
    /// How long a scrape may take. Default: `global`, at most the interval.
    pub scrape_timeout: Option<PromDuration>,
    /// HTTP path. Default `/metrics`.
    pub metrics_path: Option<String>,
    /// `http` or `https`. Default `http`.
    pub scheme: Option<String>,
    /// URL parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels of the page win over `job`, `instance` and the target's. Default false.
    pub honor_labels: bool,
    /// Whether timestamps of the page are kept. Default true.
    pub honor_timestamps: Option<bool>,
    /// Most samples after relabelling; a page with more fails. 0 for no limit.
    pub sample_limit: Option<u64>,
    /// Largest page.
    pub body_size_limit: Option<ByteSize>,
    /// Whether gzip is asked for. Default true.
    pub enable_compression: Option<bool>,
    /// Whether redirects are followed. Default true.
    pub follow_redirects: Option<bool>,
    /// HTTP basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header.
    pub authorization: Option<Authorization>,
    /// TLS of `https` targets.
    pub tls_config: Option<TlsConfig>,
    /// The targets.
    pub static_configs: Vec<StaticConfig>,
    /// Rewrites targets before they are scraped.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rewrites series before they are kept.
    pub metric_relabel_configs: Vec<RelabelConfig>,
}

/// Static targets and their labels.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// HTTP basic authentication.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// User name.
    pub username: String,
    /// Password; or give the file.
    pub password: Option<String>,
    /// File with the password, read at each scrape.
    pub password_file: Option<String>,
}

/// The `Authorization` header.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// Scheme. Default `Bearer`.
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    /// Credentials; or give the file.
    pub credentials: Option<String>,
    /// File with the credentials, read at each scrape.
    pub credentials_file: Option<String>,
}

/// TLS of `https` targets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate authority, PEM file.
    pub ca_file: Option<String>,
    /// Whether any certificate is accepted. Default false.
    pub insecure_skip_verify: bool,
}

/// What a relabelling rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Sets `target_label` where the regex matches.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops where source and target differ.
    KeepEqual,
    /// Drops where source and target are equal.
    DropEqual,
    /// Sets `target_label` to a hash modulo `modulus`.
    HashMod,
    /// Copies labels whose names match.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets `target_label` to the lower case of the sources.
    Lowercase,
    /// Sets `target_label` to the upper case of the sources.
    Uppercase,
}

/// One relabelling rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Between them. Default `;`.
    pub separator: String,
    /// Where the result goes.
    pub target_label: String,
    /// Anchored RE2. Default `(.*)`.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// Default `$1`.
    pub replacement: String,
    /// Default `replace`.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

impl ScrapeConfig {
    /// Checks what the types cannot, and fills in the defaults of `global`.
    pub(super) fn check(&mut self, global: &GlobalSection) -> Result<(), String> {
        let job = self.job_name.clone();
        if job.is_empty() {
            return Err("scrape_configs: job_name is empty; every scrape config needs one".to_owned());
        }
        let interval = *self.scrape_interval.get_or_insert(global.scrape_interval);
        if interval.0.is_zero() {
            return Err(format!("scrape_configs: job {job:?}: scrape_interval must be more than 0"));
        }
        match self.scrape_timeout {
            Some(timeout) if timeout > interval => {
                return Err(format!("scrape_configs: job {job:?}: scrape timeout greater than scrape interval"));
            }
            Some(_) => {}
            None => self.scrape_timeout = Some(global.scrape_timeout.min(interval)),
        }
        if let Some(scheme) = &self.scheme
            && scheme != "http"
            && scheme != "https"
        {
            return Err(format!("scrape_configs: job {job:?}: scheme is {scheme:?}; use http or https"));
        }
        if self.basic_auth.is_some() && self.authorization.is_some() {
            return Err(format!("scrape_configs: job {job:?}: at most one of basic_auth and authorization may be set"));
        }
        self.sample_limit.get_or_insert(global.sample_limit);
        self.body_size_limit.get_or_insert(global.body_size_limit);
        Ok(())
    }
}
