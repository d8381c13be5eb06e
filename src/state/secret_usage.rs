//! Which client secrets were used, so that an operator sees when an old one may go.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::SecretId;

/// How long a use that was told stands for those after it.
const PRECISION: Duration = Duration::from_secs(30);
/// How many secrets are remembered at most.
const MAX_SECRETS: usize = 20_000;

/// The secrets used of late, and when the store was last told of each.
#[derive(Default)]
pub(crate) struct SecretUsage(Mutex<HashMap<SecretId, Use>>);

#[derive(Clone, Copy)]
enum Use {
    Untold,
    Told(Instant),
}

impl SecretUsage {
    /// A secret has been used.
    pub(crate) fn note(&self, id: SecretId) {
        let mut uses = self.lock();
        if uses.len() >= MAX_SECRETS {
            uses.retain(|_, used| matches!(used, Use::Untold));
        }
        let used = uses.entry(id).or_insert(Use::Untold);
        if matches!(used, Use::Told(time) if time.elapsed() > PRECISION) {
            *used = Use::Untold;
        }
    }

    /// Those that the store is to be told of, in the order of their ids.
    pub(crate) fn untold(&self) -> Vec<SecretId> {
        let uses = self.lock();
        let mut ids: Vec<SecretId> =
            uses.iter().filter(|(_, used)| matches!(used, Use::Untold)).map(|(id, _)| *id).collect();
        ids.sort();
        ids
    }

    /// The store was told of these.
    pub(crate) fn told(&self, ids: &[SecretId]) {
        let now = Instant::now();
        self.lock().extend(ids.iter().map(|id| (*id, Use::Told(now))));
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
        assert_eq!(uses.untold(), [id]);
        uses.told(&[id]);
        uses.note(id);
        assert!(uses.untold().is_empty());
        let long_ago = Instant::now().checked_sub(PRECISION * 2).unwrap();
        uses.lock().insert(id, Use::Told(long_ago));
        uses.note(id);
        assert_eq!(uses.untold(), [id]);
    }
}
