//! All questions to the store in one place: each takes a snapshot, a budget, and blocks.
//!
//! ```text
//! HTTP, rules, doctor ─▶ Engine ─┬─▶ promql over StoreSource      instant, range, series, labels, exemplars
//!                                ├─▶ sql
//!                                ├─▶ traces                        by id, of a service
//!                                └─▶ services, hosts, why          PromQL of their own, asked the same way
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weir_promql::engine::{Engine as PromEngine, QueryRange};
use weir_promql::options::{EngineOptions, QueryOptions};
use weir_promql::source::Budget;
use weir_promql::value::QueryOutput;
use weir_proto::SpanBatch;
use weir_store::Snapshot;

use crate::error::QueryError;
use crate::source::StoreSource;
use crate::sql::{Sql, SqlAnswer, SqlLimits};
use crate::traces::{TraceCard, TraceKind, list};

/// Gives what is stored now.
pub type Snapshots = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// Answers queries over a store. Share it in an `Arc`.
pub struct Engine {
    snapshots: Snapshots,
    promql: PromEngine,
    sql: Sql,
    retention_ms: AtomicI64,
}

/// Limits of an engine, and what it must know about the store.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// Limits of PromQL.
    pub promql: EngineOptions,
    /// Limits of SQL.
    pub sql: SqlLimits,
    /// How long metrics are kept, in ms; 0 for ever. Only to explain an empty answer.
    pub retention_ms: i64,
}

/// A budget, and a lookback where the caller wants another than the engine's.
#[derive(Clone, Debug)]
pub struct QueryContext {
    /// What the query may use; cancel it to end the query.
    pub budget: Arc<Budget>,
    /// Another lookback, in ms.
    pub lookback_ms: Option<i64>,
}

impl Engine {
    /// Over the snapshots that `snapshots` gives, within these limits.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(snapshots: Snapshots, settings: EngineSettings) -> Result<Self, QueryError> {
        let EngineSettings { promql, sql, retention_ms } = settings;
        Ok(Self { snapshots, promql: PromEngine::new(promql), sql: Sql::new(sql)?, retention_ms: retention_ms.into() })
    }

    /// What is stored now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        (self.snapshots)()
    }

    /// How long metrics are kept, in ms; 0 for ever.
    #[must_use]
    pub fn retention_ms(&self) -> i64 {
        self.retention_ms.load(Ordering::Relaxed)
    }

    /// Told when the store keeps metrics for another time.
    pub fn set_retention_ms(&self, retention_ms: i64) {
        self.retention_ms.store(retention_ms, Ordering::Relaxed);
    }

    /// The limits of PromQL.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        self.promql.options()
    }

    /// A budget whose deadline begins to run now.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.promql.budget()
    }

    /// What is stored now, as series.
    #[must_use]
    pub fn source(&self) -> StoreSource {
        StoreSource::new(self.snapshot())
    }

    /// Evaluates PromQL at one time.
    ///
    /// # Errors
    /// When the query is wrong, meets a limit or is ended, or data cannot be read.
    pub fn instant(&self, query: &str, t_ms: i64, context: &QueryContext) -> Result<QueryOutput, QueryError> {
        Ok(self.promql.instant(&self.source(), query, t_ms, &context.options())?)
    }

    /// Evaluates PromQL at every step of a range.
    ///
    /// # Errors
    /// As [`Self::instant`].
    pub fn range(&self, query: &str, range: QueryRange, context: &QueryContext) -> Result<QueryOutput, QueryError> {
        Ok(self.promql.range(&self.source(), query, range, &context.options())?)
    }

    /// Answers SQL. Must not be called on an async thread.
    ///
    /// # Errors
    /// As [`Sql::query`].
    ///
    /// # Panics
    /// When called on an async thread.
    pub fn sql(&self, query: &str, budget: &Arc<Budget>) -> Result<SqlAnswer, QueryError> {
        self.sql.query(&self.snapshot(), query, budget)
    }

    /// All spans of a trace.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn trace(&self, trace_id: [u8; 16]) -> Result<Option<SpanBatch>, QueryError> {
        Ok(self.snapshot().traces.trace(trace_id)?)
    }

    /// Traces of a service, by the start of its entry span in ns.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn traces_of(
        &self,
        service: &str,
        kind: TraceKind,
        range_ns: (i64, i64),
        limit: usize,
    ) -> Result<Vec<TraceCard>, QueryError> {
        Ok(list(&self.snapshot(), service, kind, range_ns, limit)?)
    }
}

impl QueryContext {
    fn options(&self) -> QueryOptions {
        QueryOptions { lookback_ms: self.lookback_ms, budget: Some(Arc::clone(&self.budget)) }
    }
}
