//! The engine: an expression, a source and a time range in, an answer with annotations out.

use std::sync::Arc;
use std::time::Instant;

use crate::error::QueryError;
use crate::options::{EngineOptions, QueryOptions};
use crate::parse::parse;
use crate::source::{Budget, SeriesSource};
use crate::value::QueryOutput;

/// Evaluates queries on its own threads. Cheap to share: wrap it in an `Arc`.
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// A budget with the engine's limits whose deadline begins to run now.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        let options = &self.options;
        let budget = Budget::new(options.bytes_max, options.samples_max, options.series_max);
        Arc::new(budget.with_deadline(Instant::now() + options.timeout))
    }

    /// Evaluates `query` at one time.
    ///
    /// # Errors
    /// When the query is wrong, meets a limit or is ended, or the source fails.
    pub fn instant(
        &self,
        _source: &dyn SeriesSource,
        query: &str,
        _t_ms: i64,
        _query_options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        parse(query, &self.options.language)?;
        Err(QueryError::Execution("evaluation follows".to_owned()))
    }

    /// Evaluates `query` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
    ///
    /// # Errors
    /// As [`Self::instant`]; also when the range has more points than allowed.
    pub fn range(
        &self,
        _source: &dyn SeriesSource,
        query: &str,
        _range: QueryRange,
        _query_options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        parse(query, &self.options.language)?;
        Err(QueryError::Execution("evaluation follows".to_owned()))
    }
}

/// The times of a range query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRange {
    /// First time, in ms.
    pub start_ms: i64,
    /// Last time at most, in ms.
    pub end_ms: i64,
    /// Distance of two times, in ms; greater than zero.
    pub step_ms: i64,
}
