//! The defect of checkout 1.9.0: it comes half a minute after the start, lasts [`LASTS`], and comes again.

use std::time::{Duration, Instant};

/// From one beginning to the next.
const EVERY: Duration = Duration::from_secs(150);
/// When it first comes.
const FIRST: Duration = Duration::from_secs(25);
/// How long it stays.
const LASTS: Duration = Duration::from_secs(60);
/// The version that has it.
const VERSION: &str = "1.9.0";

/// Knows whether the defect is there.
#[derive(Clone)]
pub(super) struct Fault {
    since: Instant,
    present: bool,
}

impl Fault {
    pub(super) fn of(release: &str) -> Self {
        Self { since: Instant::now(), present: release == VERSION }
    }

    pub(super) fn is_active(&self) -> bool {
        let phase = self.since.elapsed().as_millis() % EVERY.as_millis();
        self.present && (FIRST.as_millis()..(FIRST + LASTS).as_millis()).contains(&phase)
    }
}

/// The price of an order, in cents. The defect looks every rebate up in an unsorted list, for every item: slow for
/// real, on the processor.
pub(super) fn price_of(items: u64, defect: bool) -> u64 {
    let rounds = if defect { 150_000_000 } else { 20_000 };
    let mut state = items + 1;
    for round in 0..rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
    }
    1_000 * items + state % 100
}
