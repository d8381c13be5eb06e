//! Bounded number of running calls, with a reserve for health checks and ext_authz.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Error, Result};
use crate::domain::ClientId;

/// Kinds of calls, by the bound that they count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A call of the API.
    Api,
    /// WatchRevocations, which lasts.
    RevocationWatch,
    /// Health/Check and ext_authz' Check, which a mesh needs most when the service has most to do.
    Probe,
    /// Health/Watch, which callers keep open as long as their connection.
    HealthWatch,
    /// A reflection stream, which people open by hand.
    Reflection,
}

impl CallKind {
    /// True for kinds whose calls are automatic and frequent.
    pub const fn is_frequent(self) -> bool {
        !matches!(self, Self::Api | Self::RevocationWatch)
    }
}

/// The running calls.
pub struct RunningCalls {
    max: usize,
    max_health_watches: usize,
    api: Arc<AtomicUsize>,
    revocation_watches: Arc<AtomicUsize>,
    probes: Arc<AtomicUsize>,
    reflection: Arc<AtomicUsize>,
    health_watches: Arc<AtomicUsize>,
    watchers: Arc<Watchers>,
    begun: AtomicUsize,
}

/// Authenticated WatchRevocations streams, by client.
#[derive(Default)]
struct Watchers(Mutex<HashMap<ClientId, usize>>);

/// An authenticated WatchRevocations stream, until this is dropped.
pub struct RevocationWatch {
    watchers: Arc<Watchers>,
    client: ClientId,
}

/// A call that runs, until this is dropped.
pub struct RunningCall(Arc<AtomicUsize>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watchers {
    fn by_client(&self) -> MutexGuard<'_, HashMap<ClientId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RevocationWatch {
    fn drop(&mut self) {
        let mut watchers = self.watchers.by_client();
        if let Some(count) = watchers.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                watchers.remove(&self.client);
            }
        }
    }
}

impl RunningCalls {
    /// At most `max` calls, of which the API has two thirds, and `max_health_watches` streams.
    pub fn new(max: usize, max_health_watches: usize) -> Self {
        let counter = Arc::<AtomicUsize>::default;
        let (api, probes, revocation_watches) = (counter(), counter(), counter());
        let (reflection, health_watches) = (counter(), counter());
        let (watchers, begun) = (Arc::default(), AtomicUsize::new(0));
        Self {
            max,
            max_health_watches,
            api,
            revocation_watches,
            probes,
            reflection,
            health_watches,
            watchers,
            begun,
        }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the limit is reached.
    pub fn begin(&self, kind: CallKind) -> Result<RunningCall> {
        let (counter, limit) = match kind {
            CallKind::Api => (&self.api, self.of_the_api()),
            CallKind::RevocationWatch => (&self.revocation_watches, self.of_the_api()),
            CallKind::Probe => (&self.probes, self.max.saturating_sub(self.api.load(Ordering::Acquire))),
            CallKind::Reflection => (&self.reflection, self.max / 24),
            CallKind::HealthWatch => return self.begin_health_watch(true),
        };
        let (before, call) = self.count(counter);
        if before < limit {
            Ok(call)
        } else {
            Err(Error::Overloaded("concurrent calls (setting `max-calls`)"))
        }
    }

    /// Counts a WatchRevocations stream for its client, which may have fewer than are free, so that other clients find
    /// one.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if it has as many.
    pub fn begin_watch(&self, client: ClientId) -> Result<RevocationWatch> {
        let mut watchers = self.watchers.by_client();
        let all: usize = watchers.values().sum();
        let own = watchers.get(&client).copied().unwrap_or_default();
        if own >= self.of_the_api().saturating_sub(all) {
            return Err(Error::Overloaded("WatchRevocations streams of this client"));
        }
        watchers.insert(client, own + 1);
        Ok(RevocationWatch { watchers: Arc::clone(&self.watchers), client })
    }

    /// Begins a Health/Watch stream. One within its connection's share begins even if the limit is reached.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the limit is reached.
    pub fn begin_health_watch(&self, is_within_share: bool) -> Result<RunningCall> {
        let (before, call) = self.count(&self.health_watches);
        if is_within_share || before < self.max_health_watches {
            Ok(call)
        } else {
            Err(Error::Overloaded("Health/Watch streams (limit: 8 for each of `max-connections`)"))
        }
    }

    /// Counts a call: the number of those before it, and the call.
    fn count(&self, counter: &Arc<AtomicUsize>) -> (usize, RunningCall) {
        self.begun.fetch_add(1, Ordering::AcqRel);
        (counter.fetch_add(1, Ordering::AcqRel), RunningCall(Arc::clone(counter)))
    }

    /// Calls of the API that may run.
    pub const fn of_the_api(&self) -> usize {
        self.max - self.max / 3
    }

    /// Number of calls begun so far, those that were rejected included.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// True if no call runs. Streams, which only their caller ends, do not count.
    pub fn is_idle(&self) -> bool {
        self.api.load(Ordering::Acquire) == 0 && self.probes.load(Ordering::Acquire) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_of_one_client_leave_room_for_those_of_others() {
        let calls = RunningCalls::new(12, 0);
        let (busy, other) = (ClientId::generate(), ClientId::generate());
        let watches: Vec<_> = (0..8).map_while(|_| calls.begin_watch(busy).ok()).collect();
        assert_eq!(watches.len(), 4);
        let of_other = calls.begin_watch(other).unwrap();
        drop((watches, of_other));
        assert!(calls.watchers.by_client().is_empty());
    }

    #[test]
    fn a_third_is_left_for_probes() {
        let calls = RunningCalls::new(6, 0);
        let api: Vec<_> = (0..4).map(|_| calls.begin(CallKind::Api).unwrap()).collect();
        assert!(matches!(calls.begin(CallKind::Api), Err(Error::Overloaded(_))));
        let probes: Vec<_> = (0..2).map(|_| calls.begin(CallKind::Probe).unwrap()).collect();
        assert!(matches!(calls.begin(CallKind::Probe), Err(Error::Overloaded(_))));
        assert!(!calls.is_idle());
        drop((api, probes));
        assert!(calls.is_idle());
        assert_eq!(calls.begun(), 8);
        let probes: Vec<_> = (0..6).map(|_| calls.begin(CallKind::Probe).unwrap()).collect();
        assert_eq!(probes.len(), 6, "what the API does not use is theirs");
    }

    #[test]
    fn health_watches_beyond_a_share_end_at_the_limit() {
        let calls = RunningCalls::new(6, 2);
        let beyond: Vec<_> = (0..2).map(|_| calls.begin_health_watch(false).unwrap()).collect();
        assert!(matches!(calls.begin_health_watch(false), Err(Error::Overloaded(_))));
        let _within = calls.begin_health_watch(true).unwrap();
        drop(beyond);
        assert!(calls.begin_health_watch(false).is_ok());
    }
}
