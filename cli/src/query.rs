//! `weir query`: PromQL over the Prometheus API.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use serde_json::Value;

use crate::ask::{Request, Target};
use crate::table;

/// Flags of `weir query`.
#[derive(Parser)]
pub(crate) struct Args {
    /// The expression
    promql: String,
    /// Evaluate at this time: unix seconds or RFC 3339 [default: now]
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    at: Option<String>,
    /// First time of a range query
    #[arg(long, requires = "end")]
    start: Option<String>,
    /// Last time of a range query
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// Step of a range query, like 15s
    #[arg(long, requires = "start")]
    step: Option<String>,
    /// How to print
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns
    Table,
    /// The API's `data`
    Json,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut form = vec![("query", args.promql.clone())];
    let path = match (&args.start, &args.end) {
        (Some(start), Some(end)) => {
            form.push(("start", start.clone()));
            form.push(("end", end.clone()));
            form.push(("step", args.step.clone().unwrap_or_else(|| "15s".to_owned())));
            "/api/v1/query_range"
        }
        _ => {
            form.extend(args.at.clone().map(|at| ("time", at)));
            "/api/v1/query"
        }
    };
    let answer = args.target.ask(path, &Request::Form(&form))?;
    for kind in ["warnings", "infos"] {
        for note in answer[kind].as_array().into_iter().flatten() {
            table::complain(&format!("weir: {}", note.as_str().unwrap_or_default()));
        }
    }
    let data = &answer["data"];
    match args.output {
        Output::Json => table::say(&serde_json::to_string_pretty(data)?)?,
        Output::Table => print(data)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(data: &Value) -> anyhow::Result<()> {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar" | "string") => table::say(result[1].as_str().unwrap_or_default())?,
        Some("vector") => {
            let rows = entries(result).map(|entry| vec![series(entry), value(entry)]).collect::<Vec<_>>();
            print_rows(&["series", "value"], &rows)?;
        }
        Some("matrix") => {
            let mut rows = Vec::new();
            for entry in entries(result) {
                let points = entry["values"].as_array().into_iter().chain(entry["histograms"].as_array()).flatten();
                rows.extend(points.map(|point| vec![series(entry), point[0].to_string(), text(&point[1])]));
            }
            print_rows(&["series", "time", "value"], &rows)?;
        }
        _ => bail!("the answer has no result type that is known here"),
    }
    Ok(())
}

fn print_rows(heads: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    if rows.is_empty() {
        table::say("no data; `weir doctor` shows what arrives")?;
        return Ok(());
    }
    table::print(&heads.iter().map(|&head| head.to_owned()).collect::<Vec<_>>(), rows)?;
    Ok(())
}

fn entries(result: &Value) -> impl Iterator<Item = &Value> {
    result.as_array().into_iter().flatten()
}

fn value(entry: &Value) -> String {
    if entry["value"].is_null() { text(&entry["histogram"][1]) } else { text(&entry["value"][1]) }
}

/// A float as sent; a histogram by its count and sum.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        histogram => format!(
            "count {} sum {}",
            histogram["count"].as_str().unwrap_or("?"),
            histogram["sum"].as_str().unwrap_or("?")
        ),
    }
}

/// `name{label="value", …}` as PromQL writes it.
fn series(entry: &Value) -> String {
    let Some(labels) = entry["metric"].as_object() else { return "{}".to_owned() };
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let rest: Vec<String> =
        labels.iter().filter(|label| label.0 != "__name__").map(|(key, value)| format!("{key}={value}")).collect();
    if rest.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", rest.join(", ")) }
}
