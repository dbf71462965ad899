//! PromQL: parser, printer, planner, engine over the [`source::SeriesSource`] trait. Pure: no I/O, no async, no
//! other crate of Weir.

pub mod annotations;
pub mod ast;
mod calendar;
mod check;
pub mod engine;
pub mod error;
mod eval;
pub mod functions;
pub mod histogram;
pub mod labels;
mod lex;
pub mod matchers;
pub mod memory;
pub mod options;
pub mod parse;
mod plan;
pub mod position;
pub mod print;
mod quantile;
pub mod script;
pub mod source;
pub mod value;

pub use lex::parse_duration_ms;
