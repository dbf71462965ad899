//! `weir-agent`: the agent alone, for nodes. `weir agent` is the same.

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_agent::{Agent, AgentFlags, AgentSettings, DATA_DIR_DEFAULT};
use weir_observe::Recorder;
use weir_proto::config::ConfigFile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Scrapes, reads the host, receives OTLP, queues on disk and pushes to a collector.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the queue lies [default: /var/lib/weir]
    #[arg(long, env = "WEIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentFlags,
}

fn main() -> ExitCode {
    // The allocator's arenas in huge pages are 38 MB resident, mostly untouched; without 15 MB.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(1)
        }
    }
}

fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    weir_receive::raise_open_files();
    let mut settings = resolve(&flags)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        settings.recorder = Some(Recorder::install()?);
        let [mut terminate, mut interrupt] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let (reload, mut reloads) = weir_receive::reloads(|| weir_agent::wall_clock_ns() / 1_000_000)?;
        settings.reload = Some(reload);
        let mut agent = Agent::start(settings).await?;
        tracing::info!(grpc = %agent.otlp_grpc, http = %agent.otlp_http, "taking OTLP");
        loop {
            let asked = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                asked = reloads.asked() => asked,
                error = agent.failed() => return Err(error.into()),
            };
            asked.answer(reload_agent(&flags, &agent).await.map_err(|error| error.to_string()));
        }
        Ok(agent.shutdown().await?)
    })
}

fn resolve(flags: &Flags) -> Result<AgentSettings, Box<dyn Error>> {
    let file = match &flags.config {
        Some(path) => load(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => ConfigFile::default(),
    };
    let in_file = file.weir.data_dir.as_ref().map(PathBuf::from);
    let data_dir = flags.data_dir.clone().or(in_file).unwrap_or_else(|| DATA_DIR_DEFAULT.into());
    Ok(AgentSettings::resolve(&file, &flags.agent, data_dir)?)
}

async fn reload_agent(flags: &Flags, agent: &Agent) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(agent.reload(&resolve(flags)?).await?)
}

fn load(path: &Path) -> Result<ConfigFile, Box<dyn Error>> {
    Ok(ConfigFile::parse(&std::fs::read_to_string(path)?, |name| std::env::var(name).ok())?)
}
