//! The command people type: it parses arguments, calls a room or an HTTP API, and prints.
//!
//! Exit codes: 0 good, 1 the checked or asked thing is bad, 2 usage.

mod ask;
mod check;
mod demo;
mod doctor;
mod front_door;
mod query;
mod run;
mod scripts;
mod sql;
mod table;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every service observed, with no work by its developers.
#[derive(Parser)]
#[command(name = "weir", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Agent and collector in one process, with the page
    Up(Box<up::UpArgs>),
    /// The agent alone, as it runs on each node
    Agent(Box<up::AgentArgs>),
    /// The collector alone
    Collector(Box<up::CollectorArgs>),
    /// Start a Python or Node program, observed
    Run(run::Args),
    /// Ask in PromQL
    Query(query::Args),
    /// Ask in SQL: tables spans, traces, samples, series
    Sql(sql::Args),
    /// Say what arrives, from whom, how fresh, and what was refused and why
    Doctor(doctor::Args),
    /// Run tests that are written as text
    Test(scripts::Args),
    /// Check files before they are used
    Check(check::Args),
    /// One process of the demo
    #[command(hide = true)]
    DemoService(demo::Args),
}

fn main() -> ExitCode {
    // Every HTTP client of this process finds it. It can only fail when there is one already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::up(&args),
        Command::Agent(args) => up::agent(&args),
        Command::Collector(args) => up::collector(&args),
        Command::Run(args) => run::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Test(args) => scripts::run(&args),
        Command::Check(args) => check::run(&args),
        Command::DemoService(args) => demo::serve(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Prints `error` with its causes. A reader that went away (`weir … | head`) is no error.
fn fail(error: &anyhow::Error) -> ExitCode {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken) {
        return ExitCode::SUCCESS;
    }
    table::complain(&format!("weir: {error:#}"));
    ExitCode::from(1)
}
