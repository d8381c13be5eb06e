//! Monitors running store calls: reports failures to the probe, and cancels the calls in an outage.

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
}

impl CallMonitor {
    /// Runs a call to its end, or until calls are abandoned.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let abandoned = self.abandoned();
        let mut call = pin!(call);
        tokio::select! {
            biased;
            outcome = &mut call => {
                if matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::ReadOnly(_))) {
                    self.note_failure();
                }
                outcome
            }
            () = abandoned => Err(StoreError::Unavailable("call cancelled in an outage".to_owned())),
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
        monitor.abandon();
        assert!(matches!(hanging.await.unwrap(), Err(StoreError::Unavailable(_))));
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
