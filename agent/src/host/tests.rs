//! The host reader against a procfs written by hand, with things missing, and against this machine.

use std::fs;

use weir_proto::{MetricBatch, Value};

use super::*;

fn value(batch: &MetricBatch, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
    (0..batch.numbers.series.len()).find_map(|row| {
        let series = &batch.series[batch.numbers.series[row] as usize];
        let holds = |(key, wanted): &(&str, &str)| match series.attributes.find(key) {
            Some(Value::String(text)) => **text == **wanted,
            Some(Value::Int(number)) => number.to_string() == *wanted,
            _ => false,
        };
        (*series.name == *name && attributes.iter().all(holds)).then_some(batch.numbers.value[row])
    })
}

fn fake_host(root: &Path) -> HostSettings {
    let proc = root.join("proc");
    fs::create_dir_all(proc.join("net")).unwrap();
    fs::create_dir_all(proc.join("1")).unwrap();
    fs::create_dir_all(proc.join("42")).unwrap();
    fs::create_dir_all(root.join("sys/block/sda")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/machine-id"), "cafe\n").unwrap();
    let stat = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 100 0 50 800 50 0 0 0 0 0\nctxt 1\nbtime 1000\nprocesses 77\n";
    fs::write(proc.join("stat"), stat).unwrap();
    fs::write(proc.join("loadavg"), "0.07 1.50 3.25 2/300 999\n").unwrap();
    fs::write(proc.join("uptime"), "123.45 200.00\n").unwrap();
    let disks = "8 0 sda 10 1 200 30 20 2 400 60 0 90 90\n8 1 sda1 10 1 200 30 20 2 400 60 0 90 90\n7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n";
    fs::write(proc.join("diskstats"), disks).unwrap();
    let net = "Inter-| Receive | Transmit\n face |bytes packets\n  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n veth1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";
    fs::write(proc.join("net/dev"), net).unwrap();
    fs::write(proc.join("1/stat"), "1 (init) S 0").unwrap();
    fs::write(proc.join("42/stat"), "42 (a) R b) Z 1").unwrap();
    HostSettings { node: "box".into(), ..HostSettings::at(root) }
}

#[test]
fn a_host_is_read_under_opentelemetry_names_and_what_is_missing_costs_only_itself() {
    let root = tempfile::tempdir().unwrap();
    let settings = fake_host(root.path());
    let stat = settings.proc.join("stat");
    let mut reader = HostReader::new(settings);
    let first = reader.read(5_000_000_000);
    assert_eq!(value(&first, "system.cpu.time", &[("cpu.mode", "idle"), ("cpu.logical_number", "0")]), Some(8.0));
    assert_eq!(value(&first, "system.cpu.load_average.1m", &[]), Some(0.07));
    assert_eq!(
        value(&first, "system.disk.io", &[("system.device", "sda"), ("disk.io.direction", "write")]),
        Some(204_800.0)
    );
    assert_eq!(value(&first, "system.disk.io", &[("system.device", "sda1")]), None, "a partition is its disk's");
    assert_eq!(value(&first, "system.disk.io", &[("system.device", "loop0")]), None);
    let sent = [("network.interface.name", "eth0"), ("network.io.direction", "transmit")];
    assert_eq!(value(&first, "system.network.io", &sent), Some(500.0));
    assert_eq!(value(&first, "system.network.packet.dropped", &sent), Some(8.0));
    assert_eq!(value(&first, "system.network.io", &[("network.interface.name", "veth1")]), None);
    assert_eq!(value(&first, "system.process.count", &[("system.process.status", "defunct")]), Some(1.0));
    assert_eq!(value(&first, "system.process.created", &[]), Some(77.0));
    assert_eq!(value(&first, "system.memory.usage", &[]), None, "there is no meminfo");
    assert_eq!(value(&first, "system.cpu.utilization", &[]), None, "utilization needs two readings");
    let at = first.series.iter().position(|series| &*series.name == "system.cpu.time").unwrap();
    assert_eq!(first.numbers.start_ns[at], 1_000_000_000_000, "since the boot");
    let resource = &first.series[0].resource.attributes;
    assert_eq!(resource.find("host.name").unwrap().as_str(), Some("box"));
    assert_eq!(resource.find("host.id").unwrap().as_str(), Some("cafe"));

    fs::write(stat, "cpu  130 0 50 860 60 0 0 0 0 0\ncpu0 1 0 1 1 1 0 0 0 0 0\nctxt 1\nbtime 1000\nprocesses 77\n")
        .unwrap();
    let second = reader.read(20_000_000_000);
    assert_eq!(value(&second, "system.cpu.utilization", &[("cpu.mode", "user")]), Some(0.3));
    assert_eq!(value(&second, "system.cpu.utilization", &[("cpu.mode", "idle")]), Some(0.6));
}

#[test]
fn each_file_system_is_read_once_and_only_those_that_hold_data() {
    let mountinfo = "\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 254:0 /etc/hosts /etc/hosts rw shared:3 master:1 - ext4 /dev/vda rw
29 27 8:17 / /mnt/my\\040disk ro - xfs /dev/sdb1 ro
30 27 0:40 / /run rw - tmpfs tmpfs rw
31 27 0:41 / /net rw - nfs4 server:/export rw
32 27 0:42 / /tank rw - zfs tank rw
33 27 0:43 / /var/lib/docker/overlay2/x rw - overlay overlay rw
34 27 7:1 / /snap/core ro - squashfs /dev/loop1 ro";
    assert_eq!(filesystem::points_of(mountinfo), ["/", "/mnt/my disk", "/tank"]);
}

#[test]
fn this_machine_gives_every_group() {
    let mut reader = HostReader::new(HostSettings::default());
    let batch = reader.read(1);
    for name in [
        "system.cpu.time",
        "system.memory.usage",
        "system.memory.utilization",
        "system.paging.faults",
        "system.disk.io",
        "system.filesystem.usage",
        "system.filesystem.utilization",
        "system.network.io",
        "system.cpu.load_average.15m",
        "system.uptime",
    ] {
        assert!(value(&batch, name, &[]).is_some(), "{name}");
    }
    let sum: f64 = ["used", "free", "buffers", "cached"]
        .iter()
        .map(|state| value(&batch, "system.memory.usage", &[("system.memory.state", state)]).unwrap())
        .sum();
    assert_eq!(Some(sum), value(&batch, "system.memory.limit", &[]));
}

#[tokio::test(start_paused = true)]
async fn the_second_reading_comes_after_a_second() {
    let (intake, mut batches) = Intake::for_tests();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Host::new(HostSettings::default(), intake).run(stop.clone()));
    let begin = Instant::now();
    let mut seen = Vec::new();
    for _ in 0..3 {
        batches.recv().await.unwrap();
        seen.push(begin.elapsed().as_secs());
    }
    assert_eq!(seen, [0, 1, 15]);
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}
