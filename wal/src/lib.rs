//! A segmented, checksummed, append-only log: the agent's disk queue and the collector's write-ahead log. What goes
//! in is bytes; what comes out is the same bytes, each record under the position that it was given at append.
//!
//! ```text
//!   append ─▶ active segment ── rotate ─▶ sealed ─┬─ every record acked ─▶ file removed
//!             00000000000004711.wal               └─ reader, in order, newest segment first if one likes
//!
//!   segment file: header 24 bytes, then records (numbers little-endian)
//!   ┌────────────┬───────────┬─────────────────────┬───────────────┐   ┌─────────┬──────────────┬──────────┬─────────┐
//!   │ "WEIRWAL\0"│ version   │ position of the     │ crc32 of the  │ + │ bytes of│ crc32 of all │ position │ payload │ *
//!   │ 8 bytes    │ u32 = 1   │ first record u64    │ 20 before u32 │   │ payload │ but itself   │ u64      │         │
//!   └────────────┴───────────┴─────────────────────┴───────────────┘   │ u32     │ u32          │          │         │
//!                                                                      └─────────┴──────────────┴──────────┴─────────┘
//! ```
//! [`Wal`] is synchronous, has one owner and no threads: group commit is the owner's loop of `append … append,
//! sync`. One process per directory (flock).
//!
//! **Durable** is a record after the [`Wal::sync`] that followed it. A created, renamed or removed file is followed
//! by an fsync of the directory. After a failed fsync nothing is known about the pages behind it, so the records
//! since the last good one are cut off and the segment is not appended to again.
//!
//! **Positions** rise by one within a segment and are never used twice, restarts included: the newest segment file,
//! whose name is its first position, is kept even when it is fully acked; a restart begins a new segment some way
//! beyond everything that the old one can have given out; an empty directory begins at
//! [`WalOptions::first_position`].
//!
//! **Acks** are per record, in any order, and kept in memory: after a restart a segment that was not fully acked is
//! delivered again, and the receiver drops what it has. A segment goes when its last record is acked; one cursor
//! over the whole log would keep everything behind one slow record.
//!
//! **Recovery** never refuses. A record that was being written (nothing valid behind it) is cut off. Damage inside
//! a segment is not a torn tail: the file is renamed `*.corrupt`, its records before the damage are written again
//! as a segment of their own, and both are counted in [`Recovery`].

mod error;
mod log;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;

pub use error::{ErrorKind, WalError};
pub use log::{SegmentStatus, Wal, WalOptions};
pub use recover::{Quarantined, Recovery};
pub use segment::{Record, SegmentReader};
