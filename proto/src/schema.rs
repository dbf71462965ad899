//! Arrow schemas of the stored tables, one constant per column. Whoever writes, merges or reads a table names its
//! columns through these constants.

pub mod metrics;
pub mod traces;

pub use traces::{resources, spans, traces};
