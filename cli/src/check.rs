//! `weir check`: files are read as they would be in use, and every fault is said with its place.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_agent::{AgentFlags, AgentSettings};
use weir_collector::{CollectorFlags, CollectorSettings};
use weir_proto::config::ConfigFile;

use crate::table;

/// Flags of `weir check`.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Configuration files
    Config {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Config { files } = &args.what;
    let mut bad = false;
    for path in files {
        match check(path) {
            Ok(file) => table::say(&format!("{}: good, {} scrape jobs", path.display(), file.scrape_configs.len()))?,
            Err(error) => {
                bad = true;
                table::complain(&format!("{}: {error}", path.display()));
            }
        }
    }
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Reads a file as far as both halves of `weir up` do before they start.
fn check(path: &Path) -> Result<ConfigFile, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file = ConfigFile::parse(&text, |name| std::env::var(name).ok()).map_err(|error| error.to_string())?;
    CollectorSettings::resolve(&file, &CollectorFlags::default(), PathBuf::new())?;
    AgentSettings::resolve(&file, &AgentFlags::default(), PathBuf::new())?;
    Ok(file)
}
