//! The redemption of a challenge: a verified signature signs its wallet in, once.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{ChallengeScope, RequestDigest, Result};
use crate::domain::{Account, AccountId, ChallengeId, RootKeyId, Session, SessionId, Verification};

/// A verified signature that is to redeem its challenge.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// The challenge.
    pub challenge_id: ChallengeId,
    /// Whose challenge it must be.
    pub scope: ChallengeScope,
    /// The realm of the client.
    pub realm: String,
    /// The wallet that signed, and what accepted its signature.
    pub verification: Verification,
    /// The request, if it may come again.
    pub request_digest: Option<RequestDigest>,
    /// The account's id, should the wallet have none yet.
    pub new_account_id: AccountId,
    /// The session's id, should the challenge be bound to none.
    pub new_session_id: SessionId,
    /// The root key of the first refresh token.
    pub root_key_id: RootKeyId,
    /// The life of the access token.
    pub access_token_ttl: Duration,
    /// How long the refresh token may lie unused.
    pub refresh_token_ttl: Duration,
    /// The session's hard end.
    pub session_max_ttl: Duration,
}

/// A wallet has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session, ACTIVE, its refresh generation 1.
    pub session: Session,
    /// The wallet's account.
    pub account: Account,
    /// The database's clock.
    pub now: OffsetDateTime,
}

/// What redeeming came to. Only [`RedeemOutcome::SignedIn`] changed anything.
#[derive(Clone, Debug)]
pub enum RedeemOutcome {
    /// Redeemed, and the session is ACTIVE.
    SignedIn(Box<SignedIn>),
    /// No such challenge in the scope.
    NotFound,
    /// Redeemed before.
    AlreadyUsed,
    /// Its deadline has passed.
    Expired,
    /// Its session is ACTIVE already.
    SessionAlreadyActive,
    /// Its session was revoked.
    SessionRevoked,
    /// Its session's time is over.
    SessionExpired,
    /// Its session waits for another address.
    SessionMismatch,
    /// The client is disabled or deleted.
    ClientDisabled,
}

/// The intent of a sign-in.
#[async_trait]
pub trait RedeemStore: Send + Sync {
    /// Redeems a sign-in challenge: locks it and its session, looks at the clock, and then in one step marks it,
    /// finds or makes the wallet's account, and makes or activates the session.
    async fn redeem_challenge(&self, redemption: Redemption) -> Result<RedeemOutcome>;
}
