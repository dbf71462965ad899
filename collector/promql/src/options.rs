//! The switches and limits of an engine and of one query, with Prometheus' names and defaults.

use std::sync::Arc;
use std::time::Duration;

use crate::source::Budget;

/// Which experimental parts of the language are understood; each has the name of Prometheus' feature flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// `promql-experimental-functions`: experimental functions and aggregations.
    pub experimental_functions: bool,
    /// `promql-duration-expr`: arithmetic in durations (on by default since Prometheus 3.14).
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
    /// How deep an expression may be nested; deeper ones are refused before they can overflow a stack.
    pub depth_max: usize,
    /// How many bytes an expression may have.
    pub bytes_max: usize,
}

impl Default for Language {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
            depth_max: 256,
            bytes_max: 128 << 10,
        }
    }
}

impl Language {
    /// Everything Prometheus has, stable and experimental.
    #[must_use]
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            ..Self::default()
        }
    }
}

/// How an engine works. Every field has Prometheus' default where Prometheus has the knob.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads that evaluate; 0 for one per core.
    pub threads: usize,
    /// How long a sample stands for its series in an instant selector, in ms.
    pub lookback_ms: i64,
    /// Samples that one query may hold at one time.
    pub samples_max: u64,
    /// Bytes that one query may reserve at one time.
    pub bytes_max: u64,
    /// Series that one selector may find.
    pub series_max: u64,
    /// Points per series that a range query may ask for.
    pub points_max: u64,
    /// How long a query may run.
    pub timeout: Duration,
    /// Step of a subquery that names none, in ms (`global.evaluation_interval`).
    pub no_step_subquery_interval_ms: i64,
    /// `promql-delayed-name-removal`: names are dropped at the end of the query.
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`: start timestamps count as resets.
    pub use_start_timestamps: bool,
    /// Which parts of the language are understood.
    pub language: Language,
    /// Whether the planner may fold and fuse; off only to compare answers.
    pub optimise: bool,
    /// Whether the planner may propagate matchers, project labels and share selections; off only to compare answers.
    pub rewrite: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            lookback_ms: 300_000,
            samples_max: 50_000_000,
            bytes_max: 2 << 30,
            series_max: 2_000_000,
            points_max: 11_000,
            timeout: Duration::from_secs(120),
            no_step_subquery_interval_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            language: Language::default(),
            optimise: true,
            rewrite: true,
        }
    }
}

/// What one query changes.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Another lookback than the engine's, in ms.
    pub lookback_ms: Option<i64>,
    /// A budget made beforehand by [`crate::engine::Engine::budget`]: keep a clone and call
    /// [`Budget::cancel`] on it to end the query. Without one the engine makes its own.
    pub budget: Option<Arc<Budget>>,
}
