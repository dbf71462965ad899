//! Varints, and the cursor that reads a frame's body without trusting it.
//!
//! Every length is checked against what is left, and everything that will be allocated is charged to a budget
//! first, so that a few hostile bytes cannot ask for gigabytes.

use super::FrameError;

/// A varint takes at most ten bytes.
const VARINT_BYTES_MAX: u32 = 10;

/// Appends `value`, seven bits a byte, low bits first.
#[inline]
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] takes for `value`.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    // 9/64 is close enough to 1/7 for 1 to 64 bits.
    (((64 - (value | 1).leading_zeros()) * 9 + 64) / 64) as usize
}

/// Small numbers of either sign become small numbers.
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Reads a body from front to back; knows how much memory its reader may still ask for.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    budget: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the front of `bytes`; what is decoded may take `budget` bytes of memory.
    pub(super) fn new(bytes: &'a [u8], budget: usize) -> Self {
        Self { bytes, at: 0, budget }
    }

    /// Whether everything has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The error for something that makes no sense where the cursor stands.
    pub(super) fn malformed(&self, what: &'static str) -> FrameError {
        FrameError::Malformed { what, at: self.at }
    }

    /// Takes memory for `count` things of `each` bytes off the budget, before they are allocated.
    pub(super) fn charge(&mut self, count: usize, each: usize) -> Result<(), FrameError> {
        let asked = count.saturating_mul(each);
        if asked > self.budget {
            return Err(FrameError::TooBig { what: "decoded batch", bytes: asked, left: self.budget });
        }
        self.budget -= asked;
        Ok(())
    }

    /// The next byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(FrameError::Truncated { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    /// The next varint.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, FrameError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for step in 1..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * step);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("varint of more than ten bytes"))
    }

    /// The next varint as a number of things that will take `each` bytes of memory; charged.
    pub(super) fn count(&mut self, each: usize) -> Result<usize, FrameError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        self.charge(count, each)?;
        Ok(count)
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], FrameError> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(FrameError::Truncated { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next `n` bytes as text.
    pub(super) fn text(&mut self, n: usize) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.take(n)?).map_err(|_| self.malformed("text that is not utf-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_take_what_was_said() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX, 1 << 63, (1 << 56) - 1] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(Cursor::new(&out, 0).varint().unwrap(), value);
        }
    }

    #[test]
    fn a_cut_or_endless_varint_is_an_error() {
        assert!(Cursor::new(&[0x80], 0).varint().is_err());
        assert!(Cursor::new(&[0xff; 11], 0).varint().is_err());
    }

    #[test]
    fn the_budget_is_charged_before_anything_is_allocated() {
        let mut out = Vec::new();
        put_varint(u64::MAX, &mut out);
        assert!(matches!(Cursor::new(&out, 1 << 20).count(8), Err(FrameError::TooBig { .. })));
    }
}
