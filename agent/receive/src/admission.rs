//! The byte budget of requests in flight: memory is bounded where bytes enter, and a request over it is told to wait.
//!
//! A request reserves what it holds as it grows (compressed body, then inflated body) and gives all back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::refusal::Refusal;

/// What a sender waits when the budget is used up: about the time that a request takes when all are served.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The budget, shared by all requests of a receiver.
#[derive(Debug)]
pub(crate) struct Admission {
    used: AtomicUsize,
    bytes_max: usize,
}

/// The share of one request.
#[derive(Debug)]
pub(crate) struct Reservation {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes_max })
    }

    /// An empty share.
    pub(crate) fn enter(self: &Arc<Self>) -> Reservation {
        Reservation { admission: Arc::clone(self), bytes: 0 }
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// Full, when that would pass the budget.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let admission = &self.admission;
        let room = |used: usize| used.checked_add(bytes).filter(|after| *after <= admission.bytes_max);
        match admission.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(used) => Err(Refusal::Full {
                message: format!("{used} of {} bytes in flight are taken", admission.bytes_max),
                retry_after: RETRY_AFTER,
            }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.admission.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_is_given_and_the_next_one_refused_until_another_request_ends() {
        let admission = Admission::new(10);
        let mut first = admission.enter();
        let mut second = admission.enter();
        first.grow(6).unwrap();
        second.grow(4).unwrap();
        assert!(matches!(second.grow(1), Err(Refusal::Full { .. })));
        drop(first);
        second.grow(6).unwrap();
        drop(second);
        assert_eq!(admission.used(), 0);
    }
}
