//! What a platform engineer writes, and the errors that they read.

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<ConfigFile, String> {
    ConfigFile::parse(text, |name| (name == "TOKEN").then(|| "s3cret".to_owned())).map_err(|error| error.to_string())
}

#[test]
fn an_ordinary_prometheus_file_is_read_with_its_defaults() {
    let file = parse(
        "global:\n  scrape_interval: 15s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['localhost:9100']\n        labels: {env: prod}\n    authorization: {credentials: '${env:TOKEN}'}\n    metric_relabel_configs:\n      - {source_labels: [a], target_label: b, replacement: '${1}'}\n",
    )
    .unwrap();
    let node = &file.scrape_configs[0];
    assert_eq!(node.scrape_interval.unwrap().0, Duration::from_secs(15));
    assert_eq!(node.scrape_timeout.unwrap().0, Duration::from_secs(10));
    assert_eq!(node.static_configs[0].labels["env"], "prod");
    assert_eq!(node.authorization.as_ref().unwrap().credentials.as_deref(), Some("s3cret"));
    assert_eq!(node.metric_relabel_configs[0].replacement, "${1}");
    assert_eq!(node.metric_relabel_configs[0].action, RelabelAction::Replace);
}

#[test]
fn an_empty_file_and_one_of_comments_are_all_defaults() {
    assert_eq!(parse("").unwrap().global.scrape_interval.0, Duration::from_secs(60));
    assert!(parse("# ${env:NOPE}\n").unwrap().scrape_configs.is_empty());
}

#[test]
fn a_misspelt_key_is_refused_with_its_line() {
    let error = parse("global:\n  scrape_intervall: 15s\n").unwrap_err();
    assert!(error.contains("unknown field `scrape_intervall`"), "{error}");
    assert!(error.contains("line 2"), "{error}");
    assert!(!error.contains("does not support"), "{error}");
}

#[test]
fn a_key_that_prometheus_knows_is_named_as_unsupported() {
    let error = parse("scrape_configs:\n  - job_name: k\n    kubernetes_sd_configs: [{role: pod}]\n").unwrap_err();
    assert!(error.contains("\"kubernetes_sd_configs\" is a key of Prometheus that Weir does not support"), "{error}");
    assert!(error.contains("line 3"), "{error}");
    let error = parse("remote_write:\n  - url: http://x\n").unwrap_err();
    assert!(error.contains("remote_write"), "{error}");
}

#[test]
fn wrong_values_say_what_was_expected() {
    for (text, want) in [
        ("global:\n  scrape_interval: 15 seconds\n", "write it like 15s"),
        ("scrape_configs: [{job_name: a, scheme: ftp}]\n", "use http or https"),
        ("scrape_configs: [{job_name: a}, {job_name: a}]\n", "multiple scrape configs with job name \"a\""),
        ("scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]\n", "scrape timeout greater"),
        ("weir: {queue_bytes_max: lots}\n", "is not a valid size"),
        ("weir: {node: '${env:NOPE}'}\n", "line 1: ${env:NOPE}"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn durations_and_sizes_follow_prometheus() {
    for (text, ms) in [("15s", 15_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("100ms", 100), ("0", 0)] {
        assert_eq!(PromDuration::parse(text).unwrap().0, Duration::from_millis(ms), "{text}");
    }
    for text in ["", "1", "s", "1m1h", "1s1s", "-1s", "1.5h", "99999999999999999999y"] {
        assert!(PromDuration::parse(text).is_err(), "{text}");
    }
    assert_eq!(ByteSize::parse("512MB").unwrap().0, 512 << 20);
    assert!(ByteSize::parse("5 GB").is_err());
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json");
    let current = json_schema();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), current, "run again with UPDATE=1");
}
