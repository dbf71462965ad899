//! One request from its body to durable and counted: the path that both protocols share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use metrics::counter;
use tonic::transport::server::TcpConnectInfo;
use weir_proto::names;
use weir_proto::otlp::{ReaderLimits, Refused};

use crate::admission::{Admission, Reservation};
use crate::body::BodyLimits;
use crate::decode::{Payload, Readers};
use crate::refusal::Refusal;
use crate::sink::{NotTaken, Protocol, Sender, Sink};

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct ReceiveSettings {
    /// Largest body as sent. Default 16 MiB; SDKs send up to some MiB, gateways more. Raised: more memory per request.
    pub body_bytes_max: usize,
    /// Largest body after decompression. Default 64 MiB, at most half of what may be in flight. Raised: a bomb may take as
    /// much.
    pub decoded_bytes_max: usize,
    /// All bodies in flight together. Default 128 MiB. Lowered: senders are told "full" earlier.
    pub in_flight_bytes_max: usize,
    /// How long a body may take to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// How many bodies are read at once. Default: the number of cores.
    pub readers_max: usize,
    /// Bounds of each reader.
    pub reader: ReaderLimits,
}

impl Default for ReceiveSettings {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            decoded_bytes_max: 64 << 20,
            in_flight_bytes_max: 128 << 20,
            body_timeout: Duration::from_secs(30),
            readers_max: std::thread::available_parallelism().map_or(2, usize::from),
            reader: ReaderLimits::default(),
        }
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric points.
    Metrics,
    /// Log records; refused until Weir stores them.
    Logs,
}

impl Signal {
    /// The value of the `signal` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    pub(crate) fn as_upper(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// The OTLP edge in front of one sink.
pub struct Receiver<S> {
    sink: Arc<S>,
    settings: ReceiveSettings,
    admission: Arc<Admission>,
    readers: Arc<Readers>,
}

impl<S: Sink> Receiver<S> {
    /// An edge in front of `sink`. It listens nowhere yet: see [`router`](crate::router) and [`serve`](crate::serve()).
    #[must_use]
    pub fn new(sink: Arc<S>, mut settings: ReceiveSettings) -> Arc<Self> {
        // A body larger than what may be in flight could never be taken; told "full", it would be retried for ever.
        let largest = settings.in_flight_bytes_max / 2;
        settings.body_bytes_max = settings.body_bytes_max.min(largest);
        settings.decoded_bytes_max = settings.decoded_bytes_max.min(largest);
        let admission = Admission::new(settings.in_flight_bytes_max);
        let readers = Readers::new(settings.readers_max, settings.reader.clone(), settings.decoded_bytes_max);
        Arc::new(Self { sink, settings, admission, readers })
    }

    pub(crate) fn body_limits(&self) -> BodyLimits {
        BodyLimits { body_bytes_max: self.settings.body_bytes_max, timeout: self.settings.body_timeout }
    }

    pub(crate) fn enter(&self) -> Reservation {
        self.admission.enter()
    }

    /// Reads `payload` and has it stored; returns what could not be taken of it.
    ///
    /// # Errors
    /// A refusal of the whole request.
    pub(crate) async fn take(&self, payload: Payload, from: &mut Sender) -> Result<Refused, Refusal> {
        let signal = payload.signal;
        counter!(names::RECEIVE_BODY_BYTES, "signal" => signal.as_str()).increment(payload.bytes.len() as u64);
        let decoded = self.readers.decode(payload).await?;
        from.note(&decoded.batch);
        let items = decoded.batch.metrics.points() + decoded.batch.spans.len();
        if items > 0 {
            self.sink.accept(decoded.batch, from).await?;
        }
        drop(decoded.reservation);
        counter!(names::RECEIVE_ITEMS, "signal" => signal.as_str()).increment(items as u64);
        self.count_refused_items(signal, &decoded.refused, from);
        Ok(decoded.refused)
    }

    /// Counts the request, and tells the sink when all of it was refused.
    pub(crate) fn finish(&self, signal: Signal, outcome: &Result<Refused, Refusal>, from: &Sender) {
        let label =
            outcome.as_ref().map_or_else(Refusal::reason, |refused| if refused.count == 0 { "ok" } else { "partial" });
        counter!(names::RECEIVE_REQUESTS, "protocol" => from.protocol.as_str(), "signal" => signal.as_str(), "outcome" => label)
            .increment(1);
        if let Err(refusal) = outcome {
            let message = refusal.to_string();
            tracing::debug!(peer = ?from.peer, signal = signal.as_str(), reason = label, %message, "request refused");
            self.sink.refused(from, &NotTaken { signal, items: 0, reason: label, message: &message });
        }
    }

    fn count_refused_items(&self, signal: Signal, refused: &Refused, from: &Sender) {
        for &(reason, count) in &refused.reasons {
            counter!(names::RECEIVE_REFUSED_ITEMS, "signal" => signal.as_str(), "reason" => reason).increment(count);
            self.sink.refused(from, &NotTaken { signal, items: count, reason, message: &refused.message });
        }
    }
}

/// Who sends, before the body is read.
pub(crate) fn sender_of(parts: &::http::request::Parts, protocol: Protocol) -> Sender {
    let by_tonic = parts.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let by_axum = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    Sender { peer: by_tonic.or_else(by_axum), protocol, services: Vec::new() }
}
