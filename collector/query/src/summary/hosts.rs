//! One line per host: how busy its processor, memory and run queue are.

use serde::Serialize;

use super::{by_label, seconds};
use crate::engine::{Engine, QueryContext};
use crate::error::QueryError;
use crate::source::Span;

/// Part of processor time that was not idle; as the host dashboard has it.
const CPU: &str = r#"1 - sum by (host_name) (rate(system_cpu_time_seconds_total{cpu_mode="idle"}[5m])) / sum by (host_name) (rate(system_cpu_time_seconds_total[5m]))"#;
/// Part of memory that programs hold.
const MEMORY: &str = r#"sum by (host_name) (system_memory_usage_bytes{system_memory_state="used"}) / sum by (host_name) (system_memory_usage_bytes)"#;
/// Tasks that run or wait, averaged over a minute.
const LOAD: &str = "max by (host_name) (system_cpu_load_average_1m)";
/// When the host was last read.
const LAST_SEEN: &str = "max by (host_name) (timestamp(system_memory_usage_bytes))";
/// The metric that every host has.
const EVERY_HOST: &str = "system_memory_usage_bytes";

/// One host.
#[derive(Clone, Debug, Serialize)]
pub struct HostRow {
    /// `host.name`.
    pub name: String,
    /// 0 to 1.
    pub cpu_utilization: Option<f64>,
    /// 0 to 1.
    pub memory_utilization: Option<f64>,
    /// Load of one minute.
    pub load1: Option<f64>,
    /// Unix seconds; nothing where it is longer ago than the lookback.
    pub last_seen: Option<f64>,
}

impl Engine {
    /// Every host with host metrics in the range, by name.
    ///
    /// # Errors
    /// When a query meets a limit or data cannot be read.
    pub fn hosts(&self, span: Span, context: &QueryContext) -> Result<Vec<HostRow>, QueryError> {
        let selector = [vec![super::services::named(EVERY_HOST)]];
        let (names, _) = self.source().label_values("host_name", &selector, span, &context.budget)?;
        let host = |query: &str| by_label(self, query, "host_name", span.end_ms, context);
        let (cpu, memory, load, last) = (host(CPU)?, host(MEMORY)?, host(LOAD)?, host(LAST_SEEN)?);
        let rows = names.into_iter().map(|name| {
            let name = name.to_string();
            HostRow {
                cpu_utilization: cpu.get(&name).copied(),
                memory_utilization: memory.get(&name).copied(),
                load1: load.get(&name).copied(),
                last_seen: last.get(&name).copied().filter(|last| *last <= seconds(span.end_ms)),
                name,
            }
        });
        Ok(rows.collect())
    }
}
