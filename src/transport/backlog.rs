//! Calls of a port that have arrived and not begun. While there are many, connections are not read.
//!
//! A peer may send faster than its calls can begin, and each call that waits for that takes some kilobytes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::sync::Notify;

/// The number of calls that have not begun, and its bound.
#[derive(Debug)]
pub struct Backlog {
    max: usize,
    calls: AtomicUsize,
    room: Notify,
}

impl Backlog {
    /// Connections are read while fewer than `max` calls have not begun.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, calls: AtomicUsize::new(0), room: Notify::new() })
    }

    /// Notes that a call has arrived.
    pub(super) fn add(&self) {
        self.calls.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that a call has begun.
    pub(super) fn remove(&self) {
        if self.calls.fetch_sub(1, Ordering::AcqRel) == self.max {
            self.room.notify_waiters();
        }
    }

    fn is_full(&self) -> bool {
        self.calls.load(Ordering::Acquire) >= self.max
    }

    async fn room(self: Arc<Self>) {
        loop {
            let notified = self.room.notified();
            if !self.is_full() {
                return;
            }
            notified.await;
        }
    }
}

pin_project! {
    /// A connection that is polled only while there is room for its calls.
    pub(super) struct Paced<C> {
        #[pin]
        connection: C,
        backlog: Arc<Backlog>,
        wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }
}

impl<C> Paced<C> {
    pub(super) const fn new(connection: C, backlog: Arc<Backlog>) -> Self {
        Self { connection, backlog, wait: None }
    }

    pub(super) fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.project().connection
    }
}

impl<C: Future> Future for Paced<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        if this.wait.is_none() && this.backlog.is_full() {
            *this.wait = Some(Box::pin(Arc::clone(this.backlog).room()));
        }
        if let Some(wait) = this.wait {
            ready!(wait.as_mut().poll(context));
            *this.wait = None;
        }
        this.connection.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_connection_waits_while_too_many_calls_have_not_begun() {
        let backlog = Backlog::new(2);
        backlog.add();
        Paced::new(future::ready(()), Arc::clone(&backlog)).await;
        backlog.add();
        let mut paced = Box::pin(Paced::new(future::ready(()), Arc::clone(&backlog)));
        assert!(tokio::time::timeout(Duration::ZERO, paced.as_mut()).await.is_err());
        let resumed = tokio::spawn(paced);
        tokio::task::yield_now().await;
        backlog.remove();
        resumed.await.unwrap();
    }
}
