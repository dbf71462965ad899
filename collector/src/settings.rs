//! What a collector is told: the file, then the environment and flags over it, valid and without options.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir_promql::options::EngineOptions;
use weir_proto::config::{ConfigFile, PromDuration, QueryFeature};
use weir_receive::{Listen, ReceiveSettings, Reload};

/// Where the page and the HTTP APIs listen when nobody says.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:9347";
/// Where the push stream and OTLP/gRPC listen when nobody says.
pub const PUSH_DEFAULT: &str = "127.0.0.1:9348";
/// Where data lies when nobody says and Weir is installed.
pub const DATA_DIR_DEFAULT: &str = "/var/lib/weir";
/// How long data is kept when nobody says: Prometheus' default.
const RETENTION_DEFAULT: Duration = Duration::from_secs(15 * 86_400);
/// Memory for data that is not in files yet.
const MEMTABLE_BYTES_DEFAULT: u64 = 512 << 20;
/// How often metrics are written to files.
const FLUSH_DEFAULT: Duration = Duration::from_secs(600);
/// How often spans are written to files, unless metrics are written more often: rows of spans gain nothing by waiting.
const TRACES_FLUSH_MAX: Duration = Duration::from_secs(60);
/// How often small files are joined.
const COMPACTION_DEFAULT: Duration = Duration::from_secs(60);

/// Flags of `weir collector` and `weir up` that concern the collector.
#[derive(Clone, Debug, Default, Args)]
pub struct CollectorFlags {
    /// Where the page and all HTTP APIs listen [default: 127.0.0.1:9347]
    #[arg(long, env = "WEIR_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where the push stream and OTLP/gRPC listen [default: 127.0.0.1:9348]
    #[arg(long, env = "WEIR_PUSH", value_name = "HOST:PORT")]
    pub push: Option<String>,
    /// How long metrics and traces are kept, like 15d or 12h; 0 for ever [default: 15d]
    #[arg(long, value_name = "DURATION")]
    pub retention: Option<String>,
    /// How long a sample stands for its series in PromQL [default: 5m]
    #[arg(long = "query.lookback-delta", value_name = "DURATION")]
    pub query_lookback_delta: Option<String>,
    /// How long a PromQL query may run [default: 2m]
    #[arg(long = "query.timeout", value_name = "DURATION")]
    pub query_timeout: Option<String>,
    /// Samples that one PromQL query may hold at one time [default: 50000000]
    #[arg(long = "query.max-samples", value_name = "N")]
    pub query_max_samples: Option<u64>,
    /// Parts of PromQL that are off by default, as Prometheus calls them: promql-experimental-functions,
    /// promql-duration-expr, promql-extended-range-selectors, promql-binop-fill-modifiers,
    /// promql-delayed-name-removal, use-start-timestamps
    #[arg(long = "enable-feature", value_name = "NAME", value_delimiter = ',')]
    pub enable_feature: Vec<QueryFeature>,
}

/// The switch of a part of PromQL.
fn switch(options: &mut EngineOptions, feature: QueryFeature) -> &mut bool {
    match feature {
        QueryFeature::PromqlExperimentalFunctions => &mut options.language.experimental_functions,
        QueryFeature::PromqlDurationExpr => &mut options.language.duration_expressions,
        QueryFeature::PromqlExtendedRangeSelectors => &mut options.language.extended_range_selectors,
        QueryFeature::PromqlBinopFillModifiers => &mut options.language.fill_modifiers,
        QueryFeature::PromqlDelayedNameRemoval => &mut options.delayed_name_removal,
        QueryFeature::UseStartTimestamps => &mut options.use_start_timestamps,
    }
}

/// What a collector runs with.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// Page and HTTP APIs.
    pub listen: Listen,
    /// Push stream and OTLP/gRPC.
    pub push: Listen,
    /// WAL, catalog and tables.
    pub data_dir: PathBuf,
    /// How long data is kept; `None` for ever.
    pub retention: Option<Duration>,
    /// Memory for data that is not in files yet.
    pub memtable_bytes_max: u64,
    /// How often metrics are written to files.
    pub metrics_flush_interval: Duration,
    /// How often spans are written to files.
    pub traces_flush_interval: Duration,
    /// How often small files are joined.
    pub compaction_interval: Duration,
    /// Bounds of the OTLP edge.
    pub receive: ReceiveSettings,
    /// Asked by `POST /-/reload`; `None` when nobody would answer.
    pub reload: Option<Reload>,
    /// How PromQL is answered.
    pub promql: EngineOptions,
}

impl CollectorSettings {
    /// Lays `flags` over `file`. `data_dir` is what flag or caller decided.
    ///
    /// # Errors
    /// When a flag is no duration.
    pub fn resolve(file: &ConfigFile, flags: &CollectorFlags, data_dir: PathBuf) -> Result<Self, String> {
        let weir = &file.weir;
        let retention = match &flags.retention {
            Some(text) => duration("--retention", text)?,
            None => weir.retention.map_or(RETENTION_DEFAULT, |kept| kept.0),
        };
        let metrics_flush_interval = weir.flush_interval.map_or(FLUSH_DEFAULT, |interval| interval.0);
        Ok(Self {
            listen: Listen::asked_or(flags.listen.as_deref().or(weir.listen.as_deref()), LISTEN_DEFAULT),
            push: Listen::asked_or(flags.push.as_deref().or(weir.push.as_deref()), PUSH_DEFAULT),
            data_dir,
            retention: (!retention.is_zero()).then_some(retention),
            memtable_bytes_max: weir.memtable_bytes_max.map_or(MEMTABLE_BYTES_DEFAULT, |bytes| bytes.0),
            metrics_flush_interval,
            traces_flush_interval: metrics_flush_interval.min(TRACES_FLUSH_MAX),
            compaction_interval: weir.compaction_interval.map_or(COMPACTION_DEFAULT, |interval| interval.0),
            receive: ReceiveSettings::default(),
            reload: None,
            promql: promql(file, flags)?,
        })
    }

    /// What only a restart changes.
    pub(crate) fn fixed(&self) -> [(&'static str, String); 4] {
        let mut promql = self.promql.clone();
        let mut features = QueryFeature::ALL.to_vec();
        features.retain(|&feature| *switch(&mut promql, feature));
        let features: Vec<&str> = features.into_iter().map(QueryFeature::as_str).collect();
        let query = format!(
            "lookback_delta {:?}, timeout {:?}, max_samples {}, enable_features [{}]",
            Duration::from_millis(promql.lookback_ms.unsigned_abs()),
            promql.timeout,
            promql.samples_max,
            features.join(", ")
        );
        [
            ("weir.query", query),
            ("weir.listen", self.listen.address.clone()),
            ("weir.push", self.push.address.clone()),
            ("weir.data_dir", self.data_dir.display().to_string()),
        ]
    }
}

/// How PromQL is answered: flags over `weir.query`.
fn promql(file: &ConfigFile, flags: &CollectorFlags) -> Result<EngineOptions, String> {
    let query = &file.weir.query;
    let given = |flag: &Option<String>, name, key: Option<PromDuration>| match flag {
        Some(text) => duration(name, text).map(Some),
        None => Ok(key.map(|key| key.0)),
    };
    let mut options = EngineOptions::default();
    if let Some(lookback) = given(&flags.query_lookback_delta, "--query.lookback-delta", query.lookback_delta)? {
        options.lookback_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        if options.lookback_ms == 0 {
            return Err("the lookback is 0; no sample would be found".to_owned());
        }
    }
    if let Some(timeout) = given(&flags.query_timeout, "--query.timeout", query.timeout)? {
        options.timeout = timeout;
    }
    options.samples_max = flags.query_max_samples.or(query.max_samples).unwrap_or(options.samples_max);
    for &feature in flags.enable_feature.iter().chain(&query.enable_features) {
        *switch(&mut options, feature) = true;
    }
    Ok(options)
}

fn duration(flag: &str, text: &str) -> Result<Duration, String> {
    PromDuration::parse(text).map(|parsed| parsed.0).map_err(|error| format!("{flag}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_over_file_over_default() {
        let file =
            ConfigFile::parse("weir: {listen: '0.0.0.0:1', flush_interval: 5s, retention: 2d}\n", |_| None).unwrap();
        let flags = CollectorFlags { push: Some("127.0.0.1:2".into()), ..CollectorFlags::default() };
        let settings = CollectorSettings::resolve(&file, &flags, "d".into()).unwrap();
        assert_eq!(settings.listen, Listen { address: "0.0.0.0:1".into(), asked: true });
        assert_eq!(settings.push, Listen { address: "127.0.0.1:2".into(), asked: true });
        assert_eq!(settings.traces_flush_interval, Duration::from_secs(5));
        assert_eq!(settings.retention, Some(Duration::from_secs(2 * 86_400)));
        let settings =
            CollectorSettings::resolve(&ConfigFile::default(), &CollectorFlags::default(), "d".into()).unwrap();
        assert!(!settings.listen.asked);
        assert_eq!(settings.traces_flush_interval, TRACES_FLUSH_MAX);
    }

    #[test]
    fn promql_has_prometheus_flags_and_names_of_features() {
        let file = ConfigFile::parse(
            "weir: {retention: 0, query: {lookback_delta: 1m, timeout: 3s, enable_features: [use-start-timestamps]}}\n",
            |_| None,
        );
        let flags = CollectorFlags {
            query_lookback_delta: Some("2m".into()),
            enable_feature: vec![QueryFeature::PromqlDelayedNameRemoval],
            ..CollectorFlags::default()
        };
        let settings = CollectorSettings::resolve(&file.unwrap(), &flags, "d".into()).unwrap();
        assert_eq!(settings.retention, None);
        let promql = &settings.promql;
        assert_eq!((promql.lookback_ms, promql.timeout), (120_000, Duration::from_secs(3)));
        assert!(promql.delayed_name_removal && promql.use_start_timestamps && !promql.language.fill_modifiers);
        let shown = settings.fixed().into_iter().find(|one| one.0 == "weir.query").unwrap().1;
        assert_eq!(
            shown,
            "lookback_delta 120s, timeout 3s, max_samples 50000000, \
             enable_features [promql-duration-expr, promql-delayed-name-removal, use-start-timestamps]"
        );
    }

    #[test]
    fn a_wrong_retention_says_how_to_write_one() {
        let flags = CollectorFlags { retention: Some("forever".into()), ..CollectorFlags::default() };
        let error = CollectorSettings::resolve(&ConfigFile::default(), &flags, "d".into()).unwrap_err();
        assert!(error.contains("--retention") && error.contains("15s"), "{error}");
    }
}
