//! Scrapes Prometheus targets: pages into batches, on each target's own beat.
//!
//! ```text
//! scrape_configs ─▶ Job (relabel_configs) ─▶ Target ─┐
//!                                                    ▼
//!            Scraper (one task): due heap ─▶ scrape (≤ IN_FLIGHT_MAX at once) ─▶ next beat
//!                                              │ fetch ─▶ PageReader ─▶ up, scrape_* ─▶ Intake
//!                                              └ fails, vanishes, stops ─▶ stale markers
//! ```
//! The scraper owns every target; a target whose scrape is under way is owned by that scrape and comes back when it
//! ends, so nothing is locked and no target is scraped twice at once.
//! Source: Prometheus' scrape/{scrape,target,manager}.go, for beats, labels, staleness and the series of a scrape.

mod beat;
mod fetch;
mod job;
mod relabel;
mod scraping;
mod target;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::Intake;
use crate::wall_clock_ns;
use beat::Beat;
pub use job::{Auth, Job, Tls};
pub use relabel::{Labels, RelabelError, Relabeling};
use scraping::Scraping;
pub use target::Target;
use weir_proto::config::ScrapeConfig;

/// Scrapes under way at once. A target that does not answer takes a place until its timeout, so there are many.
const IN_FLIGHT_MAX: usize = 512;
/// Pages being received and read at once: this many bodies are in memory.
const PAGES_MAX: usize = 16;
/// How long stopping waits for scrapes under way and for the stale markers.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is scraped.
#[derive(Clone, Debug, Default)]
pub struct ScrapeSettings {
    /// The jobs, each with its targets.
    pub jobs: Vec<Job>,
    /// Spreads the beats of several agents that scrape the same targets; from the node's name.
    pub offset_seed: u64,
}

/// A scrape configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// A relabelling rule is wrong.
    #[error("scrape_configs: job {job:?}: {rules}: {source}")]
    Relabel {
        /// The job.
        job: String,
        /// `relabel_configs` or `metric_relabel_configs`.
        rules: &'static str,
        /// What is wrong.
        source: RelabelError,
    },
    /// A target is wrong.
    #[error("scrape_configs: job {job:?}: target {address:?}: {message}")]
    Target {
        /// The job.
        job: String,
        /// As configured.
        address: String,
        /// What is wrong.
        message: String,
    },
    /// The HTTP client of a job could not be made.
    #[error("scrape_configs: job {job:?}: {message}")]
    Client {
        /// The job.
        job: String,
        /// What is wrong.
        message: String,
    },
}

impl ScrapeSettings {
    /// The settings that the file's `scrape_configs` say; `node` spreads the beats.
    ///
    /// # Errors
    /// When a rule does not compile or a target is no `host:port`.
    pub fn from_config<'a>(
        scrapes: &[ScrapeConfig],
        external_labels: impl IntoIterator<Item = (&'a String, &'a String)> + Clone,
        node: &str,
    ) -> Result<Self, ScrapeError> {
        let jobs = scrapes.iter().map(|scrape| Job::from_config(scrape, external_labels.clone()));
        Ok(Self { jobs: jobs.collect::<Result<_, _>>()?, offset_seed: target::fnv(node.as_bytes()) })
    }
}

/// The task that scrapes.
pub struct Scraper {
    /// `None` while its scrape is under way.
    targets: Vec<Option<Scraping>>,
    /// When each target that is not under way is due.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    under_way: JoinSet<(usize, Scraping)>,
    pages: Arc<Semaphore>,
    intake: Intake,
}

impl Scraper {
    /// A scraper of all targets of `settings`.
    ///
    /// # Errors
    /// When the HTTP client of a job cannot be made (a certificate that cannot be read).
    pub fn new(settings: &ScrapeSettings, intake: Intake) -> Result<Self, ScrapeError> {
        let clients = fetch::Clients::default();
        let mut targets = Vec::new();
        for job in &settings.jobs {
            let client = clients.client_of(job)?;
            for target in &job.targets {
                targets.push(Some(Scraping::new(job, target, client.clone())));
            }
        }
        let (now, now_ns) = (Instant::now(), wall_clock_ns());
        let mut due = BinaryHeap::with_capacity(targets.len());
        for (at, scraping) in targets.iter_mut().enumerate().filter_map(|(at, slot)| Some((at, slot.as_mut()?))) {
            scraping.beat =
                Beat::first(scraping.target.interval, scraping.target.hash ^ settings.offset_seed, now, now_ns);
            due.push(Reverse((scraping.beat.due, at)));
        }
        let pages = Arc::new(Semaphore::new(PAGES_MAX));
        Ok(Self { targets, due, under_way: JoinSet::new(), pages, intake })
    }

    /// How many targets there are.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Scrapes until told to stop; then ends every series with a stale marker.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = self.due.peek().map(|Reverse((due, _))| *due);
            let may_start = next.is_some() && self.under_way.len() < IN_FLIGHT_MAX;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.under_way.join_next() => self.take_back(done),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if may_start => self.start_next(),
            }
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.end()).await.is_err() {
            tracing::warn!("scraping stopped before all series were ended");
        }
    }

    fn start_next(&mut self) {
        let Some(Reverse((_, at))) = self.due.pop() else { return };
        let Some(mut scraping) = self.targets[at].take() else { return };
        let (pages, intake) = (Arc::clone(&self.pages), self.intake.clone());
        self.under_way.spawn(async move {
            scraping.scrape(wall_clock_ns(), &pages, &intake).await;
            (at, scraping)
        });
    }

    fn take_back(&mut self, done: Result<(usize, Scraping), tokio::task::JoinError>) {
        match done {
            Ok((at, mut scraping)) => {
                scraping.beat.advance(Instant::now());
                self.due.push(Reverse((scraping.beat.due, at)));
                self.targets[at] = Some(scraping);
            }
            // Its target is gone with it. A panic here is our defect; the other targets go on.
            Err(error) => tracing::error!(%error, "a scrape ended in a panic, its target is scraped no more"),
        }
    }

    async fn end(mut self) {
        while let Some(done) = self.under_way.join_next().await {
            self.take_back(done);
        }
        let mut batch = weir_proto::Batch::default();
        for scraping in self.targets.iter_mut().flatten() {
            scraping.end(wall_clock_ns(), &mut batch.metrics);
        }
        if !batch.is_empty()
            && let Err(error) = self.intake.put(batch).await
        {
            tracing::warn!(%error, "the ends of scraped series were not queued");
        }
    }
}

#[cfg(test)]
mod tests;
