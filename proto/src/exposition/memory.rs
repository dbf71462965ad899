//! What a [`PageReader`](super::PageReader) remembers of its target: lines in the order of the last page, families,
//! and which series were on which page.
//!
//! ```text
//! first ─▶ line ─next─▶ line ─next─▶ …     key (family, bytes up to the value) → series | comment | dropped
//! series {identity, page it was last on}    on the last page and not on this one → stale marker
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::family::Family;
use crate::batch::{MetricBatch, STALE_NAN_BITS};
use crate::identity::{Fingerprint, Resource, SeriesIdentity};
use crate::raw_table::RawTable;

/// No line: predicts nothing.
pub(super) const NONE: u32 = u32::MAX;
/// Lines that may be remembered beyond a few times the last page's, before all but the last page is forgotten.
const SPARE_LINES: usize = 4_096;
/// Texts remembered before all are forgotten.
const TEXTS_MAX: usize = 65_536;

/// A line seen before: what follows it, and what it is.
pub(super) struct Line {
    pub(super) next: u32,
    pub(super) is: Is,
}

/// What a line is.
#[derive(Clone, Copy)]
pub(super) enum Is {
    /// A comment, after which lines belong to this family.
    Comment { family: u32 },
    /// A sample of this series.
    Sample { series: u32 },
    /// A sample that relabelling drops.
    Dropped,
}

/// A series seen before.
pub(super) struct Known {
    pub(super) identity: Arc<SeriesIdentity>,
    /// The page that it was last on.
    page: u64,
    /// The page that it was on before this one.
    page_before: u64,
    /// Its index in the batch being filled.
    pub(super) at: u32,
    /// Whether its last sample brought its own time; then its end is not ours to mark.
    own_time: bool,
}

/// Everything remembered of one target.
pub(super) struct PageMemory {
    lines: RawTable<Line>,
    first: u32,
    families: Vec<Family>,
    family_ids: HashMap<Family, u32, RandomState>,
    texts: RawTable<Arc<str>>,
    series: Vec<Known>,
    by_fingerprint: HashMap<Fingerprint, u32, RandomState>,
    /// Series of this target that the batch held before.
    present: HashMap<Fingerprint, u32, RandomState>,
    /// Number of the page being read.
    page: u64,
    /// Number of the last good page; 0 for none.
    last_page: u64,
    last_page_series: usize,
    last_page_lines: usize,
    this_page_series: usize,
    this_page_lines: usize,
    seen_again: usize,
}

impl Default for PageMemory {
    fn default() -> Self {
        Self {
            lines: RawTable::default(),
            first: NONE,
            families: vec![Family::default()],
            family_ids: HashMap::from_iter([(Family::default(), 0)]),
            texts: RawTable::default(),
            series: Vec::new(),
            by_fingerprint: HashMap::default(),
            present: HashMap::default(),
            page: 0,
            last_page: 0,
            last_page_series: 0,
            last_page_lines: 0,
            this_page_series: 0,
            this_page_lines: 0,
            seen_again: 0,
        }
    }
}

impl PageMemory {
    /// Starts a page of the target with `resource`, into a batch that already holds `batch`.
    pub(super) fn begin(&mut self, resource: &Arc<Resource>, batch: &[Arc<SeriesIdentity>]) {
        if self.lines.len() > 4 * self.last_page_lines + SPARE_LINES {
            self.forget_but_last_page();
        }
        self.page += 1;
        (self.this_page_series, self.this_page_lines, self.seen_again) = (0, 0, 0);
        self.present.clear();
        for (at, series) in batch.iter().enumerate().filter(|(_, series)| Arc::ptr_eq(&series.resource, resource)) {
            self.present.insert(series.fingerprint, index(at));
        }
    }

    /// Ends a good page: what was on the last one and not on this one ends.
    pub(super) fn end(&mut self, at_ns: i64, into: &mut MetricBatch) {
        if self.seen_again < self.last_page_series {
            let (last_page, present) = (self.last_page, &self.present);
            for known in self.series.iter_mut().filter(|known| known.page == last_page && !known.own_time) {
                known.at = place(&known.identity, present, into);
                push(into, known.at, at_ns, f64::from_bits(STALE_NAN_BITS));
            }
        }
        self.last_page = self.page;
        self.last_page_series = self.this_page_series;
        self.last_page_lines = self.this_page_lines;
    }

    /// Gives up a page that was wrong: the last page stays the last page.
    pub(super) fn abandon(&mut self) {
        for known in self.series.iter_mut().filter(|known| known.page == self.page) {
            known.page = known.page_before;
        }
    }

    /// How many lines are remembered.
    #[cfg(test)]
    pub(super) fn lines_len(&self) -> usize {
        self.lines.len()
    }

    fn forget_but_last_page(&mut self) {
        self.lines.clear();
        self.first = NONE;
        self.families.truncate(1);
        self.family_ids.retain(|_, id| *id == 0);
        self.series.retain(|known| known.page == self.last_page);
        self.by_fingerprint.clear();
        for (at, known) in self.series.iter().enumerate() {
            self.by_fingerprint.insert(known.identity.fingerprint, index(at));
        }
    }

    /// The line that followed `previous` (or began the page) last time, if it was read as part of `family`.
    #[inline]
    pub(super) fn predicted(&self, previous: u32, family: u32) -> Option<(u32, &[u8], Is)> {
        let slot = if previous == NONE { self.first } else { self.lines.value(previous).next };
        let bytes = self.lines.bytes_under(slot, family)?;
        Some((slot, bytes, self.lines.value(slot).is))
    }

    /// The line with these bytes, wherever it was last time.
    pub(super) fn find(&self, family: u32, bytes: &[u8]) -> Option<(u32, Is)> {
        let slot = self.lines.find(family, bytes)?;
        Some((slot, self.lines.value(slot).is))
    }

    /// Remembers a line.
    pub(super) fn insert(&mut self, family: u32, bytes: &[u8], is: Is) -> u32 {
        self.lines.insert(family, bytes, Line { next: NONE, is })
    }

    /// Remembers that `line` follows `previous`.
    pub(super) fn link(&mut self, previous: u32, line: u32) {
        if previous == NONE {
            self.first = line;
        } else {
            self.lines.value_mut(previous).next = line;
        }
    }

    /// Counts a line of this page.
    #[inline]
    pub(super) fn count_line(&mut self) {
        self.this_page_lines += 1;
    }

    /// The family with this id.
    pub(super) fn family(&self, id: u32) -> &Family {
        &self.families[id as usize]
    }

    /// The id of `family`.
    pub(super) fn family_id(&mut self, family: Family) -> u32 {
        if let Some(&id) = self.family_ids.get(&family) {
            return id;
        }
        let id = index(self.families.len());
        self.families.push(family.clone());
        self.family_ids.insert(family, id);
        id
    }

    /// `text`, shared with whoever had it before.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(slot) = self.texts.find(0, text.as_bytes()) {
            return Arc::clone(self.texts.value(slot));
        }
        if self.texts.len() >= TEXTS_MAX {
            self.texts.clear();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(0, text.as_bytes(), Arc::clone(&shared));
        shared
    }

    /// The id of a series.
    pub(super) fn series_id(&mut self, identity: SeriesIdentity) -> u32 {
        if let Some(&id) = self.by_fingerprint.get(&identity.fingerprint) {
            return id;
        }
        let id = index(self.series.len());
        self.by_fingerprint.insert(identity.fingerprint, id);
        let identity = Arc::new(identity);
        self.series.push(Known { identity, page: NEVER, page_before: NEVER, at: 0, own_time: false });
        id
    }

    /// Notes that the series is on this page; where it stands in the batch, and how it was seen before.
    #[inline]
    pub(super) fn see(&mut self, id: u32, own_time: bool, into: &mut MetricBatch) -> (u32, Seen) {
        let known = &mut self.series[id as usize];
        known.own_time = own_time;
        if known.page == self.page {
            return (known.at, Seen::OnThisPage);
        }
        known.page_before = known.page;
        known.page = self.page;
        known.at = place(&known.identity, &self.present, into);
        self.this_page_series += 1;
        if known.page_before == self.last_page {
            self.seen_again += 1;
            (known.at, Seen::OnLastPage)
        } else {
            (known.at, Seen::NotLately)
        }
    }
}

/// Page number of a series that was on none yet.
const NEVER: u64 = u64::MAX;

/// When a series was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    OnThisPage,
    OnLastPage,
    NotLately,
}

fn place(
    series: &Arc<SeriesIdentity>,
    present: &HashMap<Fingerprint, u32, RandomState>,
    into: &mut MetricBatch,
) -> u32 {
    if !present.is_empty()
        && let Some(&at) = present.get(&series.fingerprint)
    {
        return at;
    }
    into.series.push(Arc::clone(series));
    index(into.series.len() - 1)
}

/// Appends a sample.
#[inline]
pub(super) fn push(into: &mut MetricBatch, series: u32, time_ns: i64, value: f64) {
    into.numbers.series.push(series);
    into.numbers.start_ns.push(0);
    into.numbers.time_ns.push(time_ns);
    into.numbers.value.push(value);
}

/// A length as an id.
///
/// # Panics
/// Past 2^32, which no page reaches: a line takes bytes, and pages are capped far below.
pub(super) fn index(len: usize) -> u32 {
    u32::try_from(len).expect("a page has fewer than 2^32 lines")
}
