//! Revocations that affect access tokens which have not expired.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{AccountId, ClientId, RevokeReason, SessionId};

/// How many revoked sessions a statement reads.
pub(super) const REVOCATIONS_AT_ONCE: usize = 5_000;

/// A session that was revoked while it had access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedSession {
    /// Its id.
    pub id: SessionId,
    /// Its client.
    pub client_id: ClientId,
    /// Its account.
    pub account_id: AccountId,
    /// When it was revoked.
    pub revoke_time: OffsetDateTime,
    /// Why.
    pub reason: RevokeReason,
    /// None of its access tokens is good after this.
    pub access_expire_time: OffsetDateTime,
}

/// A client whose tokens are not good now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InactiveClient {
    /// Its id.
    pub id: ClientId,
    /// When it was deleted; otherwise it is disabled.
    pub delete_time: Option<OffsetDateTime>,
}

/// A signing key that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedKey {
    /// Its id.
    pub kid: String,
    /// When it was revoked.
    pub revoke_time: OffsetDateTime,
}

/// What the access tokens of a client have as `aud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAudience {
    /// Those that are issued now.
    pub audience: Vec<String>,
    /// Whether there may be tokens with another one.
    pub changed_lately: bool,
}

/// What is revoked.
#[derive(Clone, Debug)]
pub struct Revocations {
    /// The database's clock, read before everything else: whatever was committed by then is here.
    pub as_of: OffsetDateTime,
    /// The sessions, as far back as was asked.
    pub sessions: Vec<RevokedSession>,
    /// Every client that is not served, for as long as a token of it may be good.
    pub clients: Vec<InactiveClient>,
    /// Every key that was revoked, for as long as a token of it may be good.
    pub keys: Vec<RevokedKey>,
}

/// The intents of the revocation feed.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Sessions revoked at `since` or later, or within [`MAX_ACCESS_TOKEN_AGE`], whose access tokens may be
    /// good; and the clients and keys whose are not. A revocation has the time of its statement and is seen
    /// once that is committed, so whoever reads on must look back further than a statement may take.
    ///
    /// [`MAX_ACCESS_TOKEN_AGE`]: crate::domain::MAX_ACCESS_TOKEN_AGE
    async fn revocations(&self, since: Option<OffsetDateTime>) -> Result<Revocations>;

    /// The audience of a client's access tokens, be it deleted or not; `None` where there is no such client.
    async fn tokens_audience(&self, id: ClientId) -> Result<Option<TokenAudience>>;
}
