//! The frame: one [`Batch`](crate::Batch) as bytes, on the push stream, in the agent's queue and in the
//! collector's write-ahead log.
//!
//! Frames are stateful. An *epoch* is an [`Encoder`] and the [`Decoder`] that is given its frames, all of them, in
//! order; resources, scopes, series, attribute keys and values are defined once per epoch and referenced after
//! that. A queue or log segment is an epoch, so each segment can be read alone. The decoder notices a frame that is
//! missing, damaged or from another epoch, and then refuses everything up to the next frame that starts afresh:
//! wrong data never comes out of it.
//!
//! ```text
//! frame (format 1; numbers little-endian)
//! ┌────────┬─────────┬─────────────────────┬──────────┬──────────┬─────────┬───────────────────────┐
//! │ magic  │ version │ flags u8            │ sequence │ body     │ crc32 of│ body, zstd level 1    │
//! │ "WF"   │ u8 = 1  │ 1 starts afresh     │ u32      │ bytes u32│ body u32│ (as it is, without    │
//! │        │         │ 2 body is zstd      │          │          │         │  flag 2)              │
//! │        │         │ 4 histograms marked │          │          │         │                       │
//! └────────┴─────────┴─────────────────────┴──────────┴──────────┴─────────┴───────────────────────┘
//! body
//! ┌────────┬─────────────────────────┬─────────────┬────────┬─────────┬────────────┬───────────┬───────┐
//! │ counts │ attributes, texts       │ definitions │ series │ numbers │ histograms │ exemplars │ spans │
//! │        │ (attributes.rs)         │             │        │ (points.rs)                       │(spans)│
//! └────────┴─────────────────────────┴─────────────┴────────┴─────────┴────────────┴───────────┴───────┘
//! counts       varints, in the order of `Counts`
//! definitions  of new series: kind, temporality, resource, scope columns. Names, units, versions are texts; new
//!              resources and scopes are nothing but attributes and texts.
//! ```
//! Sequence counts from 0 where an epoch starts afresh. Columns choose their own form (`column`), so the format
//! says what a number means and not how it is packed. Fingerprints do not cross: the decoder computes them, once
//! per definition, and so trusts nobody.
//!
//! Who owns what: the encoder keeps its decoder's dictionary in mirror. If a frame that it made does not reach the
//! decoder (the disk was full), [`Encoder::restart`] must be called: the next frame then starts afresh. The encoder
//! does so by itself when the dictionary has grown past its bound. Rejected: Arrow IPC (7.1 against 4.3 bytes a
//! point, 12 times the encoding time), one zstd stream per epoch (a reader could not skip, a lost frame loses all).

mod attributes;
mod bytes;
mod check;
mod column;
mod decode;
mod dictionary;
mod encode;
mod points;
mod spans;
#[cfg(test)]
mod tests;
mod value;

pub use decode::Decoder;
pub use encode::Encoder;

use crate::read::ErrorKind;
use bytes::{Cursor, put_varint};

/// The first two bytes of a frame.
pub const MAGIC: [u8; 2] = *b"WF";

/// The format that is written.
pub const VERSION: u8 = 1;

/// Bytes before the body.
const HEADER_BYTES: usize = 16;

/// The frame needs nothing from before.
const FLAG_AFRESH: u8 = 1;

/// The body is compressed.
const FLAG_ZSTD: u8 = 2;

/// The histograms are followed by a column of their marks (`HistogramMarks`), one per row.
const FLAG_MARKS: u8 = 4;

/// A body is never longer. An OTLP request of this size makes a body of a quarter.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// A decoded batch never takes more memory, dictionary entries included.
pub const BATCH_BYTES_MAX: usize = 192 << 20;

/// An encoder starts afresh when its dictionary has grown to this; about a million series.
pub const DICTIONARY_BYTES_MAX: usize = 256 << 20;

/// What can be wrong with a frame, or with a batch that should become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are not a frame's.
    #[error("not a frame: it begins with {0:02x?}")]
    NotAFrame([u8; 2]),
    /// Written by a newer Weir.
    #[error("frame format {0} is not known; this version reads format {VERSION}")]
    Version(u8),
    /// The bytes end too early.
    #[error("frame is cut off at byte {at}")]
    Truncated {
        /// Offset in the body.
        at: usize,
    },
    /// The body is not what was written.
    #[error("frame is damaged: {0}")]
    Damaged(&'static str),
    /// The bytes make no sense.
    #[error("frame is malformed at byte {at}: {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
        /// Offset in the body.
        at: usize,
    },
    /// A frame before this one is missing or could not be read.
    #[error("frame {found} follows frame {expected} of its epoch, which is missing or could not be read")]
    Gap {
        /// The frame that should have come.
        expected: u32,
        /// The frame that came.
        found: u32,
    },
    /// More than the bounds allow.
    #[error("{what} of {bytes} bytes is too big: {left} bytes are allowed")]
    TooBig {
        /// What was too big.
        what: &'static str,
        /// How big it is.
        bytes: usize,
        /// What would have been allowed.
        left: usize,
    },
    /// The batch to be encoded is not consistent: our bug.
    #[error("batch cannot be encoded: {what}")]
    BadBatch {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl FrameError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooBig { .. } | Self::BadBatch { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Corrupt,
        }
    }
}

/// How many of everything a frame holds; its first numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    new_resources: usize,
    new_scopes: usize,
    new_series: usize,
    series: usize,
    numbers: usize,
    histograms: usize,
    layouts: usize,
    exemplars: usize,
    spans: usize,
    span_resources: usize,
    span_scopes: usize,
    events: usize,
    links: usize,
}

/// The dictionaries of one batch as the epoch numbers them.
#[derive(Default)]
struct Numbered {
    series_list: usize,
    series: Vec<u32>,
    span_resources: Vec<u32>,
    span_scopes: Vec<u32>,
}

impl Counts {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { new_resources, new_scopes, new_series, series, numbers, histograms, layouts, .. } = *self;
        let Self { exemplars, spans, span_resources, span_scopes, events, links, .. } = *self;
        for count in [new_resources, new_scopes, new_series, series, numbers, histograms, layouts] {
            put_varint(count as u64, out);
        }
        for count in [exemplars, spans, span_resources, span_scopes, events, links] {
            put_varint(count as u64, out);
        }
    }

    /// Reads the counts, each charged with the memory that its rows will take while they are decoded.
    fn take(cursor: &mut Cursor<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            new_resources: cursor.count(dictionary::DEFINITION_BYTES)?,
            new_scopes: cursor.count(dictionary::DEFINITION_BYTES)?,
            new_series: cursor.count(dictionary::DEFINITION_BYTES)?,
            series: cursor.count(16)?,
            numbers: cursor.count(64)?,
            histograms: cursor.count(192)?,
            layouts: cursor.count(96)?,
            exemplars: cursor.count(96)?,
            spans: cursor.count(256)?,
            span_resources: cursor.count(16)?,
            span_scopes: cursor.count(16)?,
            events: cursor.count(64)?,
            links: cursor.count(64)?,
        })
    }

    /// How many attribute owners there are (see `attributes`).
    fn owners(&self) -> usize {
        self.new_resources + self.new_scopes + self.new_series + self.exemplars + self.spans + self.events + self.links
    }

    /// How often each text column occurs.
    fn texts(&self) -> [usize; dictionary::TEXTS] {
        let Self { new_series, new_scopes, spans, events, links, .. } = *self;
        [new_series, new_series, new_scopes, new_scopes, spans, spans, spans, events, links]
    }
}
