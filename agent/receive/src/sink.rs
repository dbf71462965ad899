//! Where batches go, and who sent them. The agent's batcher and the collector's ingest are the two sinks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_proto::{Batch, Resource, semconv};

use crate::receiver::Signal;

/// Takes batches into something durable.
pub trait Sink: Send + Sync + 'static {
    /// Takes one batch; returns only when it is durable, since the sender is told so.
    ///
    /// Cancel safety: a sender that hangs up drops the future; the batch may then have been taken or not.
    fn accept(&self, batch: Batch, from: &Sender) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Told what was not taken and why: a whole request, or single points of one that was taken.
    fn refused(&self, from: &Sender, what: &NotTaken<'_>) {
        let _ = (from, what);
    }
}

/// What was refused of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken<'a> {
    /// What the request carried.
    pub signal: Signal,
    /// How many points, spans or parts of them; 0 when the whole request was refused unread.
    pub items: u64,
    /// A stable word for counters.
    pub reason: &'static str,
    /// What the sender was told.
    pub message: &'a str,
}

/// Why a sink did not take a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Bounded storage has no room; the sender is asked to come back.
    #[error("full: {reason}")]
    Full {
        /// What is full.
        reason: String,
        /// How long the sender should wait.
        retry_after: Duration,
    },
    /// Storage is not there at the moment.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// Shutting down.
    #[error("closed: shutting down")]
    Closed,
    /// A defect of ours.
    #[error("internal error: {reason}")]
    Internal {
        /// What went wrong.
        reason: String,
    },
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    HttpProtobuf,
    /// OTLP/HTTP with JSON bodies.
    HttpJson,
}

/// Who sent a batch, as far as the request tells; for the doctor, not for access control.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The other end of the connection; `None` when not served over TCP.
    pub peer: Option<SocketAddr>,
    /// How it came in.
    pub protocol: Protocol,
    /// `namespace/name` or `name` of the services whose resources are in the batch, at most 16.
    pub services: Vec<Arc<str>>,
}

/// Most services noted of one batch. A gateway may send hundreds; the doctor needs some.
pub(crate) const SERVICES_MAX: usize = 16;

impl Protocol {
    /// The value of the `protocol` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }
}

impl Sender {
    /// Notes the services that `batch` names.
    pub(crate) fn note(&mut self, batch: &Batch) {
        let mut last: *const Resource = std::ptr::null();
        let of_metrics = batch.metrics.series.iter().map(|series| &series.resource);
        for resource in of_metrics.chain(&batch.spans.resources) {
            // Series of one resource follow each other, so this skips nearly all of them.
            if std::ptr::eq(last, Arc::as_ptr(resource)) {
                continue;
            }
            last = Arc::as_ptr(resource);
            self.note_resource(resource);
        }
    }

    fn note_resource(&mut self, resource: &Resource) {
        let text = |key| resource.attributes.find(key).and_then(weir_proto::Value::as_str);
        let Some(name) = text(semconv::SERVICE_NAME) else { return };
        let service = match text(semconv::SERVICE_NAMESPACE) {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        };
        if self.services.len() < SERVICES_MAX && !self.services.iter().any(|known| **known == *service) {
            self.services.push(service.into());
        }
    }
}
