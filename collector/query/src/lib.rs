//! PromQL and SQL over a snapshot: scans, pruning, limits.
