//! The committed Grafana dashboards and rules file are what `dashboards/src` renders; `UPDATE=1` rewrites them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

fn prove_current(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{} is not current: run with UPDATE=1", path.display());
}

#[test]
fn grafana_dashboards() {
    for dashboard in weir_dashboards::all() {
        let text = serde_json::to_string_pretty(&weir_dashboards::grafana(&dashboard)).unwrap() + "\n";
        prove_current(&format!("grafana/{}.json", dashboard.id), &text);
    }
}

#[test]
fn rules() {
    prove_current("rules/weir.rules.yml", &weir_dashboards::rules_file(&weir_dashboards::alerts()));
}
