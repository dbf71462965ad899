//! What an agent is told: the file, then the environment and flags over it, valid and without options.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use hashbrown::HashSet;
use weir_observe::Recorder;
use weir_proto::config::ConfigFile;
use weir_receive::{Listen, NotTaken, ReceiveSettings, Reload, Sender};
use weir_red::RedLimits;

use crate::host::HostSettings;
use crate::scrape::ScrapeSettings;

/// Where OTLP/gRPC is taken when nobody says: the port that SDKs send to.
pub const OTLP_GRPC_DEFAULT: &str = "127.0.0.1:4317";
/// Where OTLP/HTTP is taken when nobody says: the port that SDKs send to.
pub const OTLP_HTTP_DEFAULT: &str = "127.0.0.1:4318";
/// Where data lies when nobody says and Weir is installed.
pub const DATA_DIR_DEFAULT: &str = "/var/lib/weir";
/// The collector when nobody says.
const COLLECTOR_DEFAULT: &str = "http://127.0.0.1:9348";
/// An hour of a busy node, or days of a quiet one.
const QUEUE_BYTES_DEFAULT: u64 = 1 << 30;
/// Bodies in flight: half of what a collector allows, since an agent shares its node with the programs it observes.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Bytes of series that one reader remembers; forgetting only costs reading them again.
const READER_BYTES_MAX: usize = 32 << 20;

/// Flags of `weir agent`, `weir up` and `weir-agent`.
#[derive(Clone, Debug, Default, Args)]
pub struct AgentFlags {
    /// Where OTLP/gRPC is taken [default: 127.0.0.1:4317]
    #[arg(long, env = "WEIR_OTLP_GRPC", value_name = "HOST:PORT")]
    pub otlp_grpc: Option<String>,
    /// Where OTLP/HTTP is taken [default: 127.0.0.1:4318]
    #[arg(long, env = "WEIR_OTLP_HTTP", value_name = "HOST:PORT")]
    pub otlp_http: Option<String>,
    /// The collector that is pushed to [default: http://127.0.0.1:9348]
    #[arg(long, env = "WEIR_COLLECTOR", value_name = "URL")]
    pub collector: Option<String>,
    /// The name of this host [default: the kernel's]
    #[arg(long, env = "WEIR_NODE", value_name = "NAME")]
    pub node: Option<String>,
}

/// What an agent runs with.
#[derive(Clone)]
pub struct AgentSettings {
    /// OTLP/gRPC.
    pub otlp_grpc: Listen,
    /// OTLP/HTTP.
    pub otlp_http: Listen,
    /// The agent's own directory below is `agent`: its identity, its queue, its lock.
    pub data_dir: PathBuf,
    /// The collector, `http://HOST:PORT`.
    pub collector: String,
    /// The name of this host.
    pub node: String,
    /// Host metrics; `None` when they are switched off.
    pub host: Option<HostSettings>,
    /// Prometheus targets.
    pub scrape: ScrapeSettings,
    /// Bounds of the OTLP edge.
    pub receive: ReceiveSettings,
    /// Bounds of RED.
    pub red: RedLimits,
    /// The disk queue's size.
    pub queue_bytes_max: u64,
    /// Our own counters, sent like everyone's; `None` when another part of this process sends them.
    pub recorder: Option<Recorder>,
    /// Asked by `POST /-/reload`; `None` when nobody would answer.
    pub reload: Option<Reload>,
    /// Told of everything that senders are refused; by default each new reason is logged.
    pub on_refusal: RefusalObserver,
}

/// Told who was refused what.
pub type RefusalObserver = Arc<dyn Fn(&Sender, &NotTaken<'_>) + Send + Sync>;

impl AgentSettings {
    /// Lays `flags` over `file`. `data_dir` is what flag or caller decided.
    ///
    /// # Errors
    /// When the collector is no URL or a scrape configuration cannot be used.
    pub fn resolve(file: &ConfigFile, flags: &AgentFlags, data_dir: PathBuf) -> Result<Self, String> {
        let weir = &file.weir;
        let asked = |flag: &Option<String>, in_file: &Option<String>| flag.clone().or_else(|| in_file.clone());
        let collector = asked(&flags.collector, &weir.collector).unwrap_or_else(|| COLLECTOR_DEFAULT.to_owned());
        let mut host = HostSettings::at(Path::new(&weir.host.root));
        host.interval = weir.host.interval.0;
        if host.interval.is_zero() {
            return Err("weir.host.interval is 0; switch host metrics off with enabled: false".to_owned());
        }
        if let Some(node) = asked(&flags.node, &weir.node) {
            host.node = node;
        }
        let node = host.node.clone();
        let scrape = ScrapeSettings::from_config(&file.scrape_configs, &file.global.external_labels, &node)
            .map_err(|error| error.to_string())?;
        let mut receive = ReceiveSettings { in_flight_bytes_max: IN_FLIGHT_BYTES_MAX, ..ReceiveSettings::default() };
        receive.reader.bytes_remembered_max = READER_BYTES_MAX;
        Ok(Self {
            otlp_grpc: Listen::asked_or(flags.otlp_grpc.as_deref().or(weir.otlp_grpc.as_deref()), OTLP_GRPC_DEFAULT),
            otlp_http: Listen::asked_or(flags.otlp_http.as_deref().or(weir.otlp_http.as_deref()), OTLP_HTTP_DEFAULT),
            data_dir,
            collector: with_scheme(collector),
            node,
            host: weir.host.enabled.then_some(host),
            scrape,
            receive,
            red: RedLimits::default(),
            queue_bytes_max: weir.queue_bytes_max.map_or(QUEUE_BYTES_DEFAULT, |bytes| bytes.0),
            recorder: None,
            reload: None,
            on_refusal: log_refusals(),
        })
    }
}

impl AgentSettings {
    /// What only a restart changes.
    pub(crate) fn fixed(&self) -> [(&'static str, String); 7] {
        let host = self.host.as_ref().map(|host| format!("every {:?} from {}", host.interval, host.root.display()));
        [
            ("weir.otlp_grpc", self.otlp_grpc.address.clone()),
            ("weir.otlp_http", self.otlp_http.address.clone()),
            ("weir.data_dir", self.data_dir.display().to_string()),
            ("weir.collector", self.collector.clone()),
            ("weir.node", self.node.clone()),
            ("weir.host", host.unwrap_or_else(|| "off".to_owned())),
            ("weir.queue_bytes_max", self.queue_bytes_max.to_string()),
        ]
    }
}

/// Logs the first refusal of each reason; the counters have the rest.
fn log_refusals() -> RefusalObserver {
    let logged: Mutex<HashSet<&'static str>> = Mutex::default();
    Arc::new(move |from, what| {
        if logged.lock().unwrap_or_else(PoisonError::into_inner).insert(what.reason) {
            let NotTaken { signal, items, reason, message } = what;
            let signal = signal.as_str();
            tracing::warn!(services = ?from.services, peer = ?from.peer, signal, items, reason, message, "refused");
        }
    })
}

/// People write `collector:9348`; the stream needs a URL.
fn with_scheme(collector: String) -> String {
    if collector.contains("://") { collector } else { format!("http://{collector}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_over_file_over_default() {
        let file = ConfigFile::parse(
            "weir: {otlp_grpc: '0.0.0.0:1', collector: 'c:9', node: n1, queue_bytes_max: 1MB, host: {interval: 5s, root: /host}}\n",
            |_| None,
        )
        .unwrap();
        let flags = AgentFlags { otlp_http: Some("127.0.0.1:2".into()), ..AgentFlags::default() };
        let settings = AgentSettings::resolve(&file, &flags, "d".into()).unwrap();
        assert_eq!(settings.otlp_grpc, Listen { address: "0.0.0.0:1".into(), asked: true });
        assert_eq!(settings.otlp_http, Listen { address: "127.0.0.1:2".into(), asked: true });
        assert_eq!(settings.collector, "http://c:9");
        let host = settings.host.unwrap();
        assert_eq!((host.node.as_str(), host.interval.as_secs()), ("n1", 5));
        assert_eq!(host.proc, Path::new("/host/proc"));
        assert_eq!(settings.queue_bytes_max, 1 << 20);
        let settings = AgentSettings::resolve(&ConfigFile::default(), &AgentFlags::default(), "d".into()).unwrap();
        assert!(!settings.otlp_grpc.asked);
        assert_eq!(settings.collector, COLLECTOR_DEFAULT);
    }
}
