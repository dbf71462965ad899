//! How many spans one span stands for, by the sampling threshold that the sampler left in its tracestate.
//!
//! `tracestate: ot=th:c` says that spans whose randomness lies below 0xc0000000000000 (of 2^56) were not sent, so
//! each one sent stands for 2^56 / (2^56 - T) = 4. Counts are whole numbers: the fraction of a weight is rounded up
//! or down by the span's own id, so that the result is a pure function of the span, and right in the mean.
//! Source: OpenTelemetry specification, trace/tracestate-probability-sampling.

/// 2^56: one past the largest threshold.
const RANDOMNESS_END: u64 = 1 << 56;
/// Hex digits of a full threshold.
const THRESHOLD_DIGITS: usize = 14;

/// The rejection threshold `th` in a W3C tracestate, when its `ot` member has a valid one.
#[must_use]
pub fn threshold(trace_state: &str) -> Option<u64> {
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let digits = member.split(';').find_map(|pair| pair.trim().strip_prefix("th:"))?;
    if digits.is_empty() || digits.len() > THRESHOLD_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, 16).ok()?;
    Some(value << (4 * (THRESHOLD_DIGITS - digits.len())))
}

/// The weight of a span with this `threshold`: how many spans it stands for.
#[must_use]
pub fn span_weight(threshold: u64, span_id: [u8; 8]) -> u64 {
    let kept = RANDOMNESS_END - threshold.min(RANDOMNESS_END - 1);
    let whole = RANDOMNESS_END / kept;
    let rest = RANDOMNESS_END % kept;
    // A 64-bit mix (splitmix64's finaliser): span ids of some senders count up.
    let mut mixed = u64::from_le_bytes(span_id).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let draw = (u128::from(mixed) * u128::from(kept)) >> 64;
    if draw < u128::from(rest) { whole + 1 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_left_aligned_hex() {
        assert_eq!(threshold("ot=th:8"), Some(1 << 55));
        assert_eq!(threshold("vendor=x, ot=rv:1234;th:c"), Some(3 << 54));
        assert_eq!(threshold("ot=th:0"), Some(0));
        for bad in ["", "ot=th:", "ot=th:xyz", "ot=th:123456789012345", "th:8", "ot=rv:8"] {
            assert_eq!(threshold(bad), None, "{bad}");
        }
    }

    #[test]
    fn whole_weights_are_exact_and_fractions_right_in_the_mean() {
        for id in 0..100_u64 {
            assert_eq!(span_weight(0, id.to_le_bytes()), 1);
            assert_eq!(span_weight(1 << 55, id.to_le_bytes()), 2);
            assert_eq!(span_weight(3 << 54, id.to_le_bytes()), 4);
        }
        let kept_three_tenths = RANDOMNESS_END / 10 * 7;
        let sum: u64 = (0..100_000_u64).map(|id| span_weight(kept_three_tenths, id.to_le_bytes())).sum();
        let mean = f64::from(u32::try_from(sum).unwrap()) / 100_000.0;
        assert!((mean - 10.0 / 3.0).abs() < 0.01, "{mean}");
        assert_eq!(span_weight(u64::MAX, [1; 8]), RANDOMNESS_END);
    }
}
