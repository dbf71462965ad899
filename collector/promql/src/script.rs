//! The text scripts of Prometheus' query-language tests: `load` samples, `eval` expressions, compare.
//!
//! A script is the specification of the language in a form that anyone can read. What is driven is behind
//! [`PromEngine`], so that the same runner drives the engine in this process or a server over HTTP. Beside the
//! evaluation that a script names, each instant evaluation is run with `@` of its time at other times, and as the
//! middle of a range, and must answer the same.
//! Format: github.com/prometheus/prometheus, promql/promqltest/README.md.

mod block;
mod compare;
mod expect;
mod in_process;
mod nhcb;
mod notation;
mod run;
mod variants;

use std::path::{Path, PathBuf};

use crate::engine::QueryRange;
use crate::labels::Labels;
use crate::memory::MemorySample;
use crate::value::Value;

pub use in_process::{InProcess, script_options};
pub use notation::{SequenceValue, parse_series};

/// What an engine answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Warnings as shown, with positions.
    pub warnings: Vec<String>,
    /// Infos as shown, with positions.
    pub infos: Vec<String>,
}

/// Something that holds samples and answers queries.
pub trait PromEngine {
    /// Forgets all samples.
    ///
    /// # Errors
    /// A text for the reader of the report.
    fn clear(&mut self) -> Result<(), String>;

    /// Takes samples.
    ///
    /// # Errors
    /// A text for the reader of the report.
    fn load(&mut self, series: &[(Labels, Vec<MemorySample>)]) -> Result<(), String>;

    /// Answers an instant query.
    ///
    /// # Errors
    /// The message of the error.
    fn instant(&self, query: &str, t_ms: i64) -> Result<Answer, String>;

    /// Answers a range query.
    ///
    /// # Errors
    /// The message of the error.
    fn range(&self, query: &str, range: QueryRange) -> Result<Answer, String>;
}

/// An evaluation that did not answer as expected.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The script.
    pub file: PathBuf,
    /// Line of the evaluation, from 1.
    pub line: usize,
    /// Its expression.
    pub expression: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}:{}: {}", self.file.display(), self.line, self.expression)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  got:      {}", self.got)
    }
}

/// The outcome of one script.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    /// The script.
    pub file: PathBuf,
    /// Evaluations that answered as expected.
    pub passed: usize,
    /// Those that did not.
    pub failures: Vec<Failure>,
}

/// The outcome of all scripts.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By script.
    pub files: Vec<FileReport>,
}

impl Report {
    /// Evaluations that answered as expected.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.files.iter().map(|file| file.passed).sum()
    }

    /// Evaluations that did not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.files.iter().map(|file| file.failures.len()).sum()
    }

    /// The exit code of a command that ran the scripts: 0, or 1 when an evaluation failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.failed() > 0)
    }
}

/// Failures, a line per script, and last `N passed, N failed`.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for failure in self.files.iter().flat_map(|file| &file.failures) {
            writeln!(f, "{failure}")?;
        }
        for file in &self.files {
            writeln!(f, "{}: {} passed, {} failed", file.file.display(), file.passed, file.failures.len())?;
        }
        writeln!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Why scripts could not be run. A command exits with 2.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A path holds no script.
    #[error("{}: no script (*.test) found", .0.display())]
    Nothing(PathBuf),
    /// A script could not be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Runs the scripts at `paths`: files, or folders of `*.test` files.
///
/// # Errors
/// When a path cannot be read or holds no script.
pub fn run_scripts(paths: &[PathBuf], engine: &mut dyn PromEngine) -> Result<Report, ScriptError> {
    let mut report = Report::default();
    for path in paths {
        for file in scripts_at(path)? {
            let text =
                std::fs::read_to_string(&file).map_err(|error| ScriptError::Read { path: file.clone(), error })?;
            report.files.push(run::run(&file, &text, engine));
        }
    }
    Ok(report)
}

/// Runs one script that is given as text; `file` is only named in the report.
#[must_use]
pub fn run_script(file: &Path, text: &str, engine: &mut dyn PromEngine) -> FileReport {
    run::run(file, text, engine)
}

fn scripts_at(path: &Path) -> Result<Vec<PathBuf>, ScriptError> {
    if !path.is_dir() {
        return if path.exists() { Ok(vec![path.to_owned()]) } else { Err(ScriptError::Nothing(path.to_owned())) };
    }
    let fail = |error| ScriptError::Read { path: path.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        if file.extension().is_some_and(|extension| extension == "test") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(ScriptError::Nothing(path.to_owned())) } else { Ok(files) }
}
