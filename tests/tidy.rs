//! What clippy cannot say: who may depend on whom, that files say what they are, how long they are, what they may not
//! be called, that links lead somewhere, that nothing speaks of one machine.
//!
//! Each check lists every offence with its path, so that one run is enough to mend all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longest file, not counting its tests. A table may be longer; it says so in [`TABLES`].
const LINES_MAX: usize = 600;

/// Files that are tables: long and flat.
const TABLES: [&str; 1] = ["proto/src/schema/traces.rs"];

/// Names that hide what is inside.
const FORBIDDEN_NAMES: [&str; 7] = ["common", "core", "utils", "util", "helpers", "helper", "misc"];

/// Who may use whom: ARCHITECTURE.md's table. The arrows never turn back.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("weir-proto", &[]),
    ("weir-wal", &[]),
    ("weir-receive", &["weir-proto"]),
    ("weir-red", &["weir-proto"]),
    ("weir-observe", &["weir-proto"]),
    ("weir-agent", &["weir-proto", "weir-wal", "weir-receive", "weir-red", "weir-observe"]),
    ("weir-store", &["weir-proto", "weir-wal"]),
    ("weir-promql", &[]),
    ("weir-query", &["weir-proto", "weir-store", "weir-promql"]),
    ("weir-dashboards", &["weir-proto"]),
    (
        "weir-collector",
        &[
            "weir-proto",
            "weir-wal",
            "weir-receive",
            "weir-red",
            "weir-observe",
            "weir-store",
            "weir-promql",
            "weir-query",
            "weir-dashboards",
        ],
    ),
    (
        "weir",
        &[
            "weir-proto",
            "weir-agent",
            "weir-observe",
            "weir-collector",
            "weir-query",
            "weir-promql",
            "weir-dashboards",
            "weir-receive",
            "weir-store",
        ],
    ),
    ("weir-benches", &["*"]),
    ("weir-tests", &["*"]),
];

/// What a room must never touch, whoever brings it: crate names per package.
const MUST_NEVER: [(&str, &[&str]); 6] = [
    ("weir-proto", &["tokio", "tonic", "axum", "reqwest"]),
    ("weir-wal", &["arrow", "parquet", "tokio", "prost"]),
    ("weir-red", &["tokio", "tonic", "axum"]),
    ("weir-agent", &["datafusion", "parquet"]),
    ("weir-store", &["datafusion", "axum", "tonic"]),
    ("weir-promql", &["tokio", "datafusion", "parquet"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_path_buf()
}

/// Files that git knows or would add.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is here");
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect()
}

fn rust_files() -> Vec<PathBuf> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "generated"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn report(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo is here");
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

/// Package name → names of its normal and build dependencies.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().expect("dependencies");
            let normal = uses.iter().filter(|used| used["kind"].as_str() != Some("dev"));
            let names = normal.map(|used| used["name"].as_str().expect("name").to_owned()).collect();
            (package["name"].as_str().expect("name").to_owned(), names)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut offences = Vec::new();
    for (package, uses) in dependencies() {
        let Some((_, allowed)) = MAY_USE.iter().find(|row| row.0 == package) else {
            offences.push(format!("{package} stands in no row of MAY_USE"));
            continue;
        };
        let ours = uses.iter().filter(|name| *name == "weir" || name.starts_with("weir-"));
        for used in ours.filter(|name| !allowed.contains(&"*") && !allowed.contains(&name.as_str())) {
            offences.push(format!("{package} uses {used}"));
        }
        let never = MUST_NEVER.iter().find(|row| row.0 == package).map_or(&[][..], |row| row.1);
        for used in uses.iter().filter(|name| never.contains(&name.as_str())) {
            offences.push(format!("{package} must never use {used}"));
        }
    }
    report("dependencies against the table", &offences);
}

#[test]
fn every_file_says_what_it_is() {
    let bare = |path: &PathBuf| !read(path).trim_start().starts_with("//!");
    let offences: Vec<_> = rust_files().into_iter().filter(bare).map(|path| path.display().to_string()).collect();
    report("no //! header", &offences);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut offences = Vec::new();
    for path in rust_files() {
        let name = path.display().to_string();
        let is_test = path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests");
        if is_test || TABLES.contains(&name.as_str()) {
            continue;
        }
        let lines = read(&path).lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if lines > LINES_MAX {
            offences.push(format!("{name}: {lines} lines before its tests"));
        }
    }
    report("files over the limit", &offences);
}

#[test]
fn names_say_what_is_inside() {
    let mut offences = Vec::new();
    for path in files() {
        for part in path.components() {
            let part = Path::new(part.as_os_str());
            let stem = part.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            if FORBIDDEN_NAMES.contains(&stem.as_str()) {
                offences.push(path.display().to_string());
            }
        }
    }
    report("forbidden names", &offences);
}

#[test]
fn links_in_markdown_lead_somewhere() {
    let mut offences = Vec::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let text = read(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let beside = root().join(&path).parent().expect("a file has a folder").join(target);
            if !beside.exists() {
                offences.push(format!("{}: {link}", path.display()));
            }
        }
    }
    report("dead links", &offences);
}

#[test]
fn nothing_speaks_of_one_machine() {
    let hosts = ["registry.npmjs.org", "files.pythonhosted.org", "static.crates.io", "proxy.golang.org"];
    let places = ["/home/", "/work/", "/root/"];
    let mut offences = Vec::new();
    for path in files() {
        let name = path.display().to_string();
        if name.ends_with("tidy.rs") || name.ends_with("Cargo.lock") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            if hosts.iter().chain(&places).any(|word| line.contains(word)) {
                offences.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report("paths or hosts of one machine", &offences);
}

#[test]
fn lints_hold_in_every_crate() {
    let mut offences = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with("Cargo.toml") && path.components().count() > 1) {
        if !read(&path).contains("[lints]\nworkspace = true") {
            offences.push(path.display().to_string());
        }
    }
    report("crates without the workspace's lints", &offences);
}
