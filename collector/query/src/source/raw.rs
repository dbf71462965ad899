//! Number points as they were sent, one series per identity, merged over partitions: what SQL shows.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_promql::labels::Labels;
use weir_promql::source::{Budget, SourceError};
use weir_proto::prometheus::Translated;
use weir_proto::{Fingerprint, SeriesIdentity, Temporality};
use weir_store::{IndexedSeries, Snapshot};

use super::lookup::{Member, Output, View};
use super::read::{Plan, Window};
use super::rows::merged;

/// One series as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct RawSeries {
    /// As sent.
    pub(crate) identity: Arc<SeriesIdentity>,
    /// As PromQL sees it.
    pub(crate) labels: Arc<Translated>,
}

/// (series in the group, time ns, start ns, value).
pub(crate) type RawRow = (u32, i64, i64, f64);

/// The series of a snapshot that are wanted, and their points.
pub(crate) struct RawPoints {
    snapshot: Arc<Snapshot>,
    window: Window,
    series: Vec<RawSeries>,
    outputs: Vec<Output>,
}

impl RawPoints {
    /// Finds the series of partitions that overlap `from_ns..=to_ns`.
    pub(crate) fn find(
        snapshot: &Arc<Snapshot>,
        (from_ns, to_ns): (i64, i64),
        numbers_only: bool,
        wanted: &dyn Fn(&IndexedSeries) -> bool,
        budget: &Budget,
    ) -> Result<Self, SourceError> {
        let (start_ms, end_ms) = (from_ns.div_euclid(1_000_000), to_ns.div_euclid(1_000_000));
        let window = Window { start_ms, end_ms, spacing_ms: 0, stats_only: true };
        let mut raw = Self { snapshot: Arc::clone(snapshot), window, series: Vec::new(), outputs: Vec::new() };
        let mut known: HashMap<Fingerprint, u32> = HashMap::new();
        for (at, partition) in (0u32..).zip(&snapshot.metrics) {
            budget.check()?;
            if !partition.overlaps(from_ns, to_ns) {
                continue;
            }
            let index = partition.series_index().map_err(|error| SourceError::Storage(error.to_string()))?;
            for sid in index.all() {
                let entry = index.entry(sid);
                if (numbers_only && entry.identity.is_histogram()) || !wanted(entry) {
                    continue;
                }
                let stream = *known.entry(entry.identity.fingerprint).or_insert_with(|| raw.add(entry));
                let delta = entry.identity.temporality == Temporality::Delta;
                let member = Member { partition: at, sid, stream, view: View::Number, delta };
                raw.outputs[stream as usize].members.push(member);
            }
        }
        Ok(raw)
    }

    /// The series alone.
    pub(crate) fn into_series(self) -> Vec<RawSeries> {
        self.series
    }

    /// The points, some series at a time.
    pub(crate) fn into_groups(self, budget: Arc<Budget>) -> Result<RawGroups, SourceError> {
        let additive = self.outputs.iter().map(|output| output.additive).collect();
        let (plan, _) = Plan::build(self.snapshot, self.outputs, self.window, &[], &budget)?;
        Ok(RawGroups { plan, additive, series: self.series, budget, next: 0 })
    }

    fn add(&mut self, entry: &IndexedSeries) -> u32 {
        let stream = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        self.series.push(RawSeries { identity: Arc::clone(&entry.identity), labels: Arc::clone(&entry.labels) });
        self.outputs.push(Output {
            labels: Labels::default(),
            buckets: false,
            unit: Arc::clone(&entry.identity.unit),
            additive: entry.identity.is_additive(),
            explicit: false,
            exponential: false,
            members: Vec::new(),
        });
        stream
    }
}

/// Reads the points of [`RawPoints`], some series at a time.
pub(crate) struct RawGroups {
    plan: Plan,
    additive: Vec<bool>,
    series: Vec<RawSeries>,
    budget: Arc<Budget>,
    next: usize,
}

impl RawGroups {
    fn read(&self, group: usize) -> Result<(Vec<RawSeries>, Vec<RawRow>), SourceError> {
        let range = self.plan.group(group);
        let mut rows = Vec::new();
        for (at, points) in (0u32..).zip(self.plan.numbers_of(group, &self.budget)?) {
            let reading = self.plan.reading(self.additive[range.start + at as usize]);
            let points = merged(points, reading);
            rows.extend(points.into_iter().map(|point| (at, point.time_ns, point.start_ns, point.value)));
        }
        Ok((self.series[range].to_vec(), rows))
    }
}

impl Iterator for RawGroups {
    type Item = Result<(Vec<RawSeries>, Vec<RawRow>), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.next;
        self.next += 1;
        (group < self.plan.groups()).then(|| self.read(group))
    }
}
