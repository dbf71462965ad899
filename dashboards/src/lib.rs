//! Default dashboards and alert rules as data, and the page that draws them.
//!
//! ```text
//!   service.rs ─┐                     ┌─▶ Dashboard::render ─▶ JSON for our page   (/api/weir/v1/dashboards/…)
//!   host.rs    ─┼─▶ Dashboard ────────┤
//!   red.rs (PromQL, written once)     └─▶ grafana()         ─▶ grafana/*.json, and served per service
//!   alerts.rs  ───▶ RuleGroup ──────────▶ rules_file()      ─▶ rules/weir.rules.yml
//!   web/ (TypeScript) ─▶ npm run build ─▶ web/dist ─▶ page_file()
//! ```
//! Pure: no sockets, no clock, no files but the ones embedded at compile time. The committed JSON and YAML are proven
//! current by tests; `UPDATE=1 cargo test --release --workspace --test committed` rewrites them.
//!
//! Considered and left: dashboards written in Grafana's JSON and read by our page. That format says how to draw, not
//! what is meant, and has no place for what to send when a panel is empty.

mod alerts;
mod definition;
mod grafana;
mod host;
mod page;
mod red;
mod rules;
mod service;

pub use alerts::alerts;
pub use definition::{Dashboard, GRID_COLUMNS, Kind, Level, Panel, Query, Section, Threshold, Unit, Variable};
pub use grafana::grafana;
pub use host::host;
pub use page::{PageFile, page_file};
pub use rules::{Alert, Rule, RuleGroup, Severity, rules_file};
pub use service::service;

/// Every default dashboard.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![service(), host()]
}
