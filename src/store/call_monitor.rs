//! Calls of the store that run: their failures, for the one who probes the store, and their common end in an outage.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use super::{Result, StoreError};

/// The failures of one store.
#[derive(Clone, Default)]
pub(super) struct CallMonitor(Arc<Signals>);

#[derive(Default)]
struct Signals {
    failed: Notify,
    abandoned: Notify,
    last_cancelled: LastTime,
}

impl CallMonitor {
    /// Runs a call to its end, or until calls are abandoned.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let abandoned = self.abandoned();
        let mut call = pin!(call);
        // Dropped before the call, whose connection goes back to its pool when it is dropped.
        let mut cancelled = NoteCancelled(Some(&self.0.last_cancelled));
        tokio::select! {
            biased;
            outcome = &mut call => {
                cancelled.0 = None;
                if matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::ReadOnly(_))) {
                    self.note_failure();
                }
                outcome
            }
            () = abandoned => Err(StoreError::Unavailable("it is known to be down".to_owned())),
        }
    }

    /// Notes that a call has failed.
    pub(super) fn note_failure(&self) {
        self.0.failed.notify_one();
    }

    /// Resolves once a call has failed since the last time.
    pub(super) async fn failed(&self) {
        self.0.failed.notified().await;
    }

    /// Ends the calls that run.
    pub(super) fn abandon(&self) {
        self.0.abandoned.notify_waiters();
    }

    /// Resolves when calls are abandoned.
    pub(super) fn abandoned(&self) -> Notified<'_> {
        self.0.abandoned.notified()
    }

    /// Returns true if a call was cancelled, or abandoned, within the last `while_`.
    pub(super) fn was_cancelled_within(&self, while_: Duration) -> bool {
        self.0.last_cancelled.is_within(while_)
    }
}

/// Notes, when it is dropped, that a call did not run to its end.
struct NoteCancelled<'a>(Option<&'a LastTime>);

impl Drop for NoteCancelled<'_> {
    fn drop(&mut self) {
        if let Some(last) = self.0 {
            last.note();
        }
    }
}

/// The last time at which something happened.
#[derive(Clone, Default)]
pub(super) struct LastTime(Arc<Mutex<Option<Instant>>>);

impl LastTime {
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True if it happened within the last `while_`.
    pub(super) fn is_within(&self, while_: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= while_)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn abandoned_calls_end_at_once_and_later_ones_run() {
        let monitor = CallMonitor::default();
        let hanging = tokio::spawn({
            let monitor = monitor.clone();
            async move { monitor.run(pending::<Result<()>>()).await }
        });
        tokio::task::yield_now().await;
        assert!(!monitor.was_cancelled_within(Duration::MAX));
        monitor.abandon();
        assert!(matches!(hanging.await.unwrap(), Err(StoreError::Unavailable(_))));
        assert!(monitor.was_cancelled_within(Duration::MAX));
        assert_eq!(monitor.run(ready(Ok(1))).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_failure_is_reported_once_and_contention_is_none() {
        let monitor = CallMonitor::default();
        let is_reported = async || tokio::time::timeout(Duration::ZERO, monitor.failed()).await.is_ok();
        let _ = monitor.run(ready(Err::<(), _>(StoreError::Contention))).await;
        assert!(!is_reported().await);
        let _ = monitor.run(ready(Err::<(), _>(StoreError::ReadOnly(String::new())))).await;
        assert!(is_reported().await);
        assert!(!is_reported().await);
    }
}
