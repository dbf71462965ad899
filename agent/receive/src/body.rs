//! From a request's body to one run of bytes: caps, byte budget, time, and the compressions that OTLP senders use.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::admission::Reservation;
use crate::refusal::Refusal;

/// How far an inflated body grows before the budget is asked again. Large enough that most bodies take one step.
const INFLATE_STEP_BYTES: usize = 256 * 1024;
/// Largest zstd window: 2^23 = 8 MiB, what levels up to 19 use. A hostile frame could ask for 2 GiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Coding {
    /// The coding named by a `Content-Encoding` or `grpc-encoding` header.
    ///
    /// # Errors
    /// Encoding, when the name is not known.
    pub(crate) fn of(header: Option<&::http::HeaderValue>) -> Result<Self, Refusal> {
        let Some(header) = header else { return Ok(Self::Identity) };
        match header.as_bytes().trim_ascii() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            b"zstd" => Ok(Self::Zstd),
            other => Err(Refusal::Encoding { found: String::from_utf8_lossy(other).into_owned() }),
        }
    }
}

/// The bounds of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) body_bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// Reads `body` to its end, with or without a length announced.
///
/// # Errors
/// `TooLarge`, Full, Slow, Broken.
pub(crate) async fn collect(
    body: axum::body::Body,
    limits: BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    tokio::time::timeout(limits.timeout, collect_frames(body, limits.body_bytes_max, reservation))
        .await
        .unwrap_or(Err(Refusal::Slow(limits.timeout)))
}

async fn collect_frames(
    mut body: axum::body::Body,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let announced = axum::body::HttpBody::size_hint(&body).exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Refusal::TooLarge { what: "body", limit: bytes_max });
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Broken { message: error.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(Refusal::TooLarge { what: "body", limit: bytes_max });
        }
        reservation.grow(data.len())?;
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4 * first.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Undoes the compression. Takes milliseconds per megabyte: not for async threads.
///
/// # Errors
/// `TooLarge`, Full, or Malformed when the bytes are not what `coding` says.
pub(crate) fn inflate(
    coding: Coding,
    bytes: Bytes,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    match coding {
        Coding::Identity if bytes.len() > bytes_max => Err(Refusal::TooLarge { what: "body", limit: bytes_max }),
        Coding::Identity => Ok(bytes),
        Coding::Gzip => inflate_from(flate2::read::MultiGzDecoder::new(&bytes[..]), "gzip", bytes_max, reservation),
        Coding::Deflate => inflate_from(flate2::read::ZlibDecoder::new(&bytes[..]), "deflate", bytes_max, reservation),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]).map_err(|e| broken("zstd", &e))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken("zstd", &error))?;
            inflate_from(decoder, "zstd", bytes_max, reservation)
        }
    }
}

fn inflate_from(
    mut decoder: impl Read,
    coding: &str,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    loop {
        // One byte past the cap tells a body that fits from one that does not.
        let step = INFLATE_STEP_BYTES.min(bytes_max + 1 - out.len());
        reservation.grow(step)?;
        let read = decoder.by_ref().take(step as u64).read_to_end(&mut out).map_err(|e| broken(coding, &e))?;
        if out.len() > bytes_max {
            return Err(Refusal::TooLarge { what: "decompressed body", limit: bytes_max });
        }
        if read < step {
            return Ok(out.into());
        }
    }
}

fn broken(coding: &str, error: &std::io::Error) -> Refusal {
    Refusal::Malformed { message: format!("the body is not {coding}: {error}") }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::admission::Admission;

    fn gzip(content: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_body_of_exactly_the_cap_is_taken_and_one_more_byte_is_not() {
        let admission = Admission::new(1 << 30);
        for size in [1000, INFLATE_STEP_BYTES, 3 * INFLATE_STEP_BYTES] {
            let body = vec![7_u8; size];
            let inflated = inflate(Coding::Gzip, gzip(&body), size, &mut admission.enter()).unwrap();
            assert_eq!(inflated, body);
            let refusal = inflate(Coding::Gzip, gzip(&body), size - 1, &mut admission.enter()).unwrap_err();
            assert_eq!(refusal, Refusal::TooLarge { what: "decompressed body", limit: size - 1 });
        }
        assert_eq!(admission.used(), 0);
    }

    #[test]
    fn a_bomb_is_stopped_by_the_byte_budget_before_the_cap() {
        let admission = Admission::new(2 * INFLATE_STEP_BYTES);
        let bomb = gzip(&vec![0_u8; 64 << 20]);
        let refusal = inflate(Coding::Gzip, bomb, 128 << 20, &mut admission.enter()).unwrap_err();
        assert!(matches!(refusal, Refusal::Full { .. }));
    }

    #[test]
    fn every_coding_undoes_itself_and_garbage_is_named() {
        let admission = Admission::new(1 << 30);
        let content = b"a weir measures the river".repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&content).unwrap();
        let bodies = [
            (Coding::Deflate, Bytes::from(zlib.finish().unwrap())),
            (Coding::Zstd, Bytes::from(zstd::encode_all(&content[..], 1).unwrap())),
            (Coding::Identity, Bytes::from(content.clone())),
        ];
        for (coding, body) in bodies {
            assert_eq!(inflate(coding, body, 1 << 20, &mut admission.enter()).unwrap(), content);
        }
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let garbage = Bytes::from_static(b"\xffgarbage that is nothing");
            let refusal = inflate(coding, garbage, 1 << 20, &mut admission.enter()).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed { .. }), "{coding:?}: {refusal}");
        }
    }
}
