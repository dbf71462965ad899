//! One target being scraped: its reader, its beat, and the series about the scrape itself.

use std::sync::Arc;

use metrics::counter;
use reqwest::Client;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weir_proto::batch::STALE_NAN_BITS;
use weir_proto::exposition::{Page, PageOutcome, PageReader, TargetIdentity};
use weir_proto::{Batch, MetricBatch, SeriesIdentity, names};

use super::beat::Beat;
use super::fetch::{Fetched, fetch};
use super::job::Job;
use super::target::Target;
use crate::batch::Intake;

/// Pages up to this size are read where they are; it takes about 100 µs.
const INLINE_BYTES: usize = 64 << 10;

/// The series that every scrape makes, in this order.
const OWN: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// One target and all that is remembered of it.
pub(super) struct Scraping {
    pub(super) target: Arc<Target>,
    pub(super) beat: Beat,
    job: Arc<Job>,
    client: Client,
    reader: PageReader,
    own: [Arc<SeriesIdentity>; OWN.len()],
    /// Why the last scrape failed; empty when it did not. Logged when it changes.
    trouble: String,
    scraped_once: bool,
}

impl Scraping {
    pub(super) fn new(job: &Job, target: &Arc<Target>, (client, beat): (Client, Beat)) -> Self {
        let reader = PageReader::new(TargetIdentity {
            resource: Arc::clone(&target.resource),
            labels: target.labels.clone(),
            honor_labels: job.honor_labels,
            honor_timestamps: job.honor_timestamps,
        })
        .with_samples_max(job.samples_max);
        let own = OWN.map(|name| reader.own_series(name));
        let job = Arc::new(Job { targets: Vec::new(), ..job.clone() });
        let target = Arc::clone(target);
        Self { target, beat, job, client, reader, own, trouble: String::new(), scraped_once: false }
    }

    /// Whether `old`, of the same target, read its pages as this one will, so that its memory of them is of use.
    pub(super) fn can_follow(&self, old: &Self) -> bool {
        let (new, old) = (&self.job, &old.job);
        !self.scraped_once
            && (new.honor_labels, new.honor_timestamps, new.samples_max)
                == (old.honor_labels, old.honor_timestamps, old.samples_max)
            && new.metric_relabeling == old.metric_relabeling
    }

    /// Goes on where `old` ended.
    pub(super) fn follow(&mut self, old: Self) {
        self.reader = old.reader;
        self.trouble = old.trouble;
        self.scraped_once = old.scraped_once;
    }

    /// Gets the page, reads it, and has it queued. A failure is samples, too: `up` is 0 and the series end.
    pub(super) async fn scrape(&mut self, begin_ns: i64, pages: &Semaphore, intake: &Intake) {
        let begin = Instant::now();
        let at_ns = self.beat.time_of(begin_ns);
        let mut batch = MetricBatch::default();
        let fetched = fetch(&self.client, (&self.job, &self.target), pages).await;
        let outcome = match fetched {
            Ok(fetched) => self.read(fetched, at_ns, &mut batch).await,
            Err(error) => Err(error.to_string()),
        };
        if outcome.is_err() {
            self.reader.stale(at_ns, &mut batch);
        }
        self.note(&outcome);
        let seconds = begin.elapsed().as_secs_f64();
        let counted = outcome.as_ref().cloned().unwrap_or_default();
        let values = [
            f64::from(u8::from(outcome.is_ok())),
            seconds,
            counted.scraped as f64,
            counted.after_relabel as f64,
            counted.added as f64,
        ];
        self.put_own(at_ns, values, &mut batch);
        self.scraped_once = true;
        let samples = batch.points() as u64;
        match intake.put(Batch { metrics: batch, ..Batch::default() }).await {
            Ok(()) => counter!(names::SCRAPE_SAMPLES).increment(samples),
            Err(error) => {
                counter!(names::SCRAPE_DROPPED_SAMPLES).increment(samples);
                tracing::warn!(url = %self.target.url, %error, samples, "a scraped page was not queued");
            }
        }
    }

    /// Ends every series of this target.
    pub(super) fn end(&mut self, at_ns: i64, into: &mut MetricBatch) {
        if self.scraped_once {
            self.reader.stale(at_ns, into);
            self.put_own(at_ns, [f64::from_bits(STALE_NAN_BITS); OWN.len()], into);
        }
    }

    async fn read(&mut self, fetched: Fetched, at_ns: i64, into: &mut MetricBatch) -> Result<PageOutcome, String> {
        if fetched.body.len() <= INLINE_BYTES {
            return read_page(&mut self.reader, &self.job, &fetched, at_ns, into);
        }
        // The reader goes to the other thread and comes back; should it not, the target begins anew.
        let placeholder = PageReader::new(TargetIdentity {
            resource: Arc::clone(&self.target.resource),
            labels: self.target.labels.clone(),
            honor_labels: self.job.honor_labels,
            honor_timestamps: self.job.honor_timestamps,
        })
        .with_samples_max(self.job.samples_max);
        let mut reader = std::mem::replace(&mut self.reader, placeholder);
        let job = Arc::clone(&self.job);
        let mut batch = std::mem::take(into);
        let read = tokio::task::spawn_blocking(move || {
            let outcome = read_page(&mut reader, &job, &fetched, at_ns, &mut batch);
            (reader, batch, outcome)
        });
        let outcome;
        (self.reader, *into, outcome) = read.await.map_err(|error| format!("reading the page failed: {error}"))?;
        outcome
    }

    fn note(&mut self, outcome: &Result<PageOutcome, String>) {
        let label = if outcome.is_ok() { "up" } else { "down" };
        counter!(names::SCRAPES, "outcome" => label).increment(1);
        let trouble = outcome.as_ref().err().cloned().unwrap_or_default();
        let url = &self.target.url;
        if trouble != self.trouble {
            match trouble.is_empty() {
                true => tracing::info!(%url, "target is up again"),
                false => tracing::warn!(%url, error = %trouble, "scrape failed"),
            }
            self.trouble = trouble;
        }
        let Ok(outcome) = outcome else { return };
        for &(reason, count) in &outcome.refused.reasons {
            counter!(names::SCRAPE_REFUSED_SAMPLES, "reason" => reason).increment(count);
        }
    }

    fn put_own(&self, at_ns: i64, values: [f64; OWN.len()], into: &mut MetricBatch) {
        for (identity, value) in self.own.iter().zip(values) {
            // A page may carry a series that looks just like ours; a dictionary holds each fingerprint once.
            let known = into.series.iter().position(|series| series.fingerprint == identity.fingerprint);
            let series = known.unwrap_or_else(|| {
                into.series.push(Arc::clone(identity));
                into.series.len() - 1
            });
            into.numbers.series.push(u32::try_from(series).expect("a page is capped at megabytes"));
            into.numbers.start_ns.push(0);
            into.numbers.time_ns.push(at_ns);
            into.numbers.value.push(value);
        }
    }
}

impl std::fmt::Debug for Scraping {
    /// Says which target; what is remembered of it is too much to print.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scraping({})", self.target.url)
    }
}

fn read_page(
    reader: &mut PageReader,
    job: &Job,
    fetched: &Fetched,
    at_ns: i64,
    into: &mut MetricBatch,
) -> Result<PageOutcome, String> {
    let page = Page { body: &fetched.body, content_type: &fetched.content_type, at_ns };
    let relabel = (!job.metric_relabeling.is_empty()).then_some(&job.metric_relabeling as _);
    reader.read(&page, relabel, into).map_err(|error| error.to_string())
}
