//! Probe of the store, and the outage that it has found.
//!
//! A statement every second, and one after each failed call, decide whether the store is down; nothing else does. Trial
//! writes run only after a failed call, and every second while they fail, so that a healthy store is never written to.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{database_clock::DatabaseClock, health::StoreState};
use crate::store::{Store, StoreError};

/// Interval of the probes while no call fails.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between a probe and one that a failed call asks for.
pub const PAUSE: Duration = Duration::from_millis(250);
/// Timeout of a repeated probe. It is longer than the first, because the store may be slow.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Timeout of a trial write. One that takes longer has no result: it may wait for other writes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Consecutive inconclusive trial writes after which writes are considered available again.
const MAX_INCONCLUSIVE: u32 = 3;
/// Interval of trial writes, however many calls fail.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Probe of the store, and the outage that it has found.
#[derive(Default)]
pub struct StoreProbe(Mutex<Known>);

/// Outcome of a probe.
#[derive(Debug)]
pub struct Found {
    /// State of the store.
    pub state: StoreState,
    /// False if the probe has no result; then the number of permits stays as it is.
    pub is_answered: bool,
    cause: String,
}

#[derive(Default)]
struct Known {
    outage: Option<Outage>,
    write_wanted: bool,
    last_write: Option<Instant>,
    inconclusive: u32,
}

struct Outage {
    state: StoreState,
    began: Instant,
}

impl StoreProbe {
    /// Reads the clock over a dedicated connection, so that a busy store is not mistaken for one that is down. A failure
    /// counts only if it repeats over a new connection, since the first may just have been cut.
    ///
    /// # Errors
    /// If the store does not answer; [`StoreError::Busy`] if it has no room for a new connection.
    pub async fn ask(&self, store: &dyn Store, clock: &DatabaseClock) -> Result<(), StoreError> {
        match clock.measure(store).await {
            Err(StoreError::Unavailable(_)) => clock.measure_within(LONGEST_WAIT, store).await,
            answer => answer,
        }
    }

    /// Determines the state of the store from an answer, and from a trial write if `call_failed` or writes are known to
    /// fail.
    pub async fn judge(&self, answer: Result<(), StoreError>, store: &dyn Store, call_failed: bool) -> Found {
        match answer {
            Ok(()) => self.write(store, call_failed).await,
            Err(StoreError::Busy) => Found::nothing_new(self.state()),
            Err(error) => Found::new(StoreState::Down, &error),
        }
    }

    /// State of the store at the last probe.
    pub fn state(&self) -> StoreState {
        self.known().outage.as_ref().map_or(StoreState::Up, |outage| outage.state)
    }

    async fn write(&self, store: &dyn Store, call_failed: bool) -> Found {
        let before = match self.state() {
            StoreState::NotWritable => StoreState::NotWritable,
            StoreState::Up | StoreState::Down => StoreState::Up,
        };
        if !self.may_write(call_failed || before == StoreState::NotWritable) {
            return Found::new(before, "");
        }
        match tokio::time::timeout(WRITE_TIMEOUT, trial(store)).await {
            Ok(Ok(())) => Found::new(StoreState::Up, ""),
            Ok(Err(error @ (StoreError::Unavailable(_) | StoreError::ReadOnly(_)))) => {
                Found::new(StoreState::NotWritable, &error)
            }
            Ok(Err(_)) | Err(_) => self.inconclusive(before),
        }
    }

    /// Outcome of a trial write without a result. Repeated, it ends an outage of writes; it never extends an outage that has
    /// ended.
    fn inconclusive(&self, before: StoreState) -> Found {
        let mut known = self.known();
        let was_down = known.outage.as_ref().is_some_and(|outage| outage.state == StoreState::Down);
        known.inconclusive = if before == StoreState::NotWritable { known.inconclusive + 1 } else { 0 };
        if was_down || known.inconclusive >= MAX_INCONCLUSIVE {
            known.inconclusive = 0;
            return Found::new(StoreState::Up, "");
        }
        Found::nothing_new(before)
    }

    /// Returns true if a trial write is due. One that is requested too early runs at a later probe.
    fn may_write(&self, wanted: bool) -> bool {
        let mut known = self.known();
        known.write_wanted |= wanted;
        let is_due = known.last_write.is_none_or(|last| last.elapsed() >= WRITE_INTERVAL);
        let may_write = known.write_wanted && is_due;
        if may_write {
            known.last_write = Some(Instant::now());
            known.write_wanted = false;
        }
        may_write
    }

    /// Notes the outcome of a probe, and logs an outage when it begins, changes and ends; `rejected` calls so far.
    pub fn note(&self, found: &Found, rejected: u64) {
        let mut known = self.known();
        let before = known.outage.as_ref().map_or(StoreState::Up, |outage| outage.state);
        if found.state == before {
            return;
        }
        let began = known.outage.as_ref().map_or_else(Instant::now, |outage| outage.began);
        let (cause, after) = (&found.cause, format!("{:.1?}", began.elapsed()));
        known.outage = (found.state != StoreState::Up).then_some(Outage { state: found.state, began });
        match found.state {
            StoreState::Down => tracing::error!(cause, "the store is down: calls that need it are rejected"),
            StoreState::NotWritable => {
                tracing::error!(cause, rejected, "the store rejects writes; reads continue");
            }
            StoreState::Up => tracing::info!(after, rejected, "the store has recovered"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn new(state: StoreState, cause: impl ToString) -> Self {
        Self { state, is_answered: true, cause: cause.to_string() }
    }

    const fn nothing_new(state: StoreState) -> Self {
        Self { state, is_answered: false, cause: String::new() }
    }
}

/// Runs a trial write. A failure counts only if it repeats over a new connection.
async fn trial(store: &dyn Store) -> Result<(), StoreError> {
    match store.try_to_write().await {
        Err(StoreError::Unavailable(_) | StoreError::ReadOnly(_)) => store.try_to_write().await,
        outcome => outcome,
    }
}
