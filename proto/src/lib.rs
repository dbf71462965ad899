//! The meaning of bytes. What enters Weir (OTLP, exposition pages, the push stream) becomes a
//! [`Batch`] of columns here, and what Weir stores has its schema, its identity and its names here.
//!
//! ```text
//!   OTLP bytes ──▶ otlp::{MetricsReader, TracesReader} ─┐
//!   remote write ─▶ remote_write::RequestReader ────────┤
//!   GET /metrics ─▶ exposition::PageReader ─────────────┼─▶ Batch ─▶ frame::Encoder ─▶ bytes on disk and wire
//!   push stream, WAL ─▶ frame::Decoder ─────────────────┘      │
//!                                                              └─▶ schema::* (Parquet tables)
//! ```
//! Pure: no sockets, files, clocks or runtime. Time and randomness are arguments.

pub mod attribute;
pub mod batch;
pub mod config;
pub mod exposition;
pub mod frame;
pub mod identity;
pub mod names;
pub mod otlp;
pub mod prometheus;
pub mod push;
mod raw_table;
pub mod read;
pub mod remote_write;
pub mod schema;
pub mod semconv;

pub use attribute::{Attributes, KeyValue, Value};
pub use batch::{
    Batch, ExemplarColumns, HistogramColumns, HistogramLayout, HistogramMarks, MetricBatch, NumberColumns, ResetHint,
    SpanBatch, SpanEvents, SpanLinks,
};
pub use identity::{Fingerprint, MetricKind, Resource, Scope, SeriesIdentity, Temporality};
