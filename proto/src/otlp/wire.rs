//! A safe walk over protobuf wire bytes: tags, varints, fixed numbers and slices of the body, nothing copied.
//!
//! ```text
//! field = tag varint (number << 3 | wire type) then
//!   0 varint │ 1 eight bytes │ 2 length varint + bytes │ 5 four bytes
//! ```
//! The reader matches whole tags, so a known number with an unexpected wire type is skipped like an unknown field,
//! as the specification wants; so are groups (types 3 and 4), which proto3 does not have.
//! Source: protobuf.dev/programming-guides/encoding.

/// Wire type of varints.
const VARINT: u32 = 0;
/// Wire type of eight bytes.
const FIXED64: u32 = 1;
/// Wire type of length-delimited bytes.
const LEN: u32 = 2;
/// Wire type of the beginning of a group.
const GROUP: u32 = 3;
/// Wire type of the end of a group.
const GROUP_END: u32 = 4;
/// How deep groups may nest.
const GROUPS_MAX: usize = 64;
/// Wire type of four bytes.
const FIXED32: u32 = 5;

/// Tag of field `number` as a varint.
pub(crate) const fn varint(number: u32) -> u32 {
    number << 3 | VARINT
}

/// Tag of field `number` as eight bytes.
pub(crate) const fn fixed64(number: u32) -> u32 {
    number << 3 | FIXED64
}

/// Tag of field `number` as length-delimited bytes.
pub(crate) const fn len(number: u32) -> u32 {
    number << 3 | LEN
}

/// Tag of field `number` as four bytes.
pub(crate) const fn fixed32(number: u32) -> u32 {
    number << 3 | FIXED32
}

/// What is wrong with the bytes, and where in memory; the reader turns that into an offset into its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// Address of the first byte that was not understood.
    pub(crate) address: usize,
    /// What was expected there.
    pub(crate) what: &'static str,
}

/// The fields of one message that are not read yet.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// All fields of `message`.
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// How many bytes are not read yet; the message's length minus this is the position.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next tag; `None` at the end of the message.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<u32>, WireError> {
        let tag = match self.rest {
            [] => return Ok(None),
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                u32::from(*byte)
            }
            _ => {
                let at = *self;
                u32::try_from(self.varint()?).map_err(|_| at.error("field number too large"))?
            }
        };
        if tag < 8 {
            return Err(self.error("field number 0"));
        }
        Ok(Some(tag))
    }

    /// A varint.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                return Err(self.error("varint too long"));
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(self.error("truncated or overlong varint"))
    }

    /// A varint that stands for a 32-bit number; higher bits are cut off, as protobuf does.
    #[inline]
    pub(crate) fn varint32(&mut self) -> Result<u32, WireError> {
        Ok(self.varint()? as u32)
    }

    /// A zigzag varint of 32 bits.
    #[inline]
    pub(crate) fn sint32(&mut self) -> Result<i32, WireError> {
        let raw = self.varint32()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A varint that stands for a signed number: its two's complement.
    #[inline]
    pub(crate) fn int64(&mut self) -> Result<i64, WireError> {
        Ok(self.varint()? as i64)
    }

    /// A zigzag varint of 64 bits.
    #[inline]
    pub(crate) fn sint64(&mut self) -> Result<i64, WireError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Eight bytes as a number.
    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(self.error("truncated 64-bit number"));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Four bytes as a number.
    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32, WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.error("truncated 32-bit number"));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// Eight bytes as a float.
    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_bits(self.fixed64()?))
    }

    /// Length-delimited bytes: a slice of the body.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = split else {
            return Err(self.error("a length that runs past the end"));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// Jumps over the content of a field that nobody asked for.
    #[inline]
    pub(crate) fn skip(&mut self, tag: u32) -> Result<(), WireError> {
        match tag & 7 {
            VARINT => self.varint().map(|_| ()),
            FIXED64 => self.fixed64().map(|_| ()),
            LEN => self.bytes().map(|_| ()),
            FIXED32 => self.fixed32().map(|_| ()),
            GROUP => self.skip_group(tag),
            _ => Err(self.error("an unknown wire type")),
        }
    }

    /// Jumps over a group and the groups in it.
    #[cold]
    fn skip_group(&mut self, tag: u32) -> Result<(), WireError> {
        let mut open = vec![tag];
        while let Some(innermost) = open.last() {
            match self.tag()? {
                None => return Err(self.error("a group without an end")),
                Some(end) if end == innermost - GROUP + GROUP_END => {
                    open.pop();
                }
                Some(inner) if inner & 7 == GROUP && open.len() < GROUPS_MAX => open.push(inner),
                Some(inner) if inner & 7 == GROUP => return Err(self.error("groups nested too deep")),
                Some(other) => self.skip(other)?,
            }
        }
        Ok(())
    }

    /// Jumps over `prefix` if exactly these bytes come next.
    #[inline]
    pub(crate) fn take(&mut self, prefix: &[u8]) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn error(&self, what: &'static str) -> WireError {
        WireError { address: self.rest.as_ptr() as usize, what }
    }
}

/// The content of the last field `tag` of `message`, or nothing. Used for the few fields that must be known before
/// their siblings are read; fields may come in any order.
pub(crate) fn last_bytes(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, WireError> {
    let mut fields = Fields::new(message);
    let mut found = None;
    while let Some(tag) = fields.tag()? {
        if tag == wanted {
            found = Some(fields.bytes()?);
        } else {
            fields.skip(tag)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_of_ten_bytes_is_read_and_one_of_eleven_is_an_error() {
        let mut max = [0xff_u8; 10];
        max[9] = 1;
        assert_eq!(Fields::new(&max).varint(), Ok(u64::MAX));
        assert!(Fields::new(&[0xff; 11]).varint().is_err());
        assert!(Fields::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn a_length_past_the_end_is_an_error_and_not_a_panic() {
        assert!(Fields::new(&[5, 1, 2]).bytes().is_err());
        assert!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).bytes().is_err());
    }

    #[test]
    fn zigzag_numbers_come_back() {
        assert_eq!(Fields::new(&[1]).sint32(), Ok(-1));
        assert_eq!(Fields::new(&[2]).sint32(), Ok(1));
        assert_eq!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).sint32(), Ok(i32::MIN));
    }

    #[test]
    fn field_number_zero_is_an_error() {
        assert!(Fields::new(&[0]).tag().is_err());
    }

    #[test]
    fn groups_are_skipped_and_must_end() {
        let skipped = |bytes: &[u8]| {
            let mut fields = Fields::new(bytes);
            let tag = fields.tag().unwrap().unwrap();
            fields.skip(tag).map(|()| fields.remaining())
        };
        assert_eq!(skipped(&[0x0b, 0x08, 1, 0x13, 0x14, 0x0c, 9]), Ok(1));
        for wrong in [&[0x0b][..], &[0x0b, 0x14], &[0x0c], &[0x0f], &[0x0b; 100]] {
            assert!(skipped(wrong).is_err());
        }
    }
}
