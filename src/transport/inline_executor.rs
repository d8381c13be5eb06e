//! The calls of one connection: those that came together begin together, and the answers that are ready leave together.
//!
//! A task for each call would wake the connection's own task after each, which writes one answer and sleeps again:
//! a good part of what an answer from memory costs. Here a call gets a task of its own when it waits.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;

use super::{backlog::Backlog, call::Call, delivery::Delivery};

/// How many calls begin before what they answered is written; whatever comes beyond that, another core may take.
const TOGETHER: usize = 16;

/// The calls of a connection that have not begun.
#[derive(Clone)]
pub(super) struct InlineExecutor {
    waiting: Arc<Mutex<Waiting>>,
    /// Of all connections together.
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Waiting {
    /// The call whose work comes next.
    announced: Option<Arc<Call>>,
    calls: VecDeque<Delivery>,
    /// The tasks that take calls from here: where there are calls, there is one at least.
    starters: usize,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for InlineExecutor {
    fn execute(&self, work: F) {
        let mut waiting = self.waiting();
        self.backlog.add();
        let call = waiting.announced.take();
        waiting.calls.push_back(Delivery::new(Box::pin(work), call));
        if waiting.calls.len() > waiting.starters * TOGETHER {
            waiting.starters += 1;
            drop(waiting);
            tokio::spawn(self.clone().start());
        }
    }
}

impl InlineExecutor {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { waiting: Arc::default(), backlog }
    }

    /// Names the call whose work is executed next: hyper calls a service and executes the work for the call in one step.
    pub(super) fn announce(&self, call: &Arc<Call>) {
        self.waiting().announced = Some(Arc::clone(call));
    }

    async fn start(self) {
        loop {
            for _ in 0..TOGETHER {
                let Some(call) = self.next() else { return };
                begin(call);
            }
            tokio::task::yield_now().await;
        }
    }

    fn next(&self) -> Option<Delivery> {
        let mut waiting = self.waiting();
        let call = waiting.calls.pop_front();
        waiting.starters -= usize::from(call.is_none());
        if call.is_some() {
            self.backlog.remove();
        }
        call
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a call until it waits; a panic ends that call alone, as it does in a task of its own.
fn begin(mut call: Delivery) {
    let mut context = Context::from_waker(Waker::noop());
    let begun = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut call).poll(&mut context)));
    if matches!(begun, Ok(Poll::Pending)) {
        // A task begins with a poll, which tells the call whom to wake.
        tokio::spawn(call);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Each of `count` calls says its number: at once, after it has waited, or never, since it panics.
    async fn said(count: usize, waits: fn(usize) -> bool, panics: fn(usize) -> bool) -> Vec<usize> {
        let calls = InlineExecutor::new(Backlog::new(100));
        let (says, mut said) = mpsc::unbounded_channel();
        for number in 0..count {
            let says = says.clone();
            calls.execute(async move {
                if waits(number) {
                    tokio::task::yield_now().await;
                }
                assert!(!panics(number), "a call fails");
                says.send(number).unwrap();
            });
        }
        drop(says);
        let mut received = Vec::new();
        while let Some(number) = said.recv().await {
            received.push(number);
        }
        assert_eq!(calls.waiting().calls.len(), 0);
        received
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_call_of_many_runs_once() {
        for count in [1, TOGETHER, TOGETHER + 1, 50 * TOGETHER + 3] {
            let mut numbers = said(count, |number| number % 3 == 0, |_| false).await;
            numbers.sort_unstable();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_call_that_waits_holds_up_no_other() {
        assert_eq!(said(4, |number| number < 2, |_| false).await, [2, 3, 0, 1]);
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_alone() {
        let waits = |number| number == 2;
        assert_eq!(said(6, waits, |number| number == 1 || number == 2).await, [0, 3, 4, 5]);
    }

    #[tokio::test]
    async fn calls_that_come_later_begin_too() {
        let calls = InlineExecutor::new(Backlog::new(100));
        for _ in 0..3 {
            let (says, mut said) = mpsc::unbounded_channel();
            for number in 0..=TOGETHER {
                let says = says.clone();
                calls.execute(async move { says.send(number).unwrap() });
            }
            drop(says);
            let mut count = 0;
            while said.recv().await.is_some() {
                count += 1;
            }
            assert_eq!(count, TOGETHER + 1);
            while calls.waiting().starters > 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}
