//! What a wallet is asked to sign.

use time::OffsetDateTime;

use super::{Address, ChallengeId, ClientId, Network, Nonce, SessionId};

/// How the signed bytes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeFormat {
    /// EIP-191 personal_sign over a text from the client's template.
    Text,
}

impl ChallengeFormat {
    /// What the store and a policy keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Text].into_iter().find(|format| format.as_str() == text)
    }
}

/// What a signature over the challenge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengePurpose {
    /// Signs a wallet in.
    SignIn,
}

impl ChallengePurpose {
    /// What the store keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "SIGN_IN",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::SignIn].into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// A challenge that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The id.
    pub id: ChallengeId,
    /// The client it was handed to.
    pub client_id: ClientId,
    /// The session it is bound to; one that a client started gets the session it makes.
    pub session_id: Option<SessionId>,
    /// What a signature over it does.
    pub purpose: ChallengePurpose,
    /// How the signed bytes are made.
    pub format: ChallengeFormat,
    /// What makes it its own.
    pub nonce: Nonce,
    /// The exact text that was handed out.
    pub message: String,
    /// Who is asked to sign.
    pub address: Address,
    /// The network of the address.
    pub network: Network,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// Its deadline.
    pub expire_time: OffsetDateTime,
}
