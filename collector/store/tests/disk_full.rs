//! A real full disk: a small tmpfs in a mount namespace of its own. The test runs itself again in there.
#![cfg(test)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use weir_proto::identity::SeriesParts;
use weir_proto::{Attributes, Batch, MetricKind, Resource, Scope, SeriesIdentity, Temporality};
use weir_store::{Clock, ErrorKind, Store, StoreOptions, Tuning};

const DIR: &str = "WEIR_TEST_SMALL_DISK";
const POINTS: usize = 500;

/// Appends meet ENOSPC as Full, reads go on, nothing acknowledged is harmed; the store's own log does not lock it
/// out, and a restart on the full disk has everything.
#[test]
fn a_full_disk_is_full_and_loses_nothing() {
    if let Some(dir) = std::env::var_os(DIR) {
        return fill(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=4m tmpfs \"$1\" && shift && exec \"$@\"", "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_is_full_and_loses_nothing", "--nocapture"])
        .env(DIR, dir.path())
        .status()
        .expect("unshare (util-linux) runs");
    assert!(status.success());
}

struct Stopped;

impl Clock for Stopped {
    fn now_ns(&self) -> i64 {
        1_795_341_600_000_000_000
    }
}

fn fill(dir: &Path) {
    let hour = Duration::from_secs(3_600);
    let options = StoreOptions {
        tuning: Tuning { metrics_flush_interval: hour, traces_flush_interval: hour, ..Tuning::default() },
        wal_bytes_max: 16 << 20,
        ..StoreOptions::new(dir.join("data"), Arc::new(Stopped))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::open(options.clone()).unwrap();
    // Somebody else has left three megabytes.
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut kept = 0;
    let refusal = loop {
        match runtime.block_on(store.append(batch(kept), None)) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::Full, "{refusal}");
    assert!(kept > 20, "{kept}");
    assert_eq!(count(&store), kept * POINTS, "reads go on");

    // The log fills the disk; the reserve lets the flush through, which releases the log.
    let mut flushes = 0;
    while let Err(error) = store.flush() {
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert_eq!(count(&store), kept * POINTS);
        flushes += 1;
        assert!(flushes < 3, "the reserve did not help: {error}");
    }
    runtime.block_on(store.append(batch(kept), None)).unwrap();
    kept += 1;
    assert_eq!(count(&store), kept * POINTS);

    // Somebody else takes everything: the flush fails, the data stays, in memory and over a restart.
    std::fs::remove_file(dir.join("data/reserve")).ok();
    fill_up(&dir.join("more"));
    let error = store.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(count(&store), kept * POINTS);
    drop(store);
    let store = Store::open(options.clone()).unwrap();
    assert_eq!(count(&store), kept * POINTS, "a restart on the full disk");
    std::fs::remove_file(dir.join("more")).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    runtime.block_on(store.append(batch(kept), None)).unwrap();
    kept += 1;
    store.flush().unwrap();
    drop(store);
    assert_eq!(count(&Store::open(options).unwrap()), kept * POINTS);
}

fn fill_up(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

/// Points that do not compress.
fn batch(number: usize) -> Batch {
    let mut batch = Batch::default();
    batch.metrics.series.push(Arc::new(SeriesIdentity::new(SeriesParts {
        name: "noise".into(),
        unit: "".into(),
        kind: MetricKind::Gauge,
        temporality: Temporality::Unspecified,
        resource: Arc::new(Resource::default()),
        scope: Arc::new(Scope::default()),
        attributes: Attributes::default(),
    })));
    let numbers = &mut batch.metrics.numbers;
    for at in 0..POINTS {
        let row = (number * POINTS + at) as i64;
        numbers.series.push(0);
        numbers.start_ns.push(0);
        numbers.time_ns.push(Stopped.now_ns() + row * 1_000);
        let mixed = row.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        numbers.value.push(f64::from_bits(mixed & 0x7fdf_ffff_ffff_ffff));
    }
    batch
}

fn count(store: &Store) -> usize {
    let snapshot = store.snapshot();
    let chunks = snapshot.metrics.iter().flat_map(|partition| {
        let index = partition.series_index().unwrap();
        partition.numbers(index.all(), i64::MIN, i64::MAX)
    });
    chunks.map(|chunk| chunk.unwrap().values.len()).sum()
}
