//! Pages that targets expose to scrapes: the Prometheus text format 0.0.4 and OpenMetrics 1.0, read into columns.
//!
//! ```text
//! GET /metrics ─▶ PageReader (one per target) ─▶ MetricBatch
//!                   │ line k+1 begins like the line that followed line k last time? → parse only the value
//!                   │ its prefix was seen before? (hash, verified)                  → parse only the value
//!                   └ new line: tokenise, target labels, relabel, identity          → remember
//! ```
//! A target repeats its page with other values. The reader keeps the text of every line up to its value, in the
//! order of the last page; comparing is all that a steady page costs. As in Prometheus a wrong line fails the page,
//! and series that vanish from one page to the next end with a stale marker.
//!
//! Scraped series keep their names and labels: resource `service.name` = job and `service.instance.id` = instance,
//! scope [`SCOPE_SCRAPE`], attributes the labels of the page and of the target. Histograms and summaries stay the
//! plain series that they are on the page.
//! Source: prometheus.io/docs/instrumenting/exposition_formats, the OpenMetrics 1.0 specification, and Prometheus'
//! scrape loop for relabelling, staleness and counting.

mod family;
mod line;
mod memory;
mod number;
mod pass;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use crate::read::{ReadError, Refused};

use crate::attribute::{Attributes, KeyValue};
use crate::batch::MetricBatch;
use crate::identity::{MetricKind, Resource, Scope, SeriesIdentity, SeriesParts, Temporality};
use crate::otlp::rollback::MetricMark;
use crate::prometheus;
use crate::semconv;

pub(crate) use pass::hex;

use memory::PageMemory;

/// Scope of every scraped series, and of the series that a scrape makes itself (`up`, `scrape_*`).
pub const SCOPE_SCRAPE: &str = "weir.scrape";

/// Who is scraped.
#[derive(Clone, Debug)]
pub struct TargetIdentity {
    /// `service.name` = job, `service.instance.id` = instance, and whatever else is known of the target.
    pub resource: Arc<Resource>,
    /// The target's labels, `job` and `instance` not among them.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Whether a label of the page wins over the target's of the same name; else it is renamed `exported_…`.
    pub honor_labels: bool,
    /// Whether times on the page count; else every sample has the time of the scrape.
    pub honor_timestamps: bool,
}

/// `metric_relabel_configs`.
pub trait MetricRelabel {
    /// Changes the labels of a sample, `__name__` among them; false drops the sample. Asked once per new line, so
    /// the answer must depend on nothing but the labels.
    fn relabel(&self, labels: &mut Vec<(Arc<str>, Arc<str>)>) -> bool;
}

/// A scraped page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The decompressed body.
    pub body: &'a [u8],
    /// The response's `Content-Type`; OpenMetrics when it says so, else the text format.
    pub content_type: &'a str,
    /// When the scrape began, ns.
    pub at_ns: i64,
}

/// What a page gave, for the `scrape_*` series.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PageOutcome {
    /// Samples on the page: `scrape_samples_scraped`.
    pub scraped: u64,
    /// Samples that relabelling kept: `scrape_samples_post_metric_relabeling`.
    pub after_relabel: u64,
    /// Series that the page before did not have: `scrape_series_added`.
    pub added: u64,
    /// Samples that were left out, and why.
    pub refused: Refused,
}

/// Reads the pages of one target and remembers the last one. One owner; not shared.
pub struct PageReader {
    target: TargetIdentity,
    /// `job` and `instance`, in this order; empty when the resource does not say.
    identifying: [(Arc<str>, Arc<str>); 2],
    memory: PageMemory,
    /// Most samples of one page after relabelling; 0 for no limit.
    samples_max: u64,
}

impl PageReader {
    /// A reader that has seen no page yet.
    #[must_use]
    pub fn new(target: TargetIdentity) -> Self {
        let identifying = target.identifying();
        Self { target, identifying, memory: PageMemory::default(), samples_max: 0 }
    }

    /// The same reader, which refuses pages that keep more samples than this after relabelling: `sample_limit`.
    #[must_use]
    pub fn with_samples_max(self, samples_max: u64) -> Self {
        Self { samples_max, ..self }
    }

    /// Appends the samples of a page, and stale markers for the series of the page before that are not on it.
    ///
    /// # Errors
    /// When a line is wrong, an OpenMetrics page does not end with `# EOF`, or the page has more samples than
    /// [`Self::with_samples_max`] allows; `into` is then as it was, and the page before is still the last one: the
    /// caller answers a failed scrape with [`Self::stale`].
    pub fn read(
        &mut self,
        page: &Page<'_>,
        relabel: Option<&dyn MetricRelabel>,
        into: &mut MetricBatch,
    ) -> Result<PageOutcome, ReadError> {
        let mark = MetricMark::of(into);
        self.memory.begin(&self.target.resource, &into.series);
        let whose = pass::Whose { target: &self.target, identifying: &self.identifying };
        let read = pass::Pass::new(&mut self.memory, whose, page, into).relabelled(relabel).read();
        let read = read.and_then(|outcome| match self.samples_max {
            limit if limit > 0 && outcome.after_relabel > limit => {
                Err(ReadError::TooManySamples { samples: outcome.after_relabel, limit })
            }
            _ => Ok(outcome),
        });
        match read {
            Ok(outcome) => {
                self.memory.end(page.at_ns, into);
                Ok(outcome)
            }
            Err(error) => {
                self.memory.abandon();
                mark.restore(into);
                Err(error)
            }
        }
    }

    /// Ends every series of the last page: the target is down or gone.
    pub fn stale(&mut self, at_ns: i64, into: &mut MetricBatch) {
        self.memory.begin(&self.target.resource, &into.series);
        self.memory.end(at_ns, into);
    }

    /// A series about the scrape itself (`up`, `scrape_duration_seconds` and the like), with the target's labels.
    #[must_use]
    pub fn own_series(&self, name: &str) -> Arc<SeriesIdentity> {
        let labels = self.target.labels.iter().filter(|label| !label.1.is_empty());
        let attributes = labels.map(|label| KeyValue::new(Arc::clone(&label.0), Arc::clone(&label.1))).collect();
        Arc::new(SeriesIdentity::new(SeriesParts {
            name: name.into(),
            unit: "".into(),
            kind: MetricKind::Gauge,
            temporality: Temporality::Unspecified,
            resource: Arc::clone(&self.target.resource),
            scope: scope(),
            attributes,
        }))
    }
}

impl TargetIdentity {
    /// `job` and `instance`, in this order; empty when the resource does not say.
    fn identifying(&self) -> [(Arc<str>, Arc<str>); 2] {
        let attributes: &Attributes = &self.resource.attributes;
        let instance = attributes.find(semconv::SERVICE_INSTANCE_ID).map(prometheus::label_value);
        [
            ("job".into(), prometheus::job(attributes).unwrap_or_default()),
            ("instance".into(), instance.unwrap_or_default()),
        ]
    }
}

/// The scope of scraped series.
fn scope() -> Arc<Scope> {
    Arc::new(Scope { name: SCOPE_SCRAPE.into(), ..Scope::default() })
}
