//! End to end, crash, conformance and tidiness.
