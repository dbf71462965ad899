//! `weir up`: agent and collector in one process, joined by the same stream as on a cluster. Also `weir agent` and
//! `weir collector`, each alone.
//!
//! ```text
//! file, environment, flags ─▶ collector ─▶ agent (pushes to it) ─▶ demo, if asked ─▶ wait ─▶ stop in the data's order
//! ```

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_agent::{Agent, AgentFlags, AgentSettings};
use weir_collector::arrivals::RefusedItems;
use weir_collector::{Collector, CollectorFlags, CollectorSettings, reloads};
use weir_observe::Recorder;
use weir_proto::config::ConfigFile;

use crate::demo::Demo;
use crate::table;

/// Where data lies when `weir up` is not told.
const UP_DATA_DIR: &str = "./weir-data";

/// Flags of `weir up`.
#[derive(Parser)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    agent: AgentFlags,
    #[command(flatten)]
    collector: CollectorFlags,
    /// Start a shop of five services that call each other, under load, with a fault that comes and goes
    #[arg(long)]
    demo: bool,
}

/// Flags of `weir agent`.
#[derive(Parser)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    agent: AgentFlags,
}

/// Flags of `weir collector`.
#[derive(Parser)]
pub(crate) struct CollectorArgs {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    collector: CollectorFlags,
}

/// Flags of all three.
#[derive(clap::Args)]
struct Shared {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where data lies [default: ./weir-data for `weir up`, else /var/lib/weir]
    #[arg(long, env = "WEIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Shared {
    fn file(&self) -> anyhow::Result<ConfigFile> {
        let Some(path) = &self.config else { return Ok(ConfigFile::default()) };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        ConfigFile::parse(&text, |name| std::env::var(name).ok()).with_context(|| path.display().to_string())
    }

    fn data_dir(&self, file: &ConfigFile, default: &str) -> PathBuf {
        let in_file = file.weir.data_dir.as_ref().map(PathBuf::from);
        self.data_dir.clone().or(in_file).unwrap_or_else(|| default.into())
    }
}

/// What both halves of `weir up` run with.
fn resolve(args: &UpArgs) -> anyhow::Result<(CollectorSettings, AgentSettings)> {
    let file = args.shared.file()?;
    let data_dir = args.shared.data_dir(&file, UP_DATA_DIR);
    let collector = CollectorSettings::resolve(&file, &args.collector, data_dir.clone());
    let agent = AgentSettings::resolve(&file, &args.agent, data_dir);
    Ok((collector.map_err(|error| anyhow!(error))?, agent.map_err(|error| anyhow!(error))?))
}

pub(crate) fn up(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let (mut collector, mut agent) = resolve(args)?;
    let data_dir = collector.data_dir.clone();
    block_on(async {
        let recorder = Recorder::install().context("counting ourselves")?;
        let mut stopped = Stopped::listen()?;
        let (reload, mut reloads) = reloads(now_ms)?;
        (collector.reload, agent.reload) = (Some(reload.clone()), Some(reload));
        let collector = Collector::start(collector, recorder).await?;
        agent.collector = format!("http://{}", collector.push);
        // What the agent refuses is told by the same doctor.
        let arrivals = std::sync::Arc::clone(collector.arrivals());
        agent.on_refusal = std::sync::Arc::new(move |from, what| {
            let refused = RefusedItems { reason: what.reason, items: what.items, message: what.message };
            arrivals.note_refusal(from.protocol.as_str(), &refused, weir_collector::wall_clock_ns());
        });
        let mut agent = Agent::start(agent).await?;
        greet(&collector, &agent, &data_dir)?;
        let demo = match args.demo {
            true => {
                let endpoint = format!("http://{}", agent.otlp_grpc);
                Some(tokio::task::block_in_place(|| Demo::start(&endpoint))?)
            }
            false => None,
        };
        let failed = loop {
            let asked = tokio::select! {
                () = stopped.wait() => break None,
                error = agent.failed() => break Some(error),
                asked = reloads.asked() => asked,
            };
            asked.answer(reload_both(args, &collector, &agent).await.map_err(|error| format!("{error:#}")));
        };
        tokio::task::block_in_place(|| drop(demo));
        agent.shutdown().await?;
        collector.shutdown().await?;
        failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
    })
}

/// Both halves go on with what the file says now, or, where it is wrong, with what they have.
async fn reload_both(args: &UpArgs, collector: &Collector, agent: &Agent) -> anyhow::Result<Vec<String>> {
    let (collector_settings, mut agent_settings) = resolve(args)?;
    agent_settings.collector = format!("http://{}", collector.push);
    let mut needs_restart = agent.reload(&agent_settings).await?;
    needs_restart.extend(collector.reload(&collector_settings));
    needs_restart.dedup();
    Ok(needs_restart)
}

pub(crate) fn collector(args: &CollectorArgs) -> anyhow::Result<ExitCode> {
    let resolve = || {
        let file = args.shared.file()?;
        let data_dir = args.shared.data_dir(&file, weir_collector::settings::DATA_DIR_DEFAULT);
        CollectorSettings::resolve(&file, &args.collector, data_dir).map_err(|error| anyhow!(error))
    };
    let mut settings = resolve()?;
    block_on(async {
        let recorder = Recorder::install().context("counting ourselves")?;
        let mut stopped = Stopped::listen()?;
        let (reload, mut reloads) = reloads(now_ms)?;
        settings.reload = Some(reload);
        let collector = Collector::start(settings, recorder).await?;
        tracing::info!(page = %collector.http, push = %collector.push, "collecting");
        loop {
            let asked = tokio::select! { () = stopped.wait() => break, asked = reloads.asked() => asked };
            asked.answer(resolve().map(|settings| collector.reload(&settings)).map_err(|error| format!("{error:#}")));
        }
        collector.shutdown().await?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn agent(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let resolve = || {
        let file = args.shared.file()?;
        let data_dir = args.shared.data_dir(&file, weir_collector::settings::DATA_DIR_DEFAULT);
        AgentSettings::resolve(&file, &args.agent, data_dir).map_err(|error| anyhow!(error))
    };
    let mut settings = resolve()?;
    block_on(async {
        settings.recorder = Some(Recorder::install().context("counting ourselves")?);
        let mut stopped = Stopped::listen()?;
        let (reload, mut reloads) = reloads(now_ms)?;
        settings.reload = Some(reload);
        let mut agent = Agent::start(settings).await?;
        tracing::info!(grpc = %agent.otlp_grpc, http = %agent.otlp_http, "taking OTLP");
        let failed = loop {
            let asked = tokio::select! {
                () = stopped.wait() => break None,
                error = agent.failed() => break Some(error),
                asked = reloads.asked() => asked,
            };
            let reloaded = match resolve() {
                Ok(settings) => agent.reload(&settings).await.map_err(|error| error.to_string()),
                Err(error) => Err(format!("{error:#}")),
            };
            asked.answer(reloaded);
        };
        agent.shutdown().await?;
        failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
    })
}

fn now_ms() -> i64 {
    weir_collector::wall_clock_ns() / 1_000_000
}

/// What a person sees who has just started it.
fn greet(collector: &Collector, agent: &Agent, data_dir: &Path) -> anyhow::Result<()> {
    table::say(&format!(
        "\n  Weir is up.   http://{}\n\n  \
         send OTLP      gRPC {}   HTTP {}\n  \
         observe        {} run --service NAME -- CMD\n  \
         data           {}\n",
        collector.http,
        agent.otlp_grpc,
        agent.otlp_http,
        own_name(&std::env::var_os("PATH").unwrap_or_default()),
        data_dir.display()
    ))?;
    Ok(())
}

/// What to type for this program: its name where the search path leads to it, else where it is.
fn own_name(search_path: &std::ffi::OsStr) -> String {
    let name = "weir";
    let Ok(ourselves) = std::env::current_exe() else { return name.to_owned() };
    if std::env::split_paths(search_path).any(|folder| folder.join(name) == ourselves) {
        return name.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    ourselves.strip_prefix(&here).unwrap_or(&ourselves).display().to_string()
}

/// SIGTERM or Ctrl-C.
struct Stopped(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Stopped {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn wait(&mut self) {
        tokio::select! { _ = self.0.recv() => {}, _ = self.1.recv() => {} }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    weir_collector::raise_open_files();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_on_the_search_path_is_told_where_the_program_is() {
        let ourselves = std::env::current_exe().unwrap();
        let said = own_name("/usr/bin".as_ref());
        assert!(ourselves.ends_with(&said), "{said}");
        assert_ne!(said, "weir");
    }
}
