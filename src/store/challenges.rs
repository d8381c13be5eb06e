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

/// Bound on what a look-up by address returns: each challenge costs a verification of the signature.
pub const FOUND_LIMIT: u32 = FOUND_EXPECTED + 2 * FOUND_ELSEWHERE;
/// Bound on those of expected networks: [`LIVE_CHALLENGE_LIMIT`] each for eight pairs of network and format. Beyond, each
/// pair has an equal part.
pub const FOUND_EXPECTED: u32 = 64;
/// Bound on each of the other kinds, which [`ChallengeStore::find_challenges`] lists.
pub const FOUND_ELSEWHERE: u32 = 32;
/// Bound on the challenges of sessions that a look-up by address of a client reads.
pub(super) const READ_OF_SESSIONS: u32 = 8 * FOUND_ELSEWHERE;
/// Bound on what [`ChallengeStore::reusable_challenges`] reads, from the latest deadline on.
pub(super) const REUSABLE_LIMIT: u32 = 1_024;

/// SHA-256 of a challenge's content without nonce and times.
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
    /// Digest of its content. Two challenges have equal content if purpose, format and digest are equal.
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

    /// True if a challenge of the same scope, purpose and address may be returned instead.
    pub fn is_equal(&self, other: &ReusableChallenge) -> bool {
        self.content_digest == other.content_digest
            && self.format == other.challenge.format
            && self.signer == other.challenge.signer
    }
}

/// A challenge that may be returned again.
#[derive(Clone, Debug)]
pub struct ReusableChallenge {
    /// The challenge.
    pub challenge: Challenge,
    /// Digest of its content.
    pub content_digest: ContentDigest,
}

/// Whose challenges a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// True if the look-up left out other live challenges because of its bounds.
    pub cut: bool,
}

/// The intents of challenges.
#[async_trait]
pub trait ChallengeStore: Send + Sync {
    /// Issues a challenge. At [`LIVE_CHALLENGE_LIMIT`] a live one of the same client, session, address, network and format is
    /// returned again if its content is equal and at least half of its life is left. Otherwise the new one is issued, and
    /// the oldest is found by id and nonce only, until its deadline.
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge>;

    /// The live challenges of exactly a scope's session (or of none) that [`Self::issue_challenge`] would return again at
    /// the limit, newest first, whatever their content, so that one look-up serves all callers that ask for an address.
    async fn reusable_challenges(
        &self,
        scope: ChallengeScope,
        purpose: ChallengePurpose,
        address: &Address,
    ) -> Result<Vec<ReusableChallenge>>;

    /// The sign-in challenges of a scope that a key names, newest first.
    ///
    /// By address: the live ones, on the network if one is given. Each kind has a bound of its own, so that none displaces
    /// another:
    /// - those of exactly the scope's session (or of none) on the given network, on a main network, or on one that the
    ///   wallet has signed in on: at most [`FOUND_EXPECTED`];
    /// - those of exactly the scope's session (or of none) on any network: at most [`FOUND_ELSEWHERE`];
    /// - for a client, those of its sessions: at most [`FOUND_ELSEWHERE`].
    ///
    /// If none is live, the newest one. The number of rows read is bounded, too.
    async fn find_challenges(
        &self,
        scope: ChallengeScope,
        key: ChallengeKey,
        network: Option<Network>,
    ) -> Result<Vec<FoundChallenge>>;
}
