//! Signing keys and the canaries of root keys; everything secret is sealed.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{RootKeyId, Sealed, SigningAlgorithm};

/// Where a signing key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyState {
    /// Published; does not sign yet.
    Prepared,
    /// Signs.
    Active,
    /// Published until the last token it signed has expired.
    Retiring,
}

impl SigningKeyState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "PREPARED",
            Self::Active => "ACTIVE",
            Self::Retiring => "RETIRING",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Retiring].into_iter().find(|state| state.as_str() == text)
    }
}

/// A signing key to be kept.
#[derive(Clone, Debug)]
pub struct NewSigningKey {
    /// Its id.
    pub kid: String,
    /// What it is for.
    pub algorithm: SigningAlgorithm,
    /// The private key.
    pub sealed: Sealed,
}

/// A signing key that is published.
#[derive(Clone, Debug)]
pub struct StoredSigningKey {
    /// Its id.
    pub kid: String,
    /// What it is for.
    pub algorithm: SigningAlgorithm,
    /// The private key.
    pub sealed: Sealed,
    /// Where it stands.
    pub state: SigningKeyState,
    /// When it was made, and published.
    pub create_time: OffsetDateTime,
    /// When it began to sign.
    pub activate_time: Option<OffsetDateTime>,
    /// When it is published no more.
    pub remove_time: Option<OffsetDateTime>,
}

/// A prepared key that is to sign in place of the active one, if it is time.
#[derive(Clone, Debug)]
pub struct KeyRotation {
    /// The key that is prepared then; its algorithm's keys move on.
    pub next: NewSigningKey,
    /// For how long the active key must have signed.
    pub active_for: Duration,
    /// For how long the prepared key must have been published.
    pub published_for: Duration,
}

/// What rotating came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotateKeyOutcome {
    /// The prepared key signs, the active one retires, and the next one is prepared.
    Rotated,
    /// The active key has not signed for long enough.
    NotDue,
    /// The prepared key has not been published for long enough.
    NotPublished,
}

/// What needs a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKeyUse {
    /// The root key.
    pub root_key_id: RootKeyId,
    /// Published signing keys that are sealed under it.
    pub signing_keys: u64,
    /// Live sessions whose current refresh token, or while they are PENDING whose session token, was made with it.
    pub sessions: u64,
    /// Whether a start without it is refused.
    pub has_canary: bool,
}

/// A known value under a root key.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The value, sealed.
    pub sealed: Sealed,
}

/// The intents of keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The signing keys that are published.
    async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>>;

    /// Keeps a key as its algorithm's active or prepared one; false where another instance has put one in the same
    /// place first.
    async fn add_signing_key(&self, key: NewSigningKey, active: bool) -> Result<bool>;

    /// Lets the prepared key of an algorithm sign, once it is time: locks the keys, looks at the clock, and acts.
    /// The active one stays published until nothing that it signed is good any more.
    async fn rotate_signing_key(&self, rotation: KeyRotation) -> Result<RotateKeyOutcome>;

    /// Revokes a key: what it was, or `None` where no such key is published. The place of an active one is taken by
    /// the prepared one at once; `replacement`, of the same algorithm, is prepared, or active where none was.
    async fn revoke_signing_key(
        &self,
        kid: &str,
        replacement: NewSigningKey,
    ) -> Result<Option<SigningKeyState>>;

    /// Puts a key under another root key, if it is still under the one that it was read under.
    async fn reseal_signing_key(&self, kid: &str, from: RootKeyId, sealed: Sealed) -> Result<bool>;

    /// What needs which root key, of those that protect anything or ever did.
    async fn root_key_uses(&self) -> Result<Vec<RootKeyUse>>;

    /// Forgets that a root key ever protected the store; false while something needs it.
    async fn forget_root_key(&self, root_key_id: RootKeyId) -> Result<bool>;

    /// The canaries of every root key that ever protected this store.
    async fn canaries(&self) -> Result<Vec<Canary>>;

    /// Keeps a canary unless its root key has one.
    async fn add_canary(&self, canary: Canary) -> Result<()>;
}
