//! Runs text scripts: `cargo run --release --example scripts -- DIR|FILE…`.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_promql::script::{InProcess, run_scripts, script_options};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let mut engine = InProcess::new(script_options());
    match run_scripts(&paths, &mut engine) {
        Ok(report) => {
            print!("{report}");
            ExitCode::from(report.exit_code())
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
