//! The encoder's half of an epoch.

use std::sync::Arc;

use super::attributes::Collected;
use super::check::check;
use super::column::put_column;
use super::dictionary::{Known, text};
use super::{BODY_BYTES_MAX, Counts, DICTIONARY_BYTES_MAX, FLAG_AFRESH, FLAG_MARKS, FLAG_ZSTD, FrameError};
use super::{HEADER_BYTES, MAGIC, Numbered, VERSION, points, spans};
use crate::batch::Batch;
use crate::identity::{Resource, Scope, SeriesIdentity};

/// Bodies below this are not worth compressing.
const COMPRESS_FROM_BYTES: usize = 64;

/// Fast, and within a few per cent of the slower levels on columns like these.
const ZSTD_LEVEL: i32 = 1;

/// Turns the batches of an epoch into frames. One encoder per segment; not shared.
pub struct Encoder {
    known: Known,
    sequence: u32,
    body: Vec<u8>,
    zstd: zstd::bulk::Compressor<'static>,
    dictionary_bytes_max: usize,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("sequence", &self.sequence).field("bytes", &self.known.bytes).finish()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What is defined for the first time in a frame.
#[derive(Default)]
struct Definitions {
    resources: Vec<Arc<Resource>>,
    scopes: Vec<Arc<Scope>>,
    series: Vec<Arc<SeriesIdentity>>,
    series_resources: Vec<u64>,
    series_scopes: Vec<u64>,
}

impl Encoder {
    /// Begins an epoch.
    ///
    /// # Panics
    /// When there is no memory for a compressor.
    #[must_use]
    pub fn new() -> Self {
        Self {
            known: Known::new(),
            sequence: 0,
            body: Vec::new(),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("level 1 exists, and there is memory at the start"),
            dictionary_bytes_max: DICTIONARY_BYTES_MAX,
        }
    }

    /// The same with another bound on the dictionary.
    #[must_use]
    pub fn with_dictionary_bytes_max(mut self, bytes: usize) -> Self {
        self.dictionary_bytes_max = bytes.min(DICTIONARY_BYTES_MAX);
        self
    }

    /// Appends the frame of `batch` to `out`. The frame must reach the decoder; if it does not, call
    /// [`Self::restart`].
    ///
    /// # Errors
    /// [`FrameError::BadBatch`] for an inconsistent batch, [`FrameError::TooBig`] for one past the bounds. Nothing
    /// is appended then, and the next frame starts afresh.
    pub fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FrameError> {
        check(batch)?;
        if self.known.bytes > self.dictionary_bytes_max || self.sequence == u32::MAX {
            self.restart();
        }
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let written = self.put_body(batch, &mut body).and_then(|()| {
            let flags = if batch.metrics.histograms.marks.is_empty() { 0 } else { FLAG_MARKS };
            self.put_frame(flags, &body, out)
        });
        self.body = body;
        if written.is_err() {
            self.restart();
        }
        written
    }

    /// Forgets what the decoder knows: the next frame starts afresh. For when a frame was made but not kept.
    pub fn restart(&mut self) {
        self.known = Known::new();
        self.sequence = 0;
    }

    /// Memory that the dictionary is counted as.
    #[must_use]
    pub fn dictionary_bytes(&self) -> usize {
        self.known.bytes
    }

    fn put_frame(&mut self, flags: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(FrameError::TooBig { what: "frame", bytes: body.len(), left: BODY_BYTES_MAX });
        }
        let from = out.len();
        let body_bytes = u32::try_from(body.len()).expect("BODY_BYTES_MAX is below 4 GiB");
        let flags = flags | if self.sequence == 0 { FLAG_AFRESH } else { 0 };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&body_bytes.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        let at = out.len();
        if body.len() >= COMPRESS_FROM_BYTES {
            out.resize(at + zstd::zstd_safe::compress_bound(body.len()), 0);
            // Compression into a buffer of the bound does not fail; if it did, the body would go as it is.
            let written = self.zstd.compress_to_buffer(body, &mut out[at..]).unwrap_or(usize::MAX);
            if written < body.len() {
                out.truncate(at + written);
                out[from + 3] |= FLAG_ZSTD;
            } else {
                out.truncate(at);
            }
        }
        if out.len() == from + HEADER_BYTES {
            out.extend_from_slice(body);
        }
        self.sequence += 1;
        Ok(())
    }

    fn put_body(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut new = Definitions::default();
        let numbered = self.number(batch, &mut new);
        let known = &mut self.known;
        let mut collected = Collected::new(self.sequence + 1, known);
        collect_definitions(known, &new, &mut collected);
        let exemplars = &batch.metrics.exemplars;
        for owned in exemplars.attribute_offsets.windows(2) {
            collected.owner(known, &exemplars.attributes[owned[0] as usize..owned[1] as usize]);
        }
        if !batch.spans.is_empty() {
            spans::collect_attributes(known, &batch.spans, &mut collected);
            spans::collect_texts(known, &batch.spans, &mut collected);
        }
        count(batch, &new).put(out);
        collected.put(out)?;
        let column = |of: fn(&SeriesIdentity) -> u8| -> Vec<u64> { new.series.iter().map(|s| of(s).into()).collect() };
        put_column(&column(|series| series.kind as u8), out);
        put_column(&column(|series| series.temporality as u8), out);
        put_column(&new.series_resources, out);
        put_column(&new.series_scopes, out);
        points::put_series(known, numbered.series_list, &numbered.series, out);
        points::put_numbers(known, &numbered.series, &batch.metrics.numbers, out);
        points::put_histograms(known, &numbered.series, &batch.metrics.histograms, out);
        points::put_marks(&batch.metrics.histograms, out);
        points::put_exemplars(exemplars, out);
        spans::put_spans(&batch.spans, &numbered, out);
        Ok(())
    }

    /// Numbers everything that the batch refers to, and finds what is new.
    fn number(&mut self, batch: &Batch, new: &mut Definitions) -> Numbered {
        let known = &mut self.known;
        let (series_list, series) = points::number_series(known, &batch.metrics.series, &mut new.series);
        let mut numbered = Numbered { series_list, series, ..Numbered::default() };
        for series in &new.series {
            let resource = number_resource(known, &series.resource, &mut new.resources);
            new.series_resources.push(u64::from(resource));
            let scope = number_scope(known, &series.scope, &mut new.scopes);
            new.series_scopes.push(u64::from(scope));
        }
        if batch.spans.is_empty() {
            return numbered;
        }
        for resource in &batch.spans.resources {
            numbered.span_resources.push(number_resource(known, resource, &mut new.resources));
        }
        for scope in &batch.spans.scopes {
            numbered.span_scopes.push(number_scope(known, scope, &mut new.scopes));
        }
        numbered
    }
}

fn number_resource(known: &mut Known, resource: &Arc<Resource>, new: &mut Vec<Arc<Resource>>) -> u32 {
    let (number, is_new) = known.resource(resource);
    if is_new {
        new.push(Arc::clone(resource));
    }
    number
}

fn number_scope(known: &mut Known, scope: &Arc<Scope>, new: &mut Vec<Arc<Scope>>) -> u32 {
    let (number, is_new) = known.scope(scope);
    if is_new {
        new.push(Arc::clone(scope));
    }
    number
}

fn collect_definitions(known: &mut Known, new: &Definitions, collected: &mut Collected) {
    new.resources.iter().for_each(|resource| collected.owner(known, &resource.attributes));
    new.scopes.iter().for_each(|scope| collected.owner(known, &scope.attributes));
    new.series.iter().for_each(|series| collected.owner(known, &series.attributes));
    for scope in &new.scopes {
        for (column, content) in [(text::SCOPE_NAME, &scope.name), (text::SCOPE_VERSION, &scope.version)] {
            let rank = collected.place_text(known, column, content);
            collected.push_text(column, rank);
        }
    }
    for series in &new.series {
        for (column, content) in [(text::SERIES_NAME, &series.name), (text::SERIES_UNIT, &series.unit)] {
            let rank = collected.place_text(known, column, content);
            collected.push_text(column, rank);
        }
    }
}

fn count(batch: &Batch, new: &Definitions) -> Counts {
    let (metrics, spans) = (&batch.metrics, &batch.spans);
    let has_spans = !spans.is_empty();
    Counts {
        new_resources: new.resources.len(),
        new_scopes: new.scopes.len(),
        new_series: new.series.len(),
        series: metrics.series.len(),
        numbers: metrics.numbers.series.len(),
        histograms: metrics.histograms.series.len(),
        layouts: metrics.histograms.layouts.len(),
        exemplars: metrics.exemplars.series.len(),
        spans: spans.len(),
        span_resources: if has_spans { spans.resources.len() } else { 0 },
        span_scopes: if has_spans { spans.scopes.len() } else { 0 },
        events: spans.events.time_ns.len(),
        links: spans.links.trace_id.len(),
    }
}
