//! Metrics: from points to chunks, from chunks to the tables of a part, and back.

pub(crate) mod chunk;
pub(crate) mod index;
pub(crate) mod labels;
#[expect(dead_code, reason = "the writer, which lands next, fills and freezes it")]
pub(crate) mod memtable;
pub(crate) mod merge;
pub(crate) mod order;
#[cfg(test)]
pub(crate) mod testing;

pub use chunk::{Exemplar, HistogramChunk, HistogramPoint, NumberChunk, Starts};
pub use index::{IndexedSeries, LabelMatcher, LabelTest, METRIC_NAME, SeriesIndex};
pub use labels::SeriesLabels;
pub use merge::{Column, merge_histograms, merge_numbers};
