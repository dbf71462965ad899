//! Spans: a memtable, parts of three tables, and the reads over both.
//!
//! ```text
//! SpanBatch ─▶ SpanMemtable ──write_parts──▶ traces/{day}/L0-{id}/{spans,resources,traces}.parquet ◀──merge_parts
//!                    │                                        │
//!                    └────────── TracesView ──────────────────┘  trace by id, traces of a service, SQL
//! ```
//! `spans` is sorted by (service_name, start, trace_id, span_id): a search of one service reads only its pages, and
//! the same span sent twice lies beside itself and is dropped when a part is written. A trace is found through a
//! filter over trace ids per part (in memory, 9 bits a trace), then its row in `traces`, which names the services
//! and the time that its spans lie in, then the few pages of `spans` where these meet. Sorting by trace id instead
//! would make that read smaller, a constant, and every search larger by what is retained (measured: 23 to 110
//! times), so it was not done.
//!
//! | module | |
//! |---|---|
//! | `memtable` | what is not yet in a part |
//! | `encode`, `maps`, `lists`, `json` | rows of batches to record batches |
//! | `decode` | record batches back to batches |
//! | `summary` | rows of `traces` |
//! | `write` | one part from sorted record batches; `write_parts` of a memtable |
//! | `merge` | one part from several |
//! | `read` | one part: filter, page pruning, rows of a trace |
//! | `view`, `search` | memtables and parts together |

mod decode;
mod encode;
mod json;
mod lists;
mod maps;
mod memtable;
mod merge;
mod read;
mod search;
mod summary;
mod view;
mod write;

pub use memtable::SpanMemtable;
pub(crate) use merge::merge_parts;
pub use read::SpanPart;
pub use search::{EntrySpan, ServiceSearch, ServiceTrace, TraceOrder};
pub use summary::{Root, TraceSummary};
pub use view::TracesView;
pub(crate) use write::write_parts;

/// Rows of a record batch: large enough that a column's cost per batch vanishes, small enough to stay in cache.
const CHUNK_ROWS: usize = 8_192;
/// Bytes of attribute text after which a record batch ends early.
const CHUNK_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests;
