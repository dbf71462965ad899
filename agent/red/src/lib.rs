//! RED metrics from spans, exact, before any sampling.
