//! `weir run -- CMD`: becomes the program, observed.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use weir_agent::launch::{Launch, Machine, Variables, exec, plan};

use crate::table;

/// Flags of `weir run`.
#[derive(Parser)]
pub(crate) struct Args {
    /// The service's name [default: from the environment, or made from the command]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Where the agent takes OTLP/HTTP
    #[arg(long, env = "WEIR_OTLP_HTTP", default_value = "127.0.0.1:4318", value_name = "HOST:PORT")]
    otlp_http: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let environment: Variables = std::env::vars_os().collect();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let launch = Launch {
        service: args.service.clone(),
        endpoint: format!("http://{}", args.otlp_http.trim_start_matches("http://")),
        instance: format!("{host}:{}", std::process::id()),
        directory: std::env::current_dir()?,
        command: args.command.clone(),
    };
    let machine = Machine { search_path: environment.get(&OsString::from("PATH")).cloned().unwrap_or_default() };
    let outcome = plan(&launch, &environment, &machine).and_then(|plan| {
        for note in &plan.notes {
            table::complain(&format!("weir: {note}"));
        }
        exec(&plan)
    });
    match outcome {
        Ok(never) => match never {},
        Err(error) => {
            table::complain(&format!("weir: {error}"));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
