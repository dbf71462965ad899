//! Times `weir_proto::exposition`: samples per second of a target's first page, of a steady one, and of one whose
//! lines came in another order. Give files with scraped pages to time a real target; without, a page is made up.
//!
//! `cargo run --release --bin exposition_reader [PAGE…]`

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_proto::exposition::{Page, PageReader, TargetIdentity};
use weir_proto::{Attributes, KeyValue, MetricBatch, Resource};

/// The allocator of the shipped programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each line is timed.
const ROUND: Duration = Duration::from_millis(700);

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let files: Vec<String> = std::env::args().skip(1).collect();
    let pages = if files.is_empty() {
        (0..4).map(made_up).collect()
    } else {
        files.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?
    };
    let samples = read(&mut reader(), &pages[0])?;
    let bytes = pages[0].len() as f64;
    writeln!(out, "{samples} samples, {:.0} B each with their comments", bytes / samples as f64)?;
    let mut steady = reader();
    line(&mut out, "first page", samples, bytes, time(|_| read(&mut reader(), &pages[0]))?)?;
    line(&mut out, "steady pages", samples, bytes, time(|tick| read(&mut steady, &pages[tick % pages.len()]))?)?;
    let turned: String = pages[0]
        .lines()
        .filter(|line| !line.starts_with('#'))
        .rev()
        .fold(String::with_capacity(pages[0].len()), |page, line| page + line + "\n");
    let mut surprised = reader();
    let orders = [&pages[0], &turned];
    line(&mut out, "every page in another order", samples, bytes, time(|tick| read(&mut surprised, orders[tick % 2]))?)
}

fn reader() -> PageReader {
    let attributes = vec![KeyValue::new("service.name", "node"), KeyValue::new("service.instance.id", "a:9100")];
    PageReader::new(TargetIdentity {
        resource: Arc::new(Resource { attributes: Attributes::new(attributes) }),
        labels: vec![("env".into(), "bench".into())],
        honor_labels: false,
        honor_timestamps: true,
    })
}

fn read(reader: &mut PageReader, page: &str) -> anyhow::Result<u64> {
    let mut batch = MetricBatch::default();
    let page =
        Page { body: page.as_bytes(), content_type: "text/plain; version=0.0.4", at_ns: 1_700_000_000_000_000_000 };
    let outcome = reader.read(&page, None, &mut batch)?;
    black_box(batch.points());
    Ok(outcome.scraped)
}

/// Seconds that one call takes: the best of the rounds.
fn time(mut work: impl FnMut(usize) -> anyhow::Result<u64>) -> anyhow::Result<f64> {
    let (began, mut best, mut tick) = (Instant::now(), f64::MAX, 0);
    while began.elapsed() < ROUND {
        let call = Instant::now();
        work(tick)?;
        tick += 1;
        best = best.min(call.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn line(out: &mut impl Write, name: &str, samples: u64, bytes: f64, seconds: f64) -> anyhow::Result<()> {
    let (each, rate) = (seconds / samples as f64 * 1e9, samples as f64 / seconds / 1e6);
    writeln!(out, "  {name:<28} {each:8.1} ns a sample {rate:8.2} M/s {:8.2} GB/s", bytes / seconds / 1e9)?;
    Ok(())
}

/// A page as of cadvisor: long label sets, values that change with `tick`.
fn made_up(tick: usize) -> String {
    let mut page = String::new();
    for metric in 0..20 {
        writeln!(page, "# HELP container_metric_{metric}_total What it counts.").expect("a String takes all");
        writeln!(page, "# TYPE container_metric_{metric}_total counter").expect("a String takes all");
        for pod in 0..100 {
            writeln!(
                page,
                "container_metric_{metric}_total{{container=\"app\",id=\"/kubepods/burstable/pod{pod:032x}\",image=\
                 \"registry.example/team/app:1.2.{pod}\",name=\"k8s_app_{pod}\",namespace=\"prod\",pod=\"app-{pod}\"}} {}",
                (metric * 1_000 + pod * 10 + tick) as f64 * 0.25
            )
            .expect("a String takes all");
        }
    }
    page
}
