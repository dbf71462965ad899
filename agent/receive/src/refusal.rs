//! Why a whole request was not taken, and the only place where that becomes an HTTP or a gRPC code.
//!
//! What senders do with a code decides it. OTLP retries HTTP 429, 502, 503, 504 and gRPC CANCELLED, DEADLINE_EXCEEDED,
//! ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED only with RetryInfo. Python's HTTP exporter does
//! not retry 429, so "full" is 503 and UNAVAILABLE, both with the time to wait.
//! Source: opentelemetry.io/docs/specs/otlp (Failures, Throttling).

use std::time::Duration;

use ::http::StatusCode;
use tonic::Code;

use crate::receiver::Signal;
use crate::sink::SinkError;

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not what they claim to be.
    #[error("{message}")]
    Malformed {
        /// What and where.
        message: String,
    },
    /// A `Content-Type` that is not OTLP.
    #[error("content-type `{found}` is not taken here; send application/x-protobuf or application/json")]
    MediaType {
        /// What was sent.
        found: String,
    },
    /// A compression that is not known.
    #[error("content-encoding `{found}` is not known; send gzip, zstd, deflate or identity")]
    Encoding {
        /// What was sent.
        found: String,
    },
    /// The body passes a cap.
    #[error("the {what} has more than {limit} bytes; lower the sender's batch size")]
    TooLarge {
        /// `body`, or `decompressed body`.
        what: &'static str,
        /// The cap.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection broke inside the body.
    #[error("the body broke off: {message}")]
    Broken {
        /// What the connection said.
        message: String,
    },
    /// A signal that Weir does not store yet.
    #[error("{} are not stored yet; set OTEL_{}_EXPORTER=none in the sender", .0.as_str(), .0.as_upper())]
    NotStored(Signal),
    /// No room now.
    #[error("{message}")]
    Full {
        /// What is full.
        message: String,
        /// How long to wait.
        retry_after: Duration,
    },
    /// Not now.
    #[error("{message}")]
    Unavailable {
        /// What is missing.
        message: String,
    },
    /// Shutting down.
    #[error("shutting down")]
    Closed,
    /// A defect of ours.
    #[error("internal error: {message}")]
    Internal {
        /// What went wrong.
        message: String,
    },
}

/// What the sender must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Fix the request; never retry it.
    Invalid,
    /// Slow down and retry.
    Full,
    /// Retry.
    Unavailable,
    /// Retry elsewhere or later.
    Closed,
    /// Our defect; a retry would meet it again.
    Internal,
}

/// A refusal in the words of both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) http: StatusCode,
    pub(crate) grpc: Code,
    /// Sent as `Retry-After` and as RetryInfo; without it gRPC senders back off as they like.
    pub(crate) retry_after: Option<Duration>,
}

/// What a sender waits when storage is away, and while another process takes over.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(2);

impl Refusal {
    /// What the sender must do.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Malformed { .. }
            | Self::MediaType { .. }
            | Self::Encoding { .. }
            | Self::TooLarge { .. }
            | Self::NotStored(_) => RefusalKind::Invalid,
            Self::Full { .. } => RefusalKind::Full,
            Self::Slow(_) | Self::Broken { .. } | Self::Unavailable { .. } => RefusalKind::Unavailable,
            Self::Closed => RefusalKind::Closed,
            Self::Internal { .. } => RefusalKind::Internal,
        }
    }

    /// The value of the `reason` label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::MediaType { .. } => "media_type",
            Self::Encoding { .. } => "encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Slow(_) => "slow",
            Self::Broken { .. } => "broken",
            Self::NotStored(_) => "not_stored",
            Self::Full { .. } => "full",
            Self::Unavailable { .. } => "unavailable",
            Self::Closed => "closed",
            Self::Internal { .. } => "internal",
        }
    }

    /// The codes of both protocols. Nothing else in the edge chooses a code.
    pub(crate) fn codes(&self) -> Codes {
        let (http, grpc, retry_after) = match self {
            Self::Malformed { .. } => (StatusCode::BAD_REQUEST, Code::InvalidArgument, None),
            Self::MediaType { .. } | Self::Encoding { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, None)
            }
            // Without RetryInfo this is permanent for senders.
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, None),
            Self::Slow(_) => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, None),
            Self::Broken { .. } => (StatusCode::BAD_REQUEST, Code::Cancelled, None),
            Self::NotStored(_) => (StatusCode::NOT_FOUND, Code::Unimplemented, None),
            Self::Full { retry_after, .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(*retry_after)),
            Self::Unavailable { .. } | Self::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(RETRY_UNAVAILABLE))
            }
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, None),
        };
        Codes { http, grpc, retry_after }
    }
}

impl From<SinkError> for Refusal {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Full { reason, retry_after } => Self::Full { message: reason, retry_after },
            SinkError::Unavailable { reason } => Self::Unavailable { message: reason },
            SinkError::Closed => Self::Closed,
            SinkError::Internal { reason } => Self::Internal { message: reason },
        }
    }
}
