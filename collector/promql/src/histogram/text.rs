//! Histograms as text: the form in which the text scripts and error messages show them.

use std::fmt;

use super::{FloatHistogram, ResetHint};
use crate::print::format_float;

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{schema:{} count:{} sum:{}", self.schema, format_float(self.count), format_float(self.sum))?;
        if self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            let (count, width) = (format_float(self.zero_count), format_float(self.zero_threshold));
            write!(f, " z_bucket:{count} z_bucket_w:{width}")?;
        }
        if !self.custom_values.is_empty() {
            write!(f, " custom_values:[{}]", join(self.custom_values.iter().copied()))?;
        }
        side(f, "offset", "buckets", &mut self.positive())?;
        side(f, "n_offset", "n_buckets", &mut self.negative())?;
        match self.reset_hint {
            ResetHint::Unknown => {}
            ResetHint::Reset => f.write_str(" counter_reset_hint:reset")?,
            ResetHint::NotReset => f.write_str(" counter_reset_hint:not_reset")?,
            ResetHint::Gauge => f.write_str(" counter_reset_hint:gauge")?,
        }
        f.write_str("}}")
    }
}

fn join(numbers: impl Iterator<Item = f64>) -> String {
    numbers.map(format_float).collect::<Vec<_>>().join(" ")
}

/// Gaps are shown as empty buckets, up to a length that stays readable.
const GAP_MAX: i32 = 64;

fn side(
    f: &mut fmt::Formatter<'_>,
    offset: &str,
    name: &str,
    buckets: &mut dyn Iterator<Item = (i32, f64)>,
) -> fmt::Result {
    let mut counts: Vec<f64> = Vec::new();
    let (mut first, mut next) = (0_i32, 0_i32);
    for (index, count) in buckets.filter(|(_, count)| *count != 0.0) {
        if counts.is_empty() {
            first = index;
        } else {
            counts.extend((next..index.min(next.saturating_add(GAP_MAX))).map(|_| 0.0));
        }
        counts.push(count);
        next = index + 1;
    }
    if counts.is_empty() {
        return Ok(());
    }
    if first != 0 {
        write!(f, " {offset}:{first}")?;
    }
    write!(f, " {name}:[{}]", join(counts.into_iter()))
}
