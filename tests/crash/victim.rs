//! A collector that dies: the real one, with its store's fault points wired to `kill -9` of this process.
//!
//! `weir-victim DATA_DIR LISTEN PUSH POINT NTH`: at the NTH time that the store passes POINT (`append`, `before_ack`,
//! `after_ack`, `flush`, `commit`, `compact`) it notes so in `DATA_DIR/died` and kills itself as the kernel would. With
//! POINT `never` it lives. Flush and compaction run every second.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_collector::{Collector, CollectorFlags, CollectorSettings};
use weir_observe::Recorder;
use weir_proto::config::ConfigFile;
use weir_store::FaultHook;

/// Flush and compaction run this often, so that a short test dies in them.
const OFTEN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, listen, push, point, nth] = words.as_slice() else {
        return ExitCode::from(2);
    };
    let data_dir = PathBuf::from(data_dir);
    let flags = CollectorFlags { listen: Some(listen.clone()), push: Some(push.clone()), ..CollectorFlags::default() };
    let file = ConfigFile::default();
    let settings = CollectorSettings::resolve(&file, &flags, data_dir.clone()).expect("flags are valid");
    let settings = CollectorSettings {
        metrics_flush_interval: OFTEN,
        traces_flush_interval: OFTEN,
        compaction_interval: OFTEN,
        ..settings
    };
    let hook = die_at(data_dir, point.clone(), nth.parse().expect("NTH is a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals");
        let recorder = Recorder::install().expect("the first");
        let collector = Collector::start_with(settings, recorder, Some(hook)).await.expect("it starts");
        stop.recv().await;
        collector.shutdown().await.expect("it closes");
    });
    ExitCode::SUCCESS
}

/// Kills this process at the `nth` time that `point` is passed.
fn die_at(data_dir: PathBuf, point: String, nth: u64) -> FaultHook {
    let passed = AtomicU64::new(0);
    Arc::new(move |at: &'static str| {
        if at != point || passed.fetch_add(1, Ordering::Relaxed) + 1 != nth {
            return;
        }
        let mut died =
            std::fs::OpenOptions::new().append(true).create(true).open(data_dir.join("died")).expect("a note");
        writeln!(died, "{at}").expect("a note");
        let here = rustix::process::getpid();
        rustix::process::kill_process(here, rustix::process::Signal::KILL).expect("one may kill oneself");
        // The signal is delivered before the call returns to user space, on this thread or another.
        loop {
            std::thread::park();
        }
    })
}
