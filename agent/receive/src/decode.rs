//! Bodies to batches, off the async threads, by a bounded pool of stateful readers.
//!
//! A reader remembers the series that it has seen, so it is worth keeping; the pool is a stack, so that under light
//! load one reader sees everything and its table is warm, and only as many readers exist as ever worked at once.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use weir_proto::Batch;
use weir_proto::otlp::{MetricsReader, ReadError, ReaderLimits, Refused, TracesReader};

use crate::admission::Reservation;
use crate::body::{Coding, inflate};
use crate::json;
use crate::receiver::Signal;
use crate::refusal::Refusal;

/// Plain bodies up to this size are read where they are: ~100 µs, which is less than handing them to another thread
/// and back is worth.
const INLINE_PLAIN_BYTES: usize = 32 * 1024;
/// The same for compressed ones, which grow.
const INLINE_COMPRESSED_BYTES: usize = 2 * 1024;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// One body and what is known about it.
pub(crate) struct Payload {
    pub(crate) signal: Signal,
    pub(crate) format: Format,
    pub(crate) coding: Coding,
    pub(crate) bytes: Bytes,
    /// Held until the batch is durable: a batch is about as large as its body.
    pub(crate) reservation: Reservation,
}

/// One body, read.
pub(crate) struct Decoded {
    pub(crate) batch: Batch,
    pub(crate) refused: Refused,
    pub(crate) reservation: Reservation,
}

/// The pool.
pub(crate) struct Readers {
    limits: ReaderLimits,
    decoded_bytes_max: usize,
    /// As many as may work at once.
    permits: Semaphore,
    /// Idle readers; locked for a push or a pop only.
    metrics: Mutex<Vec<MetricsReader>>,
    traces: Mutex<Vec<TracesReader>>,
}

impl Readers {
    pub(crate) fn new(readers_max: usize, limits: ReaderLimits, decoded_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            decoded_bytes_max,
            permits: Semaphore::new(readers_max.max(1)),
            metrics: Mutex::default(),
            traces: Mutex::default(),
        })
    }

    /// Inflates and reads one body.
    ///
    /// # Errors
    /// Malformed, `TooLarge`, Full; Internal when a reader panicked.
    pub(crate) async fn decode(self: &Arc<Self>, payload: Payload) -> Result<Decoded, Refusal> {
        let _permit = self.permits.acquire().await.map_err(|_| Refusal::Closed)?;
        let inline_max = match (payload.coding, payload.format) {
            (Coding::Identity, Format::Protobuf) => INLINE_PLAIN_BYTES,
            _ => INLINE_COMPRESSED_BYTES,
        };
        if payload.bytes.len() <= inline_max {
            return self.decode_here(payload);
        }
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || readers.decode_here(payload))
            .await
            .unwrap_or_else(|error| Err(Refusal::Internal { message: format!("reading a request failed: {error}") }))
    }

    fn decode_here(&self, payload: Payload) -> Result<Decoded, Refusal> {
        let Payload { signal, format, coding, bytes, mut reservation } = payload;
        let mut bytes = inflate(coding, bytes, self.decoded_bytes_max, &mut reservation)?;
        if format == Format::Json {
            bytes = json::to_protobuf(signal, &bytes)?;
        }
        let mut batch = Batch::default();
        let refused = match signal {
            Signal::Metrics => with_reader(
                &self.metrics,
                || MetricsReader::new(self.limits.clone()),
                |reader| reader.read(&bytes, &mut batch.metrics),
            ),
            Signal::Traces => with_reader(
                &self.traces,
                || TracesReader::new(self.limits.clone()),
                |reader| reader.read(&bytes, &mut batch.spans),
            ),
            Signal::Logs => return Err(Refusal::NotStored(signal)),
        };
        let refused = refused.map_err(|error| malformed(signal, &error))?;
        Ok(Decoded { batch, refused, reservation })
    }
}

/// Lends an idle reader, or a new one, to `read`. A reader that fails is kept: it has only refused some bytes.
fn with_reader<R, T>(idle: &Mutex<Vec<R>>, make: impl FnOnce() -> R, read: impl FnOnce(&mut R) -> T) -> T {
    let popped = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut reader = popped.unwrap_or_else(make);
    let outcome = read(&mut reader);
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    outcome
}

fn malformed(signal: Signal, error: &ReadError) -> Refusal {
    Refusal::Malformed { message: format!("the body is not an OTLP {} request: {error}", signal.as_str()) }
}
