//! Last use of client secrets, for operators who replace them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::SecretId;

/// Interval within which a further use of a secret is not written again.
const PRECISION: Duration = Duration::from_secs(30);
/// How many secrets are remembered at most.
const MAX_SECRETS: usize = 20_000;

/// The secrets used of late, and when each use was last written to the store.
#[derive(Default)]
pub(crate) struct SecretUsage(Mutex<HashMap<SecretId, Use>>);

#[derive(Clone, Copy)]
enum Use {
    Pending,
    Flushed(Instant),
}

impl SecretUsage {
    /// A secret has been used.
    pub(crate) fn note(&self, id: SecretId) {
        let mut uses = self.lock();
        if uses.len() >= MAX_SECRETS {
            uses.retain(|_, used| matches!(used, Use::Pending));
        }
        let used = uses.entry(id).or_insert(Use::Pending);
        if matches!(used, Use::Flushed(time) if time.elapsed() > PRECISION) {
            *used = Use::Pending;
        }
    }

    /// The secrets whose use is to be written, in the order of their ids.
    pub(crate) fn pending(&self) -> Vec<SecretId> {
        let uses = self.lock();
        let mut ids: Vec<SecretId> =
            uses.iter().filter(|(_, used)| matches!(used, Use::Pending)).map(|(id, _)| *id).collect();
        ids.sort();
        ids
    }

    /// Notes that the use of these secrets was written.
    pub(crate) fn flushed(&self, ids: &[SecretId]) {
        let now = Instant::now();
        self.lock().extend(ids.iter().map(|id| (*id, Use::Flushed(now))));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_stands_for_those_of_the_next_half_minute() {
        let uses = SecretUsage::default();
        let id = SecretId::generate();
        uses.note(id);
        uses.note(id);
        assert_eq!(uses.pending(), [id]);
        uses.flushed(&[id]);
        uses.note(id);
        assert!(uses.pending().is_empty());
        let long_ago = Instant::now().checked_sub(PRECISION * 2).unwrap();
        uses.lock().insert(id, Use::Flushed(long_ago));
        uses.note(id);
        assert_eq!(uses.pending(), [id]);
    }
}
