//! A memtable, the part written from it, and a merge of parts answer alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use roaring::RoaringBitmap;
use weir_proto::batch::STALE_NAN_BITS;
use weir_proto::prometheus::Promotion;
use weir_proto::{
    Fingerprint, HistogramLayout, HistogramMarks, KeyValue, MetricBatch, MetricKind, ResetHint, SeriesIdentity,
    Temporality, Value,
};

use super::chunk::{Exemplar, HistogramChunk, HistogramPoint, NumberChunk};
use super::memtable::MetricMemtable;
use super::read::MetricPart;
use super::registry::SeriesRegistry;
use super::testing::{push_exemplar, push_histogram, push_number, red_series, series, series_of};
use super::{merge_histograms, merge_numbers, merge_parts, write_parts};
use crate::part::{Part, PartEntry};
use crate::snapshot::Partition;

mod golden;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Everything that partitions answer, in a form that compares by bits.
type Answer = BTreeMap<Fingerprint, Vec<String>>;

/// What all partitions have of one series.
type Pieces = (Arc<SeriesIdentity>, Vec<NumberChunk>, Vec<HistogramChunk>, Vec<Exemplar>);

fn answer(partitions: &[Partition]) -> Answer {
    let mut numbers: BTreeMap<Fingerprint, Pieces> = BTreeMap::new();
    for partition in partitions {
        let index = partition.series_index().unwrap();
        let all: RoaringBitmap = index.all().clone();
        let entry = |sid: u32| {
            let identity = index.identity(sid);
            (identity.fingerprint, (Arc::clone(identity), Vec::new(), Vec::new(), Vec::new()))
        };
        for sid in &all {
            let (key, empty) = entry(sid);
            numbers.entry(key).or_insert(empty);
        }
        for chunk in partition.numbers(&all, i64::MIN, i64::MAX) {
            let chunk = chunk.unwrap();
            numbers.get_mut(&index.identity(chunk.sid).fingerprint).unwrap().1.push(chunk);
        }
        rows_agree_with_chunks(partition, &all);
        for chunk in partition.histograms(&all, i64::MIN, i64::MAX) {
            let chunk = chunk.unwrap();
            numbers.get_mut(&index.identity(chunk.sid).fingerprint).unwrap().2.push(chunk);
        }
        for exemplar in partition.exemplars(&all, i64::MIN, i64::MAX) {
            let exemplar = exemplar.unwrap();
            numbers.get_mut(&index.identity(exemplar.sid).fingerprint).unwrap().3.push(exemplar);
        }
    }
    numbers
        .into_iter()
        .map(|(key, (identity, numbers, histograms, exemplars))| {
            let mut lines = vec![format!("{identity:?}")];
            let column = merge_numbers(&numbers, identity.is_additive());
            for at in 0..column.len() {
                lines.push(format!("{} {} {:016x}", column.times[at], column.starts[at], column.values[at].to_bits()));
            }
            let column = merge_histograms(histograms, identity.is_additive());
            for at in 0..column.len() {
                let point = &column.values[at];
                let bits = [point.sum, point.min, point.max].map(f64::to_bits);
                lines.push(format!("{} {} {bits:x?} {point:?}", column.times[at], column.starts[at]));
            }
            let mut marks: Vec<_> =
                exemplars.iter().map(|exemplar| format!("{:?}", Exemplar { sid: 0, ..exemplar.clone() })).collect();
            marks.sort();
            marks.dedup();
            lines.extend(marks);
            (key, lines)
        })
        .collect()
}

/// What is decoded straight into columns is what chunks say, for all of a part and for a stretch within its chunks.
fn rows_agree_with_chunks(partition: &Partition, all: &RoaringBitmap) {
    let (first, last) = partition.time_range();
    let third = (last - first) / 3;
    for (from, to) in [(i64::MIN, i64::MAX), (first + third, last - third)] {
        let Some(rows) = partition.number_rows(all, from, to).unwrap() else { return };
        let (from_ms, to_ms) = (from.div_euclid(1_000_000), to.div_euclid(1_000_000));
        let mut expected = Vec::new();
        for chunk in partition.numbers(all, from, to) {
            let chunk = chunk.unwrap();
            for (at, time) in chunk.times.iter().enumerate() {
                let (ms, start) = (time.div_euclid(1_000_000), chunk.starts.at(&chunk.times, at));
                if (from_ms..=to_ms).contains(&ms) {
                    expected.push((chunk.sid, ms, start.div_euclid(1_000_000), chunk.values[at].to_bits()));
                }
            }
        }
        let mut found = Vec::new();
        let wanted: Vec<usize> = (0..rows.as_slice().len()).collect();
        rows.read(&wanted, &mut |index, stored| {
            let row = &rows.as_slice()[index];
            let (mut values, mut starts) = (vec![0.0; row.points.len()], vec![0; row.points.len()]);
            assert!(stored.write(row.points.clone(), &mut values));
            assert!(!stored.has_starts() || stored.write_starts(row.points.clone(), &mut starts));
            let times = &row.times.as_ms()[row.points.clone()];
            for ((ms, start), value) in times.iter().zip(starts).zip(values) {
                found.push((row.sid, *ms, start, value.to_bits()));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(found, expected);
        let half: Vec<usize> = wanted.into_iter().filter(|row| row % 2 == 1).collect();
        let mut seen = Vec::new();
        rows.read(&half, &mut |index, _| {
            seen.push(index);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, half);
    }
}

fn memtable(registry: &Arc<SeriesRegistry>, batches: &[MetricBatch]) -> Arc<MetricMemtable> {
    let memtable = Arc::new(MetricMemtable::new(Arc::clone(registry)));
    for batch in batches {
        memtable.insert(batch);
    }
    memtable
}

fn flush(root: &Path, registry: &Arc<SeriesRegistry>, memtable: &MetricMemtable, order: u64) -> Vec<Arc<MetricPart>> {
    let mut n = 0;
    let mut new_id = || {
        n += 1;
        format!("{order:04}{n:04}")
    };
    let entries = write_parts(root, memtable, &mut new_id).unwrap();
    entries
        .into_iter()
        .map(|entry| PartEntry { order, ..entry })
        .map(|entry| MetricPart::new(Part::new(root, entry), Arc::clone(registry)))
        .collect()
}

fn partitions(parts: &[Arc<MetricPart>]) -> Vec<Partition> {
    parts.iter().map(Partition::of_part).collect()
}

/// A bit of everything, over two days.
fn mixed() -> MetricBatch {
    let mut batch = MetricBatch::default();
    let gauge = series_of("g", &[("a", "1")], MetricKind::Gauge, Temporality::Unspecified);
    let counter = series_of("c", &[], MetricKind::Counter, Temporality::Cumulative);
    let delta = series_of("d", &[("b", "2"), ("a", "")], MetricKind::Counter, Temporality::Delta);
    let explicit = series_of("h", &[], MetricKind::Histogram, Temporality::Cumulative);
    let exponential = series_of("e", &[], MetricKind::ExponentialHistogram, Temporality::Delta);
    for at in 0..1500_i64 {
        let time = DAY - 600 * SECOND + at * SECOND + (at % 7) * 1_000;
        let value = [1.5, f64::NAN, f64::from_bits(STALE_NAN_BITS), -0.0, 0.1 + 0.2][usize::try_from(at % 5).unwrap()];
        push_number(&mut batch, &gauge, 0, time, value);
        push_number(&mut batch, &counter, if at < 700 { 5 } else { 700 * SECOND }, time, (at % 700) as f64);
        push_number(&mut batch, &delta, time - SECOND, time, at as f64 / 8.0);
        let bounds = HistogramLayout::Explicit { bounds: [0.5, 1.0].into() };
        let point = |layout, counts: &[u64]| HistogramPoint {
            count: counts.iter().sum::<u64>() + u64::from(at % 100 == 0),
            sum: at as f64 * 0.1,
            min: f64::NAN,
            max: if at % 2 == 0 { 3.0 } else { f64::NAN },
            zero_count: 0,
            layout,
            counts: counts.into(),
            marks: HistogramMarks::default(),
        };
        push_histogram(&mut batch, &explicit, 5, time, point(bounds, &[at as u64, 2, 1 << 40]));
        let layout = HistogramLayout::Exponential {
            scale: if at < 900 { 3 } else { 2 },
            zero_threshold: 0.0,
            positive_offset: i32::try_from(at % 40).unwrap() - 20,
            positive_len: 3,
            negative_offset: 4,
        };
        push_histogram(&mut batch, &exponential, time - SECOND, time, point(layout.clone(), &[0, at as u64, 1, 0, 7]));
        for point in [native(at, layout, 5), native(at, HistogramLayout::Explicit { bounds: [0.5].into() }, 2)] {
            let name = if point.counts.len() == 2 { "custom" } else { "native" };
            let series = series_of(name, &[], MetricKind::ExponentialHistogram, Temporality::Cumulative);
            push_histogram(&mut batch, &series, 0, time, point);
        }
        if at % 500 == 0 {
            push_exemplar(&mut batch, &counter, time, vec![KeyValue::new("k", Value::Int(at))]);
        }
    }
    batch
}

/// A native histogram of `buckets` buckets: whole, then float, with every hint, falling now and then.
fn native(at: i64, layout: HistogramLayout, buckets: usize) -> HistogramPoint {
    let float = at % 600 > 400;
    let bits = |count: f64| if float { count.to_bits() } else { count as u64 };
    let hints = [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Reset, ResetHint::Gauge];
    let count = (at % 300) as f64;
    HistogramPoint {
        count: bits(count * buckets as f64),
        sum: at as f64,
        min: f64::NAN,
        max: f64::NAN,
        zero_count: if buckets == 5 { bits(1.0) } else { 0 },
        layout,
        counts: vec![bits(count); buckets].into(),
        marks: HistogramMarks::native(float, hints[usize::try_from(at / 100 % 4).unwrap()]),
    }
}

#[test]
fn a_part_answers_what_its_memtable_answered() {
    let root = tempfile::tempdir().unwrap();
    let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
    let memtable = memtable(&registry, &[mixed()]);
    let parts = flush(root.path(), &registry, &memtable, 1);
    assert_eq!(parts.len(), 2, "one part per day");
    let before: Vec<_> = Partition::of_memtable(&memtable).collect();
    let (expected, found) = (answer(&before), answer(&partitions(&parts)));
    assert_eq!(expected.len(), 7);
    assert_eq!(expected, found);
}

/// More series than are read per hold of the lock, and new ones between two snapshots: layers of several sizes.
#[test]
fn a_memtable_of_many_series_gives_every_one() {
    let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
    let memtable = Arc::new(MetricMemtable::new(registry));
    let mut expected = 0;
    for (from, to) in [(0, 1000), (1000, 1010), (1010, 1600)] {
        let mut batch = MetricBatch::default();
        for n in from..to {
            push_number(&mut batch, &series("m", &[("n", &n.to_string())]), 0, SECOND, f64::from(n));
            expected += 1;
        }
        memtable.insert(&batch);
        let partitions: Vec<_> = Partition::of_memtable(&memtable).collect();
        let found = answer(&partitions);
        assert_eq!(found.len(), expected);
        assert!(found.values().all(|lines| lines.len() == 2), "its identity and its point");
    }
}

#[test]
fn a_merge_of_parts_answers_what_they_answered_together() {
    let root = tempfile::tempdir().unwrap();
    let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
    let red = red_series("traces.span.metrics.duration");
    let mut parts = Vec::new();
    for order in 1..=4_u64 {
        let mut batch = MetricBatch::default();
        for at in 0..300_i64 {
            let value = (at as f64) + order as f64 / 3.0;
            push_number(&mut batch, &series("gauge", &[("part", &format!("{}", order % 2))]), 0, at * 7 % 300, value);
            push_number(&mut batch, &series("overwritten", &[]), 0, at / 2, value);
            push_number(&mut batch, &red, at * SECOND - 5, at * SECOND, 0.1 * order as f64);
        }
        parts.extend(flush(root.path(), &registry, &memtable(&registry, &[batch]), order));
    }
    let expected = answer(&partitions(&parts));
    let merged = merge_parts(root.path(), &parts, 1, "merged".to_owned()).unwrap().unwrap();
    assert_eq!((merged.order, merged.level, merged.path.as_str()), (4, 1, "metrics/1970-01-01/default/L1-merged"));
    let merged = MetricPart::new(Part::new(root.path(), merged), Arc::clone(&registry));
    assert_eq!(answer(&partitions(&[merged])), expected);
    // In another grouping, the same.
    let pair = |range: std::ops::Range<usize>, id: &str| {
        let entry = merge_parts(root.path(), &parts[range], 1, id.to_owned()).unwrap().unwrap();
        MetricPart::new(Part::new(root.path(), entry), Arc::clone(&registry))
    };
    assert_eq!(answer(&partitions(&[pair(0..1, "a"), pair(1..3, "b"), pair(3..4, "c")])), expected);
}

#[test]
fn a_selection_reads_its_own_series_and_times() {
    let root = tempfile::tempdir().unwrap();
    let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
    let mut batch = MetricBatch::default();
    for sid in 0..500 {
        let identity = series("m", &[("n", &format!("{sid:03}"))]);
        for at in 0..10 {
            push_number(&mut batch, &identity, 0, at * 3_600 * SECOND, f64::from(sid));
        }
    }
    let parts = flush(root.path(), &registry, &memtable(&registry, &[batch]), 1);
    let partition = &partitions(&parts)[0];
    let index = partition.series_index().unwrap();
    let wanted: RoaringBitmap = (0..500).filter(|sid| sid % 100 == 7).collect();
    let chunks: Vec<_> = partition.numbers(&wanted, 0, i64::MAX).map(Result::unwrap).collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.sid).collect::<Vec<_>>(), [7, 107, 207, 307, 407]);
    for chunk in &chunks {
        let labels = index.labels(chunk.sid);
        assert_eq!(labels.labels[0].1.parse::<f64>().unwrap(), chunk.values[0]);
        assert!(Arc::ptr_eq(&chunk.times, &chunks[0].times), "the timeline is shared");
    }
    assert_eq!(partition.numbers(&wanted, 100 * DAY, i64::MAX).count(), 0);
}

#[test]
fn a_changed_byte_makes_the_part_corrupt_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
    let parts = flush(root.path(), &registry, &memtable(&registry, &[mixed()]), 1);
    let path = parts[0].part().table("samples");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Partition::of_part(&parts[0]).series_index().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    assert!(parts[0].part().is_corrupt());
    Partition::of_part(&parts[1]).series_index().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any bits at any times, late and repeated, come back from a part as from the memtable, and after a merge.
    #[test]
    fn any_points_come_back(
        rows in prop::collection::vec((0_u8..4, -3_i64..90_000, any::<bool>(), any::<i64>(), any::<u64>()), 1..300),
        small in any::<bool>(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let registry = Arc::new(SeriesRegistry::new(Promotion::default()));
        let mut halves = [MetricBatch::default(), MetricBatch::default()];
        for (at, (sid, time, with_start, start, bits)) in rows.iter().enumerate() {
            let value = if small { f64::from((bits >> 48) as u16) } else { f64::from_bits(*bits) };
            let start = if *with_start { *start } else { 0 };
            let identity = series("m", &[("sid", &sid.to_string())]);
            push_number(&mut halves[at * 2 / rows.len()], &identity, start, time * SECOND + i64::from(small), value);
        }
        let whole = memtable(&registry, &halves);
        let expected = answer(&Partition::of_memtable(&whole).collect::<Vec<_>>());
        let mut parts = Vec::new();
        for (order, half) in (1..).zip(&halves) {
            parts.extend(flush(root.path(), &registry, &memtable(&registry, std::slice::from_ref(half)), order));
        }
        prop_assert_eq!(&answer(&partitions(&parts)), &expected);
        let mut days: BTreeMap<String, Vec<Arc<MetricPart>>> = BTreeMap::new();
        for part in &parts {
            days.entry(part.part().entry().day.clone()).or_default().push(Arc::clone(part));
        }
        let merged: Vec<_> = days.into_iter().filter_map(|(day, inputs)| {
            merge_parts(root.path(), &inputs, 1, format!("m{day}")).unwrap()
        }).map(|entry| MetricPart::new(Part::new(root.path(), entry), Arc::clone(&registry))).collect();
        prop_assert_eq!(&answer(&partitions(&merged)), &expected);
    }
}
