//! Idempotent replay: a request that redeemed a challenge is answered again when its answer was lost.

use std::time::Duration;

use async_trait::async_trait;

use super::{ChallengeScope, Result, SignedIn, StoreError};
use crate::domain::{RootKeyId, VerificationMethod};

/// SHA-256 over a request that has a `request_id`, and over who sent it.
pub type RequestDigest = [u8; 32];

/// A request that may have redeemed a challenge.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The request.
    pub digest: RequestDigest,
    /// Whose challenge it must have been.
    pub scope: ChallengeScope,
    /// The life of the access token.
    pub access_token_ttl: Duration,
}

/// A sign-in, as it was answered the first time.
#[derive(Clone, Debug)]
pub struct ReplayedRedemption {
    /// What the request had come to; its refresh generation is still 1.
    pub signed_in: SignedIn,
    /// The root key of the first refresh token.
    pub root_key_id: RootKeyId,
    /// What had accepted the signature.
    pub method: VerificationMethod,
}

/// What looking for an earlier answer came to.
#[derive(Clone, Debug)]
pub enum ReplayOutcome {
    /// It may be given again.
    Replayed(Box<ReplayedRedemption>),
    /// The request has redeemed nothing.
    Unknown,
    /// The client's `refresh_grace` is over, or the first refresh token was used, or expired.
    TooLate,
    /// The session was revoked since.
    SessionRevoked,
    /// The client is disabled or deleted.
    ClientDisabled,
}

/// The intent of a lost answer.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Looks for what a request came to: locks the session that it signed in, looks at the clock, and counts
    /// on a further access token of it. Changes nothing else.
    async fn replay_redemption(&self, replay: Replay) -> Result<ReplayOutcome>;
}

/// What accepted a signature, as it is kept in two columns.
pub(super) fn verification_method(method: Option<String>, block: Option<i64>) -> Result<VerificationMethod> {
    let method = method.unwrap_or_default();
    let block = block.and_then(|block| u64::try_from(block).ok());
    VerificationMethod::from_stored(&method, block)
        .ok_or_else(|| StoreError::unreadable("verification_method", &method))
}
