//! A real full disk: a small tmpfs in a mount namespace of its own. The test runs itself again in there.
#![cfg(test)]

use std::path::Path;
use std::process::Command;

use weir_wal::{ErrorKind, Wal, WalOptions};

const DIR: &str = "WEIR_TEST_SMALL_DISK";

/// Appends meet ENOSPC as Full, nothing that was kept is harmed, and there is room again after acks; also over a
/// restart on the full disk.
#[test]
fn a_full_disk_is_full_and_corrupts_nothing() {
    on_a_small_disk("a_full_disk_is_full_and_corrupts_nothing", fill);
}

/// One segment has all the space, and all of it is acked: its space is used again, positions are not.
#[test]
fn an_acked_segment_makes_room_even_when_no_file_can_be_created() {
    on_a_small_disk("an_acked_segment_makes_room_even_when_no_file_can_be_created", fill_with_one_segment);
}

fn on_a_small_disk(test: &str, run: fn(&Path)) {
    if let Some(dir) = std::env::var_os(DIR) {
        return run(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=512k tmpfs \"$1\" && shift && exec \"$@\"", "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir.path())
        .status()
        .expect("unshare (util-linux) runs");
    assert!(status.success());
}

fn fill(dir: &Path) {
    let options = WalOptions { segment_bytes_max: 64 << 10, total_bytes_max: 1 << 30, first_position: 1 };
    let (mut wal, _) = Wal::open(dir, options).unwrap();
    let mut kept = Vec::new();
    // An odd length, so that the record that does not fit is written in part.
    let payload = |position: u64| vec![position as u8; 3001];
    let mut refused = 0;
    while refused < 5 {
        if wal.needs_rotation() && wal.rotate().map_err(|error| assert_eq!(error.kind(), ErrorKind::Full)).is_err() {
            refused += 1;
            continue;
        }
        match wal.append(&payload(wal.next_position())) {
            Ok(position) => kept.push(position),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                refused += 1;
            }
        }
        wal.sync().unwrap();
    }
    assert!(kept.len() > 100, "the disk holds more than this: {}", kept.len());
    assert_eq!(positions(&wal, payload), kept);

    drop(wal);
    let (mut wal, recovery) = Wal::open(dir, options).unwrap();
    assert!(recovery.quarantined.is_empty() && recovery.torn_bytes == 0);
    assert_eq!(positions(&wal, payload), kept, "a restart on the full disk");

    wal.ack_below(kept[60]).unwrap();
    if wal.needs_rotation() {
        wal.rotate().unwrap();
    }
    let position = wal.append(&payload(wal.next_position())).unwrap();
    wal.sync().unwrap();
    let mut expected = positions(&wal, payload);
    assert_eq!(expected.pop(), Some(position));
    assert!(kept.ends_with(&expected) && expected.len() >= kept.len() - 60, "only acked segments went");
}

fn fill_with_one_segment(dir: &Path) {
    let options = WalOptions { segment_bytes_max: 1 << 30, total_bytes_max: 1 << 30, first_position: 1 };
    let (mut wal, _) = Wal::open(dir, options).unwrap();
    let mut last = 0;
    for size in [3001, 101, 1] {
        while let Ok(position) = wal.append(&vec![7; size]) {
            last = position;
        }
    }
    wal.sync().unwrap();
    assert_eq!(wal.rotate().unwrap_err().kind(), ErrorKind::Full, "unacked records keep their space");
    wal.ack_below(last).unwrap();
    assert_eq!(wal.rotate().unwrap_err().kind(), ErrorKind::Full, "so does the last one");
    wal.ack(last).unwrap();
    drop(wal);

    let (mut wal, recovery) = Wal::open(dir, options).unwrap();
    assert!(recovery.records > 0 && wal.needs_rotation(), "a restart forgets acks, and there is no room");
    wal.ack_below(u64::MAX).unwrap();
    wal.rotate().unwrap();
    let position = wal.append(&[8; 3001]).unwrap();
    wal.sync().unwrap();
    assert!(position > last);
    drop(wal);
    let (wal, recovery) = Wal::open(dir, options).unwrap();
    assert!(recovery.quarantined.is_empty());
    assert_eq!(positions(&wal, |_| vec![8; 3001]), [position]);
}

/// The positions of all records, each payload checked.
fn positions(wal: &Wal, payload: impl Fn(u64) -> Vec<u8>) -> Vec<u64> {
    let mut found = Vec::new();
    for status in wal.segments().iter().rev() {
        let mut reader = wal.reader(status.segment).unwrap();
        while let Some(record) = reader.read().unwrap() {
            assert_eq!(record.payload, payload(record.position));
            found.push(record.position);
        }
    }
    found
}
