//! How long to wait before the next attempt: exponential with full jitter, so that a thousand agents that lost one
//! collector do not come back at once.

use std::time::Duration;

/// The first pause is at most this.
const FIRST: Duration = Duration::from_millis(200);

/// No pause is longer.
const MAX: Duration = Duration::from_secs(30);

/// No pause is shorter: a connection refused costs nothing, and a loop of them costs a core.
const MIN: Duration = Duration::from_millis(20);

/// Consecutive failures, and a small generator.
#[derive(Debug)]
pub(super) struct Backoff {
    attempt: u32,
    dice: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { attempt: 0, dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1) }
    }

    /// The pause before the next attempt: evenly anywhere up to the bound that doubles each time.
    pub(super) fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempt.min(16)).min(MAX);
        self.attempt = self.attempt.saturating_add(1);
        // xorshift64: any generator will do for jitter.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let share = (self.dice >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(share).max(MIN)
    }

    /// Calls `say` on the first failure and then ever more rarely (each power of two).
    pub(super) fn failed(&self, say: impl FnOnce(u32)) {
        if (self.attempt + 1).is_power_of_two() {
            say(self.attempt + 1);
        }
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_are_bounded() {
        let mut backoff = Backoff::new(42);
        let pauses: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(pauses.iter().all(|pause| (MIN..=MAX).contains(pause)));
        assert!(pauses[0] <= FIRST);
        assert!(pauses[20..].iter().any(|pause| *pause > MAX / 2));
        let mut other = Backoff::new(43);
        assert!(pauses.iter().any(|pause| *pause != other.next()), "two agents do not march in step");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
