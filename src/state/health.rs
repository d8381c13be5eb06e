//! The state that the health service, readiness and the metrics report.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// What can change while the service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    /// Whether the store answered when it was last asked.
    pub store_answers: bool,
    /// Whether the end was called for: what runs is finished, and nothing new should come.
    pub draining: bool,
}

/// The state, whoever watches it, and the calls that are under way.
pub struct Health {
    state: watch::Sender<HealthState>,
    running: Arc<AtomicUsize>,
    begun: AtomicUsize,
}

/// A call that is under way, until this is dropped.
pub struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for Health {
    /// As it is once the service has started: the store has answered.
    fn default() -> Self {
        let state = watch::Sender::new(HealthState { store_answers: true, draining: false });
        metrics::gauge!("countersign_store_up").set(1);
        Self { state, running: Arc::default(), begun: AtomicUsize::new(0) }
    }
}

impl Health {
    /// Notes that a call has begun.
    pub fn begin_call(&self) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(&self.running))
    }

    /// How many calls have begun so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether no call is under way.
    pub fn is_idle(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    /// The state now.
    pub fn state(&self) -> HealthState {
        *self.state.borrow()
    }

    /// The state now, and each time it changes.
    pub fn watch(&self) -> watch::Receiver<HealthState> {
        self.state.subscribe()
    }

    /// Notes whether the store answered.
    pub fn store_answers(&self, answers: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.store_answers, answers) != answers);
        metrics::gauge!("countersign_store_up").set(f64::from(u8::from(answers)));
    }

    /// Notes that the end was called for.
    pub fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }
}
