//! Joining is compared with reading the same requests into one batch; the task with a durable end that tests drive.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, HistogramLayout, KeyValue, MetricKind, Resource, Scope, SeriesIdentity, Temporality};

use super::*;

fn series(name: &str, kind: MetricKind) -> Arc<SeriesIdentity> {
    Arc::new(SeriesIdentity::new(SeriesParts {
        name: name.into(),
        unit: "".into(),
        kind,
        temporality: Temporality::Unspecified,
        resource: Arc::default(),
        scope: Arc::default(),
        attributes: Attributes::default(),
    }))
}

/// One gauge point and one histogram point with an exemplar, of series named by `name`.
fn metrics(name: &str, value: f64) -> Batch {
    let mut batch = Batch::default();
    let m = &mut batch.metrics;
    m.series = vec![series("shared", MetricKind::Gauge), series(name, MetricKind::Histogram)];
    m.numbers.series.push(0);
    m.numbers.start_ns.push(0);
    m.numbers.time_ns.push(5);
    m.numbers.value.push(value);
    let h = &mut m.histograms;
    h.series.push(1);
    h.start_ns.push(1);
    h.time_ns.push(5);
    h.count.push(3);
    h.sum.push(value);
    h.min.push(f64::NAN);
    h.max.push(f64::NAN);
    h.zero_count.push(0);
    h.layout.push(0);
    h.layouts.push(HistogramLayout::Explicit { bounds: [value].into() });
    h.counts.extend([1, 2]);
    h.counts_offsets.push(2);
    let e = &mut m.exemplars;
    e.series.push(1);
    e.time_ns.push(5);
    e.value.push(value);
    e.trace_id.push([1; 16]);
    e.span_id.push([1; 8]);
    e.attributes.push(KeyValue::new("who", name));
    e.attribute_offsets.push(1);
    batch
}

/// One span called `name` with an attribute, an event and a link that say so.
fn span(name: &str, id: u8) -> Batch {
    let mut batch = Batch::default();
    let s = &mut batch.spans;
    s.resources.push(Arc::new(Resource { attributes: [KeyValue::new("service.name", name)].into_iter().collect() }));
    s.scopes.push(Arc::new(Scope { name: name.into(), ..Scope::default() }));
    s.strings.push(name.into());
    s.key_values.push(KeyValue::new("k", name));
    s.resource.push(0);
    s.scope.push(0);
    s.trace_id.push([id; 16]);
    s.span_id.push([id; 8]);
    s.parent_span_id.push([0; 8]);
    s.start_ns.push(10);
    s.duration_ns.push(1_000_000);
    s.name.push(1);
    s.kind.push(2);
    s.status.push(0);
    s.status_message.push(0);
    s.trace_state.push(0);
    s.flags.push(0);
    s.attributes.push(0);
    s.attribute_offsets.push(1);
    s.dropped_attributes.push(0);
    s.dropped_events.push(0);
    s.dropped_links.push(0);
    s.events.time_ns.push(11);
    s.events.name.push(1);
    s.events.attributes.push(0);
    s.events.attribute_offsets.push(1);
    s.events.dropped_attributes.push(0);
    s.event_offsets.push(1);
    s.links.trace_id.push([9; 16]);
    s.links.span_id.push([9; 8]);
    s.links.trace_state.push(1);
    s.links.flags.push(0);
    s.links.attributes.push(0);
    s.links.attribute_offsets.push(1);
    s.links.dropped_attributes.push(0);
    s.link_offsets.push(1);
    batch
}

#[test]
fn points_keep_their_series_layout_counts_and_exemplars() {
    let joined = join::join(vec![metrics("a", 1.0), metrics("b", 2.0), metrics("a", 3.0)]).metrics;
    let name = |at: u32| &*joined.series[at as usize].name;
    assert_eq!(joined.series.len(), 3, "shared, a and b");
    let mut rows: Vec<_> = (0..3)
        .map(|row| {
            let h = &joined.histograms;
            let HistogramLayout::Explicit { bounds } = &h.layouts[h.layout[row] as usize] else { panic!("explicit") };
            let counts = &h.counts[h.counts_offsets[row] as usize..h.counts_offsets[row + 1] as usize];
            assert_eq!(counts, [1, 2]);
            assert_eq!(name(joined.numbers.series[row]), "shared");
            let e = &joined.exemplars;
            let said = &e.attributes[e.attribute_offsets[row] as usize..e.attribute_offsets[row + 1] as usize];
            assert_eq!(said[0].value.as_str().unwrap(), name(h.series[row]));
            assert_eq!(joined.numbers.value[row].to_bits(), bounds[0].to_bits());
            (h.sum[row] as i64, name(h.series[row]).to_owned(), bounds[0] as i64)
        })
        .collect();
    rows.sort();
    assert_eq!(rows, [(1, "a".into(), 1), (2, "b".into(), 2), (3, "a".into(), 3)]);
}

#[test]
fn spans_keep_their_names_attributes_events_and_links() {
    let spans = join::join(vec![span("x", 1), span("y", 2), span("z", 3)]).spans;
    assert_eq!(&*spans.strings[0], "");
    for row in 0..3 {
        let name = &*spans.strings[spans.name[row] as usize];
        let expected = match spans.trace_id[row][0] {
            1 => "x",
            2 => "y",
            _ => "z",
        };
        assert_eq!(name, expected);
        assert_eq!(spans.find(row, "k").unwrap().as_str(), Some(expected));
        let service = spans.resources[spans.resource[row] as usize].attributes.find("service.name").unwrap();
        assert_eq!(service.as_str(), Some(expected));
        assert_eq!(&*spans.scopes[spans.scope[row] as usize].name, expected);
        assert_eq!((spans.event_offsets[row], spans.event_offsets[row + 1]), (row as u32, row as u32 + 1));
        assert_eq!(&*spans.strings[spans.events.name[row] as usize], expected);
        assert_eq!(&*spans.strings[spans.links.trace_state[row] as usize], expected);
        let pair = &spans.key_values[spans.links.attributes[row] as usize];
        assert_eq!(pair.value.as_str(), Some(expected));
        assert_eq!(spans.status_message[row], 0, "the empty string stays the empty string");
    }
}

/// Counts records; refuses when told to; waits for the gate.
#[derive(Default)]
struct Disk {
    records: Mutex<Vec<Batch>>,
    full: Mutex<bool>,
    open_appends: AtomicUsize,
    most_open: AtomicUsize,
    delay: Duration,
}

impl Durable for Disk {
    async fn append(&self, batch: Batch) -> Result<(), SinkError> {
        let open = self.open_appends.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        self.open_appends.fetch_sub(1, Ordering::SeqCst);
        if *self.full.lock().unwrap() {
            return Err(SinkError::Full { reason: "disk".into(), retry_after: Duration::from_secs(3) });
        }
        self.records.lock().unwrap().push(batch);
        Ok(())
    }
}

fn start(disk: Disk) -> (Arc<Disk>, Intake, CancellationToken, JoinSet<()>) {
    let disk = Arc::new(disk);
    let (intake, batcher) = Batcher::new(Arc::clone(&disk), RedLimits::default());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(batcher.run(stop.clone()));
    (disk, intake, stop, tasks)
}

#[tokio::test(start_paused = true)]
async fn batches_that_come_together_become_one_record_and_red_lies_beside_its_spans() {
    let (disk, intake, _stop, _tasks) = start(Disk::default());
    let mut senders = JoinSet::new();
    for at in 0..10 {
        let intake = intake.clone();
        senders.spawn(async move { intake.put(span("shop", at + 1)).await });
    }
    for outcome in senders.join_all().await {
        outcome.unwrap();
    }
    let records = disk.records.lock().unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].spans.len(), 10);
    let red = &records[0].metrics;
    assert_eq!(red.histograms.count.iter().sum::<u64>(), 10);
    assert!(red.series.iter().all(|series| series.is_additive()));
}

#[tokio::test(start_paused = true)]
async fn full_reaches_every_sender_of_the_record_and_the_next_one_is_taken() {
    let (disk, intake, _stop, _tasks) = start(Disk { full: Mutex::new(true), ..Disk::default() });
    let both = tokio::join!(intake.put(metrics("a", 1.0)), intake.put(metrics("b", 1.0)));
    for outcome in [both.0, both.1] {
        assert_eq!(outcome, Err(SinkError::Full { reason: "disk".into(), retry_after: Duration::from_secs(3) }));
    }
    *disk.full.lock().unwrap() = false;
    intake.put(metrics("a", 1.0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_holds_senders_back_and_stopping_answers_all_who_wait() {
    let (disk, intake, stop, mut tasks) = start(Disk { delay: Duration::from_secs(1), ..Disk::default() });
    let mut senders = JoinSet::new();
    for at in 0..4_000 {
        let intake = intake.clone();
        senders.spawn(async move { intake.put(metrics("m", f64::from(at))).await });
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stop.cancel();
    let outcomes = senders.join_all().await;
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let closed = outcomes.iter().filter(|outcome| **outcome == Err(SinkError::Closed)).count();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(taken + closed, 4_000);
    assert!(closed > 0, "the intake is bounded, so some were still outside");
    let stored: usize = disk.records.lock().unwrap().iter().map(|batch| batch.metrics.numbers.series.len()).sum();
    assert_eq!(stored, taken, "who was told yes is stored, and no one else");
    assert_eq!(disk.most_open.load(Ordering::SeqCst), APPENDS_MAX);
}
