//! Accounts, and the wallets that are linked to them and unlinked again.

use std::time::Duration;

use async_trait::async_trait;

use super::{FoundChallenge, Result};
use crate::domain::{AccountId, Address, ChallengeId, LinkedWallets, Network, SessionId, Verification};

/// A session that somebody signed in, and the account that it must be of.
#[derive(Clone, Copy, Debug)]
pub struct SignedInAs {
    /// The session.
    pub session_id: SessionId,
    /// Its account.
    pub account_id: AccountId,
}

/// A verified signature that is to link its wallet.
#[derive(Clone, Debug)]
pub struct WalletLink {
    /// Who asks.
    pub who: SignedInAs,
    /// The challenge that was signed.
    pub challenge_id: ChallengeId,
    /// The wallet that signed, and what accepted its signature.
    pub verification: Verification,
    /// How old the sign-in may be.
    pub reauth_window: Duration,
    /// How many wallets the account may have.
    pub max_wallets: u32,
}

/// Why a session may not change the wallets of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRejected {
    /// It was revoked, or is gone.
    SessionRevoked,
    /// Its time is over.
    SessionExpired,
    /// Its client is disabled or deleted.
    ClientDisabled,
    /// It was signed in too long ago.
    ReauthenticationRequired,
}

/// What linking came to. Only [`LinkOutcome::Linked`] changed anything.
#[derive(Clone, Debug)]
pub enum LinkOutcome {
    /// The wallet is the account's, which it may have been before.
    Linked(Box<LinkedWallets>),
    /// The session may not.
    SessionRejected(SessionRejected),
    /// No such challenge of this session and account.
    NotFound,
    /// The challenge was redeemed before, and its wallet is not the account's.
    AlreadyUsed,
    /// The challenge's deadline has passed.
    Expired,
    /// The wallet is another account's.
    AlreadyLinked,
    /// The account has as many wallets as it may have.
    LimitReached,
}

/// A wallet that is to be unlinked.
#[derive(Clone, Debug)]
pub struct WalletUnlink {
    /// Who asks.
    pub who: SignedInAs,
    /// Its address.
    pub address: Address,
    /// Its network; for a plain key any of the namespace.
    pub network: Network,
    /// How old the sign-in may be.
    pub reauth_window: Duration,
}

/// What unlinking came to. Only [`UnlinkOutcome::Unlinked`] changed anything.
#[derive(Clone, Debug)]
pub enum UnlinkOutcome {
    /// The wallet is nobody's, and the sessions that it signed in are revoked.
    Unlinked {
        /// The account as it is now.
        account: Box<LinkedWallets>,
        /// How many of those sessions were live.
        revoked: u32,
    },
    /// The session may not.
    SessionRejected(SessionRejected),
    /// The account has no such wallet.
    NotFound,
    /// The account has no other wallet.
    LastWallet,
}

/// The intents of accounts.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// An account with its wallets, of a realm if one is given.
    async fn account(&self, id: AccountId, realm: Option<&str>) -> Result<Option<LinkedWallets>>;

    /// The linking challenge of an id, if it is bound to this session and account.
    async fn link_challenge(&self, who: SignedInAs, id: ChallengeId) -> Result<Option<FoundChallenge>>;

    /// Links a wallet: locks the account, its session and the challenge, looks at the clock, and then in one
    /// step marks the challenge and adds the wallet.
    async fn link_wallet(&self, link: WalletLink) -> Result<LinkOutcome>;

    /// Unlinks a wallet: locks the account, the wallet and its sessions, so that whoever is signing in with it is
    /// waited for; looks at the clock; and then in one step removes the wallet and revokes those sessions.
    async fn unlink_wallet(&self, unlink: WalletUnlink) -> Result<UnlinkOutcome>;
}

/// The verdicts on a session that both intents share.
pub(super) fn session_rejected(verdict: &str) -> Option<SessionRejected> {
    Some(match verdict {
        "SESSION_REVOKED" => SessionRejected::SessionRevoked,
        "SESSION_EXPIRED" => SessionRejected::SessionExpired,
        "CLIENT_DISABLED" => SessionRejected::ClientDisabled,
        "REAUTHENTICATION_REQUIRED" => SessionRejected::ReauthenticationRequired,
        _ => return None,
    })
}
