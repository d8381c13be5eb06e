//! Signing keys and the canaries of root keys; everything secret is sealed.

use async_trait::async_trait;

use super::Result;
use crate::domain::Sealed;

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

/// A signing key to be kept.
#[derive(Clone, Debug)]
pub struct NewSigningKey {
    /// Its id.
    pub kid: String,
    /// The private key.
    pub sealed: Sealed,
    /// Whether it signs at once, or waits.
    pub state: SigningKeyState,
}

/// A signing key that is published.
#[derive(Clone, Debug)]
pub struct StoredSigningKey {
    /// Its id.
    pub kid: String,
    /// The private key.
    pub sealed: Sealed,
    /// Where it stands.
    pub state: SigningKeyState,
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

    /// Keeps a key; false where another instance has put one in the same place first.
    async fn add_signing_key(&self, key: NewSigningKey) -> Result<bool>;

    /// The canaries of every root key that ever protected this store.
    async fn canaries(&self) -> Result<Vec<Canary>>;

    /// Keeps a canary unless its root key has one.
    async fn add_canary(&self, canary: Canary) -> Result<()>;
}
