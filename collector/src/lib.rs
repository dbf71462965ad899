//! Ingest, limits, service graph, doctor, HTTP and gRPC edges.
