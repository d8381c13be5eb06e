//! Rate limits of clients, sessions and addresses, per minute and instance.
//!
//! The generic cell rate algorithm (ITU-T I.371): a bucket is one moment, the one at which it is empty again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Error, Result};
use crate::domain::{Address, Client, ClientId, Session, SessionId};

/// What limits count in; also how much of it may come at once.
const PERIOD: Duration = Duration::from_mins(1);
/// With more buckets than this, those that are empty are thrown away.
const MANY_BUCKETS: usize = 50_000;

/// The buckets of this instance.
#[derive(Default)]
pub(crate) struct RateLimiter {
    clients: Buckets<ClientId>,
    sessions: Buckets<SessionId>,
    addresses: Buckets<(ClientId, Address)>,
}

impl RateLimiter {
    /// Counts a call that writes. Whoever is over a limit of their own takes nothing from their client's.
    pub(crate) fn count(
        &self,
        client: &Client,
        session: Option<&Session>,
        address: Option<&Address>,
    ) -> Result<()> {
        let limits = client.policy.rate_limit;
        if let Some(session) = session {
            self.sessions.take("session", session.id, limits.per_session)?;
        }
        if let Some(address) = address {
            self.addresses.take("address", (client.id, address.clone()), limits.per_address)?;
        }
        self.clients.take("client", client.id, limits.per_client)
    }
}

/// When each bucket is empty again; one that is missing is empty.
struct Buckets<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Buckets<K> {
    fn take(&self, whose: &'static str, key: K, per_minute: u32) -> Result<()> {
        if per_minute == 0 {
            return Ok(());
        }
        self.take_at(Instant::now(), key, per_minute).map_err(|wait| Error::RateLimited { whose, wait })
    }

    /// How long to wait, if it is full.
    fn take_at(&self, now: Instant, key: K, per_minute: u32) -> std::result::Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY_BUCKETS {
            buckets.retain(|_, empty| *empty > now);
        }
        let empty = buckets.entry(key).or_insert(now);
        let filled = (*empty).max(now) + PERIOD / per_minute;
        match filled.duration_since(now).checked_sub(PERIOD) {
            Some(over) if !over.is_zero() => Err(over),
            _ => {
                *empty = filled;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_at_a_time() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for _ in 0..60 {
            buckets.take_at(now, 'a', 60).unwrap();
        }
        assert_eq!(buckets.take_at(now, 'a', 60), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take_at(now, 'b', 60), Ok(()));
        let later = now + Duration::from_secs(1);
        assert_eq!(buckets.take_at(later, 'a', 60), Ok(()));
        assert_eq!(buckets.take_at(later, 'a', 60), Err(Duration::from_secs(1)));
        // A limit that was changed holds from the next call on.
        assert_eq!(buckets.take_at(later, 'a', 120), Err(Duration::from_millis(500)));
    }

    #[test]
    fn buckets_that_are_empty_again_are_forgotten() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for key in 0..MANY_BUCKETS {
            buckets.take_at(now, key, 60).unwrap();
        }
        buckets.take_at(now + Duration::from_secs(2), MANY_BUCKETS, 60).unwrap();
        assert_eq!(buckets.0.lock().unwrap().len(), 1);
    }
}
