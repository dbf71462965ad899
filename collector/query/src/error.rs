//! Why a query failed, and what the caller should do about it.

use weir_promql::source::SourceError;
use weir_store::StoreError;

/// What a caller must do with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the query; never retry.
    Invalid,
    /// A limit was met; narrow the query or retry later.
    Full,
    /// Retry.
    Unavailable,
    /// The caller ended it.
    Closed,
    /// Stored bytes cannot be read, or a defect of ours.
    Internal,
}

/// A failed query.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The query cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The query was understood and failed.
    #[error("{0}")]
    Execution(String),
    /// A limit was met; the text says which and how to narrow the query.
    #[error("{0}")]
    Limit(String),
    /// The deadline passed.
    #[error("{0}")]
    TimedOut(String),
    /// The caller went away.
    #[error("{0}")]
    Cancelled(String),
    /// The data could not be read.
    #[error("{0}")]
    Storage(String),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl QueryError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Execution(_) => ErrorKind::Invalid,
            Self::Limit(_) => ErrorKind::Full,
            Self::TimedOut(_) => ErrorKind::Unavailable,
            Self::Cancelled(_) => ErrorKind::Closed,
            Self::Storage(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Prometheus' `errorType`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "bad_data",
            Self::Execution(_) | Self::Limit(_) => "execution",
            Self::TimedOut(_) => "timeout",
            Self::Cancelled(_) => "canceled",
            Self::Storage(_) | Self::Internal(_) => "internal",
        }
    }
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        let text = error.to_string();
        match error {
            SourceError::Limit(_) => Self::Limit(text),
            SourceError::Cancelled => Self::Cancelled(text),
            SourceError::TimedOut => Self::TimedOut(text),
            SourceError::Storage(_) => Self::Storage(text),
        }
    }
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<weir_promql::error::QueryError> for QueryError {
    fn from(error: weir_promql::error::QueryError) -> Self {
        use weir_promql::error::QueryError as Engine;
        let text = error.to_string();
        match error {
            Engine::Parse(_) | Engine::Invalid(_) => Self::Invalid(text),
            Engine::Execution(_) => Self::Execution(text),
            Engine::Limit(_) => Self::Limit(text),
            Engine::TimedOut(_) => Self::TimedOut(text),
            Engine::Cancelled(_) => Self::Cancelled(text),
            Engine::Storage(_) => Self::Storage(text),
        }
    }
}
