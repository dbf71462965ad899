//! Scrapes, reads the host, receives OTLP, queues on disk and pushes to a collector.
