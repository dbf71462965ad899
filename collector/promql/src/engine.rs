//! The engine: an expression, a source and a time range in, an answer with annotations out. It owns the threads that
//! evaluate; the caller's thread waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::annotations::Annotations;
use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::{Cell, Context, Grid, Out, Reads, Row, drop_names, evaluate, sorted, whole_range};
use crate::options::{EngineOptions, QueryOptions};
use crate::parse::parse;
use crate::plan::{Node, Plan, QueryTimes, explain, plan};
use crate::source::{Budget, SeriesSource};
use crate::value::{Point, QueryOutput, QueryStats, Sample, Series, Value, ValueType};

/// Stack of an evaluating thread: expressions are bounded in depth, and this holds the deepest.
const STACK_BYTES: usize = 64 << 20;

/// Evaluates queries on its own threads. Cheap to share: wrap it in an `Arc`.
pub struct Engine {
    options: EngineOptions,
    pool: Option<ThreadPool>,
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

impl Engine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .stack_size(STACK_BYTES)
            .thread_name(|at| format!("promql-{at}"))
            .build();
        // Without threads of its own it evaluates on the caller's.
        Self { options, pool: pool.ok() }
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
        source: &dyn SeriesSource,
        query: &str,
        t_ms: i64,
        query_options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let expr = self.parse(query)?;
        let grid = Grid { start_ms: t_ms, step_ms: 1, steps: 1 };
        let times = self.times(t_ms, t_ms, 0);
        self.run(source, &expr, &Run { grid, times, query_options, asked: Asked::Instant })
    }

    /// Evaluates `query` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
    ///
    /// # Errors
    /// As [`Self::instant`]; also when the range has more points than allowed.
    pub fn range(
        &self,
        source: &dyn SeriesSource,
        query: &str,
        range: QueryRange,
        query_options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let expr = self.parse(query)?;
        let (grid, times) = self.ranged(&expr, range)?;
        self.run(source, &expr, &Run { grid, times, query_options, asked: Asked::Range })
    }

    /// How `query` would be evaluated over a range: its plan as text, a line per node.
    ///
    /// # Errors
    /// When the query or the range is wrong.
    pub fn explain(&self, query: &str, range: QueryRange) -> Result<String, QueryError> {
        let expr = self.parse(query)?;
        let (grid, times) = self.ranged(&expr, range)?;
        Ok(explain(&plan(&expr, &times, &grid, self.options.lookback_ms)?))
    }

    fn ranged(&self, expr: &Expr, range: QueryRange) -> Result<(Grid, QueryTimes), QueryError> {
        let QueryRange { start_ms, end_ms, step_ms } = range;
        let kind = expr.value_type();
        if kind != ValueType::Vector && kind != ValueType::Scalar {
            let kind = crate::print::Quoted(kind.documented()).to_string();
            let rule = "must be Scalar or instant Vector";
            return Err(QueryError::Invalid(format!("invalid expression type {kind} for range query, {rule}")));
        }
        if step_ms <= 0 {
            let rule = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(QueryError::Invalid(rule.to_owned()));
        }
        if end_ms < start_ms {
            return Err(QueryError::Invalid("end timestamp must not be before start time".to_owned()));
        }
        let points = (end_ms.saturating_sub(start_ms) / step_ms) as u64;
        if points > self.options.points_max {
            return Err(QueryError::Invalid(format!(
                "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
                self.options.points_max
            )));
        }
        let grid = Grid { start_ms, step_ms, steps: points as usize + 1 };
        Ok((grid, self.times(start_ms, end_ms, step_ms)))
    }

    fn parse(&self, query: &str) -> Result<Expr, QueryError> {
        Ok(parse(query, &self.options.language)?)
    }

    fn times(&self, start_ms: i64, end_ms: i64, step_ms: i64) -> QueryTimes {
        QueryTimes {
            start_ms,
            end_ms,
            step_ms,
            no_step_subquery_interval_ms: self.options.no_step_subquery_interval_ms,
            optimise: self.options.optimise,
            rewrite: self.options.rewrite,
        }
    }

    fn run(&self, source: &dyn SeriesSource, expr: &Expr, run: &Run<'_>) -> Result<QueryOutput, QueryError> {
        let query_options = run.query_options;
        let budget = query_options.budget.clone().unwrap_or_else(|| self.budget());
        let lookback_ms = query_options.lookback_ms.unwrap_or(self.options.lookback_ms);
        let attempt = |times: &QueryTimes| {
            let Plan { node, reads, rewritten } = plan(expr, times, &run.grid, lookback_ms)?;
            let context = Context {
                source,
                budget: Arc::clone(&budget),
                lookback_ms,
                delayed_name_removal: self.options.delayed_name_removal,
                use_start_timestamps: self.options.use_start_timestamps,
                optimise: self.options.optimise,
                reads: Reads::new(reads, &budget),
                notes: Mutex::new(Annotations::default()),
            };
            let value = answer(&context, &node, &run.grid, run.asked);
            Ok::<_, QueryError>((value, context.notes.into_inner().unwrap_or_else(PoisonError::into_inner), rewritten))
        };
        let work = || {
            let before = budget.mark();
            let (value, annotations, rewritten) = attempt(&run.times)?;
            if rewritten && matches!(value, Err(QueryError::Execution(_) | QueryError::Limit(_))) {
                // Perhaps only the rewriting met the limit, and its error may lack labels: as written, then.
                budget.restore(before);
                let (value, annotations, _) = attempt(&QueryTimes { rewrite: false, ..run.times })?;
                return Ok::<_, QueryError>((value?, annotations));
            }
            Ok((value?, annotations))
        };
        let (value, annotations) = match &self.pool {
            Some(pool) => pool.install(work)?,
            None => work()?,
        };
        let stats = QueryStats {
            samples_read: budget.samples_read(),
            samples_peak: budget.samples_peak(),
            bytes_peak: budget.bytes_peak(),
        };
        Ok(QueryOutput { value, annotations, stats })
    }
}

/// One run of a query.
struct Run<'a> {
    grid: Grid,
    times: QueryTimes,
    query_options: &'a QueryOptions,
    asked: Asked,
}

/// Which kind of query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Instant,
    Range,
}

fn answer(context: &Context<'_>, node: &Node, grid: &Grid, asked: Asked) -> Result<Value, QueryError> {
    let t_ms = grid.start_ms;
    let node = match node {
        Node::Invariant(inner) if matches!(**inner, Node::Range(_)) => inner,
        other => other,
    };
    if let Node::Range(input) = node {
        return whole_range(context, input, grid).map(Value::Matrix);
    }
    Ok(match (evaluate(context, node, grid)?, asked) {
        (Out::Scalar(values), Asked::Instant) => Value::Scalar { t_ms, value: values[0] },
        (Out::Text(value), _) => Value::String { t_ms, value },
        (Out::Rows(rows), Asked::Instant) => {
            let sample = |row: Row| {
                let point = match row.column.cell(0)? {
                    Cell::Float(value) => Point::Float(value),
                    Cell::Histogram(histogram) => Point::Histogram(histogram),
                };
                Some(Sample { labels: row.labels, t_ms, point })
            };
            Value::Vector(drop_names(context, rows)?.into_iter().filter_map(sample).collect())
        }
        (Out::Scalar(values), Asked::Range) => {
            let floats = values.iter().enumerate().map(|(step, value)| (grid.time(step), *value)).collect();
            Value::Matrix(vec![Series { floats, ..Series::default() }])
        }
        (Out::Rows(rows), Asked::Range) => {
            let mut series: Vec<Series> =
                drop_names(context, rows)?.into_iter().map(|row| into_series(row, grid)).collect();
            series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
            Value::Matrix(sorted(&context.budget, series, |a, b| a.labels.cmp(&b.labels))?)
        }
    })
}

fn into_series(row: Row, grid: &Grid) -> Series {
    let mut series = Series { labels: row.labels, ..Series::default() };
    if row.column.histograms.is_none() {
        series.floats = row.column.present.iter().map(|step| (grid.time(step), row.column.values[step])).collect();
        return series;
    }
    for step in row.column.present.iter() {
        match row.column.cell(step) {
            Some(Cell::Histogram(histogram)) => series.histograms.push((grid.time(step), histogram)),
            _ => series.floats.push((grid.time(step), row.column.values[step])),
        }
    }
    series
}
