//! `weir sql`: SQL over the stored tables.

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use crate::ask::{Request, Target};
use crate::query::Output;
use crate::table;

/// Flags of `weir sql`.
#[derive(Parser)]
pub(crate) struct Args {
    /// The statement; tables spans, traces, samples, series
    sql: String,
    /// How to print
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = args.target.ask("/api/weir/v1/sql", &Request::Json(json!({ "query": args.sql })))?;
    if args.output == Output::Json {
        table::say(&serde_json::to_string_pretty(&answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = answer["columns"].as_array().cloned().unwrap_or_default();
    let heads: Vec<String> = columns.iter().map(|column| cell(&column["name"])).collect();
    let rows = answer["rows"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| heads.iter().map(|head| cell(&row[head.as_str()])).collect()).collect();
    table::print(&heads, &rows)?;
    if answer["truncated"].as_bool() == Some(true) {
        table::complain(&format!("weir: only the first {} rows are shown; add LIMIT or narrow the query", rows.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
