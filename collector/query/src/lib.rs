//! Questions to a snapshot of the store: PromQL, SQL, traces, and the summaries that pages open with.
//!
//! ```text
//!            ┌─ source    series ─▶ weir_promql          instant, range, series, labels, exemplars
//! Snapshot ──┼─ sql       tables ─▶ DataFusion           spans, traces, samples, series
//!            ├─ traces    spans  ─▶ OTLP, waterfall, lists
//!            └─ summary   services, hosts, why (an empty panel's reason), asked through the engine itself
//! ```
//! Everything here blocks and is meant for threads that may: the edge gates how many run at a time. Each question
//! takes a [`Budget`](weir_promql::source::Budget): bytes are reserved before they are allocated, and cancelling it
//! ends the query. Nothing writes, nothing binds a socket.

mod engine;
mod error;
mod source;
mod sql;
mod summary;
mod text;
pub mod traces;

pub use engine::{Engine, EngineSettings, QueryContext, Snapshots};
pub use error::{ErrorKind, QueryError};
pub use source::{Exemplar, MetricMetadata, SeriesExemplars, Span, StoreSource};
pub use sql::{Sql, SqlAnswer, SqlColumn, SqlLimits};
pub use summary::{Health, HostRow, Reason, ServiceRow, Why};
