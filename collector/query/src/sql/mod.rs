//! SQL over what is stored: text goes in, columns and rows as JSON come out. DataFusion lives here.
//!
//! ```text
//! spans, traces    memtable batches + Parquet parts   (stored: the two as one table, predicates pushed into the files)
//! samples, series  partitions of the metrics store    (samples: decoded chunk by chunk, only what is asked for)
//!        └── views: ids as hexadecimal text, one row per trace ──▶ plan ──▶ rows, up to a limit
//! ```
//! Read only: statements that define, change or set anything are refused before they are planned. Queries run on
//! threads of their own, so that a heavy one delays no request of another kind; memory is one bounded pool.

mod hexadecimal;
mod predicate;
mod samples;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use weir_promql::source::{Budget, SourceError};
use weir_store::Snapshot;

use crate::error::QueryError;

/// How often a running query looks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);
/// Threads that run SQL.
const THREADS: usize = 2;

/// Bounds of one query.
#[derive(Clone, Copy, Debug)]
pub struct SqlLimits {
    /// Rows of an answer; more are cut and the answer says so.
    pub rows_max: usize,
    /// Bytes that all queries together may hold.
    pub bytes_max: usize,
    /// How long a query may run.
    pub timeout: Duration,
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct SqlAnswer {
    /// Name and type of each column, in order.
    pub columns: Vec<SqlColumn>,
    /// A JSON array of one object per row.
    pub rows: String,
    /// Rows were cut at the limit.
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its Arrow type.
    #[serde(rename = "type")]
    pub of: String,
}

/// Runs SQL.
pub struct Sql {
    runtime: Option<tokio::runtime::Runtime>,
    environment: Arc<RuntimeEnv>,
    limits: SqlLimits,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self { rows_max: 100_000, bytes_max: 512 << 20, timeout: Duration::from_secs(120) }
    }
}

impl Sql {
    /// Threads and memory pool for queries within `limits`.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(limits: SqlLimits) -> Result<Self, QueryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("weir-sql")
            .enable_all()
            .build()
            .map_err(|error| QueryError::Internal(format!("cannot start threads for SQL: {error}")))?;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(limits.bytes_max, 1.0)
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|error| QueryError::Internal(error.to_string()))?;
        Ok(Self { runtime: Some(runtime), environment, limits })
    }

    /// Answers `text` from `snapshot`. Blocks; must not be called on an async thread.
    ///
    /// # Errors
    /// `Invalid` when the text is no query, `Limit` past a bound, `TimedOut`, `Cancelled`, or `Storage` when a
    /// file cannot be read.
    ///
    /// # Panics
    /// When called on an async thread.
    pub fn query(&self, snapshot: &Arc<Snapshot>, text: &str, budget: &Arc<Budget>) -> Result<SqlAnswer, QueryError> {
        let runtime = self.runtime.as_ref().expect("the runtime is taken only when self is dropped");
        runtime.block_on(async {
            let answer = self.answer(snapshot, text, budget);
            tokio::select! {
                answer = answer => answer,
                () = tokio::time::sleep(self.limits.timeout) => Err(QueryError::TimedOut("query timed out".to_owned())),
                error = cancelled(budget) => Err(error.into()),
            }
        })
    }

    async fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        text: &str,
        budget: &Arc<Budget>,
    ) -> Result<SqlAnswer, QueryError> {
        let session = self.session(snapshot, budget).await?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = session.sql_with_options(text, options).await?;
        let columns = frame
            .schema()
            .fields()
            .iter()
            .map(|field| SqlColumn { name: field.name().clone(), of: field.data_type().to_string() });
        let columns = columns.collect();
        let (rows, truncated) = self.rows(frame.execute_stream().await?).await?;
        Ok(SqlAnswer { columns, rows, truncated })
    }

    async fn session(&self, snapshot: &Arc<Snapshot>, budget: &Arc<Budget>) -> Result<SessionContext, QueryError> {
        let mut config = SessionConfig::new().with_target_partitions(THREADS).with_information_schema(true);
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.pushdown_filters = true;
        parquet.reorder_filters = true;
        let session = SessionContext::new_with_config_rt(config, Arc::clone(&self.environment));
        stored::register(&session, snapshot).await?;
        samples::register(&session, snapshot, budget)?;
        Ok(session)
    }

    /// Rows as JSON, up to the limit.
    async fn rows(&self, mut stream: SendableRecordBatchStream) -> Result<(String, bool), QueryError> {
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
        let (mut left, mut truncated) = (self.limits.rows_max, false);
        while let Some(batch) = stream.next().await {
            let mut batch: RecordBatch = batch?;
            if batch.num_rows() > left {
                batch = batch.slice(0, left);
                truncated = true;
            }
            left -= batch.num_rows();
            writer.write(&batch).map_err(DataFusionError::from)?;
            if truncated {
                break;
            }
        }
        writer.finish().map_err(DataFusionError::from)?;
        let mut rows = String::from_utf8(writer.into_inner()).unwrap_or_default();
        if rows.is_empty() {
            rows.push_str("[]");
        }
        Ok((rows, truncated))
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where this may be dropped: in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn cancelled(budget: &Budget) -> SourceError {
    loop {
        if let Err(error) = budget.check() {
            return error;
        }
        tokio::time::sleep(CANCEL_CHECK).await;
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Limit(format!(
                "the query needs more memory than SQL may use; narrow it by time, or aggregate less: {error}"
            )),
            DataFusionError::External(inner) => match inner.downcast_ref::<SourceError>() {
                Some(error) => error.clone().into(),
                None => Self::Storage(error.to_string()),
            },
            DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
                Self::Storage(error.to_string())
            }
            DataFusionError::Internal(_) => Self::Internal(error.to_string()),
            _ => Self::Invalid(error.strip_backtrace()),
        }
    }
}
