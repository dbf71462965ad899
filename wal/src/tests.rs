//! What the log promises, scenario by scenario, and a model test over random lives with crashes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::*;

fn small() -> WalOptions {
    WalOptions { segment_bytes_max: 200, total_bytes_max: 4096, first_position: 1000 }
}

fn open(dir: &Path) -> Wal {
    Wal::open(dir, small()).unwrap().0
}

/// Appends as an owner does: rotating when asked to.
fn append(wal: &mut Wal, payload: &[u8]) -> Result<u64, WalError> {
    if wal.needs_rotation() {
        wal.rotate()?;
    }
    wal.append(payload)
}

fn read(wal: &Wal, segment: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = wal.reader(segment).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.read().unwrap() {
        records.push((record.position, record.payload));
    }
    records
}

/// Every record, oldest first.
fn read_all(wal: &Wal) -> Vec<(u64, Vec<u8>)> {
    wal.segments().iter().rev().flat_map(|status| read(wal, status.segment)).collect()
}

fn file(dir: &Path, segment: u64) -> PathBuf {
    segment::path_of(dir, segment)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn records_come_back_in_order_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let sent: Vec<_> = (0..20_u8).map(|i| (append(&mut wal, &[i; 40]).unwrap(), vec![i; 40])).collect();
    assert_eq!(sent[0].0, 1000, "positions begin where they are told to");
    wal.sync().unwrap();
    assert_eq!(read_all(&wal), sent);
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path(), small()).unwrap();
    assert_eq!((recovery.records, recovery.torn_bytes, recovery.quarantined.len()), (20, 0, 0));
    assert_eq!(read_all(&wal), sent);
}

#[test]
fn only_synced_records_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    wal.append(b"one").unwrap();
    let active = wal.active_segment().unwrap();
    let mut reader = wal.reader(active).unwrap();
    assert_eq!(reader.read().unwrap(), None);
    wal.sync().unwrap();
    reader.extend(wal.segment(active).unwrap().bytes_durable);
    assert_eq!(reader.read().unwrap().unwrap().payload, b"one");
    assert_eq!(reader.read().unwrap(), None);
}

#[test]
fn a_segment_goes_when_its_last_record_is_acked_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let positions: Vec<u64> = (0..9).map(|_| append(&mut wal, &[7; 50]).unwrap()).collect();
    assert_eq!(wal.segments().len(), 3);
    let oldest = file(dir.path(), positions[0]);
    assert!(wal.ack(positions[2]).unwrap());
    assert!(!wal.ack(positions[2]).unwrap(), "an ack counts once");
    assert_eq!(wal.lowest_unacked(), positions[0]);
    assert!(wal.ack(positions[0]).unwrap());
    assert_eq!(wal.lowest_unacked(), positions[1]);
    assert!(oldest.exists());
    assert!(wal.ack(positions[4]).unwrap(), "other segments do not wait");
    assert!(wal.ack(positions[1]).unwrap());
    assert!(!oldest.exists());
    assert_eq!(wal.lowest_unacked(), positions[3]);
    assert_eq!(wal.unacked(), 5);
    assert!(wal.is_acked(positions[1]) && wal.is_acked(positions[4]) && !wal.is_acked(positions[3]));
    assert!(!wal.ack(1).unwrap() && !wal.ack(u64::MAX).unwrap(), "unknown positions are ignored");
    wal.ack_below(positions[8]).unwrap();
    assert_eq!((wal.unacked(), wal.lowest_unacked()), (1, positions[8]));
}

#[test]
fn segments_are_listed_newest_first_with_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    for _ in 0..7 {
        append(&mut wal, &[7; 50]).unwrap();
    }
    let listed = wal.segments();
    assert!(listed.is_sorted_by(|a, b| a.segment > b.segment));
    assert!(listed[0].is_active && !listed[1].is_active);
    assert_eq!(listed.iter().map(|status| status.records).sum::<u64>(), 7);
    assert_eq!(listed.iter().map(|status| status.bytes).sum::<u64>(), wal.total_bytes());
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_else() {
    for cut in [1, 2, 17, 43, 44, 45, 52, 58, 59] {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = open(dir.path());
        wal.append(b"kept").unwrap();
        wal.append(&[9; 44]).unwrap();
        wal.sync().unwrap();
        let path = file(dir.path(), wal.active_segment().unwrap());
        drop(wal);
        let bytes = path.metadata().unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes - cut).unwrap();
        let (wal, recovery) = Wal::open(dir.path(), small()).unwrap();
        assert_eq!((recovery.records, recovery.torn_bytes), (1, 60 - cut), "cut {cut}");
        assert!(recovery.quarantined.is_empty());
        assert_eq!(read_all(&wal), [(1000, b"kept".to_vec())]);
    }
}

#[test]
fn a_tail_of_zeros_is_torn_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    wal.append(b"kept").unwrap();
    wal.sync().unwrap();
    let path = file(dir.path(), wal.active_segment().unwrap());
    drop(wal);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let (wal, recovery) = Wal::open(dir.path(), small()).unwrap();
    assert!(recovery.quarantined.is_empty() && recovery.torn_bytes > 4000);
    assert_eq!(read_all(&wal).len(), 1);
}

#[test]
fn a_file_that_was_being_created_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(file(dir.path(), 999_999_999), b"WEIRW").unwrap();
    let (wal, recovery) = Wal::open(dir.path(), small()).unwrap();
    assert!(recovery.quarantined.is_empty());
    assert!(wal.next_position() > 999_999_999);
}

#[test]
fn damage_inside_is_quarantined_and_what_stands_before_it_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    for i in 0..9_u8 {
        append(&mut wal, &[i; 50]).unwrap();
    }
    wal.sync().unwrap();
    let segments = wal.segments();
    drop(wal);
    // The second record of the middle segment, and the header of the oldest.
    flip(&file(dir.path(), segments[1].segment), 24 + 66 + 30);
    flip(&file(dir.path(), segments[2].segment), 3);
    let (mut wal, recovery) = Wal::open(dir.path(), small()).unwrap();
    let saved: Vec<u64> = recovery.quarantined.iter().map(|damaged| damaged.records_saved).collect();
    assert_eq!(saved, [0, 1]);
    assert!(recovery.quarantined.iter().all(|damaged| damaged.path.exists() && damaged.bytes_lost > 0));
    let kept: Vec<u8> = read_all(&wal).iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(kept, [3, 6, 7, 8]);
    append(&mut wal, b"goes on").unwrap();
    drop(wal);
    let (_, recovery) = Wal::open(dir.path(), small()).unwrap();
    assert!(recovery.quarantined.is_empty(), "damage is counted once");
}

#[test]
fn damaged_files_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..12 {
        let mut wal = open(dir.path());
        let position = wal.append(&[1; 99]).unwrap();
        wal.append(&[1; 99]).unwrap();
        wal.sync().unwrap();
        drop(wal);
        flip(&file(dir.path(), position), 50);
    }
    drop(open(dir.path()));
    let corrupt = std::fs::read_dir(dir.path()).unwrap();
    let corrupt = corrupt.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "corrupt").count();
    assert_eq!(corrupt, 8);
}

#[test]
fn a_log_at_its_bound_is_full_until_something_is_acked() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let mut positions = Vec::new();
    let error = loop {
        match append(&mut wal, &[1; 100]) {
            Ok(position) => positions.push(position),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(wal.total_bytes() <= 4096 + 24);
    assert!(positions.len() > 25, "{}", positions.len());
    wal.ack_below(positions[4]).unwrap();
    append(&mut wal, &[2; 100]).unwrap();
    wal.sync().unwrap();
    assert_eq!(read_all(&wal).last().unwrap().1, [2; 100]);
}

#[test]
fn positions_are_never_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for life in 0..8 {
        let mut wal = open(dir.path());
        for _ in 0..10 {
            let position = append(&mut wal, &[3; 60]).unwrap();
            assert!(position > highest, "life {life}: {position} after {highest}");
            highest = position;
        }
        match life % 4 {
            // Everything acked and the files gone, cleanly or not.
            0 => {
                wal.ack_below(u64::MAX).unwrap();
                wal.close().unwrap();
            }
            1 => {
                wal.ack_below(u64::MAX).unwrap();
                drop(wal);
            }
            // The newest file damaged from its first byte.
            2 => {
                wal.sync().unwrap();
                let active = wal.active_segment().unwrap();
                drop(wal);
                flip(&file(dir.path(), active), 0);
            }
            // Records that never reached the disk.
            _ => {
                let active = wal.active_segment().unwrap();
                drop(wal);
                OpenOptions::new().write(true).open(file(dir.path(), active)).unwrap().set_len(24).unwrap();
            }
        }
    }
}

#[test]
fn a_closed_log_whose_records_are_acked_has_nothing_to_deliver_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let position = wal.append(b"done").unwrap();
    wal.sync().unwrap();
    wal.ack(position).unwrap();
    wal.close().unwrap();
    let (_, recovery) = Wal::open(dir.path(), small()).unwrap();
    assert_eq!((recovery.segments, recovery.records), (0, 0));
}

#[test]
fn empty_segments_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        drop(open(dir.path()));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let mut wal = open(dir.path());
    assert_eq!(wal.rotate().unwrap(), wal.rotate().unwrap(), "an empty segment is not rotated");
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    assert!(matches!(Wal::open(dir.path(), small()), Err(WalError::InUse(_))));
    drop(wal);
    open(dir.path());
}

#[test]
fn impossible_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    assert_eq!(wal.append(b"").unwrap_err().kind(), ErrorKind::Invalid);
    assert!(matches!(wal.reader(77), Err(WalError::NoSegment(77))));
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README"), b"hello").unwrap();
    std::fs::write(dir.path().join("not-a-number.wal"), b"hello").unwrap();
    drop(open(dir.path()));
    assert!(dir.path().join("README").exists() && dir.path().join("not-a-number.wal").exists());
}

/// A segment file of format 1, its checksums from another program: later versions read it.
#[test]
fn a_golden_segment_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = b"WEIRWAL\0\x01\0\0\0\x2a\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[0xd5, 0x97, 0x77, 0x4a]);
    bytes.extend_from_slice(&[5, 0, 0, 0, 0x79, 0x61, 0x52, 0x44, 0x2a, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(b"hello");
    std::fs::write(file(dir.path(), 42), &bytes).unwrap();
    let mut header = record::segment_header(42).to_vec();
    record::put_record(42, b"hello", &mut header);
    assert_eq!(header, bytes, "what is written now");
    assert_eq!(read_all(&open(dir.path())), [(42, b"hello".to_vec())]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    /// Random lives: what was synced and not acked is there after any crash, what was acked with its whole segment
    /// never comes back, and payloads are what was appended.
    #[test]
    fn what_was_synced_survives(steps in proptest::collection::vec((0_u8..10, 0_u8..=255), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = Some(open(dir.path()));
        let (mut durable, mut pending) = (BTreeMap::new(), BTreeMap::new());
        for (step, byte) in steps {
            let log = wal.as_mut().unwrap();
            match step {
                0..=4 => {
                    let payload = vec![byte; usize::from(byte) + 1];
                    if let Ok(position) = append(log, &payload) {
                        pending.insert(position, payload);
                    }
                    if log.segment(log.active_segment().unwrap()).unwrap().records == 1 {
                        // Rotation has synced what came before.
                        let last = pending.pop_last();
                        durable.append(&mut pending);
                        pending.extend(last);
                    }
                }
                5..=6 => {
                    log.sync().unwrap();
                    durable.append(&mut pending);
                }
                7..=8 => {
                    let at = usize::from(byte) % durable.len().max(1);
                    if let Some(position) = durable.keys().nth(at).copied() {
                        log.ack(position).unwrap();
                        durable.remove(&position);
                    }
                }
                _ => {
                    drop(wal.take());
                    tear(dir.path(), byte, &durable, &pending);
                    wal = Some(open(dir.path()));
                    pending.clear();
                }
            }
            let log = wal.as_ref().unwrap();
            let found: BTreeMap<u64, Vec<u8>> = read_all(log).into_iter().collect();
            for (position, payload) in &durable {
                proptest::prop_assert_eq!(found.get(position), Some(payload));
            }
        }
    }
}

/// A crash: some of what was not synced is torn off the newest file.
fn tear(dir: &Path, byte: u8, durable: &BTreeMap<u64, Vec<u8>>, pending: &BTreeMap<u64, Vec<u8>>) {
    let lost: u64 = pending.values().map(|payload| payload.len() as u64 + 16).sum();
    let newest = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let base: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    if pending.is_empty() || pending.keys().any(|&position| position < base) {
        return;
    }
    debug_assert!(durable.keys().all(|position| !pending.contains_key(position)));
    let bytes = newest.metadata().unwrap().len();
    let cut = lost * u64::from(byte) / 255;
    OpenOptions::new().write(true).open(&newest).unwrap().set_len(bytes - cut).unwrap();
}
