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

use tokio::sync::{Semaphore, mpsc};
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
use weir_proto::{Batch, MetricBatch};

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
    under_way: JoinSet<UnderWay>,
    /// Grows with each reload: a scrape that began before one comes back to targets that may have changed.
    generation: u64,
    reloads: mpsc::Receiver<Vec<Scraping>>,
    pages: Arc<Semaphore>,
    intake: Intake,
}

/// A scrape that has ended.
struct UnderWay {
    generation: u64,
    at: usize,
    scraping: Scraping,
}

/// Gives a running scraper other targets.
#[derive(Clone, Debug)]
pub struct ScrapeHandle {
    reloads: mpsc::Sender<Vec<Scraping>>,
}

impl ScrapeHandle {
    /// Scrapes what `settings` say from now on. Targets that stay keep their beat and their series; those that go end.
    ///
    /// # Errors
    /// As [`Scraper::new`]; what was scraped before is then scraped further.
    pub async fn reload(&self, settings: &ScrapeSettings) -> Result<(), ScrapeError> {
        let targets = scrapings(settings)?;
        // The scraper has stopped when nobody takes it: then there is nothing to reload.
        self.reloads.send(targets).await.ok();
        Ok(())
    }
}

/// What `settings` say, ready to be scraped, none of it scraped yet.
fn scrapings(settings: &ScrapeSettings) -> Result<Vec<Scraping>, ScrapeError> {
    let clients = fetch::Clients::default();
    let (now, now_ns) = (Instant::now(), wall_clock_ns());
    let mut scrapings = Vec::new();
    for job in &settings.jobs {
        let client = clients.client_of(job)?;
        for target in &job.targets {
            let beat = Beat::first(target.interval, target.hash ^ settings.offset_seed, now, now_ns);
            scrapings.push(Scraping::new(job, target, (client.clone(), beat)));
        }
    }
    Ok(scrapings)
}

impl Scraper {
    /// A scraper of all targets of `settings`, and what reloads it.
    ///
    /// # Errors
    /// When the HTTP client of a job cannot be made (a certificate that cannot be read).
    pub fn new(settings: &ScrapeSettings, intake: Intake) -> Result<(ScrapeHandle, Self), ScrapeError> {
        let (sender, reloads) = mpsc::channel(1);
        let mut scraper = Self {
            targets: Vec::new(),
            due: BinaryHeap::new(),
            under_way: JoinSet::new(),
            generation: 0,
            reloads,
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            intake,
        };
        scraper.adopt(scrapings(settings)?);
        Ok((ScrapeHandle { reloads: sender }, scraper))
    }

    /// Scrapes until told to stop; then ends every series with a stale marker.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = self.due.peek().map(|Reverse((due, _))| *due);
            let may_start = next.is_some() && self.under_way.len() < IN_FLIGHT_MAX;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.under_way.join_next() => {
                    let ends = self.take_back(done);
                    self.put_ends(ends).await;
                }
                Some(targets) = self.reloads.recv() => {
                    let ends = self.adopt(targets);
                    tracing::info!(targets = self.targets.len(), "scrape targets are reloaded");
                    self.put_ends(ends).await;
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if may_start => self.start_next(),
            }
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.end()).await.is_err() {
            tracing::warn!("scraping stopped before all series were ended");
        }
    }

    /// Replaces all targets; returns the ends of those that go.
    fn adopt(&mut self, fresh: Vec<Scraping>) -> MetricBatch {
        let mut ends = MetricBatch::default();
        let old = std::mem::replace(&mut self.targets, fresh.into_iter().map(Some).collect());
        self.generation += 1;
        for scraping in old.into_iter().flatten() {
            self.hand_over(scraping, &mut ends);
        }
        let due = |(at, slot): (usize, &Option<Scraping>)| Some(Reverse((slot.as_ref()?.beat.due, at)));
        self.due = self.targets.iter().enumerate().filter_map(due).collect();
        ends
    }

    /// Gives what is remembered of a target to the one in its place, or ends its series.
    fn hand_over(&mut self, mut old: Scraping, ends: &mut MetricBatch) {
        let hash = old.target.hash;
        match self.targets.iter_mut().flatten().find(|fresh| fresh.target.hash == hash) {
            Some(fresh) if fresh.can_follow(&old) => fresh.follow(old),
            _ => old.end(wall_clock_ns(), ends),
        }
    }

    fn start_next(&mut self) {
        let Some(Reverse((_, at))) = self.due.pop() else { return };
        let Some(mut scraping) = self.targets[at].take() else { return };
        let (generation, pages, intake) = (self.generation, Arc::clone(&self.pages), self.intake.clone());
        self.under_way.spawn(async move {
            scraping.scrape(wall_clock_ns(), &pages, &intake).await;
            UnderWay { generation, at, scraping }
        });
    }

    /// Puts a target back into its place; returns the end of one that has none any more.
    fn take_back(&mut self, done: Result<UnderWay, tokio::task::JoinError>) -> MetricBatch {
        let mut ends = MetricBatch::default();
        match done {
            Ok(UnderWay { generation, at, mut scraping }) if generation == self.generation => {
                scraping.beat.advance(Instant::now());
                self.due.push(Reverse((scraping.beat.due, at)));
                self.targets[at] = Some(scraping);
            }
            Ok(UnderWay { scraping, .. }) => self.hand_over(scraping, &mut ends),
            // Its target is gone with it. A panic here is our defect; the other targets go on.
            Err(error) => tracing::error!(%error, "a scrape ended in a panic, its target is scraped no more"),
        }
        ends
    }

    async fn end(mut self) {
        let mut ends = MetricBatch::default();
        while let Some(done) = self.under_way.join_next().await {
            let gone = self.take_back(done);
            self.put_ends(gone).await;
        }
        for scraping in self.targets.iter_mut().flatten() {
            scraping.end(wall_clock_ns(), &mut ends);
        }
        self.put_ends(ends).await;
    }

    async fn put_ends(&self, metrics: MetricBatch) {
        if metrics.points() > 0
            && let Err(error) = self.intake.put(Batch { metrics, ..Batch::default() }).await
        {
            tracing::warn!(%error, "the ends of scraped series were not queued");
        }
    }
}

#[cfg(test)]
mod tests;
