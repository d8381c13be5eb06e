//! The state that the health service, readiness and the metrics report.

use tokio::sync::watch;

/// What can change while the service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    /// Whether the store answered when it was last asked.
    pub store_answers: bool,
    /// Whether the end was called for: what runs is finished, and nothing new should come.
    pub draining: bool,
}

/// The state, which may be watched.
pub struct Health {
    state: watch::Sender<HealthState>,
}

impl Default for Health {
    /// As it is once the service has started: the store has answered.
    fn default() -> Self {
        let state = watch::Sender::new(HealthState { store_answers: true, draining: false });
        metrics::gauge!("countersign_store_up").set(1);
        Self { state }
    }
}

impl Health {
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
