//! One series over all steps of a query: a column of floats, which steps have a value, and, only where there are any,
//! histograms.

use std::sync::Arc;

use crate::histogram::FloatHistogram;
use crate::labels::Labels;

/// Which steps have a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    length: usize,
}

impl Bits {
    pub(crate) fn none(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(64)], length }
    }

    pub(crate) fn reset(&mut self, length: usize) {
        self.words.clear();
        self.words.resize(length.div_ceil(64), 0);
        self.length = length;
    }

    pub(crate) fn all(length: usize) -> Self {
        let mut bits = Self { words: vec![u64::MAX; length.div_ceil(64)], length };
        if let (Some(last), true) = (bits.words.last_mut(), !length.is_multiple_of(64)) {
            *last = (1 << (length % 64)) - 1;
        }
        bits
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    #[inline]
    pub(crate) fn clear(&mut self, at: usize) {
        self.words[at / 64] &= !(1 << (at % 64));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count() == self.length
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn or(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    pub(crate) fn and(&mut self, other: &Self) {
        for (word, mask) in self.words.iter_mut().zip(&other.words) {
            *word &= mask;
        }
    }

    pub(crate) fn and_not(&mut self, other: &Self) {
        for (word, mask) in self.words.iter_mut().zip(&other.words) {
            *word &= !mask;
        }
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// The steps that have a value, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

/// The value of one step.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// The values of one series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    pub(crate) values: Vec<f64>,
    pub(crate) present: Bits,
    /// By step, where any is a histogram.
    pub(crate) histograms: Option<Vec<Option<Arc<FloatHistogram>>>>,
}

impl Column {
    pub(crate) fn empty(steps: usize) -> Self {
        Self { values: vec![0.0; steps], present: Bits::none(steps), histograms: None }
    }

    pub(crate) fn constant(value: f64, steps: usize) -> Self {
        Self { values: vec![value; steps], present: Bits::all(steps), histograms: None }
    }

    /// Takes all values out and makes room for `steps`.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.histograms = None;
        self.values.resize(steps, 0.0);
        self.present.reset(steps);
    }

    pub(crate) fn steps(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub(crate) fn set_float(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present.set(step);
    }

    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let steps = self.values.len();
        self.histograms.get_or_insert_with(|| vec![None; steps])[step] = Some(histogram);
        self.present.set(step);
    }

    pub(crate) fn set(&mut self, step: usize, cell: Cell) {
        match cell {
            Cell::Float(value) => self.set_float(step, value),
            Cell::Histogram(histogram) => self.set_histogram(step, histogram),
        }
    }

    #[inline]
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.as_ref().and_then(|all| all[step].as_ref())
    }

    pub(crate) fn cell(&self, step: usize) -> Option<Cell> {
        if !self.present.get(step) {
            return None;
        }
        Some(match self.histogram(step) {
            Some(histogram) => Cell::Histogram(Arc::clone(histogram)),
            None => Cell::Float(self.values[step]),
        })
    }

    /// The float at a step.
    #[inline]
    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        (self.present.get(step) && self.histogram(step).is_none()).then(|| self.values[step])
    }

    /// Leaves only floats.
    pub(crate) fn drop_histograms(&mut self) {
        if let Some(histograms) = self.histograms.take() {
            for (step, _) in histograms.iter().enumerate().filter(|(_, histogram)| histogram.is_some()) {
                self.present.clear(step);
            }
        }
    }

    /// Takes over the values of a column that has none where this one has some.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        for step in other.present.iter() {
            if let Some(cell) = other.cell(step) {
                self.set(step, cell);
            }
        }
    }

    /// The value of the only step, at each of `steps`.
    pub(crate) fn broadcast(&self, steps: usize) -> Self {
        match self.cell(0) {
            None => Self::empty(steps),
            Some(Cell::Float(value)) => Self::constant(value, steps),
            Some(Cell::Histogram(histogram)) => Self {
                values: vec![0.0; steps],
                present: Bits::all(steps),
                histograms: Some(vec![Some(histogram); steps]),
            },
        }
    }

    /// Bytes of its histograms. Steps in a row often share one.
    pub(crate) fn histogram_bytes(&self) -> u64 {
        let Some(histograms) = &self.histograms else { return 0 };
        let mut last: Option<&Arc<FloatHistogram>> = None;
        let mut bytes = histograms.len() * size_of::<Option<Arc<FloatHistogram>>>();
        for histogram in histograms.iter().flatten() {
            if !last.is_some_and(|last| Arc::ptr_eq(last, histogram)) {
                bytes += histogram.bytes();
            }
            last = Some(histogram);
        }
        bytes as u64
    }

    /// Bytes of a column of floats.
    pub(crate) fn bytes(steps: usize) -> u64 {
        (steps * 8 + steps.div_ceil(64) * 8 + 64) as u64
    }
}

/// A series with its values.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Tells series apart whose labels were not all read: one more than the series' id. 0 where the labels do.
    pub(crate) serial: u32,
    pub(crate) labels: Labels,
    /// Whether name, type and unit no longer fit; they are dropped at the end when removal is delayed.
    pub(crate) drop_name: bool,
    pub(crate) column: Column,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_at_word_borders() {
        let mut bits = Bits::none(130);
        for at in [0, 63, 64, 129] {
            bits.set(at);
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        bits.clear(64);
        assert_eq!(bits.count(), 3);
        assert!(Bits::all(130).is_full() && Bits::all(64).is_full());
    }
}
