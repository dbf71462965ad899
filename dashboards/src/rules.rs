//! Alert and recording rules as data, and the Prometheus rule file made from them. What is alerted on stands in
//! `alerts.rs`; here is only the form.

use std::fmt::Write as _;

/// Rules that are evaluated together.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// Name of the group.
    pub name: &'static str,
    /// Why the group exists, for the comment above it.
    pub comment: &'static str,
    /// How often it is evaluated, as a Prometheus duration.
    pub interval: &'static str,
    /// Its rules, in order: a rule sees what those above it recorded.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// A series computed from others.
    Record {
        /// Name of the series.
        name: String,
        /// PromQL.
        expr: String,
    },
    /// A condition that somebody should know of.
    Alert(Alert),
}

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Name of the alert.
    pub name: &'static str,
    /// PromQL that answers while the condition holds.
    pub expr: String,
    /// How long it must hold, as a Prometheus duration; empty for at once.
    pub hold: &'static str,
    /// How long it goes on after the condition has ended; empty for not at all.
    pub keep: &'static str,
    /// Who is to be disturbed.
    pub severity: Severity,
    /// One line with what is wrong, as a Go template.
    pub summary: &'static str,
    /// What it means and what to look at, as a Go template.
    pub description: &'static str,
}

/// Who is to be disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody, now: users are hurt.
    Page,
    /// Somebody, during working hours.
    Ticket,
}

/// Renders a Prometheus rule file. Prometheus itself reads it too.
#[must_use]
pub fn rules_file(groups: &[RuleGroup]) -> String {
    let mut file = String::from(
        "# Weir's default rules. Written from the typed definitions in dashboards/src/alerts.rs: change them there,\n\
         # then run `UPDATE=1 cargo test --release --workspace --test committed`.\n\
         # severity: page = users are hurt now; ticket = look during working hours.\ngroups:\n",
    );
    for group in groups {
        line(&mut file, &format!("  # {}", group.comment));
        line(&mut file, &format!("  - name: {}", group.name));
        line(&mut file, &format!("    interval: {}", group.interval));
        line(&mut file, "    rules:");
        for rule in &group.rules {
            write_rule(&mut file, rule);
        }
    }
    file
}

fn write_rule(file: &mut String, rule: &Rule) {
    match rule {
        Rule::Record { name, expr } => {
            line(file, &format!("      - record: {}", quoted(name)));
            write_expr(file, expr);
        }
        Rule::Alert(alert) => {
            line(file, &format!("      - alert: {}", alert.name));
            write_expr(file, &alert.expr);
            if !alert.hold.is_empty() {
                line(file, &format!("        for: {}", alert.hold));
            }
            if !alert.keep.is_empty() {
                line(file, &format!("        keep_firing_for: {}", alert.keep));
            }
            let severity = match alert.severity {
                Severity::Page => "page",
                Severity::Ticket => "ticket",
            };
            line(file, &format!("        labels:\n          severity: {severity}"));
            line(file, &format!("        annotations:\n          summary: {}", quoted(alert.summary)));
            line(file, &format!("          description: {}", quoted(alert.description)));
        }
    }
}

/// A literal block: PromQL is full of quotes and braces.
fn write_expr(file: &mut String, expr: &str) {
    line(file, "        expr: |-");
    for part in expr.lines() {
        line(file, &format!("          {part}"));
    }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(file: &mut String, text: &str) {
    writeln!(file, "{text}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks Prometheus' own checker, where it is installed.
    fn promtool(text: &str) {
        let file = std::env::temp_dir().join(format!("weir-{}-{:p}.rules.yml", std::process::id(), text));
        std::fs::write(&file, text).unwrap();
        match std::process::Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("promtool is not installed, nothing was checked: {error}"),
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn promtool_accepts_the_rules() {
        promtool(&rules_file(&crate::alerts()));
    }

    /// Every query of every panel is PromQL once its placeholders are filled.
    #[test]
    fn promtool_accepts_every_query_of_every_panel() {
        let rules = crate::all()
            .iter()
            .flat_map(|dashboard| dashboard.panels().flat_map(|panel| &panel.queries).cloned().collect::<Vec<_>>())
            .map(|query| query.expr.replace("$__rate_interval", "1m").replace("$__range", "15m"))
            .enumerate()
            .map(|(i, expr)| Rule::Record { name: format!("query:{i}"), expr })
            .collect();
        promtool(&rules_file(&[RuleGroup { name: "queries", comment: "every query", interval: "1m", rules }]));
    }
}
