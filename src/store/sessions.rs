//! Sessions, from their creation to their end.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;
use crate::domain::{
    AccountId, Address, ChainAddress, ClientId, RevokeReason, RootKeyId, Session, SessionId,
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
    /// The root key that made the MAC of its session token.
    pub token_root_key_id: RootKeyId,
    /// Who will sign in.
    pub signing: ChainAddress,
    /// Who is paid.
    pub deposit: ChainAddress,
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

/// The intents of sessions.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Makes a PENDING session.
    async fn create_session(&self, session: NewSession) -> Result<Session>;

    /// A session in whatever state it is.
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;

    /// The session of a session token, by the token's SHA-256, in whatever state it is.
    async fn session_by_token(&self, token_hash: [u8; 32]) -> Result<Option<Session>>;

    /// True while a session is left, in any state, whose session token has no MAC.
    async fn has_unmarked_tokens(&self) -> Result<bool>;

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
}
