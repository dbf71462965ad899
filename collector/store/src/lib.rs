//! Memtable, flush, compaction, manifest, snapshots, retention: batches in, a consistent view of all of them out.
//!
//! ```text
//! append(Batch, Delivery) ─▶ writer thread: frame ─▶ WAL ─▶ fdatasync ─▶ memtables ─▶ answer
//!                                                                          │ freeze
//! snapshot() ◀─ memtables + parts ◀── one manifest commit ◀── flush ───────┘
//!                                └──── compaction, retention (their own thread)
//! ```
//! Each signal (metrics, traces) has its own memtable, parts and manifest; the log is shared. A commit carries the
//! log position up to which its signal is in parts, and a log segment goes when every signal is past it.
//!
//! On disk, under the data directory:
//!
//! ```text
//! weir.lock                                    one process
//! wal/                                         the log
//! catalog/{signal}/{version}                   the manifests
//! {signal}/{day}/L0-{id}/{table}.parquet       fresh parts
//! {signal}/{day}/{tenant}/L{n}-{id}/…          merged parts
//! quarantine/                                  what was found damaged
//! reserve                                      room for a flush on a full disk
//! ```
//! The seam between the signals: the writer thread calls `insert(&self, …)` of a memtable and nobody else does; a
//! memtable locks inside, is read by any thread, and gets nothing more once it is frozen. Flush calls
//! `write_parts(memtable)`, which writes one part per UTC day and syncs it; compaction calls `merge_parts(parts)`,
//! which makes one part of neighbours of a day. Both give back [`PartEntry`]s, which one commit makes live.

mod delivered;
mod durable;
mod error;
mod lane;
mod log;
mod maintain;
mod manifest;
mod metrics;
mod options;
mod part;
mod recover;
mod reserve;
mod shared;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod tiers;
mod traces;
mod writer;

pub use error::{ErrorKind, StoreError};
pub use metrics::{
    Column, Exemplar, HistogramChunk, HistogramPoint, IndexedSeries, LabelMatcher, LabelTest, METRIC_NAME, NumberChunk,
    NumberRow, NumberRows, RowValues, SeriesIndex, Starts, Timeline, merge_histograms, merge_numbers,
};
pub use options::{Appended, Clock, Delivery, FaultHook, StoreOptions, Tuning, Work, WorkKind, WorkObserver};
pub use part::{Part, PartEntry, PartFile, Signal, TENANT};
pub use snapshot::{Chunks, Partition, Snapshot};
pub use store::{PartsStatus, Store, StoreStatus};
pub use traces::{
    EntrySpan, Root, ServiceSearch, ServiceTrace, SpanMemtable, SpanPart, TraceOrder, TraceSummary, TracesView,
};
