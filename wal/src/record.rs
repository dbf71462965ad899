//! The bytes of segment headers and records; the picture is in the crate's header.

/// First bytes of a segment file.
const MAGIC: [u8; 8] = *b"WEIRWAL\0";

/// The format that is written.
const VERSION: u32 = 1;

/// Bytes of a segment header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 24;

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

/// A payload is never longer; the largest frame is half of this.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 128 << 20;

/// The numbers before a payload.
pub(crate) struct RecordHeader {
    /// Length of the payload.
    pub(crate) bytes: usize,
    /// Checksum over length, position and payload.
    pub(crate) crc: u32,
    /// The record's position.
    pub(crate) position: u64,
}

/// The header of a segment that begins with `base`.
pub(crate) fn segment_header(base: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&base.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What is wrong with a segment header, if anything.
pub(crate) fn check_segment_header(header: &[u8], base: u64) -> Result<(), &'static str> {
    let expected = segment_header(base);
    if header.len() < expected.len() {
        return Err("header is cut off");
    }
    if header[..8] != expected[..8] {
        return Err("not a log segment");
    }
    let intact = crc32fast::hash(&header[..20]).to_le_bytes() == header[20..24];
    if intact && header[8..12] != expected[8..12] {
        return Err("segment of an unknown version");
    }
    if header[..24] == expected { Ok(()) } else { Err("header is damaged") }
}

/// Appends a record.
pub(crate) fn put_record(position: u64, payload: &[u8], out: &mut Vec<u8>) {
    let bytes = u32::try_from(payload.len()).expect("payloads are checked against PAYLOAD_BYTES_MAX");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&checksum(bytes, position, payload).to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The numbers at the front of `bytes`; `None` when they are not all there.
pub(crate) fn record_header(bytes: &[u8]) -> Option<RecordHeader> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some(RecordHeader {
        bytes: number(0)? as usize,
        crc: number(4)?,
        position: u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?),
    })
}

impl RecordHeader {
    /// Whether a payload of this length can be a record.
    pub(crate) fn is_plausible(&self) -> bool {
        (1..=PAYLOAD_BYTES_MAX).contains(&self.bytes)
    }

    /// Whether `payload` is the one that was written.
    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        u32::try_from(payload.len()).is_ok_and(|bytes| checksum(bytes, self.position, payload) == self.crc)
    }
}

fn checksum(bytes: u32, position: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes.to_le_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}
