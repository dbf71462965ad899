//! What both ends of an epoch remember, so that a definition crosses once: attribute keys and their values, the
//! shapes (lists of keys) that attribute sets have, resources, scopes, series with their last point.
//!
//! [`Known`] is the encoder's half: it can find. The decoder's half, [`Told`], is only lists in the same order.
//! Both grow by the same entries in the same order; a number always means the same thing on both sides.
//!
//! The first [`TEXTS`] keys are no attribute keys but the text columns (span names, units, …), which are
//! dictionary-coded by the same means.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::attribute::Value;
use crate::identity::{Fingerprint, Resource, Scope, SeriesIdentity, Temporality};

/// The text columns, in the order of their numbers.
pub(super) mod text {
    /// Metric name of a series definition.
    pub(in crate::frame) const SERIES_NAME: usize = 0;
    /// Unit of a series definition.
    pub(in crate::frame) const SERIES_UNIT: usize = 1;
    /// Name of a scope definition.
    pub(in crate::frame) const SCOPE_NAME: usize = 2;
    /// Version of a scope definition.
    pub(in crate::frame) const SCOPE_VERSION: usize = 3;
    /// Name of a span.
    pub(in crate::frame) const SPAN_NAME: usize = 4;
    /// Status message of a span.
    pub(in crate::frame) const STATUS_MESSAGE: usize = 5;
    /// Trace state of a span.
    pub(in crate::frame) const SPAN_STATE: usize = 6;
    /// Name of a span event.
    pub(in crate::frame) const EVENT_NAME: usize = 7;
    /// Trace state of a link.
    pub(in crate::frame) const LINK_STATE: usize = 8;
}

/// How many text columns there are.
pub(super) const TEXTS: usize = 9;

/// How many lists of series are remembered, so that batches of several senders may alternate.
pub(super) const LISTS: usize = 16;

/// A key that has had this many values is looked at: is a dictionary of use for it?
const PLAIN_AFTER_VALUES: usize = 2048;

/// Memory that a definition is counted as, besides its texts.
pub(super) const DEFINITION_BYTES: usize = 256;

/// No entry, in tables of `u32`.
pub(super) const NONE: u32 = u32::MAX;

/// The last point of a series: what the next one is expected to resemble.
#[derive(Clone, Debug)]
pub(super) struct LastPoint {
    /// The series' temporality, here because the series itself lies elsewhere in memory.
    pub(super) temporality: Temporality,
    /// Bits of the last number.
    pub(super) value: u64,
    /// Start of the last point.
    pub(super) start_ns: i64,
    /// Time of the last point.
    pub(super) time_ns: i64,
    /// The last buckets of a cumulative histogram.
    pub(super) histogram: Option<Box<LastHistogram>>,
}

impl LastPoint {
    /// Before the first point of a series.
    pub(super) fn new(temporality: Temporality) -> Self {
        Self { temporality, value: 0, start_ns: 0, time_ns: 0, histogram: None }
    }
}

/// The last point of a cumulative histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct LastHistogram {
    /// Number of observations.
    pub(super) count: u64,
    /// Observations in the zero bucket.
    pub(super) zero_count: u64,
    /// Buckets.
    pub(super) counts: Vec<u64>,
}

/// What the encoder knows that its decoder knows.
#[derive(Default)]
pub(super) struct Known {
    /// Attribute keys (after the text columns) and their values.
    pub(super) keys: Vec<KnownKey>,
    key_ids: HashMap<Arc<str>, u32, RandomState>,
    shapes: Vec<Box<[u32]>>,
    /// Numbers of shapes, by the hash of their keys.
    shape_ids: HashTable<u32>,
    shape_hasher: RandomState,
    last_shape: usize,
    resources: HashMap<Arc<Resource>, u32, RandomState>,
    scopes: HashMap<Arc<Scope>, u32, RandomState>,
    series_ids: HashMap<Fingerprint, u32, RandomState>,
    /// Series by number.
    pub(super) series: Vec<Arc<SeriesIdentity>>,
    /// Their last points.
    pub(super) last: Vec<LastPoint>,
    /// Lists of series that recent batches had.
    pub(super) lists: Vec<Vec<u32>>,
    /// The slot of `lists` that is overwritten next.
    pub(super) next_list: usize,
    /// Memory that all this is counted as.
    pub(super) bytes: usize,
}

/// One key, and the values that have crossed for it.
#[derive(Default)]
pub(super) struct KnownKey {
    hasher: RandomState,
    index: HashTable<u32>,
    values: Vec<Value>,
    /// Per value: the frame in which it was last used, and its rank there.
    ranks: Vec<(u32, u32)>,
    hits: usize,
    plain: bool,
    /// The frame in which the key was last used, and its slot there.
    pub(super) slot: (u32, u32),
}

/// Where a value is found.
pub(super) enum Found {
    /// The decoder has it under this number; used in this frame already under this rank, if any.
    Known(u32, Option<u32>),
    /// Not known, and now remembered under the number that the decoder will give it.
    New,
    /// Not known, and not worth remembering.
    Plain,
}

impl Known {
    /// An empty dictionary: only the text columns.
    pub(super) fn new() -> Self {
        Self { keys: (0..TEXTS).map(|_| KnownKey::default()).collect(), ..Self::default() }
    }

    /// The number of `key`; `true` when it is new.
    pub(super) fn key(&mut self, key: &Arc<str>) -> (u32, bool) {
        if let Some(&id) = self.key_ids.get(key.as_ref()) {
            return (id, false);
        }
        let id = number(self.keys.len());
        self.bytes += key.len() + DEFINITION_BYTES;
        self.keys.push(KnownKey::default());
        self.key_ids.insert(Arc::clone(key), id);
        (id, true)
    }

    /// The number of the shape with these keys; `true` when it is new.
    pub(super) fn shape(&mut self, keys: &[u32]) -> (u32, bool) {
        if self.shapes.get(self.last_shape).is_some_and(|last| last.as_ref() == keys) {
            return (number(self.last_shape), false);
        }
        let hash = self.shape_hasher.hash_one(keys);
        if let Some(&id) = self.shape_ids.find(hash, |&id| self.shapes[id as usize].as_ref() == keys) {
            self.last_shape = id as usize;
            return (id, false);
        }
        let id = number(self.shapes.len());
        let (shapes, hasher) = (&self.shapes, &self.shape_hasher);
        self.shape_ids.insert_unique(hash, id, |&other| hasher.hash_one(shapes[other as usize].as_ref()));
        self.bytes += 4 * keys.len() + DEFINITION_BYTES;
        self.last_shape = self.shapes.len();
        self.shapes.push(keys.into());
        (id, true)
    }

    /// The number of `resource`; `true` when it is new.
    pub(super) fn resource(&mut self, resource: &Arc<Resource>) -> (u32, bool) {
        let next = number(self.resources.len());
        let known = *self.resources.entry(Arc::clone(resource)).or_insert(next);
        if known == next {
            self.bytes += DEFINITION_BYTES;
        }
        (known, known == next)
    }

    /// The number of `scope`; `true` when it is new.
    pub(super) fn scope(&mut self, scope: &Arc<Scope>) -> (u32, bool) {
        let next = number(self.scopes.len());
        let known = *self.scopes.entry(Arc::clone(scope)).or_insert(next);
        if known == next {
            self.bytes += DEFINITION_BYTES;
        }
        (known, known == next)
    }

    /// The number of `series`; `true` when it is new. A known series is kept as the allocation seen last, so that
    /// the next batch that holds the same allocation is recognised without hashing.
    pub(super) fn series(&mut self, series: &Arc<SeriesIdentity>) -> (u32, bool) {
        let next = number(self.series.len());
        let known = *self.series_ids.entry(series.fingerprint).or_insert(next);
        if known == next {
            self.bytes += DEFINITION_BYTES + 16 * series.attributes.len();
            self.series.push(Arc::clone(series));
            self.last.push(LastPoint::new(series.temporality));
            return (known, true);
        }
        self.series[known as usize] = Arc::clone(series);
        (known, false)
    }

    /// Opens `key` for a frame: whether new values will be remembered, and whether the old ones are forgotten now.
    pub(super) fn open_key(&mut self, key: u32) -> (bool, bool) {
        let state = &mut self.keys[key as usize];
        if !state.plain && state.values.len() >= PLAIN_AFTER_VALUES && state.hits < state.values.len() {
            state.plain = true;
            self.bytes = self.bytes.saturating_sub(state.values.iter().map(super::value::weight).sum());
            (state.index, state.values, state.ranks) = Default::default();
            return (false, true);
        }
        (!state.plain, false)
    }

    /// Finds `value` among the values of `key`, or remembers it; `frame` and `rank` are where it is used now.
    pub(super) fn find(&mut self, key: u32, value: &Value, frame: u32, rank: u32) -> Found {
        let state = &mut self.keys[key as usize];
        if state.plain {
            return Found::Plain;
        }
        let hash = state.hasher.hash_one(ValueKey(value));
        if let Some(&at) = state.index.find(hash, |&at| state.values[at as usize] == *value) {
            state.hits += 1;
            let (used_in, used_as) = state.ranks[at as usize];
            if used_in == frame {
                return Found::Known(at, Some(used_as));
            }
            state.ranks[at as usize] = (frame, rank);
            return Found::Known(at, None);
        }
        let at = number(state.values.len());
        let (values, hasher) = (&state.values, &state.hasher);
        state.index.insert_unique(hash, at, |&other| hasher.hash_one(ValueKey(&values[other as usize])));
        state.values.push(value.clone());
        state.ranks.push((frame, rank));
        self.bytes += super::value::weight(value);
        Found::New
    }
}

/// What the decoder has been told.
#[derive(Default)]
pub(super) struct Told {
    /// Attribute keys (after the text columns) and their values.
    pub(super) keys: Vec<ToldKey>,
    /// Lists of keys.
    pub(super) shapes: Vec<Box<[u32]>>,
    /// Resources.
    pub(super) resources: Vec<Arc<Resource>>,
    /// Scopes.
    pub(super) scopes: Vec<Arc<Scope>>,
    /// Series.
    pub(super) series: Vec<Arc<SeriesIdentity>>,
    /// Their last points.
    pub(super) last: Vec<LastPoint>,
    /// Lists of series that recent batches had.
    pub(super) lists: Vec<Vec<u32>>,
    /// Memory that all this is counted as.
    pub(super) bytes: usize,
}

/// One key, and the values that have come for it.
pub(super) struct ToldKey {
    /// The attribute key; empty for a text column.
    pub(super) key: Arc<str>,
    /// Its values.
    pub(super) values: Vec<Value>,
}

impl Told {
    /// An empty dictionary: only the text columns.
    pub(super) fn new() -> Self {
        let none: Arc<str> = "".into();
        let keys = (0..TEXTS).map(|_| ToldKey { key: Arc::clone(&none), values: Vec::new() }).collect();
        Self { keys, ..Self::default() }
    }
}

/// A value as a hash sees it: texts, which most are, without the walk over an enum.
struct ValueKey<'a>(&'a Value);

impl Hash for ValueKey<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0 {
            Value::String(text) => state.write(text.as_bytes()),
            other => other.hash(state),
        }
    }
}

/// An index as it is sent. Dictionaries are bounded by bytes far below this.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a dictionary is restarted long before it has 2^32 entries")
}
