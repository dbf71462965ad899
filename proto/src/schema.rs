//! Arrow schemas of the stored tables, one constant per column.

pub mod traces;

pub use traces::{resources, spans, traces};
