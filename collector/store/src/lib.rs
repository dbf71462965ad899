//! Memtable, flush, compaction, manifest, snapshots, retention.
