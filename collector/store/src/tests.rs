//! The store from end to end: what was appended is there, whatever happened in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_proto::batch::HistogramLayout;
use weir_proto::{Batch, Fingerprint, SpanBatch};

use crate::metrics::testing::{push_histogram, push_number, red_series, series};
use crate::options::Tuning;
use crate::{
    Appended, Clock, Delivery, ErrorKind, HistogramPoint, LabelMatcher, LabelTest, Snapshot, Store, StoreError,
    StoreOptions, merge_histograms, merge_numbers,
};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-22T00:00:00Z.
const NOON: i64 = 20_779 * 86_400 * SECOND + 43_200 * SECOND;

/// A clock that the test turns.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Bench {
    root: tempfile::TempDir,
    hand: Arc<Hand>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            hand: Arc::new(Hand(AtomicI64::new(NOON))),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
        }
    }

    fn options(&self) -> StoreOptions {
        let hour = Duration::from_secs(3_600);
        StoreOptions {
            tuning: Tuning {
                metrics_flush_interval: hour,
                traces_flush_interval: hour,
                compact_interval: hour,
                ..Tuning::default()
            },
            compact_grace: Duration::from_secs(60),
            ..StoreOptions::new(self.root.path(), Arc::clone(&self.hand) as Arc<dyn Clock>)
        }
    }

    fn open(&self) -> Store {
        Store::open(self.options()).unwrap()
    }

    fn append(&self, store: &Store, batch: Batch, delivery: Option<Delivery>) -> Result<Appended, StoreError> {
        self.runtime.block_on(store.append(batch, delivery))
    }

    fn files(&self) -> usize {
        count_files(&self.root.path().join("metrics"))
    }
}

fn count_files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

fn delivery(position: u64, lowest_unacked: u64) -> Option<Delivery> {
    Some(Delivery { agent: [9; 16], position, lowest_unacked })
}

/// A point of its own value, a RED point that adds one, a span.
fn batch(number: i64) -> Batch {
    let mut batch = Batch::default();
    let name = format!("{}", number % 5);
    push_number(&mut batch.metrics, &series("gauge", &[("n", &name)]), 0, NOON + number * SECOND, number as f64 * 0.5);
    let point = HistogramPoint {
        count: 1,
        sum: number as f64 / 1e9,
        min: number as f64 / 1e9,
        max: number as f64 / 1e9,
        zero_count: 0,
        layout: HistogramLayout::Exponential {
            scale: 3,
            zero_threshold: 0.0,
            positive_offset: i32::try_from(number % 7).unwrap(),
            positive_len: 1,
            negative_offset: 0,
        },
        counts: [1].into(),
        marks: weir_proto::HistogramMarks::default(),
    };
    let mut red = (*red_series("red")).clone();
    red.kind = weir_proto::MetricKind::ExponentialHistogram;
    push_histogram(&mut batch.metrics, &Arc::new(red), NOON, NOON + 5 * SECOND, point);
    batch.spans = span(number);
    batch
}

fn span(number: i64) -> SpanBatch {
    let mut spans = SpanBatch::default();
    spans.resources.push(Arc::default());
    spans.scopes.push(Arc::default());
    spans.strings.push("work".into());
    spans.resource.push(0);
    spans.scope.push(0);
    spans.trace_id.push(trace_id(number));
    spans.span_id.push((number + 1).to_be_bytes());
    spans.parent_span_id.push([0; 8]);
    spans.start_ns.push(NOON + number * SECOND);
    spans.duration_ns.push(number);
    spans.name.push(1);
    spans.kind.push(2);
    spans.status.push(0);
    spans.status_message.push(0);
    spans.trace_state.push(0);
    spans.flags.push(0);
    for offsets in [&mut spans.attribute_offsets, &mut spans.event_offsets, &mut spans.link_offsets] {
        offsets.push(0);
    }
    for dropped in [&mut spans.dropped_attributes, &mut spans.dropped_events, &mut spans.dropped_links] {
        dropped.push(0);
    }
    spans
}

fn trace_id(number: i64) -> [u8; 16] {
    u128::try_from(number + 1).unwrap().to_be_bytes()
}

/// All number points by label `n`, and the sum of all RED counts.
fn read(snapshot: &Snapshot) -> (BTreeMap<i64, u64>, u64) {
    let (mut numbers, mut red): (BTreeMap<Fingerprint, Vec<_>>, Vec<_>) = (BTreeMap::new(), Vec::new());
    for partition in &snapshot.metrics {
        let index = partition.series_index().unwrap();
        let matcher = |name: &str| LabelMatcher { name: "__name__".into(), test: LabelTest::Equal(name.into()) };
        for chunk in partition.numbers(&index.select(&[matcher("gauge")]), i64::MIN, i64::MAX) {
            let chunk = chunk.unwrap();
            numbers.entry(index.identity(chunk.sid).fingerprint).or_default().push(chunk);
        }
        let red_sids = index.sent_as("red");
        red.extend(partition.histograms(&red_sids, i64::MIN, i64::MAX).map(Result::unwrap));
    }
    let mut points = BTreeMap::new();
    for chunks in numbers.values() {
        let column = merge_numbers(chunks, false);
        points.extend(column.times.into_iter().zip(column.values.into_iter().map(f64::to_bits)));
    }
    let red = merge_histograms(red, true).values.iter().map(|point| point.count).sum();
    (points, red)
}

/// Exactly the batches with these numbers are there, once.
#[track_caller]
fn assert_holds(store: &Store, numbers: &[i64]) {
    let snapshot = store.snapshot();
    let (points, red) = read(&snapshot);
    let expected: BTreeMap<i64, u64> =
        numbers.iter().map(|&number| (NOON + number * SECOND, (number as f64 * 0.5).to_bits())).collect();
    assert_eq!(points, expected);
    assert_eq!(red, numbers.len() as u64, "RED counts every batch once");
    for &number in numbers {
        let trace = snapshot.traces.trace(trace_id(number)).unwrap().expect("its span is there");
        assert_eq!((trace.len(), trace.duration_ns[0]), (1, number));
    }
}

#[test]
fn points_and_spans_survive_flush_restart_and_merge() {
    let bench = Bench::new();
    let store = bench.open();
    let mut numbers = Vec::new();
    for round in 0..6 {
        for number in round * 10..round * 10 + 10 {
            assert_eq!(bench.append(&store, batch(number), None).unwrap(), Appended::Stored);
            numbers.push(number);
        }
        assert_holds(&store, &numbers);
        store.flush().unwrap();
        assert_holds(&store, &numbers);
    }
    assert!(store.status().wal_bytes < 1_000, "what is in parts is not in the log: {:?}", store.status());
    let files = bench.files();
    let before = store.snapshot();
    store.compact().unwrap();
    assert_holds(&store, &numbers);
    assert_eq!(store.status().parts[0].parts, 1, "six parts became one");
    assert_eq!(read(&before), read(&store.snapshot()), "an old snapshot reads on, bit for bit");
    bench.hand.0.fetch_add(61 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    assert_eq!(read(&before), read(&store.snapshot()), "its files are there as long as it is");
    drop(before);
    assert!(bench.files() < files, "then they go");
    store.shutdown().unwrap();
    let store = bench.open();
    assert_holds(&store, &numbers);
    // A day that is over becomes one part.
    bench.hand.0.fetch_add(86_400 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    assert_holds(&store, &numbers);
    assert_eq!(store.status().parts.iter().map(|parts| parts.parts).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn what_was_not_flushed_is_replayed() {
    let bench = Bench::new();
    let store = bench.open();
    for number in 0..20 {
        bench.append(&store, batch(number), delivery(number.cast_unsigned(), 0)).unwrap();
        if number == 9 {
            store.flush().unwrap();
        }
    }
    drop(store);
    let store = bench.open();
    let numbers: Vec<i64> = (0..20).collect();
    assert_holds(&store, &numbers);
    for number in [3, 15] {
        let again = bench.append(&store, batch(number), delivery(number.cast_unsigned(), 0)).unwrap();
        assert_eq!(again, Appended::Repeated, "batch {number}, from manifest or log");
    }
    store.flush().unwrap();
    drop(store);
    assert_holds(&bench.open(), &numbers);
}

#[test]
fn repeats_are_dropped_and_holes_are_filled() {
    let bench = Bench::new();
    let store = bench.open();
    let (stored, repeated) = (Appended::Stored, Appended::Repeated);
    for (position, expected) in [(7, stored), (8, stored), (5, stored), (7, repeated), (6, stored), (8, repeated)] {
        let appended = bench.append(&store, batch(position), delivery(position.cast_unsigned(), 5)).unwrap();
        assert_eq!(appended, expected, "{position}");
    }
    assert_holds(&store, &[5, 6, 7, 8]);
    assert_eq!(bench.append(&store, batch(1), delivery(1, 5)).unwrap(), Appended::Repeated, "given up by the agent");
    let together = bench.runtime.block_on(async {
        let (a, b) = futures::join!(store.append(batch(9), delivery(9, 5)), store.append(batch(9), delivery(9, 5)));
        [a.unwrap(), b.unwrap()]
    });
    assert!(together.contains(&Appended::Stored) && together.contains(&Appended::Repeated), "{together:?}");
    assert_holds(&store, &[5, 6, 7, 8, 9]);
}

#[test]
fn one_process_per_directory() {
    let bench = Bench::new();
    let _store = bench.open();
    let Err(error) = Store::open(bench.options()) else { panic!("opened twice") };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn memory_is_bounded() {
    let bench = Bench::new();
    // The flusher is held in its first flush, so that nothing becomes free.
    let (held, hold) = std::sync::mpsc::sync_channel::<()>(0);
    let hold = Mutex::new(hold);
    let fault = move |point: &'static str| {
        if point == "flush" {
            hold.lock().unwrap().recv().ok();
        }
    };
    let mut options = StoreOptions { fault: Some(Arc::new(fault)), ..bench.options() };
    options.tuning.memtable_bytes_max = 100_000;
    let store = Store::open(options).unwrap();
    let mut stored = Vec::new();
    let refused = (0..10_000).find_map(|number| match bench.append(&store, batch(number), None) {
        Ok(_) => {
            stored.push(number);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(refused.expect("the bound is met").kind(), ErrorKind::Full);
    assert!(store.status().memtable_bytes < 200_000);
    drop(held);
    store.flush().unwrap();
    let next = i64::try_from(stored.len()).unwrap();
    bench.append(&store, batch(next), None).unwrap();
    stored.push(next);
    assert_holds(&store, &stored);
}

#[test]
fn a_long_log_is_replayed_in_bounded_memory() {
    let bench = Bench::new();
    let store = bench.open();
    let numbers: Vec<i64> = (0..300).collect();
    for &number in &numbers {
        bench.append(&store, batch(number), delivery(number.cast_unsigned(), 0)).unwrap();
    }
    drop(store);
    let mut options = bench.options();
    options.tuning.memtable_bytes_max = 50_000;
    let store = Store::open(options).unwrap();
    assert!(store.status().parts[0].parts > 1, "replay flushed on the way");
    assert_holds(&store, &numbers);
    drop(store);
    assert_holds(&bench.open(), &numbers);
}

#[test]
fn old_parts_are_dropped() {
    let bench = Bench::new();
    let store = bench.open();
    bench.append(&store, batch(1), None).unwrap();
    store.flush().unwrap();
    bench.hand.0.fetch_add(8 * 86_400 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    assert_eq!(store.status().parts.iter().map(|parts| parts.parts).collect::<Vec<_>>(), [1, 0], "spans after a week");
    bench.hand.0.fetch_add(23 * 86_400 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    bench.hand.0.fetch_add(120 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    assert_eq!(store.status().parts.iter().map(|parts| parts.parts).sum::<u64>(), 0);
    assert_eq!(bench.files(), 0);
}

#[test]
fn a_corrupt_part_is_set_aside_and_the_rest_goes_on() {
    let bench = Bench::new();
    let store = bench.open();
    for number in 0..4 {
        bench.append(&store, batch(number), None).unwrap();
        store.flush().unwrap();
    }
    let second = {
        let snapshot = store.snapshot();
        let part = snapshot.metrics.iter().filter_map(|partition| partition.part()).nth(1).unwrap();
        part.table("samples")
    };
    let mut bytes = std::fs::read(&second).unwrap();
    bytes[20] ^= 0x40;
    std::fs::write(&second, bytes).unwrap();
    store.compact().unwrap();
    let (points, _) = read(&store.snapshot());
    assert_eq!(points.len(), 3);
    assert_eq!(store.status().parts[0].parts, 3, "three are too few for a merge");
    let aside: Vec<_> = std::fs::read_dir(bench.root.path().join("quarantine")).unwrap().collect();
    assert_eq!(aside.len(), 1);
    bench.hand.0.fetch_add(120 * SECOND, Ordering::Relaxed);
    store.compact().unwrap();
    assert_eq!(std::fs::read_dir(bench.root.path().join("quarantine")).unwrap().count(), 1, "its bytes are kept");
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let bench = Bench::new();
    drop(bench.open());
    let orphan = bench.root.path().join("metrics/2026-11-22/L0-ORPHAN");
    let merged = bench.root.path().join("traces/2026-11-22/default/L1-ORPHAN");
    for dir in [&orphan, &merged] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("series.parquet"), b"half").unwrap();
    }
    drop(bench.open());
    assert!(!orphan.exists() && !merged.exists());
}

/// Stops the store dead at a point of the write path, as a crash does: what it would do after is not done.
fn crash_at(point: &'static str, nth: usize) -> Vec<i64> {
    let bench = Bench::new();
    let acked = Arc::new(Mutex::new(Vec::new()));
    let seen = AtomicUsize::new(0);
    let fault = move |at: &'static str| {
        if at == point && seen.fetch_add(1, Ordering::Relaxed) == nth {
            panic!("crash at {at}");
        }
    };
    let store = Store::open(StoreOptions { fault: Some(Arc::new(fault)), ..bench.options() }).unwrap();
    for number in 0..40_i64 {
        match bench.append(&store, batch(number), delivery(number.cast_unsigned(), 0)) {
            Ok(_) => acked.lock().unwrap().push(number),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
        if number % 8 == 7 && (store.flush().is_err() || store.compact().is_err()) {
            break;
        }
    }
    drop(store);
    let acked = acked.lock().unwrap().clone();
    let store = bench.open();
    let (points, red) = read(&store.snapshot());
    for &number in &acked {
        assert_eq!(points.get(&(NOON + number * SECOND)), Some(&(number as f64 * 0.5).to_bits()), "{point}: {number}");
    }
    assert_eq!(red, points.len() as u64, "{point}: RED equals the batches that are there");
    assert!(points.len() <= acked.len() + 1, "{point}: at most the batch in flight is there unacknowledged");
    // The agent sends everything again; nothing is doubled.
    for number in 0..40_i64 {
        bench.append(&store, batch(number), delivery(number.cast_unsigned(), 0)).unwrap();
    }
    assert_holds(&store, &(0..40).collect::<Vec<_>>());
    acked
}

#[test]
fn a_crash_anywhere_loses_nothing_acknowledged_and_doubles_nothing() {
    for (point, nth) in [
        ("append", 13),
        ("before_ack", 13),
        ("after_ack", 13),
        ("flush", 1),
        ("commit", 0),
        ("commit", 3),
        ("compact", 0),
        ("compact", 1),
    ] {
        let acked = crash_at(point, nth);
        assert!(!acked.is_empty() && acked.len() <= 40, "{point} was met");
        if ["append", "before_ack", "after_ack"].contains(&point) {
            assert!(acked.len() < 40, "{point} was met");
        }
    }
}
