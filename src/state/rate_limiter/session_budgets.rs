//! Budgets of sessions: the calls that are made with a session's tokens, counted before the store is asked.
//!
//! The limit comes from the policy of the session's client, but only an access token names the client. For other tokens
//! the budget caches the client and its limits for a minute after the last served call; before that, the default limit
//! applies. A rejected call does not update the cache, so a raised limit takes effect with the next call that passes.

use std::{sync::Mutex, time::Instant};

use super::{
    ClientLimits,
    bucket::{Bucket, PERIOD},
    expiring_map::ExpiringMap,
    limited, lock,
};
use crate::{domain::SessionId, state::Result};

/// Budgets of this instance, some 32 MiB. The one that expires first makes room.
const MAX_BUDGETS: usize = 100_000;

/// Names the session of a token before the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionKey {
    /// The session that a refresh token or an access token states.
    Session(SessionId),
    /// SHA-256 of a session token, whose session only the store knows: its calls have a budget of their own.
    Token([u8; 32]),
}

/// A call that was counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCall {
    key: SessionKey,
    at: Instant,
}

#[derive(Clone, Copy)]
struct Budget {
    bucket: Bucket,
    client: Option<ClientLimits>,
}

/// The budgets of this instance.
pub(crate) struct SessionBudgets(Mutex<ExpiringMap<SessionKey, Budget>>);

impl Default for SessionBudgets {
    fn default() -> Self {
        Self(Mutex::new(ExpiringMap::new(MAX_BUDGETS)))
    }
}

impl SessionBudgets {
    /// The client that the session's last answer named, if that was within the last minute.
    pub(crate) fn client(&self, key: SessionKey) -> Option<ClientLimits> {
        self.client_at(Instant::now(), key)
    }

    /// Counts a call.
    pub(crate) fn count(&self, key: SessionKey, per_minute: u32) -> Result<SessionCall> {
        self.count_at(Instant::now(), key, per_minute)
    }

    /// Remembers the client that the answer of a call named, and counts the session's calls at its limit.
    pub(crate) fn learn(&self, call: SessionCall, client: impl Into<ClientLimits>) {
        self.learn_at(Instant::now(), call, client.into());
    }

    fn client_at(&self, now: Instant, key: SessionKey) -> Option<ClientLimits> {
        lock(&self.0).get(now, &key)?.client
    }

    fn count_at(&self, now: Instant, key: SessionKey, per_minute: u32) -> Result<SessionCall> {
        let mut budgets = lock(&self.0);
        let new = Budget { bucket: Bucket::new(now), client: None };
        let budget = budgets.get(now, &key).copied().unwrap_or(new);
        let bucket = budget.bucket.take(now, per_minute).map_err(limited("session"))?;
        budgets.put(now, key, bucket.empty_at(), Budget { bucket, ..budget });
        Ok(SessionCall { key, at: now })
    }

    /// Re-counts the call at the client's limit. The call may have been counted at another one, or its budget evicted.
    fn learn_at(&self, now: Instant, call: SessionCall, client: ClientLimits) {
        let per_minute = client.limits.per_session;
        let mut budgets = lock(&self.0);
        let bucket = match budgets.get(call.at, &call.key) {
            Some(budget) => budget.bucket.at_limit(call.at, per_minute),
            None => Bucket::new(call.at).fill(call.at, per_minute),
        };
        budgets.put(now, call.key, now + PERIOD, Budget { bucket, client: Some(client) });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{ClientId, RateLimit},
        state::Error,
    };

    fn key(number: u32) -> SessionKey {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        SessionKey::Token(hash)
    }

    fn client(per_session: u32) -> ClientLimits {
        let limits = RateLimit { per_session, ..RateLimit::NONE };
        ClientLimits { client_id: ClientId::generate(), limits }
    }

    fn wait(outcome: Result<SessionCall>) -> Duration {
        match outcome {
            Err(Error::RateLimited { whose: "session", wait }) => wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_has_a_budget_of_its_own() {
        let (budgets, now) = (SessionBudgets::default(), Instant::now());
        for _ in 0..3 {
            budgets.count_at(now, key(1), 3).unwrap();
        }
        assert_eq!(wait(budgets.count_at(now, key(1), 3)), Duration::from_secs(20));
        budgets.count_at(now, key(2), 3).unwrap();
        budgets.count_at(now, SessionKey::Session(SessionId::generate()), 3).unwrap();
        budgets.count_at(now + Duration::from_secs(20), key(1), 3).unwrap();
    }

    #[test]
    fn a_learnt_limit_counts_the_calls_before_it_however_late_the_answer_came() {
        let (budgets, now) = (SessionBudgets::default(), Instant::now());
        let call = budgets.count_at(now, key(1), 600).unwrap();
        let answered = now + Duration::from_secs(5);
        budgets.learn_at(answered, call, client(1));
        assert_eq!(wait(budgets.count_at(answered, key(1), 1)), Duration::from_secs(55));
        budgets.count_at(now + PERIOD, key(1), 1).unwrap();
    }

    #[test]
    fn a_call_counts_although_its_budget_was_removed_before_its_answer() {
        let (budgets, now) = (SessionBudgets::default(), Instant::now());
        let call = budgets.count_at(now, key(1), 600).unwrap();
        let answered = now + Duration::from_secs(5);
        budgets.count_at(answered, key(2), 600).unwrap();
        assert_eq!(lock(&budgets.0).len(), 1);
        budgets.learn_at(answered, call, client(1));
        assert_eq!(wait(budgets.count_at(answered, key(1), 1)), Duration::from_secs(55));
    }

    #[test]
    fn a_client_is_remembered_for_a_minute_after_the_last_answer() {
        let (budgets, now) = (SessionBudgets::default(), Instant::now());
        let known = |at| budgets.client_at(at, key(1)).map(|client| client.client_id);
        let call = budgets.count_at(now, key(1), 600).unwrap();
        assert_eq!(known(now), None);
        let client = client(600);
        budgets.learn_at(now, call, client);
        let later = now + Duration::from_secs(59);
        assert_eq!(known(later), Some(client.client_id));
        budgets.count_at(later, key(1), 600).unwrap();
        assert_eq!(known(now + PERIOD + Duration::from_secs(1)), None);
    }

    #[test]
    fn invented_keys_take_a_bounded_number_of_budgets_and_not_those_of_sessions_in_use() {
        let (budgets, now) = (SessionBudgets::default(), Instant::now());
        let call = budgets.count_at(now, key(0), 600).unwrap();
        budgets.learn_at(now, call, client(1));
        for number in 1..250_000 {
            budgets.count_at(now, key(number), 600).unwrap();
        }
        assert_eq!(lock(&budgets.0).len(), MAX_BUDGETS);
        assert_eq!(wait(budgets.count_at(now, key(0), 1)), PERIOD);
    }
}
