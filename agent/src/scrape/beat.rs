//! When a target is scraped, and the time that its samples get.
//!
//! The beat of a target is fixed by the wall clock and its hash, so it is the same after a restart, and targets are
//! spread over the interval. A scrape that begins within [`TOLERANCE_NS`] of its beat gets the beat's own time: series
//! whose times step evenly share one timeline in the store, which is the largest single saving there.
//! Source: Prometheus' scrape/target.go (`offset`) and scrape/scrape.go (`AlignScrapeTimestamps`).

use std::time::Duration;

use tokio::time::Instant;

/// Prometheus' `ScrapeTimestampTolerance`, at most a hundredth of the interval.
const TOLERANCE_NS: i64 = 2_000_000;
/// Samples are stored in whole milliseconds where all of a part are.
const MILLISECOND_NS: i64 = 1_000_000;

/// The schedule of one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// When the next scrape is due.
    pub(super) due: Instant,
    /// The wall-clock time of `due`, whole milliseconds.
    due_ns: i64,
    interval: Duration,
}

impl Beat {
    /// The first beat after now of a target with this `hash`.
    pub(super) fn first(interval: Duration, hash: u64, now: Instant, now_ns: i64) -> Self {
        let interval_ns = to_ns(interval).max(MILLISECOND_NS);
        let offset = i64::try_from(hash % interval_ns.unsigned_abs()).unwrap_or(0);
        let wait_ns = (offset - now_ns).rem_euclid(interval_ns);
        let due_ns = now_ns + wait_ns;
        let due_ns = due_ns - due_ns.rem_euclid(MILLISECOND_NS);
        Self { due: now + Duration::from_nanos(wait_ns.unsigned_abs()), due_ns, interval }
    }

    /// The time of samples whose scrape begins at `begin_ns`.
    pub(super) fn time_of(&self, begin_ns: i64) -> i64 {
        let tolerance = TOLERANCE_NS.min(to_ns(self.interval) / 100);
        if (begin_ns - self.due_ns).abs() <= tolerance.max(MILLISECOND_NS) {
            return self.due_ns;
        }
        begin_ns - begin_ns.rem_euclid(MILLISECOND_NS)
    }

    /// Steps to the first beat after `now`; beats that were missed are left out.
    pub(super) fn advance(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.due);
        let steps =
            u32::try_from(late.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX).saturating_add(1);
        self.due += self.interval * steps;
        self.due_ns += to_ns(self.interval) * i64::from(steps);
    }
}

fn to_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 1_795_000_000_123_456_789;
    const INTERVAL: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn the_beat_is_the_same_after_a_restart_and_lies_within_an_interval() {
        let now = Instant::now();
        let first = Beat::first(INTERVAL, 0xfeed_beef, now, NOW_NS);
        let later = Beat::first(INTERVAL, 0xfeed_beef, now, NOW_NS + 61_000_000_000);
        assert!(first.due - now < INTERVAL);
        assert_eq!((later.due_ns - first.due_ns).rem_euclid(15_000_000_000), 0);
        assert_eq!(first.due_ns % MILLISECOND_NS, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_aligned_within_the_tolerance_only() {
        let beat = Beat::first(INTERVAL, 7, Instant::now(), NOW_NS);
        assert_eq!(beat.time_of(beat.due_ns + 1_999_999), beat.due_ns);
        assert_eq!(beat.time_of(beat.due_ns - 1_500_000), beat.due_ns);
        assert_eq!(beat.time_of(beat.due_ns + 3_400_000), beat.due_ns + 3_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn missed_beats_are_left_out_and_the_grid_stays() {
        let now = Instant::now();
        let first = Beat::first(INTERVAL, 7, now, NOW_NS);
        let mut beat = first;
        beat.advance(first.due + Duration::from_secs(1));
        assert_eq!(beat.due - first.due, INTERVAL);
        beat.advance(first.due + Duration::from_secs(61));
        assert_eq!(beat.due - first.due, INTERVAL * 5);
        assert_eq!(beat.due_ns - first.due_ns, 75_000_000_000);
    }
}
