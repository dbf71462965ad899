//! `target_info`: the resource attributes that are not labels of every series, one series per target, made at read.
//!
//! A target is a job and an instance; where two resources have the same, the later partition's attributes are shown.
//! Its samples are 1, from the first to the last point of the resource in the window, at most half a lookback apart.
//! Source: Prometheus storage/remote/otlptranslator, `addResourceTargetInfo`.

use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use weir_promql::labels::{Labels, METRIC_NAME};
use weir_promql::source::{Budget, SeriesBatch, SourceError};
use weir_proto::Resource;
use weir_proto::prometheus::{TARGET_INFO, target_info};
use weir_store::{IndexedSeries, Partition, Snapshot};

use super::matcher::{Compiled, all_accept};
use super::read::Window;

/// Half of Prometheus' lookback.
const SPACING_MS: i64 = 150_000;
/// The times of this many series stand for those of their resource in one partition.
const SERIES_ASKED: usize = 4;

/// The targets found, with the times at which they were seen.
#[derive(Default)]
pub(crate) struct TargetInfo {
    targets: Vec<(Labels, Vec<i64>)>,
    first_id: u32,
}

/// Series of one resource in one partition whose times are asked.
#[derive(Default)]
struct Asked {
    numbers: RoaringBitmap,
    histograms: RoaringBitmap,
}

impl TargetInfo {
    /// Finds the targets that pass `matchers`; none where the matchers cannot mean `target_info`.
    pub(crate) fn find(
        snapshot: &Snapshot,
        matchers: &[Compiled],
        window: &Window,
        budget: &Budget,
    ) -> Result<Self, SourceError> {
        let name_fits = matchers
            .iter()
            .filter(|matcher| matcher.name.as_ref() == METRIC_NAME)
            .all(|matcher| matcher.accepts(TARGET_INFO));
        if !name_fits {
            return Ok(Self::default());
        }
        let (from_ns, to_ns) = window.nanoseconds();
        let mut targets: HashMap<JobInstance, (Labels, Vec<i64>)> = HashMap::new();
        for partition in snapshot.metrics.iter().filter(|partition| partition.overlaps(from_ns, to_ns)) {
            budget.check()?;
            let Ok(index) = partition.series_index() else { continue };
            let mut resources: HashMap<*const Resource, Option<(Target, Asked)>> = HashMap::new();
            for sid in index.all() {
                let entry = index.entry(sid);
                let found = resources
                    .entry(Arc::as_ptr(&entry.identity.resource))
                    .or_insert_with(|| target_of(entry).map(|target| (target, Asked::default())));
                if let Some((_, asked)) = found {
                    asked.add(entry.identity.is_histogram(), sid);
                }
            }
            for ((key, labels), asked) in resources.into_values().flatten() {
                if !all_accept(matchers, &labels) {
                    continue;
                }
                let times = asked.times(partition, window)?;
                let target = targets.entry(key).or_default();
                target.0 = labels;
                target.1.extend(times);
            }
        }
        let mut targets: Vec<_> = targets.into_values().map(|(labels, times)| (labels, thinned(times))).collect();
        targets.retain(|target| !target.1.is_empty());
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { targets, first_id: 0 })
    }

    /// The label sets.
    pub(crate) fn into_labels(self) -> Vec<Labels> {
        self.targets.into_iter().map(|target| target.0).collect()
    }

    /// Numbers the targets behind `labels`; their batch, where there are any.
    pub(crate) fn append_to(mut self, labels: &mut Vec<Labels>) -> Result<Option<SeriesBatch>, SourceError> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        let too_many = |_| SourceError::Limit("query selects more than 4 billion series".to_owned());
        self.first_id = u32::try_from(labels.len()).map_err(too_many)?;
        let mut batch = SeriesBatch { offsets: vec![0], ..SeriesBatch::default() };
        for (id, (target, times)) in (self.first_id..).zip(self.targets) {
            labels.push(target);
            batch.ids.push(id);
            batch.t_ms.extend(times);
            batch.value.resize(batch.t_ms.len(), 1.0);
            batch.offsets.push(u32::try_from(batch.t_ms.len()).unwrap_or(u32::MAX));
        }
        Ok(Some(batch))
    }
}

impl Asked {
    fn add(&mut self, histogram: bool, sid: u32) {
        let series = if histogram { &mut self.histograms } else { &mut self.numbers };
        if series.len() < SERIES_ASKED as u64 {
            series.insert(sid);
        }
    }

    fn times(&self, partition: &Partition, window: &Window) -> Result<Vec<i64>, SourceError> {
        let (from_ns, to_ns) = window.nanoseconds();
        let mut times = Vec::new();
        let mut take = |all: &[i64]| {
            let within = all.iter().filter(|time| (from_ns..=to_ns).contains(*time));
            times.extend(within.map(|time| time.div_euclid(1_000_000)));
        };
        for chunk in partition.numbers(&self.numbers, from_ns, to_ns) {
            take(&chunk.map_err(|error| SourceError::Storage(error.to_string()))?.times);
        }
        for chunk in partition.histograms(&self.histograms, from_ns, to_ns) {
            take(&chunk.map_err(|error| SourceError::Storage(error.to_string()))?.times);
        }
        Ok(times)
    }
}

/// (job, instance) and all labels.
type Target = (JobInstance, Labels);

/// What a target is known by.
type JobInstance = (Arc<str>, Arc<str>);

/// The target of a series' resource; `None` where it has neither job nor instance, nothing more to tell, or was
/// scraped or remote-written: then its sender says what it is.
fn target_of(entry: &IndexedSeries) -> Option<Target> {
    if entry.identity.has_prometheus_names() {
        return None;
    }
    let mut pairs = target_info(&entry.identity.resource)?.labels;
    pairs.push((METRIC_NAME.into(), TARGET_INFO.into()));
    let labels = Labels::new(pairs);
    Some(((labels.value("job").into(), labels.value("instance").into()), labels))
}

/// Sorted, and of those closer than [`SPACING_MS`] only the first; the last always stays.
fn thinned(mut times: Vec<i64>) -> Vec<i64> {
    times.sort_unstable();
    times.dedup();
    let mut kept: Vec<i64> = Vec::new();
    let last = times.last().copied();
    for time in times {
        if kept.last().is_none_or(|&before| time - before >= SPACING_MS) || Some(time) == last {
            kept.push(time);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_half_a_lookback_apart_and_keep_the_last() {
        let times = (0..100).rev().map(|at| at * 10_000).collect();
        assert_eq!(thinned(times), [0, 150_000, 300_000, 450_000, 600_000, 750_000, 900_000, 990_000]);
    }
}
