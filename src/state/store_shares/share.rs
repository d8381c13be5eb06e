//! Parties that share the store, and the lanes of their calls.

use std::net::IpAddr;

use crate::{
    domain::{AccountId, ClientId, SessionId, peer::peer_group},
    state::rate_limiter::SessionKey,
};

/// Party that shares the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// All callers whose credentials have not been verified.
    Unauthenticated,
    /// Sessions whose client is not known before the store is asked.
    Sessions,
    /// A client, including the calls of its sessions.
    Client(ClientId),
}

/// Kinds of calls within a party, each with a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The party's own calls.
    Own,
    /// Unauthenticated calls from one address (IPv6: one /64).
    Origin(IpAddr),
    /// Calls with tokens of a session.
    Session(SessionKey),
    /// Revocations of a session, which must not wait behind the calls that they are to stop.
    Revocation(SessionId),
    /// Revocations of all sessions of an account.
    AccountRevocation(AccountId),
    /// Calls beyond the rate limit of an address. They may use only a part of the party's permits.
    BeyondLimit,
}

impl Lane {
    /// True for lanes that may use a quarter of the permits only: their statements wait for the locks of one session or
    /// account, or are beyond a rate limit.
    pub(super) const fn is_narrow(self) -> bool {
        match self {
            Self::Session(_) | Self::Revocation(_) | Self::AccountRevocation(_) | Self::BeyondLimit => true,
            Self::Own | Self::Origin(_) => false,
        }
    }

    pub(super) const fn revokes(self) -> bool {
        matches!(self, Self::Revocation(_) | Self::AccountRevocation(_))
    }
}

/// Party and lane that a use of the store counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// The party.
    pub party: Party,
    /// The lane within the party.
    pub lane: Lane,
}

impl Share {
    /// The share of a party's own calls.
    pub const fn of(party: Party) -> Self {
        Self { party, lane: Lane::Own }
    }

    /// The share of unauthenticated callers from an address.
    pub fn of_origin(origin: Option<IpAddr>) -> Self {
        let lane = origin.map_or(Lane::Own, |address| Lane::Origin(peer_group(address)));
        Self { party: Party::Unauthenticated, lane }
    }

    /// The share of a client's session.
    pub const fn of_session(client_id: ClientId, session_id: SessionId) -> Self {
        Self { party: Party::Client(client_id), lane: Lane::Session(SessionKey::Session(session_id)) }
    }

    /// The same party's share for the revocation of a session.
    pub const fn revoking(self, session_id: SessionId) -> Self {
        Self { party: self.party, lane: Lane::Revocation(session_id) }
    }

    /// The same party's share for the revocation of all sessions of an account.
    pub const fn revoking_all(self, account_id: AccountId) -> Self {
        Self { party: self.party, lane: Lane::AccountRevocation(account_id) }
    }

    /// The same party's share for calls beyond the limit of an address.
    pub const fn beyond_limit(self) -> Self {
        Self { party: self.party, lane: Lane::BeyondLimit }
    }
}
