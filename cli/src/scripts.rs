//! `weir test promql`: Prometheus' test scripts against the engine in this process, or against a collector.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_promql::script::{self, InProcess, PromEngine, script_options};

use crate::front_door::FrontDoor;
use crate::table;

/// Flags of `weir test`.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// PromQL test scripts (load, eval, expect)
    Promql {
        /// Through a real collector: remote write in, HTTP out, flush and restart between
        #[arg(long)]
        front_door: bool,
        /// Files, or folders of *.test files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Promql { front_door, paths } = &args.what;
    let mut engine: Box<dyn PromEngine> =
        if *front_door { Box::new(FrontDoor::new()?) } else { Box::new(InProcess::new(script_options())) };
    match script::run_scripts(paths, engine.as_mut()) {
        Ok(report) => {
            table::say(report.to_string().trim_end())?;
            Ok(ExitCode::from(report.exit_code()))
        }
        Err(error) => {
            table::complain(&format!("weir: {error}"));
            Ok(ExitCode::from(2))
        }
    }
}
