//! Metrics: from points to chunks, from chunks to the tables of a part, and back.
//!
//! | module | |
//! |---|---|
//! | `memtable` | what is not yet in a part |
//! | `chunk`, `merge` | points as they are read; the rule for repeats |
//! | `index`, `labels`, `registry` | finding series by PromQL labels |
//! | `codec`, `cut`, `value_text` | numbers, chunks and attribute values as columns |
//! | `series_table`, `timelines`, `samples`, `histograms`, `exemplars` | the tables of a part |
//! | `file`, `array`, `attributes` | Parquet files, columns of a batch, text maps |
//! | `write`, `read`, `compact` | a part from series, series from a part, a part from parts |
//! | `rows`, `pages`, `heads` | numbers of a part for a reader that brings the columns; unpacked pages |

mod array;
mod attributes;
pub(crate) mod chunk;
mod codec;
mod compact;
mod cut;
mod exemplars;
mod file;
mod heads;
mod histograms;
pub(crate) mod index;
mod labels;
pub(crate) mod memtable;
pub(crate) mod merge;
mod order;
mod pages;
pub(crate) mod read;
pub(crate) mod registry;
mod rows;
mod samples;
mod series_table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timelines;
mod value_text;
mod write;

pub use chunk::{Exemplar, HistogramChunk, HistogramPoint, NumberChunk, Starts};
pub(crate) use compact::{merge_parts, write_parts};
pub use index::{IndexedSeries, LabelMatcher, LabelTest, METRIC_NAME, SeriesIndex};
pub use merge::{Column, merge_histograms, merge_numbers};
pub use rows::{NumberRow, NumberRows, RowValues};
pub use timelines::Timeline;
