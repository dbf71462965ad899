//! A segmented, checksummed, append-only log with per-segment acks.
