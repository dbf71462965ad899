//! The decoder's half of an epoch.

use std::sync::Arc;

use super::attributes::Taken;
use super::bytes::Cursor;
use super::dictionary::{DEFINITION_BYTES, LastPoint, Told, number, text};
use super::points::{column, narrow};
use super::{BATCH_BYTES_MAX, BODY_BYTES_MAX, Counts, DICTIONARY_BYTES_MAX, FLAG_AFRESH, FLAG_MARKS, FLAG_ZSTD};
use super::{FrameError, MAGIC, VERSION, points, spans};
use crate::attribute::Attributes;
use crate::batch::Batch;
use crate::identity::{MetricKind, Resource, Scope, SeriesIdentity, SeriesParts, Temporality};

/// Turns the frames of an epoch, in order, back into batches. Never panics and never allocates much, whatever the
/// bytes are.
pub struct Decoder {
    told: Told,
    /// The frame that must come next; `None` after an error: only one that starts afresh will do.
    expected: Option<u32>,
    last_expected: u32,
    body: Vec<u8>,
    zstd: zstd::bulk::Decompressor<'static>,
    dictionary_bytes_max: usize,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("expected", &self.expected).field("bytes", &self.told.bytes).finish()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of a frame's header.
struct Header {
    flags: u8,
    sequence: u32,
    body_bytes: usize,
    crc: u32,
}

impl Decoder {
    /// Begins an epoch.
    ///
    /// # Panics
    /// When there is no memory for a decompressor.
    #[must_use]
    pub fn new() -> Self {
        Self {
            told: Told::new(),
            expected: Some(0),
            last_expected: 0,
            body: Vec::new(),
            zstd: zstd::bulk::Decompressor::new().expect("there is memory at the start"),
            // An encoder looks at its bound before a batch, so one batch may go past it.
            dictionary_bytes_max: DICTIONARY_BYTES_MAX + BATCH_BYTES_MAX,
        }
    }

    /// The same with another bound on the dictionary.
    #[must_use]
    pub fn with_dictionary_bytes_max(mut self, bytes: usize) -> Self {
        self.dictionary_bytes_max = bytes;
        self
    }

    /// The batch that `payload`, one whole frame, holds.
    ///
    /// # Errors
    /// Anything in [`FrameError`]. After one, only a frame that starts afresh is taken.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Batch, FrameError> {
        let mut body = std::mem::take(&mut self.body);
        let decoded = self.open(payload, &mut body).and_then(|header| {
            let batch = self.take_body(&body, header.flags & FLAG_MARKS != 0)?;
            Ok((batch, header.sequence))
        });
        self.body = body;
        if let Ok((batch, sequence)) = decoded {
            self.expected = sequence.checked_add(1);
            self.last_expected = sequence.saturating_add(1);
            return Ok(batch);
        }
        self.expected = None;
        decoded.map(|(batch, _)| batch)
    }

    /// Memory that the dictionary is counted as.
    #[must_use]
    pub fn dictionary_bytes(&self) -> usize {
        self.told.bytes
    }

    /// Unpacks and verifies the body.
    fn open(&mut self, payload: &[u8], body: &mut Vec<u8>) -> Result<Header, FrameError> {
        let mut cursor = Cursor::new(payload, 0);
        let header = take_header(&mut cursor)?;
        if header.flags & FLAG_AFRESH != 0 {
            self.told = Told::new();
            self.expected = Some(header.sequence);
        }
        if self.expected != Some(header.sequence) {
            return Err(FrameError::Gap { expected: self.last_expected, found: header.sequence });
        }
        let packed = &payload[super::HEADER_BYTES..];
        if header.flags & FLAG_ZSTD == 0 {
            body.clear();
            body.extend_from_slice(packed);
        } else {
            body.resize(header.body_bytes, 0);
            let written = self.zstd.decompress_to_buffer(packed, body.as_mut_slice());
            body.truncate(written.map_err(|_| FrameError::Damaged("its body does not decompress"))?);
        }
        if body.len() != header.body_bytes {
            return Err(FrameError::Damaged("its body is not as long as was said"));
        }
        if crc32fast::hash(body) != header.crc {
            return Err(FrameError::Damaged("its checksum does not match"));
        }
        Ok(header)
    }

    fn take_body(&mut self, body: &[u8], marked: bool) -> Result<Batch, FrameError> {
        let told = &mut self.told;
        let cursor = &mut Cursor::new(body, BATCH_BYTES_MAX);
        let counts = Counts::take(cursor)?;
        let mut taken = Taken::take(cursor, told, counts.owners(), counts.texts())?;
        take_definitions(cursor, told, &counts, &mut taken)?;
        if told.bytes > self.dictionary_bytes_max {
            let (bytes, left) = (told.bytes, self.dictionary_bytes_max);
            return Err(FrameError::TooBig { what: "dictionary of an epoch", bytes, left });
        }
        let mut batch = Batch::default();
        let numbers = points::take_series(cursor, told, counts.series)?;
        batch.metrics.series = numbers.iter().map(|&at| Arc::clone(&told.series[at as usize])).collect();
        batch.metrics.numbers = points::take_numbers(cursor, told, &numbers, counts.numbers)?;
        let histograms = (counts.histograms, counts.layouts);
        batch.metrics.histograms = points::take_histograms(cursor, told, &numbers, histograms)?;
        if marked {
            batch.metrics.histograms.marks = points::take_marks(cursor, counts.histograms)?;
        }
        let mut exemplars = points::take_exemplars(cursor, numbers.len(), counts.exemplars)?;
        for _ in 0..counts.exemplars {
            exemplars.attributes.extend(taken.next_owner(told));
            exemplars.attribute_offsets.push(number(exemplars.attributes.len()));
        }
        batch.metrics.exemplars = exemplars;
        batch.spans = spans::take_spans(cursor, told, &counts, &mut taken)?;
        if !cursor.is_at_end() {
            return Err(cursor.malformed("bytes after the end"));
        }
        Ok(batch)
    }
}

fn take_header(cursor: &mut Cursor<'_>) -> Result<Header, FrameError> {
    let magic = cursor.array()?;
    if magic != MAGIC {
        return Err(FrameError::NotAFrame(magic));
    }
    let version = cursor.byte()?;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let flags = cursor.byte()?;
    let sequence = u32::from_le_bytes(cursor.array()?);
    let body_bytes = u32::from_le_bytes(cursor.array()?) as usize;
    let crc = u32::from_le_bytes(cursor.array()?);
    if body_bytes > BODY_BYTES_MAX {
        return Err(FrameError::TooBig { what: "frame", bytes: body_bytes, left: BODY_BYTES_MAX });
    }
    Ok(Header { flags, sequence, body_bytes, crc })
}

fn take_definitions(
    cursor: &mut Cursor<'_>,
    told: &mut Told,
    counts: &Counts,
    taken: &mut Taken,
) -> Result<(), FrameError> {
    for _ in 0..counts.new_resources {
        let attributes = Attributes::new(taken.next_owner(told));
        told.resources.push(Arc::new(Resource { attributes }));
    }
    for _ in 0..counts.new_scopes {
        let attributes = Attributes::new(taken.next_owner(told));
        let (name, version) =
            (taken.texts[text::SCOPE_NAME].next_text()?, taken.texts[text::SCOPE_VERSION].next_text()?);
        told.scopes.push(Arc::new(Scope { name, version, attributes }));
    }
    let n = counts.new_series;
    let (kinds, temporalities) = (column(cursor, n)?, column(cursor, n)?);
    let resources = narrow(cursor, n, told.resources.len(), "series of a resource that was never defined")?;
    let scopes = narrow(cursor, n, told.scopes.len(), "series of a scope that was never defined")?;
    for row in 0..n {
        let attributes = Attributes::new(taken.next_owner(told));
        let kind = u8::try_from(kinds[row]).ok().and_then(MetricKind::from_u8);
        let temporality = u8::try_from(temporalities[row]).ok().and_then(Temporality::from_u8);
        let (Some(kind), Some(temporality)) = (kind, temporality) else {
            return Err(cursor.malformed("series of an unknown kind"));
        };
        told.bytes += DEFINITION_BYTES + 16 * attributes.len();
        told.series.push(Arc::new(SeriesIdentity::new(SeriesParts {
            name: taken.texts[text::SERIES_NAME].next_text()?,
            unit: taken.texts[text::SERIES_UNIT].next_text()?,
            kind,
            temporality,
            resource: Arc::clone(&told.resources[resources[row] as usize]),
            scope: Arc::clone(&told.scopes[scopes[row] as usize]),
            attributes,
        })));
        told.last.push(LastPoint::new(temporality));
    }
    told.bytes += (counts.new_resources + counts.new_scopes) * DEFINITION_BYTES;
    Ok(())
}
