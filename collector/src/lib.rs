//! Ingest, limits, service graph, doctor, HTTP and gRPC edges.

pub mod arrivals;
pub mod graph;
pub mod http;
pub mod push;
pub mod settings;
