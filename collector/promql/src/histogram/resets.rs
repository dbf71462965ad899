//! Whether a counter was reset between two histograms.

use super::sparse::{Sparse, align, zip};
use super::{FloatHistogram, ResetHint, SCHEMA_CUSTOM};

impl FloatHistogram {
    /// Whether a counter that had the value `previous` must have been reset to have this one now.
    #[must_use]
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.uses_custom_buckets() != previous.uses_custom_buckets() {
            return true;
        }
        if self.schema != SCHEMA_CUSTOM {
            // A finer resolution or a narrower zero bucket is only chosen after a reset.
            if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
                return true;
            }
        }
        let (mut now, mut before) = (Sparse::<f64>::of(self), Sparse::<f64>::of(previous));
        if self.schema != SCHEMA_CUSTOM && before.widened_threshold(self.zero_threshold) != self.zero_threshold {
            return true;
        }
        if align(&mut now, &mut before).is_err() || now.zero < before.zero {
            return true;
        }
        let fell = |now: Option<f64>, before: Option<f64>| now.unwrap_or(0.0) < before.unwrap_or(0.0);
        zip(&now.positive, &before.positive, fell).iter().any(|(_, fell)| *fell)
            || zip(&now.negative, &before.negative, fell).iter().any(|(_, fell)| *fell)
    }
}
