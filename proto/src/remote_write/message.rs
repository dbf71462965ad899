//! The walk over a request: which bytes are labels, samples, histograms, exemplars and metadata of one series. The
//! two versions differ in how they write texts, and in where metadata and start times stand.

use std::fmt::Write;

use super::{Message, NS_PER_MS};
use crate::otlp::wire::{self, Fields, WireError};
use crate::read::Reason;

/// Most labels of one series; Prometheus has no bound, its large users have some hundred.
const LABELS_MAX: usize = 1_024;
/// Longest names and values of one series together.
const LABEL_BYTES_MAX: usize = 64 << 10;
/// How much of a series is shown in a message.
const SHOWN_BYTES_MAX: usize = 300;

/// A name and a value, as sent.
pub(super) type RawLabel<'a> = (&'a [u8], &'a [u8]);
/// A name and a value, as text.
pub(super) type TextLabel<'a> = (&'a str, &'a str);

/// One series of a request, its parts not read yet.
#[derive(Default)]
pub(super) struct SeriesMessage<'a, 's> {
    /// Texts of a 2.0 request; empty in 1.0.
    pub(super) symbols: &'s [&'a [u8]],
    /// In the order sent.
    pub(super) labels: Vec<RawLabel<'a>>,
    /// A label refers to a symbol that is not there, or has a name and no value.
    bad_reference: bool,
    pub(super) samples: Vec<&'a [u8]>,
    pub(super) histograms: Vec<&'a [u8]>,
    pub(super) exemplars: Vec<&'a [u8]>,
    /// 2.0 only.
    pub(super) metadata: Option<&'a [u8]>,
    /// When the series began, ms; 0 when not sent. First revisions of 2.0 only: now it stands at each sample.
    created_ms: i64,
}

/// One exemplar, not checked yet.
pub(super) struct Exemplar<'a> {
    labels: Vec<RawLabel<'a>>,
    bad_reference: bool,
    pub(super) value: f64,
    time_ms: i64,
}

/// Calls `each` for every series of `body`.
pub(super) fn walk<'a>(
    message: Message,
    body: &'a [u8],
    mut each: impl FnMut(&SeriesMessage<'a, '_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    const SERIES_V1: u32 = wire::len(1);
    const SYMBOLS: u32 = wire::len(4);
    const SERIES_V2: u32 = wire::len(5);
    // Symbols may stand behind the series that use them, so the series wait.
    let (mut symbols, mut series) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(body);
    while let Some(tag) = fields.tag()? {
        match (message, tag) {
            (Message::V1, SERIES_V1) => each(&SeriesMessage::read_v1(fields.bytes()?)?)?,
            (Message::V2, SYMBOLS) => symbols.push(fields.bytes()?),
            (Message::V2, SERIES_V2) => series.push(fields.bytes()?),
            _ => fields.skip(tag)?,
        }
    }
    series.into_iter().try_for_each(|bytes| each(&SeriesMessage::read_v2(bytes, &symbols)?))
}

impl<'a, 's> SeriesMessage<'a, 's> {
    fn read_v1(bytes: &'a [u8]) -> Result<Self, WireError> {
        const LABELS: u32 = wire::len(1);
        const SAMPLES: u32 = wire::len(2);
        const EXEMPLARS: u32 = wire::len(3);
        const HISTOGRAMS: u32 = wire::len(4);
        let mut series = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.tag()? {
            match tag {
                LABELS => series.labels.push(label(fields.bytes()?)?),
                SAMPLES => series.samples.push(fields.bytes()?),
                EXEMPLARS => series.exemplars.push(fields.bytes()?),
                HISTOGRAMS => series.histograms.push(fields.bytes()?),
                _ => fields.skip(tag)?,
            }
        }
        Ok(series)
    }

    fn read_v2(bytes: &'a [u8], symbols: &'s [&'a [u8]]) -> Result<Self, WireError> {
        const LABELS: u32 = wire::len(1);
        const LABEL_ALONE: u32 = wire::varint(1);
        const SAMPLES: u32 = wire::len(2);
        const HISTOGRAMS: u32 = wire::len(3);
        const EXEMPLARS: u32 = wire::len(4);
        const METADATA: u32 = wire::len(5);
        const CREATED: u32 = wire::varint(6);
        let mut series = Self { symbols, ..Self::default() };
        let mut references = Vec::new();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.tag()? {
            match tag {
                LABELS => read_packed(fields.bytes()?, &mut references)?,
                LABEL_ALONE => references.push(fields.varint32()?),
                SAMPLES => series.samples.push(fields.bytes()?),
                HISTOGRAMS => series.histograms.push(fields.bytes()?),
                EXEMPLARS => series.exemplars.push(fields.bytes()?),
                METADATA => series.metadata = Some(fields.bytes()?),
                CREATED => series.created_ms = fields.int64()?,
                _ => fields.skip(tag)?,
            }
        }
        match resolve(&references, symbols) {
            Some(labels) => series.labels = labels,
            None => series.bad_reference = true,
        }
        Ok(series)
    }

    /// Whether the labels can be looked at.
    pub(super) fn labels_fit(&self) -> Result<(), Reason> {
        if self.bad_reference {
            return Err(Reason::BadReference);
        }
        if self.labels.len() > LABELS_MAX {
            return Err(Reason::TooManyAttributes);
        }
        let bytes: usize = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > LABEL_BYTES_MAX { Err(Reason::IdentityTooLong) } else { Ok(()) }
    }

    /// Time and start in ns; `None` when one is out of range. A start of 0 was not sent.
    pub(super) fn times(&self, time_ms: i64, start_ms: i64) -> Option<(i64, i64)> {
        let start_ms = if start_ms == 0 { self.created_ms } else { start_ms };
        Some((time_ms.checked_mul(NS_PER_MS)?, start_ms.checked_mul(NS_PER_MS)?))
    }

    /// The labels as a person reads them, however wrong they are.
    pub(super) fn shown(&self) -> String {
        let mut text = String::from("series {");
        for (at, (name, value)) in self.labels.iter().enumerate() {
            if text.len() > SHOWN_BYTES_MAX {
                text.push('…');
                break;
            }
            let start = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
            let comma = if at == 0 { "" } else { ", " };
            // Writing to a String does not fail.
            _ = write!(text, "{comma}{}={:?}", start(name), start(value));
        }
        text.push('}');
        text
    }
}

impl<'a> Exemplar<'a> {
    /// Reads an exemplar of either version: 1.0 writes labels as messages, 2.0 as references.
    pub(super) fn read(bytes: &'a [u8], symbols: &[&'a [u8]], message: Message) -> Result<Self, WireError> {
        const LABELS: u32 = wire::len(1);
        const LABEL_ALONE: u32 = wire::varint(1);
        const VALUE: u32 = wire::fixed64(2);
        const TIME: u32 = wire::varint(3);
        let mut exemplar = Self { labels: Vec::new(), bad_reference: false, value: 0.0, time_ms: 0 };
        let mut references = Vec::new();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.tag()? {
            match (tag, message) {
                (LABELS, Message::V1) => exemplar.labels.push(label(fields.bytes()?)?),
                (LABELS, Message::V2) => read_packed(fields.bytes()?, &mut references)?,
                (LABEL_ALONE, Message::V2) => references.push(fields.varint32()?),
                (VALUE, _) => exemplar.value = fields.double()?,
                (TIME, _) => exemplar.time_ms = fields.int64()?,
                _ => fields.skip(tag)?,
            }
        }
        if message == Message::V2 {
            match resolve(&references, symbols) {
                Some(labels) => exemplar.labels = labels,
                None => exemplar.bad_reference = true,
            }
        }
        Ok(exemplar)
    }

    /// Its labels as texts, and its time in ns.
    pub(super) fn checked(&self) -> Result<(Vec<TextLabel<'a>>, i64), Reason> {
        let time_ns = self.time_ms.checked_mul(NS_PER_MS).ok_or(Reason::ExemplarTime)?;
        let bytes: usize = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.bad_reference || self.labels.len() > LABELS_MAX || bytes > LABEL_BYTES_MAX {
            return Err(Reason::ExemplarAttributes);
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Reason::ExemplarAttributes);
        let labels = self.labels.iter().map(|(name, value)| Ok((text(name)?, text(value)?)));
        Ok((labels.collect::<Result<_, _>>()?, time_ns))
    }
}

/// A `Label` of 1.0.
fn label(bytes: &[u8]) -> Result<RawLabel<'_>, WireError> {
    const NAME: u32 = wire::len(1);
    const VALUE: u32 = wire::len(2);
    let (mut name, mut value) = (&[][..], &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some(tag) = fields.tag()? {
        match tag {
            NAME => name = fields.bytes()?,
            VALUE => value = fields.bytes()?,
            _ => fields.skip(tag)?,
        }
    }
    Ok((name, value))
}

fn read_packed(bytes: &[u8], into: &mut Vec<u32>) -> Result<(), WireError> {
    let mut packed = Fields::new(bytes);
    while packed.remaining() > 0 {
        into.push(packed.varint32()?);
    }
    Ok(())
}

fn resolve<'a>(references: &[u32], symbols: &[&'a [u8]]) -> Option<Vec<RawLabel<'a>>> {
    let (pairs, rest) = references.as_chunks::<2>();
    let symbol = |at: u32| symbols.get(at as usize).copied();
    let labels = pairs.iter().map(|[name, value]| Some((symbol(*name)?, symbol(*value)?)));
    if rest.is_empty() { labels.collect() } else { None }
}
