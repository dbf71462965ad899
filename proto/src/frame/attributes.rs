//! Attributes and texts of one frame, transposed: one stream of values per key, instead of one list per owner.
//!
//! An *owner* is anything that has attributes: a new resource, scope or series, an exemplar, a span, an event, a
//! link; they stand in this order. An owner's keys, in order, are its *shape*; most owners share a few. So a frame
//! holds one shape number per owner, and per key (a *slot*) the values of that key from owner to owner: first the
//! distinct values as a table of entries, then one rank into it per occurrence. A key whose values never repeat
//! costs its values and nothing else; a key that is always the same costs a few bytes a frame.
//!
//! ```text
//! ┌──────────┬───────────┬──────────────┬──────────┬─────────────────────────────────┐
//! │ new keys │ new shapes│ shape column │ slots of │ slots of keys, in order of first│
//! │ n, texts │ n, lengths│ one per owner│ the texts│ appearance in the owners' shapes│
//! │          │ keys      │              │          │                                 │
//! └──────────┴───────────┴──────────────┴──────────┴─────────────────────────────────┘
//! slot = flags u8 (1 remember new entries, 2 forget the old ones first), n entries,
//!        code column (0 = new, else number in the key's dictionary + 1), the new entries' values,
//!        rank column, absent for one entry (0 = the next entry not yet used, else rank + 1)
//! ```
//! The decoder knows how often each slot occurs before it reads it: from the shapes, and for texts from the counts.

use std::sync::Arc;

use super::FrameError;
use super::bytes::{Cursor, put_varint};
use super::column::{put_column, take_column};
use super::dictionary::{DEFINITION_BYTES, Found, Known, NONE, TEXTS, Told, ToldKey, number};
use super::value::{put_values, take_values, weight};
use crate::attribute::{KeyValue, Value};

const REMEMBER: u8 = 1;
const FORGET: u8 = 2;

/// Memory that one occurrence takes while a frame is decoded: its rank, and its place in the batch.
const OCCURRENCE_BYTES: usize = 16;

/// The attributes of one frame, being collected.
#[derive(Default)]
pub(super) struct Collected {
    frame: u32,
    new_keys: Vec<Arc<str>>,
    new_shapes: Vec<Vec<u32>>,
    owners: Vec<u64>,
    current: Vec<u32>,
    texts: Vec<Slot>,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    key: u32,
    remember: bool,
    forget: bool,
    codes: Vec<u64>,
    new: Vec<Value>,
    ranks: Vec<u64>,
    used: u64,
}

impl Slot {
    /// The rank of `value` in this frame.
    fn rank(&mut self, known: &mut Known, frame: u32, value: &Value) -> u32 {
        let next = number(self.codes.len());
        match known.find(self.key, value, frame, next) {
            Found::Known(_, Some(rank)) => return rank,
            Found::Known(at, None) => self.codes.push(u64::from(at) + 1),
            Found::New | Found::Plain => {
                self.codes.push(0);
                self.new.push(value.clone());
            }
        }
        next
    }

    fn push(&mut self, rank: u32) {
        let rank = u64::from(rank);
        if rank == self.used {
            self.used += 1;
            self.ranks.push(0);
        } else {
            self.ranks.push(rank + 1);
        }
    }

    fn put(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.push(if self.remember { REMEMBER } else { 0 } | if self.forget { FORGET } else { 0 });
        put_varint(self.codes.len() as u64, out);
        put_column(&self.codes, out);
        put_values(&self.new, out)?;
        if self.codes.len() > 1 {
            put_column(&self.ranks, out);
        }
        Ok(())
    }
}

impl Collected {
    /// Begins frame number `frame`, which no earlier frame of the epoch had; not 0.
    pub(super) fn new(frame: u32, known: &mut Known) -> Self {
        let texts = (0..number(TEXTS)).map(|key| open(key, known)).collect();
        Self { frame, texts, ..Self::default() }
    }

    /// Looks `pair` up: its slot and its rank there, to be [`Self::push`]ed as often as it occurs.
    pub(super) fn place(&mut self, known: &mut Known, pair: &KeyValue) -> (u32, u32) {
        let (key, new) = known.key(&pair.key);
        if new {
            self.new_keys.push(Arc::clone(&pair.key));
        }
        let (used_in, mut slot) = known.keys[key as usize].slot;
        if used_in != self.frame {
            slot = number(self.slots.len());
            known.keys[key as usize].slot = (self.frame, slot);
            self.slots.push(open(key, known));
        }
        (slot, self.slots[slot as usize].rank(known, self.frame, &pair.value))
    }

    /// The owner at hand has the value at `place` next.
    #[inline]
    pub(super) fn push(&mut self, (slot, rank): (u32, u32)) {
        let slot = &mut self.slots[slot as usize];
        self.current.push(slot.key);
        slot.push(rank);
    }

    /// The owner at hand has all its attributes; the next one begins.
    pub(super) fn end_owner(&mut self, known: &mut Known) {
        let (shape, new) = known.shape(&self.current);
        if new {
            self.new_shapes.push(self.current.clone());
        }
        self.owners.push(u64::from(shape));
        self.current.clear();
    }

    /// A whole owner.
    pub(super) fn owner<'a>(&mut self, known: &mut Known, pairs: impl IntoIterator<Item = &'a KeyValue>) {
        for pair in pairs {
            let place = self.place(known, pair);
            self.push(place);
        }
        self.end_owner(known);
    }

    /// Looks a text up: its rank, to be [`Self::push_text`]ed as often as it occurs.
    pub(super) fn place_text(&mut self, known: &mut Known, column: usize, text: &Arc<str>) -> u32 {
        self.texts[column].rank(known, self.frame, &Value::String(Arc::clone(text)))
    }

    /// The next text of `column` is the one at `rank`.
    #[inline]
    pub(super) fn push_text(&mut self, column: usize, rank: u32) {
        self.texts[column].push(rank);
    }

    /// Appends the section.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        put_varint(self.new_keys.len() as u64, out);
        for key in &self.new_keys {
            put_varint(key.len() as u64, out);
            out.extend_from_slice(key.as_bytes());
        }
        put_varint(self.new_shapes.len() as u64, out);
        let lengths: Vec<u64> = self.new_shapes.iter().map(|shape| shape.len() as u64).collect();
        put_column(&lengths, out);
        let keys: Vec<u64> = self.new_shapes.iter().flatten().map(|&key| u64::from(key)).collect();
        put_column(&keys, out);
        put_column(&self.owners, out);
        for slot in self.texts.iter().filter(|slot| !slot.ranks.is_empty()) {
            slot.put(out)?;
        }
        self.slots.iter().try_for_each(|slot| slot.put(out))
    }
}

fn open(key: u32, known: &mut Known) -> Slot {
    let (remember, forget) = known.open_key(key);
    Slot { key, remember, forget, ..Slot::default() }
}

/// The attributes of one frame, decoded, and read owner by owner.
pub(super) struct Taken {
    owners: std::vec::IntoIter<u64>,
    /// Per text column.
    pub(super) texts: Vec<TakenSlot>,
    slots: Vec<TakenSlot>,
    /// Per key of the epoch: its slot in this frame.
    slot_of_key: Vec<u32>,
}

/// One key's values in one frame.
#[derive(Default)]
pub(super) struct TakenSlot {
    /// The distinct values.
    pub(super) entries: Vec<Value>,
    ranks: Vec<u32>,
    at: usize,
    /// Where the entries begin in the batch's own table, once they are there.
    base: Option<u32>,
}

impl TakenSlot {
    /// The rank of the next occurrence.
    #[inline]
    pub(super) fn next_rank(&mut self) -> usize {
        let rank = self.ranks.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        rank as usize
    }

    /// The next occurrence, which must be a text.
    pub(super) fn next_text(&mut self) -> Result<Arc<str>, FrameError> {
        let rank = self.next_rank();
        match self.entries.get(rank) {
            Some(Value::String(text)) => Ok(Arc::clone(text)),
            _ => Err(FrameError::Malformed { what: "text column without a text", at: 0 }),
        }
    }
}

impl Taken {
    /// Reads the section of `owners` owners, with `texts` occurrences of each text column, and remembers what
    /// is to be remembered.
    pub(super) fn take(
        cursor: &mut Cursor<'_>,
        told: &mut Told,
        owners: usize,
        texts: [usize; TEXTS],
    ) -> Result<Self, FrameError> {
        take_keys(cursor, told)?;
        take_shapes(cursor, told)?;
        cursor.charge(owners, OCCURRENCE_BYTES)?;
        let mut owner_shapes = Vec::new();
        take_column(cursor, owners, &mut owner_shapes)?;

        let mut occurrences: Vec<(u32, usize)> = Vec::new();
        let mut slot_of_key = vec![NONE; told.keys.len()];
        for &shape in &owner_shapes {
            let shape = usize::try_from(shape).ok().and_then(|shape| told.shapes.get(shape));
            let shape = shape.ok_or_else(|| cursor.malformed("shape that was never defined"))?;
            for &key in shape.iter() {
                let slot = &mut slot_of_key[key as usize];
                if *slot == NONE {
                    *slot = number(occurrences.len());
                    occurrences.push((key, 0));
                }
                occurrences[*slot as usize].1 += 1;
            }
        }
        let mut taken_texts = Vec::with_capacity(TEXTS);
        for (key, n) in texts.into_iter().enumerate() {
            taken_texts.push(if n == 0 { TakenSlot::default() } else { take_slot(cursor, told, number(key), n)? });
        }
        let mut slots = Vec::with_capacity(occurrences.len());
        for (key, n) in occurrences {
            slots.push(take_slot(cursor, told, key, n)?);
        }
        Ok(Self { owners: owner_shapes.into_iter(), texts: taken_texts, slots, slot_of_key })
    }

    /// The pairs of the next owner.
    pub(super) fn next_owner(&mut self, told: &Told) -> Vec<KeyValue> {
        let Some(shape) = self.owners.next() else { return Vec::new() };
        let shape = &told.shapes[shape as usize];
        let mut pairs = Vec::with_capacity(shape.len());
        for &key in shape.iter() {
            let slot = &mut self.slots[self.slot_of_key[key as usize] as usize];
            let rank = slot.next_rank();
            let value = slot.entries[rank].clone();
            pairs.push(KeyValue { key: Arc::clone(&told.keys[key as usize].key), value });
        }
        pairs
    }

    /// The pairs of the next owner as indices into `table`, to which entries are added as they are needed.
    pub(super) fn next_owner_indices(&mut self, told: &Told, table: &mut Vec<KeyValue>, into: &mut Vec<u32>) {
        let Some(shape) = self.owners.next() else { return };
        for &key in told.shapes[shape as usize].iter() {
            let slot = &mut self.slots[self.slot_of_key[key as usize] as usize];
            let base = *slot.base.get_or_insert_with(|| {
                let base = number(table.len());
                let key = &told.keys[key as usize].key;
                table.extend(slot.entries.iter().map(|value| KeyValue { key: Arc::clone(key), value: value.clone() }));
                base
            });
            into.push(base + number(slot.next_rank()));
        }
    }
}

fn take_keys(cursor: &mut Cursor<'_>, told: &mut Told) -> Result<(), FrameError> {
    for _ in 0..cursor.count(DEFINITION_BYTES)? {
        let length = cursor.count(1)?;
        let key: Arc<str> = cursor.text(length)?.into();
        told.bytes += key.len() + DEFINITION_BYTES;
        told.keys.push(ToldKey { key, values: Vec::new() });
    }
    Ok(())
}

fn take_shapes(cursor: &mut Cursor<'_>, told: &mut Told) -> Result<(), FrameError> {
    let n = cursor.count(DEFINITION_BYTES)?;
    let mut lengths = Vec::new();
    take_column(cursor, n, &mut lengths)?;
    for &length in &lengths {
        cursor.charge(usize::try_from(length).unwrap_or(usize::MAX), OCCURRENCE_BYTES)?;
    }
    let mut keys = Vec::new();
    // Charged one by one above, so the sum is small.
    take_column(cursor, lengths.iter().sum::<u64>() as usize, &mut keys)?;
    let mut keys = keys.into_iter();
    for length in lengths {
        let mut shape = Vec::with_capacity(length as usize);
        for key in keys.by_ref().take(length as usize) {
            let key = u32::try_from(key).ok().filter(|&key| (TEXTS..told.keys.len()).contains(&(key as usize)));
            shape.push(key.ok_or_else(|| cursor.malformed("shape of an unknown key"))?);
        }
        told.bytes += 4 * shape.len() + DEFINITION_BYTES;
        told.shapes.push(shape.into());
    }
    Ok(())
}

fn take_slot(cursor: &mut Cursor<'_>, told: &mut Told, key: u32, n: usize) -> Result<TakenSlot, FrameError> {
    cursor.charge(n, OCCURRENCE_BYTES)?;
    let flags = cursor.byte()?;
    let entry_count = cursor.count(size_of::<Value>() + 8)?;
    if entry_count == 0 || entry_count > n {
        return Err(cursor.malformed("slot with an impossible number of entries"));
    }
    let mut codes = Vec::new();
    take_column(cursor, entry_count, &mut codes)?;
    let new_count = codes.iter().filter(|&&code| code == 0).count();
    let mut new = take_values(cursor, new_count)?.into_iter();

    let ToldKey { values, .. } = &mut told.keys[key as usize];
    if flags & FORGET != 0 {
        told.bytes = told.bytes.saturating_sub(values.iter().map(weight).sum());
        *values = Vec::new();
    }
    let mut entries = Vec::with_capacity(entry_count);
    for code in codes {
        let entry = match code {
            0 => {
                let entry = new.next().expect("as many values were taken as there are zeros");
                if flags & REMEMBER != 0 {
                    told.bytes += weight(&entry);
                    values.push(entry.clone());
                }
                entry
            }
            known => {
                let at = usize::try_from(known - 1).unwrap_or(usize::MAX);
                values.get(at).ok_or_else(|| cursor.malformed("value that was never defined"))?.clone()
            }
        };
        entries.push(entry);
    }
    let ranks = if entry_count > 1 { take_ranks(cursor, n, entry_count)? } else { Vec::new() };
    Ok(TakenSlot { entries, ranks, at: 0, base: None })
}

fn take_ranks(cursor: &mut Cursor<'_>, n: usize, entries: usize) -> Result<Vec<u32>, FrameError> {
    let mut codes = Vec::new();
    take_column(cursor, n, &mut codes)?;
    let mut used = 0_u64;
    let mut ranks = Vec::with_capacity(n);
    for code in codes {
        let rank = if code == 0 {
            used += 1;
            used - 1
        } else {
            code - 1
        };
        if rank >= entries as u64 {
            return Err(cursor.malformed("rank beyond its slot's entries"));
        }
        ranks.push(rank as u32);
    }
    Ok(ranks)
}
