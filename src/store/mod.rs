//! Durable state: clients, sessions, challenges, accounts and keys.
//!
//! Every method is one atomic intent. Deadlines are compared on the database's clock, after the lock,
//! in the statement (PostgreSQL) or the transaction (SQLite) that acts. Absence and lost races are values; errors are failures of the
//! store itself. The only module that names sqlx.

mod accounts;
mod call_monitor;
mod challenges;
mod clean_up;
mod clients;
mod error;
mod keys;
mod lifecycle;
mod policy_json;
mod postgres;
mod redeem;
mod replay;
mod retry;
mod revocations;
mod rotate;
mod rows;
mod sessions;
mod sql_fragments;
mod sqlite;
mod url;

use std::sync::Arc;

pub use accounts::{
    AccountStore, LinkOutcome, SessionRejected, SignedInAs, UnlinkOutcome, WalletLink, WalletUnlink,
};
pub use challenges::{
    ChallengeKey, ChallengeScope, ChallengeState, ChallengeStore, ContentDigest, FOUND_ELSEWHERE,
    FOUND_EXPECTED, FOUND_LIMIT, FoundChallenge, LIVE_CHALLENGE_LIMIT, NewChallenge, ReusableChallenge,
};
pub use clean_up::{Backlog, CleanUp, CleanupTarget};
pub use clients::{AddSecretOutcome, ClientRecord, ClientStore, NewClient, Sweep};
pub use error::{OpenError, StoreError};
pub use keys::{
    Canary, KeyRotation, KeyStore, NewSigningKey, RootKeyUse, RotateKeyOutcome, SigningKeyState,
    StoredSigningKey,
};
pub use lifecycle::{Lifecycle, Location, Permit, SchemaState};
pub use redeem::{RedeemOutcome, RedeemStore, Redemption, SignedIn};
pub use replay::{Replay, ReplayOutcome, ReplayStore, ReplayedRedemption, RequestDigest};
pub use revocations::{
    InactiveClient, RevocationStore, Revocations, RevokedKey, RevokedSession, TokenAudience,
};
pub use rotate::{RotateOutcome, RotateStore, Rotated, Rotation};
pub use sessions::{NewSession, RevokeScope, SessionQuery, SessionStore};
pub use url::locate;

/// A store: one of the two backends, seen through its intents.
pub trait Store:
    AccountStore
    + ChallengeStore
    + CleanUp
    + ClientStore
    + KeyStore
    + Lifecycle
    + RedeemStore
    + ReplayStore
    + RevocationStore
    + RotateStore
    + SessionStore
{
}

impl Store for postgres::Postgres {}

impl Store for sqlite::Sqlite {}

/// What every method answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// How many connections to PostgreSQL are opened at most, unless somebody says otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 16;

/// Connections of these that callers never occupy: one for the probe, and one for keys and revocations.
pub const RESERVED_CONNECTIONS: u32 = 2;

/// Opens the store that a URL names: `sqlite:FILE`, `sqlite::memory:` or `postgres://...`.
///
/// # Errors
/// If the URL is none, or the store cannot be reached; the password is never part of the message.
pub async fn open(url: &str) -> std::result::Result<Arc<dyn Store>, OpenError> {
    open_with(url, DEFAULT_CONNECTIONS).await
}

/// The same, with at most so many connections to PostgreSQL.
///
/// # Errors
/// As [`open`].
pub async fn open_with(url: &str, connections: u32) -> std::result::Result<Arc<dyn Store>, OpenError> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Arc::new(sqlite::Sqlite::open(url).await?)),
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::Postgres::open(url, connections).await?)),
        _ => Err(OpenError::UnknownScheme),
    }
}
