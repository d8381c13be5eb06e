//! The issue of challenges, and their look-up within a scope.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{
    AccountId, Address, ChainAddress, Challenge, ChallengeFormat, ChallengeId, ChallengePurpose, ClientId,
    Content, Network, Nonce, SessionId,
};

/// Live challenges of one client, session, address, network and format that a look-up by address sees. Approximate while
/// several are issued at once.
pub const LIVE_CHALLENGE_LIMIT: usize = 8;

/// Bound on each kind of challenge that a look-up by address returns: [`ChallengeStore::find_challenges`] lists the kinds.
/// More than the 180 that the default limit of an address allows one instance to issue within their two minutes.
pub const FOUND_LIMIT: u32 = 192;

/// SHA-256 over everything that a challenge states but its nonce and times.
pub type ContentDigest = [u8; 32];

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
    /// Digest of what it states. Two challenges have equal content if purpose, format and digest are equal.
    pub content_digest: ContentDigest,
    /// Who is asked to sign; `None` where anybody may.
    pub signer: Option<ChainAddress>,
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

/// The intents of challenges.
#[async_trait]
pub trait ChallengeStore: Send + Sync {
    /// Hands out a challenge. At [`LIVE_CHALLENGE_LIMIT`] a live one of the same client, session, address, network and
    /// format is handed out again if its content is equal and at least half of its life is left. Otherwise the new one is
    /// issued, and the oldest leaves the look-up by address: id and nonce name it until its deadline.
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge>;

    /// A live challenge that [`Self::issue_challenge`] would hand out again at the limit; issues nothing.
    async fn equal_challenge(&self, challenge: &NewChallenge) -> Result<Option<Challenge>>;

    /// The sign-in challenges of a scope that a key names, newest first.
    ///
    /// By address: the live ones on the network, if one is given, up to [`FOUND_LIMIT`] of each kind, so that no kind
    /// crowds out another: those of exactly the scope's session (or of none) on a main network or one that the wallet has
    /// signed in on; those of exactly the scope's session on any network; for a client, those of its sessions. The newest
    /// of all where none is live.
    async fn find_challenges(
        &self,
        scope: ChallengeScope,
        key: ChallengeKey,
        network: Option<Network>,
    ) -> Result<Vec<FoundChallenge>>;
}
