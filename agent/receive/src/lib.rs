//! The OTLP edge, gRPC and HTTP.
