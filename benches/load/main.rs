//! `weir-load`: sends points or spans to any OTLP endpoint, or to a Weir collector's push stream, at a given rate or
//! flat out, and says how many were acknowledged per second and how long acknowledgements took.
//!
//! ```text
//! senders × { template patched with fresh times, values and ids ─▶ target (gRPC, HTTP, push) ─▶ ack ─▶ hdrhistogram }
//! ```
//! Bodies are encoded once and patched in place, so that the generator costs little beside what it measures.

mod shape;
mod target;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::shape::Shape;
use crate::target::Target;

/// Highest latency told apart: a minute, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Sends telemetry and measures how it is taken.
#[derive(Clone, Parser)]
#[command(name = "weir-load", version)]
struct Args {
    /// Where to: http://HOST:PORT (OTLP/gRPC 4317, OTLP/HTTP 4318, push 9348)
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    url: String,
    /// How
    #[arg(long, default_value = "grpc")]
    protocol: Protocol,
    /// What
    #[arg(long, default_value = "points")]
    signal: Signal,
    /// Points or spans per second over all senders; 0 for flat out
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Points or spans per request
    #[arg(long, default_value_t = 2_000)]
    batch: usize,
    /// Distinct series over all senders (points only); each request holds a part of them
    #[arg(long, default_value_t = 20_000)]
    series: usize,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 4)]
    senders: usize,
    /// How long
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Print one line of JSON instead of sentences
    #[arg(long)]
    json: bool,
}

/// How telemetry is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// OTLP/gRPC
    Grpc,
    /// OTLP/HTTP, protobuf
    Http,
    /// Weir's push stream
    Push,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Signal {
    /// Gauge points of known series
    Points,
    /// Spans of new traces
    Spans,
}

/// What all senders have done.
#[derive(Default)]
struct Tally {
    acked: AtomicU64,
    refused: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.senders > 0 && args.batch > 0 && args.seconds > 0, "senders, batch and seconds must be more than 0");
    // An error means that a provider is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let tally = Arc::new(Tally::default());
    let mut senders = JoinSet::new();
    let begun = Instant::now();
    for number in 0..args.senders {
        senders.spawn(send(args.clone(), number, Arc::clone(&tally)));
    }
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    while let Some(done) = senders.join_next().await {
        latencies.add(done??)?;
    }
    report(&args, &tally, &latencies, begun.elapsed())
}

/// One sender: one request at a time, at its share of the rate.
async fn send(args: Args, number: usize, tally: Arc<Tally>) -> anyhow::Result<Histogram<u64>> {
    let mut shape = Shape::new(&args, number);
    let mut target = Target::connect(&args, number).await?;
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(args.seconds);
    let mut sent = 0_u64;
    while Instant::now() < end {
        if args.rate > 0 {
            let share = args.rate as f64 / args.senders as f64;
            let due = begun + Duration::from_secs_f64(sent as f64 / share);
            tokio::time::sleep_until(due.into()).await;
        }
        let before = Instant::now();
        let taken = target.send(&mut shape).await?;
        let us = u64::try_from(before.elapsed().as_micros())?;
        latencies.saturating_record(us.max(1));
        sent += args.batch as u64;
        let counter = if taken { &tally.acked } else { &tally.refused };
        counter.fetch_add(args.batch as u64, Ordering::Relaxed);
    }
    Ok(latencies)
}

fn report(args: &Args, tally: &Tally, latencies: &Histogram<u64>, took: Duration) -> anyhow::Result<()> {
    let acked = tally.acked.load(Ordering::Relaxed);
    let refused = tally.refused.load(Ordering::Relaxed);
    let rate = acked as f64 / took.as_secs_f64();
    let ms = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let signal = if args.signal == Signal::Points { "points" } else { "spans" };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(
            out,
            "{{\"signal\":\"{signal}\",\"acked\":{acked},\"refused\":{refused},\"per_second\":{rate:.0},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"max_ms\":{:.2}}}",
            ms(0.5),
            ms(0.99),
            ms(1.0)
        )?;
    } else {
        writeln!(
            out,
            "{acked} {signal} acknowledged in {:.1} s: {rate:.0} per second; {refused} refused",
            took.as_secs_f64()
        )?;
        writeln!(
            out,
            "latency of a request: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(1.0)
        )?;
    }
    Ok(())
}
