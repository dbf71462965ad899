//! The way from a request to a thread that may block: a bounded number of queries at a time, a deadline for each, and
//! an end as soon as nobody waits for the answer any more.
//!
//! ```text
//! request ─▶ permit (one of QUERIES_MAX) ─▶ blocking thread ─▶ answer
//!    └─ connection closed, deadline passed ─▶ Budget::cancel ─▶ the thread stops at its next batch
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use weir_promql::source::Budget;
use weir_query::QueryError;

/// Queries that run at a time; more wait. Prometheus' `query.max-concurrency`.
pub(crate) const QUERIES_MAX: usize = 20;

/// Lets queries through.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
}

/// Cancels a query when it is dropped before the answer came.
struct CancelOnDrop(Arc<Budget>);

impl Default for Gate {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(QUERIES_MAX)) }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Gate {
    /// Runs `work` on a blocking thread. Cancel safe: dropping this cancels `budget`, and so the work.
    ///
    /// # Errors
    /// What `work` says, or `TimedOut` when it has not answered within `timeout`, waiting for its turn included.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        budget: &Arc<Budget>,
        timeout: Duration,
        work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let guard = CancelOnDrop(Arc::clone(budget));
        let answer = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.map_err(|_| QueryError::Internal("the query gate is closed".to_owned()))?;
            let worked = tokio::task::spawn_blocking(move || {
                let answer = work();
                // Held by the work, not by the request: a cancelled query still counts until its thread is free.
                drop(permit);
                answer
            });
            worked.await.map_err(|error| QueryError::Internal(format!("the query's thread failed: {error}")))?
        };
        let answer = tokio::time::timeout(timeout, answer).await;
        drop(guard);
        answer.unwrap_or_else(|_| Err(QueryError::TimedOut("query timed out in expression evaluation".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(1, 1, 1))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dropped_request_cancels_its_query() {
        let (gate, budget) = (Gate::default(), budget());
        let (started, wait) = std::sync::mpsc::channel();
        let seen = Arc::clone(&budget);
        let run = gate.run(&budget, Duration::from_secs(10), move || {
            started.send(()).unwrap();
            while seen.check().is_ok() {
                std::thread::yield_now();
            }
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), run).await.is_err());
        wait.recv().unwrap();
        assert!(budget.check().is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_than_the_limit_run_at_a_time() {
        let gate = Arc::new(Gate::default());
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runs = (0..100).map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let work = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            };
            let gate = Arc::clone(&gate);
            async move { gate.run(&budget(), Duration::from_secs(10), work).await }
        });
        assert!(futures::future::join_all(runs).await.iter().all(Result::is_ok));
        assert!(most.load(Ordering::SeqCst) <= QUERIES_MAX);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_query_past_its_deadline_times_out() {
        let (gate, budget) = (Gate::default(), budget());
        let seen = Arc::clone(&budget);
        let wait = move || {
            while seen.check().is_ok() {
                std::thread::yield_now();
            }
            Ok(())
        };
        let error = gate.run(&budget, Duration::from_millis(20), wait).await.unwrap_err();
        assert_eq!(error.error_type(), "timeout");
    }
}
