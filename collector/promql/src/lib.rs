//! PromQL: parser, printer, planner, engine over the [`source::SeriesSource`] trait. Pure: no I/O, no async, no
//! other crate of Weir.

pub mod annotations;
pub mod ast;
mod calendar;
mod check;
pub mod engine;
pub mod error;
pub mod functions;
pub mod histogram;
pub mod labels;
mod lex;
pub mod matchers;
pub mod options;
pub mod parse;
pub mod position;
pub mod print;
pub mod source;
pub mod value;

pub use lex::number::parse_duration_ms;
