//! What parts and memtables share: one copy of each series in memory, however many hold it, and the cache of pages.
//!
//! Series are held weakly: one that no index holds any more is forgotten at the next sweep.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_proto::prometheus::{Promotion, Translated, Translator};
use weir_proto::{Fingerprint, SeriesIdentity};

use super::index::IndexedSeries;
use super::pages::PageCache;

/// Sweeps are not worth their walk below this many series.
const SWEEP_MIN: usize = 4_096;

/// Interns series and their PromQL face. The mutex guards look-ups of microseconds; no channel would be shorter.
#[derive(Debug, Default)]
pub(crate) struct SeriesRegistry {
    uses: AtomicU64,
    pages: PageCache,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    translator: Translator,
    series: HashMap<Fingerprint, (Weak<SeriesIdentity>, Weak<Translated>), RandomState>,
    sweep_at: usize,
}

impl SeriesRegistry {
    pub(crate) fn new(promotion: Promotion) -> Self {
        let known = Known { translator: Translator::new(promotion), ..Known::default() };
        Self { known: Mutex::new(known), ..Self::default() }
    }

    /// Counts a use of some part, so that the cache knows which was asked for longest ago.
    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Unpacked pages of all parts.
    pub(crate) fn pages(&self) -> &PageCache {
        &self.pages
    }

    /// The shared form of `series`, translated if nobody holds it yet.
    pub(crate) fn intern(&self, series: &[Arc<SeriesIdentity>]) -> Vec<IndexedSeries> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|identity| known.intern(identity)).collect()
    }
}

impl Known {
    fn intern(&mut self, identity: &Arc<SeriesIdentity>) -> IndexedSeries {
        if let Some((held, labels)) = self.series.get(&identity.fingerprint)
            && let (Some(identity), Some(labels)) = (held.upgrade(), labels.upgrade())
        {
            return IndexedSeries { identity, labels };
        }
        if self.series.len() >= self.sweep_at {
            self.series.retain(|_, held| held.0.strong_count() > 0 && held.1.strong_count() > 0);
            self.sweep_at = SWEEP_MIN.max(2 * self.series.len());
        }
        let entry =
            IndexedSeries { identity: Arc::clone(identity), labels: Arc::new(self.translator.translate(identity)) };
        self.series.insert(identity.fingerprint, (Arc::downgrade(&entry.identity), Arc::downgrade(&entry.labels)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::series;

    #[test]
    fn equal_series_are_one_while_somebody_holds_them() {
        let registry = SeriesRegistry::default();
        let held = registry.intern(&[series("up", &[("job", "a")])]);
        let again = registry.intern(&[series("up", &[("job", "a")])]);
        assert!(Arc::ptr_eq(&held[0].identity, &again[0].identity));
        drop((held, again));
        let known = &registry.known.lock().unwrap().series;
        assert!(known.values().all(|entry| entry.0.strong_count() == 0));
    }
}
