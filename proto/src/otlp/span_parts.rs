//! What spans share: texts, attributes, resources and scopes, decoded once per byte form and then referenced by
//! their index in the batch.
//!
//! ```text
//! raw KeyValue bytes ─▶ remembered {KeyValue, request, index} ─▶ index in SpanBatch::key_values
//! ```
//! A remembered entry carries the number of the request that put it into the batch last, so a second use in one
//! request costs one look-up and no copy. A key with very many values (addresses, request ids) stops being
//! remembered past [`VALUES_PER_KEY_MAX`]: its values would only push out those that repeat.

use std::sync::Arc;

use super::attributes::{Fault, Pairs, Texts, key_value, utf8};
use super::wire::WireError;
use super::{ReaderLimits, memory, row};
use crate::attribute::KeyValue;
use crate::batch::SpanBatch;
use crate::identity::{Resource, Scope};
use crate::raw_table::RawTable;
use crate::read::Reason;

/// Values of one key that are remembered; later ones are decoded each time.
const VALUES_PER_KEY_MAX: u32 = 2_048;
/// Longer texts and attributes are decoded each time.
const REMEMBERED_BYTES_MAX: usize = 256;
/// Bytes remembered over all tables before all is forgotten. Decoded they take about three times as much, and an
/// agent has 60 MB in all; a hundred thousand attributes fit.
const BYTES_MAX: usize = 8 << 20;

/// Something decoded, and its index in the batch that request `epoch` fills.
struct Stamped<T> {
    value: T,
    epoch: u64,
    at: u32,
}

/// Everything that the traces reader remembers over requests.
pub(super) struct SpanMemory {
    pub(super) limits: ReaderLimits,
    attributes: RawTable<Stamped<KeyValue>>,
    /// How many values of a key are remembered.
    values: RawTable<u32>,
    strings: RawTable<Stamped<Arc<str>>>,
    resources: RawTable<Stamped<Result<Arc<Resource>, Reason>>>,
    scopes: RawTable<Stamped<Result<Arc<Scope>, Reason>>>,
    texts: Texts,
    pairs: Pairs,
    epoch: u64,
}

impl SpanMemory {
    pub(super) fn new(limits: ReaderLimits) -> Self {
        Self {
            limits,
            attributes: RawTable::default(),
            values: RawTable::default(),
            strings: RawTable::default(),
            resources: RawTable::default(),
            scopes: RawTable::default(),
            texts: Texts::default(),
            pairs: Pairs::default(),
            epoch: 0,
        }
    }

    /// Starts a request.
    pub(super) fn begin(&mut self) {
        self.epoch += 1;
        let bytes = self.attributes.bytes_len() + self.strings.bytes_len() + self.values.bytes_len();
        let origins = self.resources.bytes_len() + self.scopes.bytes_len();
        if bytes + origins > BYTES_MAX.min(self.limits.bytes_remembered_max) {
            self.attributes.clear();
            self.values.clear();
            self.strings.clear();
            self.resources.clear();
            self.scopes.clear();
        }
    }

    /// The index of `raw` as text in the batch.
    #[inline]
    pub(super) fn string(&mut self, raw: &[u8], batch: &mut SpanBatch) -> Result<u32, Fault> {
        if raw.is_empty() {
            return Ok(0);
        }
        if raw.len() > REMEMBERED_BYTES_MAX {
            if raw.len() > self.limits.value_bytes_max {
                return Err(Reason::AttributeTooLong.into());
            }
            batch.strings.push(utf8(raw)?.into());
            return Ok(row(batch.strings.len() - 1));
        }
        let slot = match self.strings.find(0, raw) {
            Some(slot) => slot,
            None => {
                let value: Arc<str> = utf8(raw)?.into();
                self.strings.insert(0, raw, Stamped { value, epoch: 0, at: 0 })
            }
        };
        let text = self.strings.value_mut(slot);
        if text.epoch != self.epoch {
            batch.strings.push(Arc::clone(&text.value));
            text.epoch = self.epoch;
            text.at = row(batch.strings.len() - 1);
        }
        Ok(text.at)
    }

    /// The index of the KeyValue `raw` in the batch.
    #[inline]
    pub(super) fn attribute(&mut self, raw: &[u8], batch: &mut SpanBatch) -> Result<u32, Fault> {
        if let Some(slot) = self.attributes.find(0, raw) {
            let pair = self.attributes.value_mut(slot);
            if pair.epoch != self.epoch {
                batch.key_values.push(pair.value.clone());
                pair.epoch = self.epoch;
                pair.at = row(batch.key_values.len() - 1);
            }
            return Ok(pair.at);
        }
        let pair = key_value(raw, &mut self.texts, &self.limits)?;
        let at = row(batch.key_values.len());
        if raw.len() <= REMEMBERED_BYTES_MAX && self.admits(&pair.key) {
            self.attributes.insert(0, raw, Stamped { value: pair.clone(), epoch: self.epoch, at });
        }
        batch.key_values.push(pair);
        Ok(at)
    }

    /// Whether another value of `key` is worth remembering; counts it.
    fn admits(&mut self, key: &str) -> bool {
        let slot = match self.values.find(0, key.as_bytes()) {
            Some(slot) => slot,
            None => self.values.insert(0, key.as_bytes(), 0),
        };
        let values = self.values.value_mut(slot);
        *values = values.saturating_add(1);
        *values <= VALUES_PER_KEY_MAX
    }

    /// The index of a resource in the batch, or why its spans are refused.
    pub(super) fn resource(&mut self, raw: &[u8], batch: &mut SpanBatch) -> Result<Result<u32, Reason>, WireError> {
        let slot = match self.resources.find(0, raw) {
            Some(slot) => slot,
            None => {
                let value = match memory::resource(raw, &mut self.pairs, &self.limits) {
                    Ok(resource) => Ok(Arc::new(resource)),
                    Err(Fault::Refuse(reason)) => Err(reason),
                    Err(Fault::Wire(error)) => return Err(error),
                };
                self.resources.insert(0, raw, Stamped { value, epoch: 0, at: 0 })
            }
        };
        Ok(place(self.resources.value_mut(slot), self.epoch, &mut batch.resources))
    }

    /// The index of a scope in the batch, or why its spans are refused.
    pub(super) fn scope(&mut self, raw: &[u8], batch: &mut SpanBatch) -> Result<Result<u32, Reason>, WireError> {
        let slot = match self.scopes.find(0, raw) {
            Some(slot) => slot,
            None => {
                let value = match memory::scope(raw, &mut self.pairs, &self.limits) {
                    Ok(scope) => Ok(Arc::new(scope)),
                    Err(Fault::Refuse(reason)) => Err(reason),
                    Err(Fault::Wire(error)) => return Err(error),
                };
                self.scopes.insert(0, raw, Stamped { value, epoch: 0, at: 0 })
            }
        };
        Ok(place(self.scopes.value_mut(slot), self.epoch, &mut batch.scopes))
    }
}

fn place<T>(known: &mut Stamped<Result<Arc<T>, Reason>>, epoch: u64, list: &mut Vec<Arc<T>>) -> Result<u32, Reason> {
    let value = known.value.as_ref().map_err(|reason| *reason)?;
    if known.epoch != epoch {
        list.push(Arc::clone(value));
        known.epoch = epoch;
        known.at = row(list.len() - 1);
    }
    Ok(known.at)
}
