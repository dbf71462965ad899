//! OTLP, read straight from the protobuf wire into columns.
//!
//! ```text
//! ExportMetricsServiceRequest ─▶ MetricsReader ─▶ MetricBatch     resource ▶ scope ▶ metric ▶ points
//! ExportTraceServiceRequest ───▶ TracesReader ──▶ SpanBatch       resource ▶ scope ▶ spans ▶ events, links
//! ```
//! No message is built: `wire` hands out slices of the body, the readers push numbers into columns, and texts are
//! decoded only when their bytes were not seen before. A reader is stateful and has one owner; readers of different
//! connections need not share.
//!
//! **Broken against refused.** Bytes that are not protobuf fail the body ([`ReadError`]), and the batch is left as
//! it was. A point or span that is protobuf and yet cannot be kept (no time, bad id, bounds that do not fit) is
//! refused alone and counted in [`Refused`]; everything else of the body is kept.
//!
//! Ignored because nothing reads them: descriptions, schema URLs, metric metadata, dropped-attribute counts of
//! resources and scopes, entity references.
//! Source: opentelemetry-proto 1.10, `collector/{metrics,trace}/v1`, `metrics/v1`, `trace/v1`, `common/v1`.

mod attributes;
mod exemplar;
mod histogram;
mod layout;
mod memory;
mod metrics;
mod number;
pub(crate) mod rollback;
mod span_parts;
mod traces;
pub(crate) mod wire;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use metrics::MetricsReader;
pub use traces::TracesReader;

pub use crate::read::{ReadError, Refused};

/// What a reader takes and remembers at most. Raising a limit costs memory, lowering it refuses input.
#[derive(Clone, Debug)]
pub struct ReaderLimits {
    /// Size of one decompressed body.
    pub body_bytes_max: usize,
    /// Attributes of one resource, scope, point, span, event, link or exemplar.
    pub attributes_max: usize,
    /// Length of an attribute's key.
    pub key_bytes_max: usize,
    /// Length of an attribute's value as sent.
    pub value_bytes_max: usize,
    /// Members of one array or map value.
    pub values_max: usize,
    /// All attribute bytes of one metric point.
    pub identity_bytes_max: usize,
    /// Buckets of one histogram point.
    pub buckets_max: usize,
    /// Byte forms of series that are remembered; past it all are forgotten and learnt again.
    pub series_remembered_max: usize,
    /// Raw identity bytes that are remembered.
    pub bytes_remembered_max: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 256 << 20,
            attributes_max: 1_024,
            key_bytes_max: 1_024,
            value_bytes_max: 1 << 20,
            values_max: 4_096,
            identity_bytes_max: 64 << 10,
            buckets_max: 4_096,
            series_remembered_max: 1_000_000,
            bytes_remembered_max: 256 << 20,
        }
    }
}

/// A length as a row number.
///
/// # Panics
/// Past 2^32 rows: a row takes at least one byte of a body, and bodies are capped far below.
fn row(len: usize) -> u32 {
    u32::try_from(len).expect("a batch has fewer than 2^32 rows, since bodies are capped")
}

/// Turns a broken piece into an error with its offset into `body`.
fn broken(body: &[u8], error: wire::WireError) -> ReadError {
    ReadError::NotProtobuf { at: error.address.saturating_sub(body.as_ptr() as usize), what: error.what }
}

/// A wire time as nanoseconds since the epoch.
fn time(nanoseconds: u64) -> Result<i64, attributes::Fault> {
    i64::try_from(nanoseconds).map_err(|_| attributes::Fault::Refuse(crate::read::Reason::TimeOutOfRange))
}
