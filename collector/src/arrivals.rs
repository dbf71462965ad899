//! Who sends what, how fresh it is, what was refused and why: what `weir doctor` and the arrivals page show.
//!
//! In: a note per batch from ingest, a note per refusal from the edges. Out: [`Arrivals::report`]. Bounded: beyond
//! [`SENDERS_MAX`] the sender that was silent longest is forgotten. Counted since start, not stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use weir_proto::{Batch, Resource, Value, semconv};

/// Senders and services remembered. A page of a thousand rows is already more than anyone reads.
const SENDERS_MAX: usize = 1_000;
/// Distinct refusals remembered.
const REFUSALS_MAX: usize = 200;
const NS_PER_SECOND: f64 = 1e9;

/// Everything noted so far.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    senders: HashMap<SenderKey, Tally>,
    refusals: HashMap<(String, String), Refusal>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SenderKey {
    via: Arc<str>,
    service: Arc<str>,
}

#[derive(Debug, Default)]
struct Tally {
    points: u64,
    spans: u64,
    last_ns: i64,
    newest_ns: i64,
    sdk: Arc<str>,
}

#[derive(Debug)]
struct Refusal {
    items: u64,
    last_ns: i64,
    message: String,
}

/// What was refused at once.
#[derive(Clone, Copy, Debug)]
pub struct RefusedItems<'a> {
    /// A stable word.
    pub reason: &'a str,
    /// Points or spans; 0 when a whole request was refused unread.
    pub items: u64,
    /// What the sender was told.
    pub message: &'a str,
}

/// What the page and `weir doctor` read.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Who sends, the latest first.
    pub senders: Vec<SenderRow>,
    /// What was refused, the latest first.
    pub refused: Vec<RefusalRow>,
}

/// One service by one way.
#[derive(Debug, Serialize)]
pub struct SenderRow {
    /// Service, or the host that was read.
    pub service: String,
    /// `agent NAME`, or the protocol of a direct sender.
    pub via: String,
    /// `telemetry.sdk.language` and version (`python 1.45.1`); empty when the sender does not say.
    pub sdk: String,
    /// Metric points since start.
    pub points: u64,
    /// Spans since start.
    pub spans: u64,
    /// Seconds since the last batch.
    pub last_seen_seconds_ago: f64,
    /// How old the newest point or span was when it arrived, in seconds.
    pub lag_seconds: f64,
}

/// One reason by one way.
#[derive(Debug, Serialize)]
pub struct RefusalRow {
    /// Who was refused.
    pub via: String,
    /// A stable word.
    pub reason: String,
    /// Points, spans or requests since start.
    pub items: u64,
    /// What the sender was last told.
    pub message: String,
    /// Seconds since the last one.
    pub last_seen_seconds_ago: f64,
}

impl Arrivals {
    /// Notes what was counted of a batch, once the batch is durable.
    pub fn note(&self, counted: Counted, via: &Arc<str>, now_ns: i64) {
        let mut noted = self.lock();
        for row in counted.0 {
            let key = SenderKey { via: Arc::clone(via), service: row.service };
            let tally = noted.senders.entry(key).or_default();
            tally.points += row.points;
            tally.spans += row.spans;
            tally.last_ns = now_ns;
            tally.newest_ns = row.newest_ns;
            if !row.sdk.is_empty() {
                tally.sdk = row.sdk;
            }
        }
        while noted.senders.len() > SENDERS_MAX {
            noted.forget_oldest();
        }
    }

    /// Notes a refusal.
    pub fn note_refusal(&self, via: &str, what: &RefusedItems<'_>, now_ns: i64) {
        let RefusedItems { reason, items, message } = *what;
        let mut noted = self.lock();
        let key = (via.to_owned(), reason.to_owned());
        if noted.refusals.len() >= REFUSALS_MAX && !noted.refusals.contains_key(&key) {
            let oldest = noted.refusals.iter().min_by_key(|row| row.1.last_ns).map(|row| row.0.clone());
            oldest.and_then(|oldest| noted.refusals.remove(&oldest));
        }
        let row = noted.refusals.entry(key).or_insert(Refusal { items: 0, last_ns: 0, message: String::new() });
        row.items += items.max(1);
        row.last_ns = now_ns;
        message.clone_into(&mut row.message);
    }

    /// All of it, at `now_ns`.
    #[must_use]
    pub fn report(&self, now_ns: i64) -> Report {
        let noted = self.lock();
        #[expect(clippy::cast_precision_loss, reason = "ages for people")]
        let ago = |then: i64| (now_ns - then) as f64 / NS_PER_SECOND;
        let mut senders: Vec<SenderRow> = noted
            .senders
            .iter()
            .map(|(key, tally)| SenderRow {
                service: key.service.to_string(),
                via: key.via.to_string(),
                sdk: tally.sdk.to_string(),
                points: tally.points,
                spans: tally.spans,
                last_seen_seconds_ago: ago(tally.last_ns),
                lag_seconds: (ago(tally.newest_ns) - ago(tally.last_ns)).max(0.0),
            })
            .collect();
        senders.sort_by(|a, b| {
            a.last_seen_seconds_ago.total_cmp(&b.last_seen_seconds_ago).then_with(|| a.service.cmp(&b.service))
        });
        let mut refused: Vec<RefusalRow> = noted
            .refusals
            .iter()
            .map(|((via, reason), row)| RefusalRow {
                via: via.clone(),
                reason: reason.clone(),
                items: row.items,
                message: row.message.clone(),
                last_seen_seconds_ago: ago(row.last_ns),
            })
            .collect();
        refused.sort_by(|a, b| a.last_seen_seconds_ago.total_cmp(&b.last_seen_seconds_ago));
        Report { senders, refused }
    }

    // A few increments of memory; a channel and a task for them would be more to read.
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn forget_oldest(&mut self) {
        let oldest = self.senders.iter().min_by_key(|row| row.1.last_ns);
        if let Some(key) =
            oldest.map(|row| SenderKey { via: Arc::clone(&row.0.via), service: Arc::clone(&row.0.service) })
        {
            self.senders.remove(&key);
        }
    }
}

/// Points and spans of a batch by service: what [`Arrivals::note`] takes, counted before the batch is given away.
#[derive(Debug)]
pub struct Counted(Vec<Count>);

#[derive(Debug)]
struct Count {
    service: Arc<str>,
    sdk: Arc<str>,
    points: u64,
    spans: u64,
    newest_ns: i64,
}

impl Counted {
    /// Counts `batch`. RED is left out: nobody sent it.
    #[must_use]
    pub fn of(batch: &Batch) -> Self {
        Self(counts(batch))
    }
}

/// Rows of one resource follow each other, so the last count is tried first.
fn counts(batch: &Batch) -> Vec<Count> {
    let mut counts: Vec<Count> = Vec::new();
    let mut names: HashMap<*const Resource, (Arc<str>, Arc<str>)> = HashMap::new();
    let mut add = |resource: &Arc<Resource>, points: u64, spans: u64, time_ns: i64| {
        let (service, sdk) =
            names.entry(Arc::as_ptr(resource)).or_insert_with(|| (service_of(resource), sdk_of(resource)));
        let at = match counts.last() {
            Some(last) if last.service == *service => counts.len() - 1,
            _ => counts.iter().position(|count| count.service == *service).unwrap_or_else(|| {
                let (service, sdk) = (Arc::clone(service), Arc::clone(sdk));
                counts.push(Count { service, sdk, points: 0, spans: 0, newest_ns: i64::MIN });
                counts.len() - 1
            }),
        };
        counts[at].points += points;
        counts[at].spans += spans;
        counts[at].newest_ns = counts[at].newest_ns.max(time_ns);
    };
    let metrics = &batch.metrics;
    let rows = metrics.numbers.series.iter().zip(&metrics.numbers.time_ns);
    for (&series, &time_ns) in rows.chain(metrics.histograms.series.iter().zip(&metrics.histograms.time_ns)) {
        let series = &metrics.series[series as usize];
        if series.scope.name.as_ref() != semconv::SCOPE_RED {
            add(&series.resource, 1, 0, time_ns);
        }
    }
    let spans = &batch.spans;
    for row in 0..spans.len() {
        let end_ns = spans.start_ns[row].saturating_add(spans.duration_ns[row]);
        add(&spans.resources[spans.resource[row] as usize], 0, 1, end_ns);
    }
    counts
}

/// `namespace/name`, else the host's name.
fn service_of(resource: &Resource) -> Arc<str> {
    let text = |key: &str| resource.attributes.find(key).and_then(Value::as_str).unwrap_or_default();
    match (text(semconv::SERVICE_NAMESPACE), text(semconv::SERVICE_NAME), text("host.name")) {
        ("", "", "") => "(no service.name)".into(),
        ("", "", host) => format!("host {host}").into(),
        ("", name, _) => name.into(),
        (namespace, name, _) => format!("{namespace}/{name}").into(),
    }
}

/// `telemetry.sdk.language` and version; empty when not said.
fn sdk_of(resource: &Resource) -> Arc<str> {
    let text = |key: &str| resource.attributes.find(key).and_then(Value::as_str).unwrap_or_default();
    match text("telemetry.sdk.language") {
        "" => "".into(),
        language => format!("{language} {}", text("telemetry.sdk.version")).trim_end().into(),
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::{Attributes, KeyValue};

    use super::*;

    fn spans_of(service: &str, ends: &[i64]) -> Batch {
        let mut batch = Batch::default();
        let attributes = Attributes::new(vec![
            KeyValue::new("service.name", service),
            KeyValue::new("telemetry.sdk.language", "python"),
            KeyValue::new("telemetry.sdk.version", "1.45.1"),
        ]);
        batch.spans.resources.push(Arc::new(Resource { attributes }));
        for &end in ends {
            batch.spans.resource.push(0);
            batch.spans.trace_id.push([1; 16]);
            batch.spans.start_ns.push(0);
            batch.spans.duration_ns.push(end);
        }
        batch
    }

    #[test]
    fn a_report_says_who_how_much_and_how_late() {
        let arrivals = Arrivals::default();
        arrivals.note(Counted::of(&spans_of("cart", &[5, 1_000_000_000])), &"agent a".into(), 3_000_000_000);
        let what = RefusedItems { reason: "bad_trace_id", items: 2, message: "trace id is all zero" };
        arrivals.note_refusal("agent a", &what, 4_000_000_000);
        let report = arrivals.report(5_000_000_000);
        assert_eq!((report.senders[0].service.as_str(), report.senders[0].spans), ("cart", 2));
        assert_eq!(report.senders[0].sdk, "python 1.45.1");
        assert!((report.senders[0].last_seen_seconds_ago - 2.0).abs() < 1e-9);
        assert!((report.senders[0].lag_seconds - 2.0).abs() < 1e-9);
        assert_eq!((report.refused[0].items, report.refused[0].reason.as_str()), (2, "bad_trace_id"));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let arrivals = Arrivals::default();
        for number in 0..=SENDERS_MAX as i64 {
            arrivals.note(Counted::of(&spans_of(&format!("s{number}"), &[0])), &"grpc".into(), number);
        }
        let report = arrivals.report(0);
        assert_eq!(report.senders.len(), SENDERS_MAX);
        assert!(report.senders.iter().all(|row| row.service != "s0"));
    }
}
