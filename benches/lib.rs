//! Load generator and comparisons with peers.
