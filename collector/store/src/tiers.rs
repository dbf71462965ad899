//! Which parts to merge next.
//!
//! Only neighbours in commit order within one day are merged, since the order decides which of two points wins.
//! [`FANOUT`] parts of one level make one of the next, so a point is written again once per level: 10-minute parts
//! become 40-minute, 3-hour and 11-hour ones. A day that is over is merged into as few parts as [`BYTES_MAX`] lets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::lane::Table;
use crate::part::{DAY_NS, PartEntry, day_name};

/// Parts of one level that make one of the next.
const FANOUT: usize = 4;
/// The most inputs of one merge: open files and memory.
const INPUTS_MAX: usize = 32;
/// The most bytes of one merge: a part grows no further.
const BYTES_MAX: u64 = 512 << 20;
/// How long after its end a day counts as over: late points still come.
const SETTLE_NS: i64 = 3_600 * 1_000_000_000;

/// The parts to merge next, in commit order, and the level of the result. `parts` are in commit order.
pub(crate) fn choose<T: Table>(parts: &[Arc<T>], now_ns: i64) -> Option<(Vec<Arc<T>>, u8)> {
    let mut days: BTreeMap<&str, Vec<&Arc<T>>> = BTreeMap::new();
    for part in parts {
        days.entry(&part.part().entry().day).or_default().push(part);
    }
    let over_before = day_name(now_ns.saturating_sub(SETTLE_NS).div_euclid(DAY_NS));
    for (day, parts) in days {
        let entries: Vec<&PartEntry> = parts.iter().map(|part| part.part().entry()).collect();
        if let Some(range) = choose_of_day(&entries, day < over_before.as_str()) {
            let level = entries[range.clone()].iter().map(|entry| entry.level).max().unwrap_or(0).saturating_add(1);
            return Some((parts[range].iter().map(|part| Arc::clone(part)).collect(), level));
        }
    }
    None
}

/// A run of at least two neighbours worth merging.
fn choose_of_day(entries: &[&PartEntry], is_over: bool) -> Option<Range<usize>> {
    let runs = (0..entries.len()).map(|from| run_from(entries, from, is_over));
    let worth = |run: &Range<usize>| {
        let level = entries[run.start].level;
        let peers = entries[run.clone()].iter().filter(|entry| entry.level == level).count();
        if is_over { run.len() >= 2 } else { peers >= FANOUT }
    };
    let runs = runs.filter(worth);
    if is_over {
        return runs.max_by_key(|run| run.len());
    }
    // The lowest level first: its parts are the most and the smallest.
    runs.min_by_key(|run| entries[run.start].level)
}

/// The longest run from `from` within the bounds; of its level and smaller ones, unless the day is over.
fn run_from(entries: &[&PartEntry], from: usize, is_over: bool) -> Range<usize> {
    let mut bytes = 0;
    let level = entries[from].level;
    let fits = |entry: &&&PartEntry| {
        bytes += entry.bytes;
        bytes <= BYTES_MAX && (is_over || entry.level <= level)
    };
    from..from + entries[from..].iter().take(INPUTS_MAX).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(levels: &[u8]) -> Vec<PartEntry> {
        levels.iter().map(|&level| PartEntry { level, bytes: 1 << 20, ..PartEntry::default() }).collect()
    }

    fn choice(levels: &[u8], is_over: bool) -> Option<Range<usize>> {
        let entries = entries(levels);
        choose_of_day(&entries.iter().collect::<Vec<_>>(), is_over)
    }

    #[test]
    fn enough_parts_of_a_level_make_one_of_the_next() {
        assert_eq!(choice(&[0, 0, 0], false), None);
        assert_eq!(choice(&[1, 0, 0, 0, 0], false), Some(1..5));
        assert_eq!(choice(&[1, 1, 1, 1, 0], false), Some(0..5));
        assert_eq!(choice(&[1, 1, 1, 0, 1], false), Some(0..5), "smaller neighbours between go along");
        assert_eq!(choice(&[2, 0, 0, 0], false), None, "a large part is not written again for a few small ones");
    }

    #[test]
    fn a_day_that_is_over_becomes_one_part() {
        assert_eq!(choice(&[3, 1, 0], true), Some(0..3));
        assert_eq!(choice(&[3], true), None);
    }

    #[test]
    fn large_parts_are_left_alone() {
        let mut entries = entries(&[0; 6]);
        entries[0].bytes = BYTES_MAX;
        let entries: Vec<_> = entries.iter().collect();
        assert_eq!(choose_of_day(&entries, true), Some(1..6));
    }
}
