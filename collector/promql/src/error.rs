//! Why a query failed, in Prometheus' words and with Prometheus' `errorType`.

use crate::parse::ParseError;
use crate::source::SourceError;

/// What the caller must do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the query; never retry.
    Invalid,
    /// The query met a limit; narrow it.
    Full,
    /// Retry.
    Unavailable,
    /// The caller ended it.
    Closed,
    /// Our bug, or the storage's.
    Internal,
}

/// Why a query failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not PromQL.
    #[error("{0}")]
    Parse(ParseError),
    /// A parameter of the query is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The query is well formed but cannot be answered.
    #[error("{0}")]
    Execution(String),
    /// A limit was met; the text says which and how to narrow the query.
    #[error("{0}")]
    Limit(String),
    /// The deadline passed.
    #[error("query timed out in {0}; narrow it by matchers, a shorter range or a longer step")]
    TimedOut(&'static str),
    /// The query was cancelled.
    #[error("query was canceled in {0}")]
    Cancelled(&'static str),
    /// The source could not read its data.
    #[error("{0}")]
    Storage(String),
}

impl QueryError {
    /// The `errorType` of Prometheus' HTTP API.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Parse(_) | Self::Invalid(_) => "bad_data",
            Self::Execution(_) | Self::Limit(_) => "execution",
            Self::TimedOut(_) => "timeout",
            Self::Cancelled(_) => "canceled",
            Self::Storage(_) => "internal",
        }
    }

    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Invalid(_) | Self::Execution(_) => ErrorKind::Invalid,
            Self::Limit(_) => ErrorKind::Full,
            Self::TimedOut(_) => ErrorKind::Unavailable,
            Self::Cancelled(_) => ErrorKind::Closed,
            Self::Storage(_) => ErrorKind::Internal,
        }
    }
}

/// Where a query was when it was stopped, in Prometheus' words.
pub(crate) const EVALUATION: &str = "expression evaluation";

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Limit(text) => Self::Limit(text),
            SourceError::Cancelled => Self::Cancelled(EVALUATION),
            SourceError::TimedOut => Self::TimedOut(EVALUATION),
            SourceError::Storage(text) => Self::Storage(text),
        }
    }
}

impl From<ParseError> for QueryError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}
