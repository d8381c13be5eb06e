//! Revocations that a verifier has received.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{AccessClaims, Refusal};
use crate::{
    domain::{ClientId, SessionId},
    grpc::v1::{Revocation, WatchRevocationsResponse, revocation::Event},
};

/// How often sessions whose tokens have all expired are forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// The state in force, and a snapshot that is not complete yet beside it.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    known: Known,
    /// A full account that is not complete yet.
    next: Option<Known>,
    /// When `as_of` last advanced: an instance that repeats a time has read nothing new itself.
    updated_at: Option<Instant>,
    as_of: Option<prost_types::Timestamp>,
    forgot: Option<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    /// Sessions, and when the last of their tokens ends, in seconds since 1970.
    sessions: HashMap<SessionId, i64>,
    clients: HashSet<ClientId>,
    keys: HashSet<String>,
}

impl Revoked {
    /// A stream begins: a snapshot that another one had begun will not be completed.
    pub(super) fn begin(&mut self) {
        self.next = None;
    }

    /// Takes in a message: whether other keys are revoked than before.
    pub(super) fn apply(&mut self, message: WatchRevocationsResponse) -> bool {
        let keys = self.known.keys.clone();
        if message.snapshot {
            self.next = Some(Known::default());
        }
        let known = self.next.as_mut().unwrap_or(&mut self.known);
        message.revocations.into_iter().for_each(|revocation| known.apply(revocation));
        if let Some(as_of) = message.current_as_of {
            if let Some(next) = self.next.take() {
                self.known = next;
            }
            let at = |time: &prost_types::Timestamp| (time.seconds, time.nanos);
            if self.as_of.as_ref().is_none_or(|before| at(before) < at(&as_of)) {
                self.updated_at = Some(Instant::now());
                self.forget(as_of.seconds);
                self.as_of = Some(as_of);
            }
        }
        keys != self.known.keys
    }

    /// Time up to which the state is complete.
    pub(super) const fn as_of(&self) -> Option<prost_types::Timestamp> {
        self.as_of
    }

    /// Whether a key is revoked.
    pub(super) fn has_key(&self, kid: &str) -> bool {
        self.known.keys.contains(kid)
    }

    /// # Errors
    /// If the token is revoked, or the state is too old.
    pub(super) fn refuse(&self, claims: &AccessClaims, max_age: Duration) -> Result<(), Refusal> {
        if self.updated_at.is_none_or(|at| at.elapsed() > max_age) {
            return Err(Refusal::Stale);
        }
        let known = &self.known;
        if known.sessions.contains_key(&claims.sid) || known.clients.contains(&claims.client_id) {
            return Err(Refusal::Revoked);
        }
        Ok(())
    }

    /// A checker takes expired tokens for as long as its leeway, hence the minute.
    fn forget(&mut self, now: i64) {
        if self.forgot.is_none_or(|forgot| forgot.elapsed() >= FORGET_EVERY) {
            self.known.sessions.retain(|_, end| *end + 60 > now);
            self.forgot = Some(Instant::now());
        }
    }
}

impl Known {
    /// What a later version tells is not understood, and not needed by what this one promises; what is no id
    /// is in no token.
    fn apply(&mut self, revocation: Revocation) {
        let end = |time: Option<prost_types::Timestamp>| time.map_or(i64::MAX - 60, |time| time.seconds);
        match revocation.event {
            Some(Event::SessionRevoked(event)) => {
                let end = end(event.access_token_expire_time);
                self.sessions.extend(event.session_id.parse().ok().map(|id: SessionId| (id, end)));
            }
            Some(Event::AccountSessionsRevoked(event)) => {
                let end = end(event.access_token_expire_time);
                let ids = event.session_ids.iter().filter_map(|id| id.parse().ok());
                self.sessions.extend(ids.map(|id: SessionId| (id, end)));
            }
            Some(Event::ClientDisabled(event)) => self.clients.extend(event.client_id.parse::<ClientId>()),
            Some(Event::ClientEnabled(event)) => {
                if let Ok(client) = event.client_id.parse::<ClientId>() {
                    self.clients.remove(&client);
                }
            }
            Some(Event::ClientDeleted(event)) => self.clients.extend(event.client_id.parse::<ClientId>()),
            Some(Event::SigningKeyRevoked(event)) => drop(self.keys.insert(event.kid)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{
        grpc::v1::{ClientDisabled, ClientEnabled, SessionRevoked, SigningKeyRevoked},
        token::access_token::{AccessClaims, TokenType},
    };

    const LONG: Duration = Duration::from_hours(1);
    const CLIENT: Uuid = Uuid::from_u128(1);
    const SESSION: Uuid = Uuid::from_u128(2);

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: String::new(),
            aud: vec!["shop".to_owned()].into(),
            sub: Uuid::nil().into(),
            client_id: CLIENT.into(),
            iat: 0,
            exp: 0,
            jti: Uuid::nil().into(),
            sid: SESSION.into(),
            auth_time: 0,
            token_type: TokenType::Access,
            address: String::new(),
            network: String::new(),
            wallet_kind: String::new(),
            deposit_address: String::new(),
            deposit_network: String::new(),
            scope: String::new(),
        }
    }

    fn message(snapshot: bool, events: Vec<Event>, as_of: Option<i64>) -> WatchRevocationsResponse {
        WatchRevocationsResponse {
            snapshot,
            revocations: events.into_iter().map(|event| Revocation { event: Some(event) }).collect(),
            current_as_of: as_of.map(|seconds| Timestamp { seconds, nanos: 0 }),
        }
    }

    fn session(end: i64) -> Event {
        Event::SessionRevoked(SessionRevoked {
            session_id: SESSION.to_string(),
            access_token_expire_time: Some(Timestamp { seconds: end, nanos: 0 }),
            ..SessionRevoked::default()
        })
    }

    #[test]
    fn before_the_first_message_and_long_after_the_last_no_token_is_accepted() {
        let mut revoked = Revoked::default();
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Stale));
        revoked.apply(message(true, vec![], None));
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Stale));
        revoked.apply(message(false, vec![], Some(1)));
        assert_eq!(revoked.refuse(&claims(), LONG), Ok(()));
        assert_eq!(revoked.refuse(&claims(), Duration::ZERO), Err(Refusal::Stale));
    }

    #[test]
    fn a_new_account_counts_once_it_is_complete() {
        let mut revoked = Revoked::default();
        revoked.apply(message(true, vec![session(1_000)], Some(1)));
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Revoked));
        revoked.apply(message(true, vec![], None));
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Revoked));
        revoked.apply(message(false, vec![], Some(2)));
        assert_eq!(revoked.refuse(&claims(), LONG), Ok(()));
    }

    #[test]
    fn an_account_that_was_cut_off_does_not_replace_what_is_known() {
        let mut revoked = Revoked::default();
        revoked.apply(message(true, vec![session(1_000)], Some(1)));
        revoked.begin();
        revoked.apply(message(true, vec![], None));
        // Another instance goes on where the first one had come to.
        revoked.begin();
        revoked.apply(message(false, vec![], Some(2)));
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Revoked));
    }

    #[test]
    fn a_repeated_time_does_not_refresh_the_state() {
        let mut revoked = Revoked::default();
        revoked.apply(message(true, vec![], Some(2)));
        let updated_at = revoked.updated_at;
        for as_of in [2, 1] {
            revoked.apply(message(false, vec![], Some(as_of)));
            assert_eq!((revoked.updated_at, revoked.as_of().unwrap().seconds), (updated_at, 2));
        }
        revoked.apply(message(false, vec![], Some(3)));
        assert_ne!(revoked.updated_at, updated_at);
    }

    #[test]
    fn one_key_in_the_place_of_another_is_told() {
        let key = |kid: &str| {
            Event::SigningKeyRevoked(SigningKeyRevoked { kid: kid.to_owned(), revoke_time: None })
        };
        let mut revoked = Revoked::default();
        assert!(revoked.apply(message(true, vec![key("one")], Some(1))));
        assert!(!revoked.apply(message(false, vec![key("one")], Some(2))));
        assert!(revoked.apply(message(true, vec![key("other")], Some(3))));
    }

    #[test]
    fn a_client_is_refused_until_it_is_enabled() {
        let mut revoked = Revoked::default();
        let disabled = ClientDisabled { client_id: CLIENT.to_string(), hear_time: None };
        let enabled = ClientEnabled { client_id: CLIENT.to_string(), hear_time: None };
        revoked.apply(message(true, vec![Event::ClientDisabled(disabled)], Some(1)));
        assert_eq!(revoked.refuse(&claims(), LONG), Err(Refusal::Revoked));
        revoked.apply(message(false, vec![Event::ClientEnabled(enabled)], Some(2)));
        assert_eq!(revoked.refuse(&claims(), LONG), Ok(()));
    }

    #[test]
    fn a_session_is_forgotten_after_its_last_token() {
        let mut revoked = Revoked::default();
        revoked.apply(message(true, vec![session(1_000)], Some(1_059)));
        assert_eq!(revoked.known.sessions.len(), 1);
        revoked.forgot = None;
        revoked.apply(message(false, vec![], Some(1_060)));
        assert!(revoked.known.sessions.is_empty());
    }
}
