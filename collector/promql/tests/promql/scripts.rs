//! The scripts beside this test, and those in a folder of choice.

use std::path::{Path, PathBuf};

use weir_promql::ast::Aggregation;
use weir_promql::functions::FUNCTIONS;
use weir_promql::options::EngineOptions;
use weir_promql::script::{InProcess, run_scripts, script_options};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// The text of all scripts.
pub(super) fn texts() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("the folder is beside this test");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("a script is text")).collect()
}

/// The expressions of all scripts.
pub(super) fn expressions() -> Vec<String> {
    let of_line = |line: &str| {
        let rest = line.strip_prefix("eval ")?;
        let words = if rest.starts_with("instant") { 3 } else { 7 };
        Some(rest.splitn(words + 1, ' ').nth(words)?.to_owned())
    };
    texts().iter().flat_map(|text| text.lines()).filter_map(of_line).collect()
}

fn all_pass(folder: &Path, options: EngineOptions) {
    let mut engine = InProcess::new(options);
    let report = run_scripts(&[folder.to_owned()], &mut engine).expect("there are scripts");
    assert_eq!(report.failed(), 0, "\n{report}");
    assert!(report.passed() > 0);
}

#[test]
fn scripts_pass() {
    all_pass(&folder(), script_options());
}

#[test]
fn scripts_pass_on_one_thread() {
    all_pass(&folder(), EngineOptions { threads: 1, ..script_options() });
}

#[test]
fn scripts_pass_without_the_optimiser() {
    all_pass(&folder(), EngineOptions { optimise: false, rewrite: false, ..script_options() });
}

#[test]
fn scripts_pass_with_names_removed_at_once() {
    all_pass(&folder(), EngineOptions { delayed_name_removal: false, ..script_options() });
}

/// Prometheus' own scripts, for instance: `WEIR_PROMQL_SCRIPTS=…/promql/promqltest/testdata`.
#[test]
fn further_scripts_pass() {
    let Some(folder) = std::env::var_os("WEIR_PROMQL_SCRIPTS").map(PathBuf::from) else { return };
    all_pass(&folder, script_options());
    all_pass(&folder, EngineOptions { threads: 1, optimise: false, rewrite: false, ..script_options() });
}

#[test]
fn every_function_has_a_script() {
    let all = expressions().join("\n");
    let missing: Vec<&str> =
        FUNCTIONS.iter().map(|function| function.name).filter(|name| !all.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_operator_has_a_script() {
    let all = expressions().join("\n");
    let aggregations = Aggregation::ALL.iter().map(|(name, _)| (*name).to_owned());
    let operators = [
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "atan2",
        "==",
        "!=",
        ">",
        "<",
        ">=",
        "<=",
        "</",
        ">/",
        "and",
        "or",
        "unless",
        "> bool",
        "on (",
        "ignoring (",
        "group_left",
        "group_right",
        "fill(",
        "fill_left(",
        "fill_right(",
        "offset",
        "@ start()",
        "@ end()",
        "anchored",
        "smoothed",
        "by (",
        "without (",
    ];
    let needed = aggregations.chain(operators.iter().map(|operator| format!(" {operator}")));
    let missing: Vec<String> =
        needed.filter(|needed| !all.contains(needed.as_str()) && !all.contains(needed.trim_start())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
