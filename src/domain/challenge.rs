//! What a wallet is asked to sign.

use time::OffsetDateTime;

use super::{ChainAddress, ChallengeId, ClientId, Nonce, SessionId};

/// How the signed bytes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeFormat {
    /// A text from the client's template, signed as EIP-191 personal_sign; on Solana as it is.
    Text,
    /// An EIP-4361 text that the server writes (CAIP-122), signed likewise.
    Siwx,
    /// EIP-712 typed data.
    TypedData,
    /// A text that the caller composes around the nonce, signed as EIP-191 personal_sign.
    Nonce,
}

impl ChallengeFormat {
    /// All that this version knows.
    pub const ALL: [Self; 4] = [Self::Text, Self::Siwx, Self::TypedData, Self::Nonce];

    /// What the store and a policy keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Siwx => "SIWX",
            Self::TypedData => "TYPED_DATA",
            Self::Nonce => "NONCE",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// What a signature over the challenge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengePurpose {
    /// Signs a wallet in.
    SignIn,
    /// Links a wallet to the account of the session that it was started with.
    LinkWallet,
}

impl ChallengePurpose {
    /// What the store keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "SIGN_IN",
            Self::LinkWallet => "LINK_WALLET",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::SignIn, Self::LinkWallet].into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// What was handed out to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text, to be signed byte for byte.
    Text(String),
    /// Typed data, as JSON.
    TypedData(String),
    /// The nonce alone: the caller composes the text.
    Nonce,
}

impl Content {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::TypedData(_) | Self::Nonce => None,
        }
    }

    /// The typed data, if it is that.
    pub fn typed_data(&self) -> Option<&str> {
        match self {
            Self::TypedData(json) => Some(json),
            Self::Text(_) | Self::Nonce => None,
        }
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
    /// What was handed out.
    pub content: Content,
    /// Who is asked to sign; `None` where anybody may.
    pub signer: Option<ChainAddress>,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// Its deadline.
    pub expire_time: OffsetDateTime,
}
