//! One entry of `scrape_configs`, checked and compiled, with its targets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_proto::config::{ScrapeConfig, StaticConfig};

use super::ScrapeError;
use super::relabel::{Labels, Relabeling, set};
use super::target::{self, Target};

/// Largest page when the job sets no `body_size_limit`: a hundred times a large page, and a bound all the same.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// What all targets of a job share.
#[derive(Clone, Debug)]
pub struct Job {
    /// `job_name`.
    pub name: String,
    /// Whether labels of the page win over the target's.
    pub honor_labels: bool,
    /// Whether timestamps of the page are kept.
    pub honor_timestamps: bool,
    /// Most samples after relabelling; 0 for no limit.
    pub samples_max: u64,
    /// Largest page, decompressed.
    pub body_bytes_max: u64,
    /// Whether gzip is asked for.
    pub compression: bool,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// How we prove who we are.
    pub auth: Auth,
    /// How `https` targets prove who they are.
    pub tls: Tls,
    /// `metric_relabel_configs`.
    pub metric_relabeling: Relabeling,
    /// The targets that relabelling left, each once.
    pub targets: Vec<Arc<Target>>,
}

/// How we prove who we are.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: SCHEME CREDENTIALS`.
    Header {
        /// `Bearer`, usually.
        scheme: String,
        /// What follows it.
        credentials: Secret,
    },
}

/// A secret from the file, or from a file of its own that is read at each scrape, since such files are rotated.
#[derive(Clone)]
pub enum Secret {
    /// As configured.
    Text(String),
    /// Where it stands.
    File(PathBuf),
}

/// How `https` targets prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that are trusted, a PEM file; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// Whether any certificate is trusted.
    pub insecure_skip_verify: bool,
}

impl Job {
    /// Compiles `config`, whose `global` defaults are filled in, and makes its targets.
    ///
    /// # Errors
    /// When a rule does not compile or a target is wrong.
    pub fn from_config<'a>(
        config: &ScrapeConfig,
        external_labels: impl IntoIterator<Item = (&'a String, &'a String)> + Clone,
    ) -> Result<Self, ScrapeError> {
        let compile = |rules, configs: &_| {
            Relabeling::compile(configs).map_err(|source| ScrapeError::Relabel {
                job: config.job_name.clone(),
                rules,
                source,
            })
        };
        let relabeling = compile("relabel_configs", &config.relabel_configs)?;
        let body_bytes_max = config.body_size_limit.map_or(0, |size| size.0);
        let mut job = Self {
            name: config.job_name.clone(),
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps.unwrap_or(true),
            samples_max: config.sample_limit.unwrap_or(0),
            body_bytes_max: if body_bytes_max == 0 { BODY_BYTES_MAX } else { body_bytes_max },
            compression: config.enable_compression.unwrap_or(true),
            follow_redirects: config.follow_redirects.unwrap_or(true),
            auth: auth_of(config),
            tls: tls_of(config),
            metric_relabeling: compile("metric_relabel_configs", &config.metric_relabel_configs)?,
            targets: Vec::new(),
        };
        for group in &config.static_configs {
            for address in &group.targets {
                let found = target_of(config, (group, address), &relabeling, external_labels.clone());
                let wrong = |message| ScrapeError::Target { job: job.name.clone(), address: address.clone(), message };
                let Some(target) = found.map_err(wrong)? else { continue };
                if job.targets.iter().all(|known| known.hash != target.hash) {
                    job.targets.push(Arc::new(target));
                }
            }
        }
        Ok(job)
    }
}

/// The target at `address`; `None` when relabelling drops it.
fn target_of<'a>(
    config: &ScrapeConfig,
    (group, address): (&StaticConfig, &str),
    relabeling: &Relabeling,
    external_labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Option<Target>, String> {
    let mut labels: Labels = group.labels.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect();
    set(&mut labels, "__address__", address);
    let defaults = [
        ("job", config.job_name.clone()),
        ("__scheme__", config.scheme.clone().unwrap_or_else(|| "http".to_owned())),
        ("__metrics_path__", config.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned())),
        ("__scrape_interval__", to_text(config.scrape_interval.map_or(Duration::from_secs(60), |interval| interval.0))),
        ("__scrape_timeout__", to_text(config.scrape_timeout.map_or(Duration::from_secs(10), |timeout| timeout.0))),
    ];
    let params = config.params.iter().filter_map(|(name, values)| Some((format!("__param_{name}"), values.first()?)));
    let params: Vec<_> = params.map(|(name, value)| (name, value.clone())).collect();
    let defaults = defaults.into_iter().map(|(name, value)| (name.to_owned(), value));
    for (name, value) in defaults.chain(params) {
        if !labels.iter().any(|(known, _)| **known == *name) {
            set(&mut labels, &name, &value);
        }
    }
    if !relabeling.apply(&mut labels) {
        return Ok(None);
    }
    target::from_labels(labels, &config.params, external_labels).map(Some)
}

/// Prometheus' notation, in the one unit that is always exact.
fn to_text(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn auth_of(config: &ScrapeConfig) -> Auth {
    if let Some(basic) = &config.basic_auth {
        let password = secret_of(basic.password.as_ref(), basic.password_file.as_ref());
        return Auth::Basic { username: basic.username.clone(), password };
    }
    if let Some(authorization) = &config.authorization {
        return Auth::Header {
            scheme: authorization.scheme.clone().unwrap_or_else(|| "Bearer".to_owned()),
            credentials: secret_of(authorization.credentials.as_ref(), authorization.credentials_file.as_ref()),
        };
    }
    Auth::None
}

fn secret_of(text: Option<&String>, file: Option<&String>) -> Secret {
    match file {
        Some(file) => Secret::File(file.into()),
        None => Secret::Text(text.cloned().unwrap_or_default()),
    }
}

fn tls_of(config: &ScrapeConfig) -> Tls {
    let Some(tls) = &config.tls_config else { return Tls::default() };
    Tls { ca_file: tls.ca_file.as_ref().map(PathBuf::from), insecure_skip_verify: tls.insecure_skip_verify }
}

impl std::fmt::Debug for Secret {
    /// Shows where a secret stands, never what it is: settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}
