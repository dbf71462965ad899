//! `weir-collector`: the collector alone, as it runs in a cluster.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing::{error, info};
use weir_collector::{
    Collector, CollectorFlags, CollectorSettings, raise_open_files, reloads, settings, wall_clock_ns,
};
use weir_observe::Recorder;
use weir_proto::config::ConfigFile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes telemetry from agents and services, stores it, answers questions.
#[derive(Parser)]
#[command(name = "weir-collector", version)]
struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where data lies [default: /var/lib/weir]
    #[arg(long, env = "WEIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    flags: CollectorFlags,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    raise_open_files();
    let args = Args::parse();
    let outcome = resolve(&args).and_then(|settings| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
        runtime.block_on(run(&args, settings))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::from(1)
        }
    }
}

fn resolve(args: &Args) -> Result<CollectorSettings, String> {
    let file = match &args.config {
        None => ConfigFile::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            ConfigFile::parse(&text, |name| std::env::var(name).ok())
                .map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let data_dir = args.data_dir.clone().or_else(|| file.weir.data_dir.clone().map(PathBuf::from));
    let data_dir = data_dir.unwrap_or_else(|| settings::DATA_DIR_DEFAULT.into());
    CollectorSettings::resolve(&file, &args.flags, data_dir)
}

async fn run(args: &Args, mut settings: CollectorSettings) -> Result<(), String> {
    let recorder = Recorder::install().map_err(|error| error.to_string())?;
    let (reload, mut reloads) = reloads(|| wall_clock_ns() / 1_000_000).map_err(|error| error.to_string())?;
    settings.reload = Some(reload);
    let mut stop =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|error| error.to_string())?;
    let collector = Collector::start(settings, recorder).await.map_err(|error| error.to_string())?;
    info!(page = %collector.http, push = %collector.push, "collecting");
    loop {
        let asked = tokio::select! {
            _ = stop.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            asked = reloads.asked() => asked,
        };
        asked.answer(resolve(args).map(|settings| collector.reload(&settings)));
    }
    info!("stopping");
    collector.shutdown().await.map_err(|error| error.to_string())
}
