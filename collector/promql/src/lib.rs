//! PromQL: parser, printer, planner, engine over the [`source::SeriesSource`] trait. Pure: no I/O, no async, no
//! other crate of Weir.

pub mod histogram;
pub mod labels;
pub mod source;
