//! Sessions, and the generations of their refresh tokens.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{
    AccountId, Address, Client, ClientId, Fingerprint, Party, RevokeReason, Session, SessionId,
};

/// A session to be made, PENDING.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Its client.
    pub client_id: ClientId,
    /// SHA-256 of its session token.
    pub token_hash: [u8; 32],
    /// Who will sign in.
    pub signing: Party,
    /// Who is paid.
    pub deposit: Party,
    /// How long it may stay PENDING.
    pub pending_ttl: Duration,
}

/// Which of a client's sessions are asked for.
#[derive(Clone, Debug)]
pub enum SessionQuery {
    /// Those of an account.
    Account(AccountId),
    /// Those of a signing address.
    Address(Address),
}

/// Whose sessions of an account are to end.
#[derive(Clone, Debug)]
pub enum RevokeScope {
    /// A client's own, if the account is of its realm.
    Client {
        /// The client.
        client_id: ClientId,
        /// Its realm.
        realm: String,
    },
    /// All of them.
    Account,
}

/// A refresh token that was presented.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The session.
    pub session_id: SessionId,
    /// The generation presented.
    pub generation: u32,
    /// The client whose credentials came with it.
    pub client_id: Option<ClientId>,
    /// The root key that the next token would be derived from.
    pub fingerprint: Fingerprint,
}

/// A session whose refresh token moved on, or had just done so.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The session after the step.
    pub session: Session,
    /// Its client, as the step saw it.
    pub client: Client,
    /// The generation that is now current.
    pub generation: u32,
    /// The root key that its token is derived from.
    pub fingerprint: Fingerprint,
    /// The database's clock.
    pub now: OffsetDateTime,
}

/// What presenting a refresh token came to.
#[derive(Clone, Debug)]
pub enum RotateOutcome {
    /// It was current; the next one is.
    Rotated(Rotated),
    /// It was spent within the grace: the same next one, again.
    Repeated(Rotated),
    /// It was spent before: the session is now revoked.
    Reused(SessionId, ClientId),
    /// The session was revoked before.
    Revoked,
    /// The session's time is over.
    Expired,
    /// The client is disabled or deleted.
    ClientDisabled,
    /// The policy demands client credentials, and none came.
    ClientRequired,
    /// No such session, another client's credentials, or a generation that never was handed out.
    Unknown,
}

/// The intents of sessions.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Makes a PENDING session.
    async fn create_session(&self, session: NewSession) -> Result<Session>;

    /// A session in whatever state it is.
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;

    /// The session of a session token, by the token's SHA-256, in whatever state it is.
    async fn session_by_token(&self, token_hash: [u8; 32]) -> Result<Option<Session>>;

    /// At most `limit` of a client's sessions, newest first, older than `before`.
    async fn list_sessions(
        &self,
        client_id: ClientId,
        query: SessionQuery,
        before: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Session>>;

    /// Ends a session, once; answers it as it then is.
    async fn revoke_session(&self, id: SessionId, reason: RevokeReason) -> Result<Option<Session>>;

    /// Ends an account's sessions up to their hard end, so that access tokens of idle ones end too: how many
    /// were live, or `None` where the scope has no such account.
    async fn revoke_account_sessions(&self, account_id: AccountId, scope: RevokeScope)
    -> Result<Option<u32>>;

    /// Presents a refresh token: locks the session; looks at its state, its client, its deadlines,
    /// then at the generation; and steps on, repeats, or revokes.
    async fn rotate_refresh_token(&self, rotation: Rotation) -> Result<RotateOutcome>;
}
