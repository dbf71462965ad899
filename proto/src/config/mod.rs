//! The configuration file: one YAML text for agent, collector and `weir up`.
//!
//! Prometheus' top-level keys mean what they mean there; every key of Prometheus is known here, and one that Weir
//! does not support is an error that says so at its line. Ours stand under `weir:`. Unknown keys are errors.
//! `${env:NAME}` is the only expansion, so a relabelling `replacement: ${1}` survives.
//!
//! ```text
//! text ──expand ${env:…}──▶ serde ──▶ ConfigFile ──(agent, collector)──▶ their settings
//! ```
//! Pure: the caller reads the file and the environment. [`json_schema`] is committed as `proto/config.schema.json`.
//! Source: prometheus.io/docs/prometheus/latest/configuration/configuration/

mod duration;
mod feature;
mod scrape;
mod unsupported;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use duration::{ByteSize, PromDuration};
pub use feature::QueryFeature;
pub use scrape::{Authorization, BasicAuth, RelabelAction, RelabelConfig, ScrapeConfig, StaticConfig, TlsConfig};

/// The whole file. All sections may be absent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Defaults of all scrapes.
    pub global: GlobalSection,
    /// What to scrape, as in Prometheus.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Everything that is Weir's own.
    pub weir: WeirSection,
}

/// Prometheus' `global`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalSection {
    /// How often targets are scraped. Default 1m. Shorter: finer charts, more samples.
    pub scrape_interval: PromDuration,
    /// How long a scrape may take. Default 10s, at most the interval.
    pub scrape_timeout: PromDuration,
    /// Labels added to every scraped series.
    pub external_labels: BTreeMap<String, String>,
    /// Largest page accepted, 0 for the built-in bound.
    pub body_size_limit: ByteSize,
    /// Most samples of one scrape, 0 for no limit.
    pub sample_limit: u64,
}

/// Weir's own keys. Each has a flag (`--otlp-grpc`) and, for addresses, an environment variable
/// (`WEIR_OTLP_GRPC`) of the same name; flag wins over environment over file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WeirSection {
    /// Where the page and all HTTP APIs listen, HOST:PORT. Default 127.0.0.1:9347.
    pub listen: Option<String>,
    /// Where the collector takes the push stream and OTLP/gRPC, HOST:PORT. Default 127.0.0.1:9348.
    pub push: Option<String>,
    /// Where the agent takes OTLP/gRPC, HOST:PORT. Default 127.0.0.1:4317.
    pub otlp_grpc: Option<String>,
    /// Where the agent takes OTLP/HTTP, HOST:PORT. Default 127.0.0.1:4318.
    pub otlp_http: Option<String>,
    /// Where the agent's queue, the WAL and the tables live. Default ./weir-data for `weir up`, else /var/lib/weir.
    pub data_dir: Option<String>,
    /// The collector that an agent pushes to. Default `http://127.0.0.1:9348`.
    pub collector: Option<String>,
    /// The name of this host. Default: the kernel's.
    pub node: Option<String>,
    /// Host metrics.
    pub host: HostSection,
    /// The agent's disk queue holds at most this much; then senders are told to wait. Default 1GB.
    pub queue_bytes_max: Option<ByteSize>,
    /// How long metrics and traces are kept; 0 for ever. Default 15d. Longer: more disk.
    pub retention: Option<PromDuration>,
    /// The collector's memory for data not yet in files. Default 512MB. Less: more and smaller files.
    pub memtable_bytes_max: Option<ByteSize>,
    /// How often fresh data is written to files: metrics after this long. Default 10m. A crash loses nothing either way.
    pub flush_interval: Option<PromDuration>,
    /// How often small files are joined. Default 1m.
    pub compaction_interval: Option<PromDuration>,
    /// PromQL.
    pub query: QuerySection,
}

/// How PromQL is answered; each key has the flag that Prometheus has for it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuerySection {
    /// How long a sample stands for its series in an instant selector: `--query.lookback-delta`. Default 5m.
    pub lookback_delta: Option<PromDuration>,
    /// How long a query may run: `--query.timeout`. Default 2m.
    pub timeout: Option<PromDuration>,
    /// Samples that one query may hold at one time: `--query.max-samples`. Default 50000000.
    pub max_samples: Option<u64>,
    /// Parts of the language that are off by default: `--enable-feature`.
    pub enable_features: Vec<QueryFeature>,
}

/// What is read from the host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSection {
    /// Whether the host is read at all. Default true.
    pub enabled: bool,
    /// How often. Default 15s.
    pub interval: PromDuration,
    /// Where the host's file systems are seen from here; `/host` in a container. Default `/`.
    pub root: String,
}

/// Why a file was refused. The text has line and column.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the YAML that is expected.
    #[error("{0}")]
    Invalid(String),
    /// `${env:NAME}` names a variable that is not set.
    #[error("line {line}: ${{env:{name}}}: the environment variable {name} is not set")]
    UnsetVariable {
        /// 1-based line.
        line: usize,
        /// The variable.
        name: String,
    },
}

impl ConfigFile {
    /// Reads `text`. `variable` looks up the environment.
    ///
    /// # Errors
    /// With line and column, when a key is unknown or unsupported, or a value does not fit.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = expand(text, variable)?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let mut file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::Invalid(unsupported::explain(&error.to_string())))?;
        file.fill_in_scrapes()?;
        Ok(file)
    }

    /// Gives every scrape the defaults of `global` and checks what only the whole file can tell.
    fn fill_in_scrapes(&mut self) -> Result<(), ConfigError> {
        let mut seen = std::collections::HashSet::new();
        for scrape in &mut self.scrape_configs {
            if !seen.insert(scrape.job_name.clone()) {
                return Err(ConfigError::Invalid(format!(
                    "scrape_configs: found multiple scrape configs with job name {:?}",
                    scrape.job_name
                )));
            }
            scrape.check(&self.global).map_err(ConfigError::Invalid)?;
        }
        Ok(())
    }
}

/// The JSON Schema of the file, for editors.
///
/// # Panics
/// Never: a schema is always JSON.
#[must_use]
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(ConfigFile);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

impl Default for GlobalSection {
    fn default() -> Self {
        Self {
            scrape_interval: PromDuration::from_secs(60),
            scrape_timeout: PromDuration::from_secs(10),
            external_labels: BTreeMap::new(),
            body_size_limit: ByteSize(0),
            sample_limit: 0,
        }
    }
}

impl Default for HostSection {
    fn default() -> Self {
        Self { enabled: true, interval: PromDuration::from_secs(15), root: "/".to_owned() }
    }
}

/// Replaces `${env:NAME}` and nothing else.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    const OPEN: &str = "${env:";
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        // A comment may show the syntax without the variable being set.
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        while let Some(at) = rest.find(OPEN) {
            let after = &rest[at + OPEN.len()..];
            let Some(end) = after.find('}') else { break };
            let name = &after[..end];
            out.push_str(&rest[..at]);
            match variable(name) {
                Some(value) => out.push_str(&value),
                None => return Err(ConfigError::UnsetVariable { line: number + 1, name: name.to_owned() }),
            }
            rest = &after[end + 1..];
        }
        out.push_str(rest);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
