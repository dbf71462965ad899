//! Where samples come from: the one contract between the engine and whatever holds the data.
//!
//! The engine calls [`SeriesSource::select`] on its own threads and blocks there. The answer is a table of the
//! series found (dense ids, known up front) and an iterator of batches; a batch holds whole series, ordered by
//! (id, time), in columns. The source reserves what it allocates from the [`Budget`] before it allocates, and
//! looks at the budget's cancellation between batches.
//!
//! ```text
//! engine ──SelectRequest{matchers, start, end, hints}──▶ source
//! engine ◀── Selection{series: id → labels, batches: [ids │ offsets │ t_ms │ value │ start_ms? │ histograms?]} ──
//! ```
//! [`SeriesSource::select_readers`] gives the batches unread, each with the means to read it, so that every thread of
//! the engine reads what it is about to work on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::labels::Labels;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored RE2
    Regex,
    /// `!~`, anchored RE2
    NotRegex,
}

/// One label matcher. A label that a series does not have is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// Label name; `__name__` for the metric.
    pub name: Arc<str>,
    /// How to compare.
    pub op: MatchOp,
    /// Text or RE2 pattern, as written.
    pub value: Arc<str>,
}

/// What to read, and what for.
#[derive(Clone, Debug)]
pub struct SelectRequest {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// First millisecond of interest, inclusive.
    pub start_ms: i64,
    /// Last millisecond of interest, inclusive.
    pub end_ms: i64,
    /// What the samples are for; a source may ignore all of it.
    pub hints: SelectHints,
}

/// What the engine will do with the samples.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// The function over the selector, `rate` and the like; empty when none.
    pub function: &'static str,
    /// Step of a range query, 0 for an instant one.
    pub step_ms: i64,
    /// Width of a range selector, 0 for an instant one.
    pub range_ms: i64,
    /// The labels that anything above looks at, when not all; sorted, `__name__` among them. A source may then leave
    /// the others out of the [`SeriesTable`], any of them or none, but it selects, merges and orders by all labels as
    /// always: there are as many series, with the same ids and the same samples as without this hint, only some of
    /// them may look alike. A label that is listed and that a series has is never left out.
    pub labels_needed: Option<Arc<[Arc<str>]>>,
    /// Only count and sum of histograms are needed, no buckets. A source that leaves the buckets out must have set
    /// [`crate::histogram::FloatHistogram::reset_hint`] by comparing the whole histograms.
    pub histogram_stats_only: bool,
}

/// The series of a selection: dense id to sorted labels. No two entries are equal, unless labels were left out as
/// [`SelectHints::labels_needed`] allows; two series they are even then.
#[derive(Clone, Debug, Default)]
pub struct SeriesTable {
    /// Labels by id, `__name__` among them.
    pub labels: Vec<Labels>,
}

/// What a source answers.
pub struct Selection {
    /// All series that match and may have samples in the range.
    pub series: Arc<SeriesTable>,
    /// Their samples; each series is in one batch at most.
    pub batches: Box<dyn Iterator<Item = Result<SeriesBatch, SourceError>> + Send>,
    /// Things the reader should know (a truncated answer, a part that could not be read).
    pub warnings: Vec<String>,
}

/// A batch that was read, and the bytes of the budget that are reserved for it. Whoever lets go of the batch gives
/// them back.
pub struct ReadBatch {
    /// The samples.
    pub batch: SeriesBatch,
    /// Bytes to [release](Budget::release).
    pub reserved: u64,
}

/// Reads one batch, on the thread that calls it.
pub type BatchReader = Box<dyn FnOnce() -> Result<ReadBatch, SourceError> + Send>;

/// A selection whose batches are read by whoever takes them, several at a time.
pub struct Readers {
    /// As [`Selection::series`].
    pub series: Arc<SeriesTable>,
    /// One reader per batch. The iterator is advanced by one thread at a time and should only hand them out: what
    /// takes time belongs into the reader.
    pub batches: Box<dyn Iterator<Item = BatchReader> + Send>,
    /// As [`Selection::warnings`].
    pub warnings: Vec<String>,
}

/// Samples of some series. `offsets[i]..offsets[i + 1]` are the rows of `ids[i]`, in strictly ascending time.
#[derive(Clone, Debug, Default)]
pub struct SeriesBatch {
    /// Ascending ids into the [`SeriesTable`].
    pub ids: Vec<u32>,
    /// One more entry than `ids`, beginning with 0.
    pub offsets: Vec<u32>,
    /// Sample times in ms since the epoch.
    pub t_ms: Vec<i64>,
    /// Float values. A row with a histogram holds 0 here; a stale marker holds `STALE_NAN` bits, whatever its series is.
    pub value: Vec<f64>,
    /// Start timestamps in ms, 0 for unknown; absent when none is known.
    pub start_ms: Option<Vec<i64>>,
    /// Native histograms by row; absent when all rows are floats.
    pub histograms: Option<HistogramRows>,
}

impl SeriesBatch {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let columns = 2 + u64::from(self.start_ms.is_some());
        let numbers = self.t_ms.len() as u64 * 8 * columns + self.ids.len() as u64 * 8;
        let of_rows = |rows: &HistogramRows| {
            rows.row.len() as u64 * 4 + rows.values.iter().map(|one| one.bytes() as u64).sum::<u64>()
        };
        numbers + self.histograms.as_ref().map_or(0, of_rows)
    }
}

/// Native histograms of a batch.
#[derive(Clone, Debug, Default)]
pub struct HistogramRows {
    /// Per row of the batch: 0 for a float, else 1 + index into `values`.
    pub row: Vec<u32>,
    /// The histograms.
    pub values: Vec<Arc<crate::histogram::FloatHistogram>>,
}

/// Holds samples.
pub trait SeriesSource: Send + Sync {
    /// Finds the series and opens their samples. Blocks; called on the engine's threads.
    ///
    /// # Errors
    /// When a limit of the budget is met, the query is cancelled, or the data cannot be read.
    fn select(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Selection, SourceError>;

    /// The same with batches that threads can read side by side; the engine asks for this. A source that reads its
    /// batches one after another has nothing to add.
    ///
    /// # Errors
    /// As [`Self::select`].
    fn select_readers(&self, request: &SelectRequest, budget: &Arc<Budget>) -> Result<Readers, SourceError> {
        let Selection { series, batches, warnings } = self.select(request, budget)?;
        let read = |batch: Result<SeriesBatch, SourceError>| batch.map(|batch| ReadBatch { batch, reserved: 0 });
        let batches = batches.map(move |batch| Box::new(move || read(batch)) as BatchReader);
        Ok(Readers { series, batches: Box::new(batches), warnings })
    }
}

/// Why a selection failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// A limit was met; the text says which and how to narrow the query.
    #[error("{0}")]
    Limit(String),
    /// The query was cancelled.
    #[error("query was canceled")]
    Cancelled,
    /// The query ran past its deadline.
    #[error("query timed out")]
    TimedOut,
    /// The data could not be read.
    #[error("{0}")]
    Storage(String),
}

/// Bytes and samples that one query may use, and its cancellation. Shared by engine and source.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    bytes: AtomicU64,
    bytes_peak: AtomicU64,
    samples_max: u64,
    samples: AtomicU64,
    samples_peak: AtomicU64,
    samples_read: AtomicU64,
    series_max: u64,
    deadline: Option<Instant>,
    cancelled: AtomicBool,
}

impl Budget {
    /// A budget of this many bytes, samples and series.
    #[must_use]
    pub fn new(bytes_max: u64, samples_max: u64, series_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
            bytes_peak: AtomicU64::new(0),
            samples_max,
            samples: AtomicU64::new(0),
            samples_peak: AtomicU64::new(0),
            samples_read: AtomicU64::new(0),
            series_max,
            deadline: None,
            cancelled: AtomicBool::new(false),
        }
    }

    /// The same budget with a time at which the query is over.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Reserves `bytes` before they are allocated. Give them back with [`Self::release`].
    ///
    /// # Errors
    /// [`SourceError::Limit`] when the query would use more than it may, [`SourceError::Cancelled`] when it is over.
    pub fn reserve(&self, bytes: u64) -> Result<(), SourceError> {
        self.check()?;
        let used = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(SourceError::Limit(format!(
                "query needs more than {} MiB of memory; narrow it by matchers, a shorter range or a longer step",
                self.bytes_max >> 20
            )));
        }
        self.bytes_peak.fetch_max(used, Ordering::Relaxed);
        Ok(())
    }

    /// Gives reserved bytes back.
    pub fn release(&self, bytes: u64) {
        give_back(&self.bytes, bytes);
    }

    /// Counts samples that are now held in memory. The engine calls it, for the batches it takes and for the points
    /// it makes; a source does not. Give them back with [`Self::drop_samples`].
    ///
    /// # Errors
    /// [`SourceError::Limit`] past the sample limit, in Prometheus' words.
    pub fn hold_samples(&self, samples: u64) -> Result<(), SourceError> {
        self.check()?;
        let held = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        if held > self.samples_max {
            self.samples.fetch_sub(samples, Ordering::Relaxed);
            return Err(SourceError::Limit(format!(
                "query processing would load too many samples into memory in expression evaluation, more than the {} \
                 allowed; narrow it by matchers, a shorter range or a longer step",
                self.samples_max
            )));
        }
        self.samples_peak.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    /// Samples that are no longer held.
    pub fn drop_samples(&self, samples: u64) {
        give_back(&self.samples, samples);
    }

    /// Counts samples that were read, for the statistics of the query.
    pub(crate) fn count_read(&self, samples: u64) {
        self.samples_read.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples read so far.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }

    /// The most samples that were held at one time.
    #[must_use]
    pub fn samples_peak(&self) -> u64 {
        self.samples_peak.load(Ordering::Relaxed)
    }

    /// Refuses a selection of more series than allowed.
    ///
    /// # Errors
    /// [`SourceError::Limit`] with the numbers.
    pub fn admit_series(&self, series: u64) -> Result<(), SourceError> {
        if series > self.series_max {
            return Err(SourceError::Limit(format!(
                "query selects {series} series, more than the {} allowed; add matchers",
                self.series_max
            )));
        }
        self.check()
    }

    /// Fails once the query is cancelled or past its deadline. Cheap (tens of nanoseconds); call it per batch.
    ///
    /// # Errors
    /// [`SourceError::Cancelled`], [`SourceError::TimedOut`].
    pub fn check(&self) -> Result<(), SourceError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SourceError::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(SourceError::TimedOut),
            _ => Ok(()),
        }
    }

    /// Ends the query; every thread that works for it stops at its next batch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// What is held now, to come back to with [`Self::restore`].
    pub(crate) fn mark(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.samples.load(Ordering::Relaxed))
    }

    /// Forgets what an evaluation held that ended in an error.
    pub(crate) fn restore(&self, (bytes, samples): (u64, u64)) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.samples.store(samples, Ordering::Relaxed);
    }

    /// The most bytes and samples that may be held.
    pub(crate) fn maxima(&self) -> (u64, u64) {
        (self.bytes_max, self.samples_max)
    }

    /// The most bytes that were reserved at one time.
    #[must_use]
    pub fn bytes_peak(&self) -> u64 {
        self.bytes_peak.load(Ordering::Relaxed)
    }
}

/// Subtracts, not below zero: what is given back twice must not wrap into a limit.
fn give_back(counter: &AtomicU64, amount: u64) {
    let subtract = |held: u64| Some(held.saturating_sub(amount));
    // With a value for every input the update cannot fail.
    _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
}
