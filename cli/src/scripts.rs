//! `weir test promql`: Prometheus' test scripts against the engine, in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_promql::script::{self, InProcess, script_options};

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
        /// Files, or folders of *.test files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Promql { paths } = &args.what;
    let mut engine = InProcess::new(script_options());
    match script::run_scripts(paths, &mut engine) {
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
