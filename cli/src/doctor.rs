//! `weir doctor`: what arrives, from whom, how fresh, what was refused and why.

use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

use crate::ask::{Request, Target};
use crate::table;

/// A sender that was silent longer than this is pointed out.
const SILENT_SECONDS: f64 = 120.0;

/// Flags of `weir doctor`.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = args.target.ask("/api/weir/v1/arrivals", &Request::Get(&[]))?;
    let senders = report["senders"].as_array().cloned().unwrap_or_default();
    if senders.is_empty() {
        table::say(
            "Nothing has arrived since the collector started. Start a service with `weir run -- CMD`, or send OTLP to",
        )?;
        table::say("127.0.0.1:4317 (gRPC) or 127.0.0.1:4318 (HTTP).")?;
    } else {
        let heads = ["service", "via", "sdk", "points", "spans", "last seen", "lag", ""].map(str::to_owned);
        let rows: Vec<Vec<String>> = senders.iter().map(sender).collect();
        table::print(&heads, &rows)?;
    }
    let refused = report["refused"].as_array().cloned().unwrap_or_default();
    if !refused.is_empty() {
        table::say("\nRefused:")?;
        let heads = ["via", "reason", "items", "last", "told"].map(str::to_owned);
        let rows: Vec<Vec<String>> = refused
            .iter()
            .map(|row| {
                vec![
                    text(&row["via"]),
                    text(&row["reason"]),
                    text(&row["items"]),
                    ago(&row["last_seen_seconds_ago"]),
                    text(&row["message"]),
                ]
            })
            .collect();
        table::print(&heads, &rows)?;
    }
    Ok(if refused.is_empty() && !senders.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn sender(row: &Value) -> Vec<String> {
    let silent = row["last_seen_seconds_ago"].as_f64().is_some_and(|seconds| seconds > SILENT_SECONDS);
    vec![
        text(&row["service"]),
        text(&row["via"]),
        text(&row["sdk"]),
        text(&row["points"]),
        text(&row["spans"]),
        ago(&row["last_seen_seconds_ago"]),
        row["lag_seconds"].as_f64().map(|lag| format!("{lag:.1} s")).unwrap_or_default(),
        if silent { "silent".to_owned() } else { String::new() },
    ]
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn ago(seconds: &Value) -> String {
    match seconds.as_f64() {
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s ago"),
        Some(seconds) if seconds < 7200.0 => format!("{:.0} min ago", seconds / 60.0),
        Some(seconds) => format!("{:.0} h ago", seconds / 3600.0),
        None => String::new(),
    }
}
