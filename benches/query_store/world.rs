//! The samples: targets that are scraped every 15 s, each at its own offset and a few ms late.
//!
//! Counters of requests, CPU seconds of two decimals among them, restarts; gauges of bytes; classic histograms of 20
//! buckets. One in twenty counters is a sum of durations with all its digits, which no decimal holds.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use weir_benches::chance::Chance;
use weir_proto::exposition::SCOPE_SCRAPE;
use weir_proto::identity::SeriesParts;
use weir_proto::prometheus::{Promotion, translate};
use weir_proto::{Attributes, KeyValue, MetricBatch, MetricKind, Resource, Scope, SeriesIdentity, Temporality};

/// Start of the samples: 22 November 2026, 00:00 UTC.
pub(crate) const START_MS: i64 = 1_795_305_600_000;
/// From one scrape to the next.
pub(crate) const INTERVAL_MS: i64 = 15_000;
const TARGETS: usize = 50;
const BUCKETS: usize = 20;
const LATE_MS: [i64; 8] = [0, 0, 0, 1, 1, 2, 3, 5];

/// How much there is.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) counters: usize,
    pub(crate) histograms: usize,
}

/// All series, and where their values stand.
pub(crate) struct World {
    series: Vec<One>,
    chance: Chance,
}

struct One {
    identity: Arc<SeriesIdentity>,
    target: usize,
    kind: Kind,
    value: f64,
}

enum Kind {
    Up,
    Requests,
    Seconds,
    Durations,
    Bytes,
    /// The first bucket of a histogram begins a new sum.
    Bucket {
        first: bool,
    },
}

impl World {
    /// Before the first tick; two worlds of one shape go the same way.
    pub(crate) fn new(shape: Shape) -> Self {
        let targets: Vec<Arc<Resource>> = (0..TARGETS).map(target).collect();
        let scope = Arc::new(Scope { name: SCOPE_SCRAPE.into(), ..Scope::default() });
        let mut series = Vec::new();
        let mut add = |at: usize, name: &str, kind: Kind, labels: Vec<KeyValue>| {
            let target = at % TARGETS;
            let identity = SeriesIdentity::new(SeriesParts {
                name: name.into(),
                unit: "".into(),
                kind: if matches!(kind, Kind::Up | Kind::Bytes) { MetricKind::Gauge } else { MetricKind::Counter },
                temporality: Temporality::Cumulative,
                resource: Arc::clone(&targets[target]),
                scope: Arc::clone(&scope),
                attributes: Attributes::new(labels),
            });
            series.push(One { identity: Arc::new(identity), target, kind, value: 0.0 });
        };
        (0..TARGETS).for_each(|at| add(at, "up", Kind::Up, Vec::new()));
        for at in 0..shape.counters {
            let kind = [Kind::Requests, Kind::Seconds, Kind::Durations].into_iter().nth(match at % 20 {
                0 => 2,
                at if at % 4 == 1 => 1,
                _ => 0,
            });
            let code = KeyValue::new("code", if at % 7 == 0 { "500" } else { "200" });
            let path = KeyValue::new("path", format!("/p{}", at / TARGETS));
            add(at, "http_requests_total", kind.unwrap_or(Kind::Requests), vec![code, path]);
        }
        for at in 0..shape.counters / 4 {
            add(at, "memory_bytes", Kind::Bytes, vec![KeyValue::new("area", format!("a{}", at / TARGETS))]);
        }
        for at in 0..shape.histograms {
            for bucket in 0..BUCKETS {
                let le = if bucket + 1 == BUCKETS { "+Inf".to_owned() } else { (5 << bucket).to_string() };
                let labels = vec![KeyValue::new("le", le), KeyValue::new("route", format!("r{}", at / TARGETS))];
                add(at, "request_seconds_bucket", Kind::Bucket { first: bucket == 0 }, labels);
            }
        }
        Self { series, chance: Chance(0x9e37_79b9_7f4a_7c15) }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Goes one tick on; the values and times are those of the tick.
    fn advance(&mut self, tick: i64) -> Vec<i64> {
        let mut more = 0;
        for one in &mut self.series {
            let chance = &mut self.chance;
            match one.kind {
                Kind::Up => one.value = f64::from(u8::from(chance.below(500) > 0)),
                Kind::Requests if chance.below(20_000) == 0 => one.value = 0.0,
                Kind::Requests => one.value += if chance.below(3) == 0 { 0.0 } else { chance.below(200) as f64 },
                Kind::Seconds => one.value = (one.value * 100.0 + chance.below(150) as f64).round() / 100.0,
                Kind::Durations => one.value += chance.below(1 << 50) as f64 / (1_u64 << 48) as f64,
                Kind::Bytes if chance.below(4) == 0 => one.value = 4096.0 * chance.below(1 << 18) as f64,
                Kind::Bytes => {}
                Kind::Bucket { first } => {
                    more = if first { 0 } else { more } + chance.below(10);
                    one.value += more as f64;
                }
            }
        }
        let chance = &mut self.chance;
        (0..TARGETS)
            .map(|target| {
                let offset = 2_000 + 250 * target as i64 % 12_000;
                START_MS + tick * INTERVAL_MS + offset + LATE_MS[chance.index(LATE_MS.len())]
            })
            .collect()
    }

    /// The scrapes of all targets at one tick.
    pub(crate) fn tick(&mut self, tick: i64) -> MetricBatch {
        let times = self.advance(tick);
        let series = self.series.iter().map(|one| Arc::clone(&one.identity)).collect();
        let mut batch = MetricBatch { series, ..MetricBatch::default() };
        for (at, one) in (0..).zip(&self.series) {
            batch.numbers.series.push(at);
            batch.numbers.time_ns.push(times[one.target] * 1_000_000);
            batch.numbers.start_ns.push(0);
            batch.numbers.value.push(one.value);
        }
        batch
    }

    /// All ticks as OpenMetrics, in order of time but for the targets' offsets.
    pub(crate) fn write_openmetrics(&mut self, out: &mut impl Write, ticks: i64) -> anyhow::Result<()> {
        let heads: Vec<String> = self.series.iter().map(|one| head(&one.identity)).collect();
        let mut line = String::new();
        for tick in 0..ticks {
            let times = self.advance(tick);
            for (one, head) in self.series.iter().zip(&heads) {
                let ms = times[one.target];
                line.clear();
                writeln!(line, "{head} {} {}.{:03}", one.value, ms / 1_000, ms % 1_000)?;
                out.write_all(line.as_bytes())?;
            }
        }
        Ok(writeln!(out, "# EOF")?)
    }
}

fn target(number: usize) -> Arc<Resource> {
    let attributes = vec![
        KeyValue::new("service.name", format!("job-{}", number % 10)),
        KeyValue::new("service.instance.id", format!("host-{number}")),
    ];
    Arc::new(Resource { attributes: Attributes::new(attributes) })
}

fn head(identity: &SeriesIdentity) -> String {
    let translated = translate(identity, &Promotion::default());
    let labels: Vec<_> = translated.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{}{{{}}}", translated.name, labels.join(","))
}
