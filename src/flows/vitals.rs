//! How the service is: what health, readiness and metrics tell.

use tokio::sync::watch;

/// What can change while the service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether the store answered when it was last asked.
    pub store_answers: bool,
    /// Whether the end was called for: what runs is finished, and nothing new should come.
    pub draining: bool,
}

/// The state, and whoever watches it.
pub struct Vitals(watch::Sender<State>);

impl Default for Vitals {
    /// As it is once the service has started: the store has answered.
    fn default() -> Self {
        Self(watch::Sender::new(State { store_answers: true, draining: false }))
    }
}

impl Vitals {
    /// The state now.
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// The state now, and each time it changes.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Notes whether the store answered.
    pub fn store_answers(&self, answers: bool) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.store_answers, answers) != answers);
        metrics::gauge!("countersign_store_up").set(f64::from(u8::from(answers)));
    }

    /// Notes that the end was called for.
    pub fn drain(&self) {
        self.0.send_modify(|state| state.draining = true);
    }
}
