//! The keys this instance works with: root keys that fit the store, and signing keys out of it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    domain::Fingerprint,
    store::{Canary, NewSigningKey, SigningKeyState, Store, StoreError},
    token::{KeyError, KeyRing, RootKeys, SigningKey},
};

/// What a canary's sealed value is, and is sealed for.
const CANARY: &str = "countersign canary";

/// Why the keys do not let the service start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in the store is under a root key that is not listed.
    #[error(
        "the root keys do not fit this store: it is protected by the root key {0}, which is not among the \
         listed ones (or is not the key it claims to be); list that key too, or use the store it belongs to"
    )]
    WrongRootKeys(Fingerprint),
    /// The keys themselves are at fault.
    #[error(transparent)]
    Key(KeyError),
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::UnknownRootKey(fingerprint) | KeyError::NotOpened(fingerprint) => {
                Self::WrongRootKeys(fingerprint)
            }
            KeyError::Malformed(_) | KeyError::Library(_) => Self::Key(error),
        }
    }
}

/// Whether every canary in the store opens; the first root key leaves one of its own.
///
/// # Errors
/// If one does not, or the store does not answer.
pub async fn check_root_keys(store: &dyn Store, roots: &RootKeys) -> Result<(), StartError> {
    let canaries = store.canaries().await?;
    for canary in &canaries {
        roots.open(CANARY, &canary.sealed)?;
    }
    if !canaries.iter().any(|canary| canary.sealed.fingerprint == roots.primary()) {
        store.add_canary(Canary { sealed: roots.seal(CANARY, CANARY.as_bytes())? }).await?;
    }
    Ok(())
}

/// The signing keys as last read.
pub struct SigningKeys(RwLock<Arc<KeyRing>>);

impl SigningKeys {
    /// Reads the keys; makes the first ones where there are none.
    ///
    /// # Errors
    /// If one does not open, or the store does not answer.
    pub async fn open(store: &dyn Store, roots: &RootKeys) -> Result<Self, StartError> {
        for state in [SigningKeyState::Active, SigningKeyState::Prepared] {
            if !store.signing_keys().await?.iter().any(|key| key.state == state) {
                let (kid, sealed) = SigningKey::generate(roots)?;
                // Of several instances that start at once, the first one's key is everybody's.
                store.add_signing_key(NewSigningKey { kid, sealed, state }).await?;
            }
        }
        Ok(Self(RwLock::new(read(store, roots).await?)))
    }

    /// Reads the keys anew.
    ///
    /// # Errors
    /// As [`Self::open`]; the keys read before stay in force.
    pub async fn reload(&self, store: &dyn Store, roots: &RootKeys) -> Result<(), StartError> {
        let ring = read(store, roots).await?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }

    /// The ring.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn read(store: &dyn Store, roots: &RootKeys) -> Result<Arc<KeyRing>, StartError> {
    let stored = store.signing_keys().await?;
    let active = stored
        .iter()
        .find(|key| key.state == SigningKeyState::Active)
        .ok_or_else(|| StoreError::Broken("no signing key is active".to_owned()))?;
    let keys = stored
        .iter()
        .map(|key| SigningKey::open(&key.kid, &key.sealed, roots))
        .collect::<Result<Vec<_>, _>>()?;
    let ring = KeyRing::new(keys, &active.kid)
        .ok_or_else(|| StoreError::Broken("the active signing key is missing".to_owned()))?;
    Ok(Arc::new(ring))
}
