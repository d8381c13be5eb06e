//! The state that the health service, readiness and the metrics report.

use tokio::sync::watch;

/// State of the store, as the last probe found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It serves.
    Up,
    /// It answers, and takes no writes.
    NotWritable,
    /// It does not answer.
    Down,
}

/// What can change while the service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    /// State of the store.
    pub store: StoreState,
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
        let state = watch::Sender::new(HealthState { store: StoreState::Up, draining: false });
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

    /// Notes the state of the store.
    pub fn store_is(&self, store: StoreState) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.store, store) != store);
        metrics::gauge!("countersign_store_up").set(f64::from(u8::from(store == StoreState::Up)));
    }

    /// Notes that the end was called for.
    pub fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }
}
