//! What a dashboard is, before anyone draws it: sections of panels, each with its PromQL, its unit, what it means and
//! what to send when it stays empty. Two renderers read it: [`Dashboard::render`] for our page, `grafana` for Grafana.
//!
//! Expressions keep placeholders. `$service` and `$host` are the dashboard's own variables, filled by `render` (or by
//! Grafana's variables of the same name); `$__rate_interval` and `$__range` belong to whoever draws, because only they
//! know the step and the range. Both names are Grafana's, so that one text serves both.

use serde::Serialize;

/// One page of panels about one thing: a service, a host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dashboard {
    /// Stable name in addresses and file names: `service`, `host`.
    pub id: &'static str,
    /// Heading for people.
    pub title: &'static str,
    /// One sentence: what question this dashboard answers.
    pub description: &'static str,
    /// The variables its expressions hold, in order.
    pub variables: Vec<Variable>,
    /// Sections from the first question to the last.
    pub sections: Vec<Section>,
}

/// A placeholder `$name` in expressions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variable {
    /// Name without the dollar sign.
    pub name: &'static str,
    /// Heading for people.
    pub label: &'static str,
    /// Metric and label whose values it takes, for Grafana's `label_values(metric, label)`.
    pub source: (&'static str, &'static str),
    /// Its value once rendered; empty before.
    pub value: String,
}

/// Panels that answer one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Stable name, the anchor on the page.
    pub id: &'static str,
    /// Heading for people.
    pub title: &'static str,
    /// Panels in reading order; widths fill rows of [`GRID_COLUMNS`].
    pub panels: Vec<Panel>,
}

/// Width of the grid that [`Panel::columns`] counts in.
pub const GRID_COLUMNS: u8 = 12;

/// One chart, number or table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// Stable name, unique in its dashboard.
    pub id: &'static str,
    /// Heading for people.
    pub title: &'static str,
    /// How it is drawn.
    pub kind: Kind,
    /// Unit of its values, unless a query has its own.
    pub unit: Unit,
    /// Width in columns of [`GRID_COLUMNS`].
    pub columns: u8,
    /// Its queries. In a heatmap the first is the histogram, the others are lines over it; in a table each is a column.
    pub queries: Vec<Query>,
    /// Labels that make the rows of a table.
    pub by: Vec<&'static str>,
    /// Values from which on the panel is coloured.
    pub thresholds: Vec<Threshold>,
    /// Lines stand on one another: parts of a whole.
    pub stacked: bool,
    /// Hidden while it has nothing to show, and listed at the bottom with `empty`.
    pub optional: bool,
    /// What it shows and how it is computed, in words.
    pub description: &'static str,
    /// What to send to fill it.
    pub empty: &'static str,
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines over time.
    Timeseries,
    /// A native histogram over time, darker where more is.
    Heatmap,
    /// One number, large.
    Stat,
    /// Rows by label, one column per query.
    Table,
    /// Recent, slow and failed traces of the service; no PromQL, the page asks the traces API.
    Traces,
    /// A table whose rows are other services.
    Dependencies,
}

/// Unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests per second.
    RequestsPerSecond,
    /// Operations per second.
    OpsPerSecond,
    /// A part of one, shown in per cent.
    Ratio,
    /// Seconds.
    Seconds,
    /// Bytes, shown in powers of 1,024.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Processor cores.
    Cores,
    /// A bare number.
    Number,
}

/// One PromQL expression of a panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Query {
    /// PromQL with placeholders.
    pub expr: String,
    /// Name of the line or column; `{{label}}` stands for the value of a label.
    pub legend: &'static str,
    /// Asked at the end of the range only.
    pub instant: bool,
    /// Its own unit, where it differs from the panel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// A value that matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    /// From this value on.
    pub value: f64,
    /// How much it matters.
    pub level: Level,
}

/// How much a crossed threshold matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Look when there is time.
    Warn,
    /// Look now.
    Bad,
}

impl Query {
    /// A query over the whole range.
    pub(crate) fn range(legend: &'static str, expr: impl Into<String>) -> Self {
        Self { expr: expr.into(), legend, instant: false, unit: None }
    }

    /// A query at the end of the range, with the unit of its column.
    pub(crate) fn column(legend: &'static str, unit: Unit, expr: impl Into<String>) -> Self {
        Self { expr: expr.into(), legend, instant: true, unit: Some(unit) }
    }
}

impl Panel {
    /// A panel of width 12 with nothing optional set; the definitions override what they need.
    pub(crate) fn new(id: &'static str, title: &'static str, kind: Kind, unit: Unit) -> Self {
        Self {
            id,
            title,
            kind,
            unit,
            columns: GRID_COLUMNS,
            queries: Vec::new(),
            by: Vec::new(),
            thresholds: Vec::new(),
            stacked: false,
            optional: false,
            description: "",
            empty: "",
        }
    }
}

impl Dashboard {
    /// Fills the dashboard's own variables in every expression: the form that our page draws.
    ///
    /// A value stands inside a PromQL string literal, so quotes, backslashes and line ends are escaped. A name that is
    /// not a variable of this dashboard is left alone, as is `$__…`.
    #[must_use]
    pub fn render(&self, values: &[(&str, &str)]) -> Self {
        let mut rendered = self.clone();
        for variable in &mut rendered.variables {
            let Some((_, value)) = values.iter().find(|(name, _)| *name == variable.name) else { continue };
            variable.value = (*value).to_owned();
            let placeholder = format!("${}", variable.name);
            let literal = escape(value);
            for query in rendered.sections.iter_mut().flat_map(|s| &mut s.panels).flat_map(|p| &mut p.queries) {
                query.expr = query.expr.replace(&placeholder, &literal);
            }
        }
        rendered
    }

    /// The same dashboard with a variable's value noted but its placeholders kept, as Grafana wants it.
    #[must_use]
    pub fn with_value(mut self, name: &str, value: &str) -> Self {
        if let Some(variable) = self.variables.iter_mut().find(|variable| variable.name == name) {
            value.clone_into(&mut variable.value);
        }
        self
    }

    /// Every panel, section by section.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.sections.iter().flat_map(|section| &section.panels)
    }
}

/// Escapes a value for the inside of a double-quoted PromQL string.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_service_name_stays_inside_its_string() {
        let rendered = crate::service().render(&[("service", "a\"} or vector(1) #\\")]);
        let expr = &rendered.sections[0].panels[0].queries[0].expr;
        assert!(expr.contains(r#"job="a\"} or vector(1) #\\""#), "{expr}");
        assert!(!rendered.panels().flat_map(|p| &p.queries).any(|q| q.expr.contains("$service")));
        assert_eq!(rendered.variables[0].value, "a\"} or vector(1) #\\");
    }

    #[test]
    fn every_panel_explains_itself_and_fits_the_grid() {
        for dashboard in crate::all() {
            let mut seen = std::collections::BTreeSet::new();
            for panel in dashboard.panels() {
                assert!(seen.insert(panel.id), "{} twice in {}", panel.id, dashboard.id);
                assert!(!panel.description.is_empty() && !panel.empty.is_empty(), "{} says nothing", panel.id);
                assert!((1..=GRID_COLUMNS).contains(&panel.columns), "{} is too wide", panel.id);
                assert_eq!(panel.kind == Kind::Traces, panel.queries.is_empty(), "{} and its queries", panel.id);
                assert!(matches!(panel.kind, Kind::Table | Kind::Dependencies) != panel.by.is_empty(), "{}", panel.id);
            }
        }
    }
}
