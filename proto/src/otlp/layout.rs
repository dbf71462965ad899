//! Bucket layouts of a batch, each once: raw bounds bytes → index into the batch's layouts.

use std::sync::Arc;

use super::attributes::Fault;
use super::row;
use crate::batch::HistogramLayout;
use crate::raw_table::RawTable;
use crate::read::Reason;

/// Layouts remembered before all are forgotten.
const LAYOUTS_MAX: usize = 16_384;
/// Salt of explicit bounds (little-endian doubles).
const EXPLICIT: u32 = 0;
/// Salt of exponential layouts.
const EXPONENTIAL: u32 = 1;

/// Layouts seen before, and where they stand in the batch that is being filled.
#[derive(Default)]
pub(super) struct Layouts {
    known: RawTable<Known>,
    epoch: u64,
}

struct Known {
    layout: Result<HistogramLayout, Reason>,
    bounds: usize,
    epoch: u64,
    at: u32,
}

/// Explicit bounds as the batch has them.
pub(super) struct ExplicitLayout {
    /// Index into the batch's layouts.
    pub(super) at: u32,
    /// How many bounds, +Inf not among them.
    pub(super) bounds: usize,
}

impl Layouts {
    /// Starts a request. Layouts already in the batch are not looked at; at worst one is listed twice.
    pub(super) fn begin(&mut self) {
        self.epoch += 1;
        if self.known.len() > LAYOUTS_MAX {
            self.known.clear();
        }
    }

    /// The layout of `raw` bounds (little-endian doubles). A last bound of +Inf is left out.
    pub(super) fn explicit(&mut self, raw: &[u8], layouts: &mut Vec<HistogramLayout>) -> Result<ExplicitLayout, Fault> {
        let slot = match self.known.find(EXPLICIT, raw) {
            Some(slot) => slot,
            None => {
                let bounds = bounds(raw);
                let count = bounds.as_ref().map_or(0, |bounds| bounds.len());
                let layout = bounds.map(|bounds| HistogramLayout::Explicit { bounds });
                self.known.insert(EXPLICIT, raw, Known { layout, bounds: count, epoch: 0, at: 0 })
            }
        };
        let at = self.place(slot, layouts)?;
        Ok(ExplicitLayout { at, bounds: self.known.value(slot).bounds })
    }

    /// The index of an exponential layout.
    pub(super) fn exponential(
        &mut self,
        layout: &HistogramLayout,
        layouts: &mut Vec<HistogramLayout>,
    ) -> Result<u32, Fault> {
        let HistogramLayout::Exponential { scale, zero_threshold, positive_offset, positive_len, negative_offset } =
            layout
        else {
            return Err(Reason::BadBuckets.into());
        };
        let mut key = [0; 24];
        key[..4].copy_from_slice(&scale.to_le_bytes());
        key[4..12].copy_from_slice(&zero_threshold.to_bits().to_le_bytes());
        key[12..16].copy_from_slice(&positive_offset.to_le_bytes());
        key[16..20].copy_from_slice(&positive_len.to_le_bytes());
        key[20..].copy_from_slice(&negative_offset.to_le_bytes());
        let slot = match self.known.find(EXPONENTIAL, &key) {
            Some(slot) => slot,
            None => {
                let known = Known { layout: Ok(layout.clone()), bounds: 0, epoch: 0, at: 0 };
                self.known.insert(EXPONENTIAL, &key, known)
            }
        };
        self.place(slot, layouts)
    }

    fn place(&mut self, slot: u32, layouts: &mut Vec<HistogramLayout>) -> Result<u32, Fault> {
        let epoch = self.epoch;
        let known = self.known.value_mut(slot);
        if known.epoch != epoch {
            layouts.push(known.layout.clone()?);
            known.epoch = epoch;
            known.at = row(layouts.len() - 1);
        }
        Ok(known.at)
    }
}

fn bounds(raw: &[u8]) -> Result<Arc<[f64]>, Reason> {
    let (chunks, _) = raw.as_chunks::<8>();
    let mut bounds: Vec<f64> = chunks.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
    }
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || bounds.iter().any(|bound| bound.is_nan() || *bound == f64::INFINITY) {
        return Err(Reason::BadBuckets);
    }
    Ok(bounds.into())
}
