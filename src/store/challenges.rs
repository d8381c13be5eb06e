//! The issue of challenges, and their look-up within a scope.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{
    AccountId, Address, ChainAddress, Challenge, ChallengeFormat, ChallengeId, ChallengePurpose, ClientId,
    Content, Network, Nonce, SessionId,
};

/// The live challenges that one client, session, address, network and format may have side by side.
pub const LIVE_CHALLENGE_LIMIT: usize = 8;

/// How many challenges a look-up by address answers at most.
pub const FOUND_LIMIT: u32 = 65;

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
    /// Hands out a challenge; at the limit of live ones in its scope, the newest of those again.
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge>;

    /// The sign-in challenges of a scope that a key names, newest first. By address: every live one on the
    /// network, if one is given, but at most [`FOUND_LIMIT`]; or the newest of all where none is live.
    async fn find_challenges(
        &self,
        scope: ChallengeScope,
        key: ChallengeKey,
        network: Option<Network>,
    ) -> Result<Vec<FoundChallenge>>;
}
