//! Challenges, and the sign-in that redeems one.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{RequestDigest, Result};
use crate::domain::{
    Account, AccountId, Address, Challenge, ChallengeFormat, ChallengeId, ChallengePurpose, ClientId,
    Content, Fingerprint, Network, Nonce, Party, Session, SessionId, Verification,
};

/// A challenge to be handed out.
#[derive(Clone, Debug)]
pub struct NewChallenge {
    /// Its id.
    pub id: ChallengeId,
    /// The client that asked.
    pub client_id: ClientId,
    /// The session it is bound to.
    pub session_id: Option<SessionId>,
    /// The account that it links a wallet to; `None` where it signs one in.
    pub link_to: Option<AccountId>,
    /// How the signed bytes are made.
    pub format: ChallengeFormat,
    /// What makes it its own.
    pub nonce: Nonce,
    /// What is handed out.
    pub content: Content,
    /// Who is asked to sign; `None` where anybody may.
    pub party: Option<Party>,
    /// When it was made: the database's clock as it stands in the text.
    pub create_time: OffsetDateTime,
    /// Its deadline, as it stands in the text.
    pub expire_time: OffsetDateTime,
}

impl NewChallenge {
    /// What a signature over it does.
    pub fn purpose(&self) -> ChallengePurpose {
        self.link_to.map_or(ChallengePurpose::SignIn, |_| ChallengePurpose::LinkWallet)
    }
}

/// Whose challenges a caller may see.
#[derive(Clone, Copy, Debug)]
pub struct ChallengeScope {
    /// The client.
    pub client_id: ClientId,
    /// Only those bound to this session.
    pub session_id: Option<SessionId>,
}

/// What a challenge is looked up by.
#[derive(Clone, Debug)]
pub enum ChallengeKey {
    /// Its id.
    Id(ChallengeId),
    /// Its nonce.
    Nonce(Nonce),
    /// The address that was asked to sign.
    Address(Address),
}

/// What can be done with a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeState {
    /// It can be redeemed.
    Live,
    /// It was redeemed.
    Redeemed,
    /// Its deadline has passed.
    Expired,
}

/// A challenge, and what could be done with it when it was read.
#[derive(Clone, Debug)]
pub struct FoundChallenge {
    /// The challenge.
    pub challenge: Challenge,
    /// Its state on the database's clock.
    pub state: ChallengeState,
}

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
    pub fingerprint: Fingerprint,
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

/// The intents of challenges.
#[async_trait]
pub trait ChallengeStore: Send + Sync {
    /// Hands out a challenge; at the limit of live ones in its scope, the newest of those again.
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge>;

    /// The sign-in challenges of a scope that a key names, newest first. By address: every live one on the
    /// network, if one is given, but at most [`super::FOUND_LIMIT`]; or the newest of all where none is live.
    async fn find_challenges(
        &self,
        scope: ChallengeScope,
        key: ChallengeKey,
        network: Option<Network>,
    ) -> Result<Vec<FoundChallenge>>;

    /// Redeems a sign-in challenge: locks it and its session, looks at the clock, and then in one step marks it,
    /// finds or makes the wallet's account, and makes or activates the session.
    async fn redeem_challenge(&self, redemption: Redemption) -> Result<RedeemOutcome>;
}
