//! One sign-in, from its creation to its end.

use time::OffsetDateTime;

use super::{AccountId, Address, ClientId, Network, SessionId, Wallet};

/// An address on a network, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainAddress {
    /// The address.
    pub address: Address,
    /// Its network.
    pub network: Network,
}

/// PENDING -> ACTIVE -> REVOKED or EXPIRED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Created; nobody has signed in.
    Pending,
    /// A wallet has signed in.
    Active,
    /// Revoked by a caller, or because a refresh token was reused.
    Revoked,
    /// Past a deadline.
    Expired,
}

/// Why a session was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    /// By the client.
    RevokedByClient,
    /// By the signed-in user.
    RevokedByUser,
    /// With all sessions of its account.
    AccountSessionsRevoked,
    /// By handing in one of its tokens (RFC 7009).
    TokenRevoked,
    /// Because a spent refresh token came back.
    RefreshTokenReused,
    /// With its client.
    ClientDeleted,
    /// With the link of the wallet that signed it in.
    WalletUnlinked,
    /// For a reason that only a later version of this program knows.
    Later,
}

impl RevokeReason {
    const ALL: [Self; 7] = [
        Self::RevokedByClient,
        Self::RevokedByUser,
        Self::AccountSessionsRevoked,
        Self::TokenRevoked,
        Self::RefreshTokenReused,
        Self::ClientDeleted,
        Self::WalletUnlinked,
    ];

    /// What the store keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RevokedByClient => "REVOKED_BY_CLIENT",
            Self::RevokedByUser => "REVOKED_BY_USER",
            Self::AccountSessionsRevoked => "ACCOUNT_SESSIONS_REVOKED",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::RefreshTokenReused => "REFRESH_TOKEN_REUSED",
            Self::ClientDeleted => "CLIENT_DELETED",
            Self::WalletUnlinked => "WALLET_UNLINKED",
            Self::Later => "LATER",
        }
    }

    /// Reads what [`Self::as_str`] wrote, here or in a later version.
    pub fn from_stored(text: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Later)
    }
}

/// What the sign-in left in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The account.
    pub account_id: AccountId,
    /// The wallet that signed.
    pub wallet: Wallet,
    /// When it signed in.
    pub authenticate_time: OffsetDateTime,
    /// The end that no refresh moves.
    pub hard_expire_time: OffsetDateTime,
    /// The refresh token that is current: 1, 2, 3, ...
    pub generation: u32,
}

/// How a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub time: OffsetDateTime,
    /// Why.
    pub reason: RevokeReason,
}

/// A session as the store saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// The client it belongs to.
    pub client_id: ClientId,
    /// Its state when the row was read, on the database's clock.
    pub state: SessionState,
    /// Who signs in.
    pub signing: ChainAddress,
    /// Who is paid.
    pub deposit: ChainAddress,
    /// When it was created.
    pub create_time: OffsetDateTime,
    /// When it last changed.
    pub update_time: OffsetDateTime,
    /// The deadline of the sign-in, or of the next refresh.
    pub expire_time: OffsetDateTime,
    /// The sign-in, if there was one.
    pub sign_in: Option<SignIn>,
    /// The revocation, if there was one.
    pub revocation: Option<Revocation>,
}

impl Session {
    /// The state at `now`: a revocation outweighs time, and time outweighs everything else. A
    /// deadline belongs to what lies behind it.
    pub fn state_at(&self, now: OffsetDateTime) -> SessionState {
        if self.revocation.is_some() {
            SessionState::Revoked
        } else if self.expire_time <= now {
            SessionState::Expired
        } else if self.sign_in.is_some() {
            SessionState::Active
        } else {
            SessionState::Pending
        }
    }
}
