//! `weir up --demo`: a shop of five processes that call each other over HTTP and gRPC, with people shopping in it.
//!
//! ```text
//! shoppers ──HTTP──▶ storefront ──HTTP──▶ inventory
//!  (load)                │  ▲                 ▲
//!                        └──┴──HTTP──▶ checkout 1.8.0 ──HTTP──┘
//!                              └─────▶ checkout 1.9.0 ──gRPC──▶ payment
//! ```
//! Every service is an operating-system process of this same binary, instrumented by hand with the ordinary
//! OpenTelemetry SDK and its OTLP exporter; the W3C trace context crosses each call. Version 1.9.0 of checkout has a
//! defect that comes and goes ([`fault`]): its price calculation is really slow and some orders really fail.

mod checkout;
mod fault;
mod inventory;
mod load;
mod payment;
mod storefront;
mod telemetry;
mod web;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use tokio_util::sync::CancellationToken;

/// What a demo process prints before its address.
const LISTENING: &str = "listening ";

/// Flags of the hidden `weir demo-service`.
#[derive(Parser)]
pub(crate) struct Args {
    /// Which service to be
    role: Role,
    /// `service.version`
    #[arg(long, default_value = "1.0.0")]
    release: String,
    /// OTLP/gRPC endpoint
    #[arg(long)]
    otlp: String,
    /// Addresses of the services it calls
    #[arg(long)]
    inventory: Option<String>,
    /// As above
    #[arg(long)]
    payment: Option<String>,
    /// As above, one per version
    #[arg(long)]
    checkout: Vec<String>,
}

/// A service of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Storefront,
    Checkout,
    Payment,
    Inventory,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Checkout => "checkout",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
        }
    }
}

/// Is one of the services, until told to stop.
pub(crate) fn serve(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let telemetry = telemetry::start(args.role.name(), &args.release, &args.otlp)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        crate::table::say(&format!("{LISTENING}{}", listener.local_addr()?))?;
        let missing = || format!("{} needs the addresses of the services it calls", args.role.name());
        let stopped = async {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! { _ = term.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
            anyhow::Ok(())
        };
        let served = async {
            match args.role {
                Role::Inventory => inventory::serve(listener).await,
                Role::Payment => payment::serve(listener).await,
                Role::Checkout => {
                    let inventory = args.inventory.clone().with_context(missing)?;
                    let payment = args.payment.clone().with_context(missing)?;
                    checkout::serve(listener, inventory, &payment, args.release.clone()).await
                }
                Role::Storefront => {
                    let inventory = args.inventory.clone().with_context(missing)?;
                    storefront::serve(listener, inventory, args.checkout.clone()).await
                }
            }
        };
        let outcome = tokio::select! { outcome = served => outcome, outcome = stopped => outcome };
        telemetry.stop();
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

/// The running shop. Dropping it ends its processes.
pub(crate) struct Demo {
    children: Vec<Child>,
    stop: CancellationToken,
}

impl Demo {
    /// Starts the five processes, which send to `otlp`, and the shoppers.
    pub(crate) fn start(otlp: &str) -> anyhow::Result<Self> {
        let mut demo = Self { children: Vec::new(), stop: CancellationToken::new() };
        let inventory = demo.spawn(Role::Inventory, "2.3.1", otlp, &[])?;
        let payment = demo.spawn(Role::Payment, "4.0.2", otlp, &[])?;
        let calls = ["--inventory", &inventory, "--payment", &payment];
        let stable = demo.spawn(Role::Checkout, "1.8.0", otlp, &calls)?;
        let canary = demo.spawn(Role::Checkout, "1.9.0", otlp, &calls)?;
        let calls = ["--inventory", &inventory, "--checkout", &stable, "--checkout", &canary];
        let storefront = demo.spawn(Role::Storefront, "5.1.0", otlp, &calls)?;
        load::start(storefront, demo.stop.clone());
        Ok(demo)
    }

    /// Starts one process and waits for the address that it prints.
    fn spawn(&mut self, role: Role, release: &str, otlp: &str, calls: &[&str]) -> anyhow::Result<String> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo-service", role.name(), "--release", release, "--otlp", otlp])
            .args(calls)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the demo's {} could not be started", role.name()))?;
        let stdout = child.stdout.take().context("its output was asked for")?;
        self.children.push(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().strip_prefix(LISTENING) {
            Some(address) => Ok(address.to_owned()),
            None => bail!("the demo's {} did not say where it listens", role.name()),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.cancel();
        for child in &mut self.children {
            let pid = rustix::process::Pid::from_child(child);
            // One that is gone already needs no signal, and no wait beyond the one below.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for child in &mut self.children {
            let _gone = child.wait();
        }
    }
}
