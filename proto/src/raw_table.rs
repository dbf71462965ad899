//! A memory from raw wire bytes to what they meant when they were last decoded.
//!
//! A slot is found by a keyed hash and proved by comparing the bytes, so that a collision costs time and never
//! truth. Slots and bytes lie in the order of first sight; a sender that repeats itself walks them in that order,
//! which is what makes predicting the next slot cheap.
//!
//! ```text
//! index (hash → slot) ──▶ slots: [salt │ at │ len │ value] ──▶ bytes: one run after the other
//! ```
//! Owned by one reader; never shrinks by itself: the reader clears it at its limit.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Raw bytes, under a salt (whose bytes they are), to a value.
pub(crate) struct RawTable<T> {
    hasher: RandomState,
    index: HashTable<u32>,
    slots: Vec<Slot<T>>,
    bytes: Vec<u8>,
}

struct Slot<T> {
    salt: u32,
    at: u32,
    len: u32,
    value: T,
}

impl<T> Default for RawTable<T> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), index: HashTable::new(), slots: Vec::new(), bytes: Vec::new() }
    }
}

impl<T> RawTable<T> {
    /// The slot of `raw` under `salt`.
    #[inline]
    pub(crate) fn find(&self, salt: u32, raw: &[u8]) -> Option<u32> {
        let hash = hash(&self.hasher, salt, raw);
        self.index.find(hash, |&slot| self.holds(slot, salt, raw)).copied()
    }

    /// Adds `raw`, which must not be there yet.
    ///
    /// # Panics
    /// Past 2^32 bytes, which the readers' limits on bodies and tables exclude.
    pub(crate) fn insert(&mut self, salt: u32, raw: &[u8], value: T) -> u32 {
        let slot = u32::try_from(self.slots.len()).expect("the reader clears a table long before 2^32 slots");
        let at = u32::try_from(self.bytes.len()).expect("the reader clears a table long before 4 GiB");
        let len = u32::try_from(raw.len()).expect("a piece of a body is far below 4 GiB");
        self.bytes.extend_from_slice(raw);
        self.slots.push(Slot { salt, at, len, value });
        let Self { hasher, index, slots, bytes } = self;
        index.insert_unique(hash(hasher, salt, raw), slot, |&other| {
            let other = &slots[other as usize];
            hash(hasher, other.salt, &bytes[other.at as usize..][..other.len as usize])
        });
        slot
    }

    /// Whether `slot` is `raw` under `salt`.
    #[inline]
    pub(crate) fn holds(&self, slot: u32, salt: u32, raw: &[u8]) -> bool {
        self.bytes_under(slot, salt) == Some(raw)
    }

    /// The bytes of `slot`, when it exists and is under `salt`.
    #[inline]
    pub(crate) fn bytes_under(&self, slot: u32, salt: u32) -> Option<&[u8]> {
        let slot = self.slots.get(slot as usize).filter(|slot| slot.salt == salt)?;
        Some(&self.bytes[slot.at as usize..][..slot.len as usize])
    }

    /// The value of a slot that [`Self::find`] or [`Self::insert`] gave since the last clearing.
    #[inline]
    pub(crate) fn value(&self, slot: u32) -> &T {
        &self.slots[slot as usize].value
    }

    /// As [`Self::value`], to change.
    #[inline]
    pub(crate) fn value_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slots[slot as usize].value
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many raw bytes are held.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything and gives its memory back.
    pub(crate) fn clear(&mut self) {
        self.index = HashTable::new();
        self.slots = Vec::new();
        self.bytes = Vec::new();
    }
}

#[inline]
fn hash(hasher: &RandomState, salt: u32, raw: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(salt);
    state.write(raw);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_under_another_salt_are_another_slot() {
        let mut table = RawTable::default();
        let first = table.insert(1, b"key", 'a');
        let second = table.insert(2, b"key", 'b');
        assert_eq!((table.find(1, b"key"), table.find(2, b"key")), (Some(first), Some(second)));
        assert_eq!(table.find(3, b"key"), None);
        assert_eq!(*table.value(second), 'b');
        table.clear();
        assert_eq!((table.find(1, b"key"), table.len(), table.bytes_len()), (None, 0, 0));
    }

    #[test]
    fn a_thousand_slots_are_found_again_after_the_index_grew() {
        let mut table = RawTable::default();
        for number in 0..1_000_u32 {
            table.insert(number % 3, &number.to_le_bytes(), number);
        }
        for number in 0..1_000_u32 {
            let slot = table.find(number % 3, &number.to_le_bytes()).unwrap();
            assert_eq!(*table.value(slot), number);
        }
    }
}
