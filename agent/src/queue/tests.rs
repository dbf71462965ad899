//! What the queue promises: success is durable, Full is Full and passes, records come back in order and decodable.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use weir_proto::frame::Decoder;
use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, MetricKind, Resource, Scope, SeriesIdentity, Temporality};

use super::*;

const NOW_NS: i64 = 1_700_000_000_000_000_000;

/// A batch of one gauge point whose value is `value`.
pub(crate) fn batch(value: f64) -> Batch {
    let mut batch = Batch::default();
    batch.metrics.series.push(Arc::new(SeriesIdentity::new(SeriesParts {
        name: "level".into(),
        unit: "m".into(),
        kind: MetricKind::Gauge,
        temporality: Temporality::Unspecified,
        resource: Arc::<Resource>::default(),
        scope: Arc::<Scope>::default(),
        attributes: Attributes::default(),
    })));
    let numbers = &mut batch.metrics.numbers;
    numbers.series.push(0);
    numbers.start_ns.push(0);
    numbers.time_ns.push(NOW_NS);
    numbers.value.push(value);
    batch
}

pub(crate) fn open(dir: &Path, bytes_max: u64) -> Queue {
    Queue::open(&QueueSettings { dir: dir.join("queue"), bytes_max }, NOW_NS).unwrap()
}

/// The values of all records, oldest segment first, with their positions.
async fn values(queue: &Queue) -> Vec<(u64, f64)> {
    let mut found = Vec::new();
    for status in queue.segments().await.iter().rev() {
        let mut reader = queue.reader(status.segment).await.unwrap();
        let mut decoder = Decoder::new();
        while let Some(record) = reader.read().unwrap() {
            let batch = decoder.decode(&record.payload).unwrap();
            found.push((record.position, batch.metrics.numbers.value[0]));
        }
    }
    found
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(open(dir.path(), 1 << 20));
    let mut tasks = tokio::task::JoinSet::new();
    for value in 0..200 {
        let queue = Arc::clone(&queue);
        tasks.spawn(async move { (queue.append(batch(f64::from(value))).await.unwrap(), f64::from(value)) });
    }
    let mut sent = tasks.join_all().await;
    sent.sort_by_key(|(position, _)| *position);
    assert_eq!(values(&queue).await, sent);
    assert_eq!(queue.head().borrow().unacked, 200);
    queue.close().await;
    assert!(matches!(queue.append(batch(1.0)).await, Err(SinkError::Closed)));
    let queue = open(dir.path(), 1 << 20);
    assert_eq!(values(&queue).await, sent);
}

/// A segment of the first version is in the tree: it is read, and the same is written today. Its frames are small
/// enough to stand uncompressed. `UPDATE=1` writes it anew, which only a change that old queues survive may do.
#[tokio::test]
async fn a_queue_of_the_first_version_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path(), 1 << 20);
    let mut sent = Vec::new();
    for value in [1.5, -0.0, 3.0] {
        sent.push((queue.append(batch(value)).await.unwrap(), value));
    }
    queue.close().await;
    let name = format!("{:020}.wal", sent[0].0);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/queue-v1").join(&name);
    let written = std::fs::read(dir.path().join("queue").join(&name)).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(&kept, &written).unwrap();
    }
    let golden = std::fs::read(&kept).unwrap();
    assert_eq!(written, golden, "what is written today");
    let old = tempfile::tempdir().unwrap();
    std::fs::create_dir(old.path().join("queue")).unwrap();
    std::fs::write(old.path().join("queue").join(&name), golden).unwrap();
    assert_eq!(values(&open(old.path(), 1 << 20)).await, sent);
}

#[tokio::test]
async fn each_segment_can_be_decoded_alone() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path(), 1 << 20);
    for value in 0..6 {
        queue.append(batch(f64::from(value))).await.unwrap();
        if value % 2 == 1 {
            queue.rotate().await.unwrap();
        }
    }
    assert_eq!(queue.segments().await.len(), 4);
    let found: Vec<f64> = values(&queue).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[tokio::test]
async fn a_full_queue_says_so_and_takes_again_after_acks() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path(), 20_000);
    let mut taken = Vec::new();
    let error = loop {
        match queue.append(batch(taken.len() as f64)).await {
            Ok(position) => taken.push((position, taken.len() as f64)),
            Err(error) => break error,
        }
        assert!(taken.len() < 10_000);
    };
    assert!(matches!(error, SinkError::Full { .. }), "{error}");
    assert_eq!(values(&queue).await, taken, "nothing that was taken is gone");
    let half = taken.len() / 2;
    queue.ack(taken[..half].iter().map(|(position, _)| *position).collect()).await;
    let position = queue.append(batch(-1.0)).await.unwrap();
    assert_eq!(values(&queue).await.last(), Some(&(position, -1.0)));
}

#[tokio::test]
async fn a_refused_record_is_kept_beside_the_queue_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path(), 1 << 20);
    queue.append(batch(1.0)).await.unwrap();
    let position = queue.append(batch(2.0)).await.unwrap();
    queue.set_aside(position).await;
    queue.set_aside(position).await;
    queue.segments().await;
    let kept: Vec<_> = std::fs::read_dir(dir.path().join("queue/refused")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(queue.head().borrow().unacked, 1);
}

#[tokio::test]
async fn a_batch_that_cannot_be_encoded_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path(), 1 << 20);
    queue.append(batch(1.0)).await.unwrap();
    let mut broken = batch(2.0);
    broken.metrics.numbers.series[0] = 7;
    assert!(matches!(queue.append(broken).await, Err(SinkError::Internal { .. })));
    queue.append(batch(3.0)).await.unwrap();
    let found: Vec<f64> = values(&queue).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, [1.0, 3.0]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_an_error_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue");
    std::fs::write(&file, b"a file").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = QueueSettings { dir: file, bytes_max: 1 << 20 };
    assert!(Queue::open(&settings, NOW_NS).is_err());
}

const SMALL_DISK: &str = "WEIR_TEST_SMALL_DISK";

/// A real full disk (a small tmpfs in a mount namespace of its own, where this test runs itself again): appends are
/// Full, what was taken can all be decoded, and there is room again after acks.
#[test]
fn a_full_disk_is_full_and_harms_nothing() {
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(fill(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=256k tmpfs \"$1\" && shift && exec \"$@\"", "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "queue::tests::a_full_disk_is_full_and_harms_nothing"])
        .env(SMALL_DISK, dir.path())
        .status()
        .expect("unshare (util-linux) runs");
    assert!(status.success());
}

async fn fill(dir: &Path) {
    let queue = open(dir, 1 << 30);
    let (mut taken, mut value) = (Vec::new(), 0.0);
    let mut refused = 0;
    while refused < 3 {
        value += 1.0;
        // Every batch has a series of its own, so that the frame after a refused one would miss definitions.
        let mut unique = batch(value);
        let mut series = SeriesIdentity::clone(&unique.metrics.series[0]);
        series.name = format!("level.{value}.{}", "x".repeat(700)).into();
        unique.metrics.series[0] = Arc::new(series);
        match queue.append(unique).await {
            Ok(position) => taken.push((position, value)),
            Err(error) => {
                assert!(matches!(error, SinkError::Full { .. }), "{error}");
                refused += 1;
            }
        }
    }
    assert!(taken.len() > 100, "the disk holds more than {} records", taken.len());
    assert_eq!(values(&queue).await, taken);
    queue.ack(taken.iter().map(|(position, _)| *position).collect()).await;
    queue.segments().await;
    std::thread::park_timeout(Duration::from_millis(1100));
    for value in [-1.0, -2.0] {
        queue.append(batch(value)).await.unwrap();
    }
    let found = values(&queue).await;
    assert_eq!(found.iter().rev().take(2).map(|(_, value)| *value).collect::<Vec<_>>(), [-2.0, -1.0]);
}

const CRASH: &str = "WEIR_TEST_CRASH";

/// An agent is killed with -9 in append, before and after the answer: what was answered is there, under its position,
/// and no position is given out twice. The test runs itself again as the agent; one that did not die fails.
#[test]
fn a_killed_agent_keeps_what_it_answered() {
    if let Ok(crash) = std::env::var(CRASH) {
        let (point, nth, dir) =
            (crash.split(',').next().unwrap(), crash.split(',').nth(1).unwrap(), crash.split(',').nth(2).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(append_until_killed(point.to_owned(), nth.parse().unwrap(), Path::new(dir)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for point in ["append", "before_ack", "after_ack"] {
        let dir = tempfile::tempdir().unwrap();
        let mut answered = Vec::new();
        for nth in [1, 7, 30] {
            let mut agent = std::process::Command::new(std::env::current_exe().unwrap());
            let agent = agent.args(["--exact", "queue::tests::a_killed_agent_keeps_what_it_answered", "--nocapture"]);
            let ended = agent.env(CRASH, format!("{point},{nth},{}", dir.path().display())).output().unwrap();
            assert!(!ended.status.success(), "{point} {nth}: it did not die");
            for line in String::from_utf8(ended.stdout).unwrap().lines().filter(|line| line.starts_with("answered ")) {
                let mut words = line.split(' ').skip(1);
                answered.push((words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap()));
            }
            assert!(answered.is_sorted_by(|a: &(u64, f64), b| a.0 < b.0), "positions rise over restarts");
        }
        assert!(answered.len() >= 30, "{point}: {} answers", answered.len());
        let queue = runtime.block_on(async { open(dir.path(), 1 << 20) });
        let found = runtime.block_on(values(&queue));
        for record in &answered {
            assert!(found.contains(record), "{point}: {record:?} was answered and is gone");
        }
        let surplus = found.len() - answered.len();
        assert!(surplus <= 12, "{point}: {surplus} records that nobody was told of");
    }
}

async fn append_until_killed(point: String, nth: usize, dir: &Path) {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let hook: FaultHook = Arc::new(move |at| {
        if at == point && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == nth {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
    });
    let settings = QueueSettings { dir: dir.join("queue"), bytes_max: 1 << 20 };
    let queue = Queue::open_with_fault(&settings, NOW_NS, Some(hook)).unwrap();
    for value in 0..1000 {
        // Two at a time, so that commits have more than one record.
        let (value, other) = (f64::from(2 * value), f64::from(2 * value + 1));
        let (first, second) = tokio::join!(queue.append(batch(value)), queue.append(batch(other)));
        println!("answered {} {value}\nanswered {} {other}", first.unwrap(), second.unwrap());
    }
}
