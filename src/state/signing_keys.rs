//! Root keys and signing keys in use on this instance.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::{Error, Result, audit::audit, error::Cause, revocation_feed::RevocationFeed};
use crate::{
    domain::{RootKeyId, SigningAlgorithm},
    store::{Canary, NewSigningKey, SigningKeyState, Store, StoreError, StoredSigningKey},
    token::{KeyError, KeyRing, RootKeys, SigningKey, VerifyingKeys, public_keys::VerifyingKey},
};

/// What a canary's sealed value is, and is sealed for.
const CANARY: &str = "countersign canary";

/// Keys that were read before that sign nothing more: one of them may have been replaced, and its removal counts
/// from then. A retired key is published for an hour longer than its tokens live.
const MAX_AGE: Duration = Duration::from_mins(30);

/// Keys that were read within this time are not read again for a token whose key is not among them.
const REREAD: Duration = Duration::from_millis(250);

/// Why the keys do not let the service start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in the store is under a root key that is not listed.
    #[error(
        "the root keys do not fit this store: it is protected by the root key {0}, which is not among the \
         listed ones (or is not the key it claims to be); list that key too, or use the store it belongs to"
    )]
    WrongRootKeys(RootKeyId),
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
            KeyError::UnknownRootKey(root_key_id) | KeyError::NotOpened(root_key_id) => {
                Self::WrongRootKeys(root_key_id)
            }
            KeyError::Malformed(_) | KeyError::NoneActive(_) | KeyError::Library(_) => Self::Key(error),
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            StartError::WrongRootKeys(_) | StartError::Key(_) => Self::internal(error),
        }
    }
}

/// When keys are replaced.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a key signs; `None` for as long as nobody rotates it by hand.
    pub interval: Option<Duration>,
    /// How long a key is published before it signs.
    pub prepublish: Duration,
}

/// Opens every canary in the store: whether the first root key has left one of its own.
///
/// # Errors
/// If one does not open, or the store does not answer.
pub async fn check_root_keys(store: &dyn Store, roots: &RootKeys) -> std::result::Result<bool, StartError> {
    let canaries = store.canaries().await?;
    for canary in &canaries {
        roots.open(CANARY, &canary.sealed)?;
    }
    Ok(canaries.iter().any(|canary| canary.sealed.root_key_id == roots.primary()))
}

/// Leaves a canary of the first root key, which protects from now on.
///
/// # Errors
/// If the store does not answer.
pub async fn leave_canary(store: &dyn Store, roots: &RootKeys) -> std::result::Result<(), StartError> {
    store.add_canary(Canary { sealed: roots.seal(CANARY, CANARY.as_bytes())? }).await?;
    audit!("root_key.added", fingerprint = %roots.primary());
    Ok(())
}

/// A fresh key, to be kept.
///
/// # Errors
/// If the cryptographic library refuses.
pub fn new_signing_key(
    algorithm: SigningAlgorithm,
    roots: &RootKeys,
) -> std::result::Result<NewSigningKey, KeyError> {
    let (kid, sealed) = SigningKey::generate(algorithm, roots)?;
    Ok(NewSigningKey { kid, algorithm, sealed })
}

/// Puts every published signing key under the first root key: how many were under another one.
///
/// # Errors
/// If one does not open, or the store does not answer.
pub async fn reseal(store: &dyn Store, roots: &RootKeys) -> std::result::Result<usize, StartError> {
    let mut count = 0;
    for key in store.signing_keys().await? {
        if let Some(sealed) = SigningKey::reseal(&key.kid, &key.sealed, roots)? {
            let resealed = store.reseal_signing_key(&key.kid, key.sealed.root_key_id, sealed).await?;
            if resealed {
                count += 1;
                audit!("signing_key.resealed", kid = key.kid, fingerprint = %roots.primary());
            }
        }
    }
    Ok(count)
}

/// The signing keys as last read.
pub struct SigningKeys {
    read: RwLock<Read>,
    rereading: Mutex<()>,
    schedule: Schedule,
}

/// The ring, when it was read, and when its keys are to be replaced.
struct Read {
    at: Instant,
    ring: Arc<KeyRing>,
    due: Vec<(SigningAlgorithm, OffsetDateTime)>,
}

impl SigningKeys {
    /// Reads the keys; makes the first ones where there are none, and puts them under the first root key.
    ///
    /// # Errors
    /// If one does not open, or the store does not answer.
    pub async fn open(
        store: &dyn Store,
        roots: &RootKeys,
        schedule: Schedule,
    ) -> std::result::Result<Self, StartError> {
        let stored = store.signing_keys().await?;
        for algorithm in SigningAlgorithm::ALL {
            for state in [SigningKeyState::Active, SigningKeyState::Prepared] {
                if !stored.iter().any(|key| key.state == state && key.algorithm == algorithm) {
                    // Of several instances that start at once, the first one's key is everybody's.
                    let key = new_signing_key(algorithm, roots)?;
                    let kid = key.kid.clone();
                    if store.add_signing_key(key, state == SigningKeyState::Active).await? {
                        let (algorithm, state) = (algorithm.as_str(), state.as_str());
                        audit!("signing_key.added", kid, algorithm, state);
                    }
                }
            }
        }
        reseal(store, roots).await?;
        Ok(Self {
            rereading: Mutex::default(),
            read: RwLock::new(read(store, roots, schedule, None).await?),
            schedule,
        })
    }

    /// Reads the keys anew.
    ///
    /// # Errors
    /// As [`Self::open`]; the keys read before stay in force.
    pub async fn reload(&self, store: &dyn Store, roots: &RootKeys) -> std::result::Result<(), StartError> {
        self.keep(read(store, roots, self.schedule, Some(&self.ring())).await?);
        Ok(())
    }

    /// A slow reading does not undo what one that began later has found.
    fn keep(&self, read: Read) {
        let mut known = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if known.at <= read.at {
            *known = read;
        }
    }

    /// Reads the keys because one is missing, unless that was just done. One call at a time reads.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn reread(&self, store: &dyn Store, roots: &RootKeys) -> std::result::Result<(), StartError> {
        let _turn = self.rereading.lock().await;
        let age = self.read.read().unwrap_or_else(PoisonError::into_inner).at.elapsed();
        if age < REREAD { Ok(()) } else { self.reload(store, roots).await }
    }

    /// The algorithms whose keys have signed for as long as they may.
    pub(crate) fn due(&self, now: OffsetDateTime) -> Vec<SigningAlgorithm> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.due.iter().filter(|(_, time)| *time <= now).map(|(algorithm, _)| *algorithm).collect()
    }

    /// When keys are replaced.
    pub(crate) const fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// The ring.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.read.read().unwrap_or_else(PoisonError::into_inner).ring)
    }

    /// The ring, if it is known well enough which of its keys sign.
    ///
    /// # Errors
    /// If it was last read too long ago.
    pub fn signing_ring(&self) -> Result<Arc<KeyRing>> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        if read.at.elapsed() <= MAX_AGE {
            return Ok(Arc::clone(&read.ring));
        }
        Err(Error::StoreUnavailable(Cause("which keys sign is not known any more".to_owned())))
    }
}

/// Verifies with the keys of a ring, except those that the feed has read as revoked.
pub(crate) struct RevocationAwareKeys<'a> {
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) revocations: &'a RevocationFeed,
}

impl VerifyingKeys for RevocationAwareKeys<'_> {
    fn verifying(&self, kid: &str) -> Option<VerifyingKey<'_>> {
        if self.revocations.is_key_revoked(kid) { None } else { self.ring.verifying(kid) }
    }
}

async fn read(
    store: &dyn Store,
    roots: &RootKeys,
    schedule: Schedule,
    before: Option<&KeyRing>,
) -> std::result::Result<Read, StartError> {
    let at = Instant::now();
    let stored = store.signing_keys().await?;
    let active = stored.iter().filter(|key| key.state == SigningKeyState::Active);
    let active: Vec<_> = active.map(|key| key.kid.clone()).collect();
    let keys = stored
        .iter()
        .map(|key| match before.and_then(|ring| ring.key(&key.kid)) {
            // An id is its key's thumbprint.
            Some(opened) => Ok(Arc::clone(opened)),
            None => SigningKey::open(&key.kid, key.algorithm, &key.sealed, roots).map(Arc::new),
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let ring = Arc::new(KeyRing::new(keys, &active)?);
    Ok(Read { at, ring, due: due(&stored, schedule) })
}

/// When the active key of each algorithm has signed, and its prepared one been published, for long enough.
fn due(stored: &[StoredSigningKey], schedule: Schedule) -> Vec<(SigningAlgorithm, OffsetDateTime)> {
    let Some(interval) = schedule.interval else { return Vec::new() };
    let of =
        |algorithm, state| stored.iter().find(move |key| key.algorithm == algorithm && key.state == state);
    let due = |algorithm| {
        let signs_since = of(algorithm, SigningKeyState::Active)?.activate_time?;
        let published_since = of(algorithm, SigningKeyState::Prepared)?.create_time;
        Some((algorithm, (signs_since + interval).max(published_since + schedule.prepublish)))
    };
    SigningAlgorithm::ALL.into_iter().filter_map(due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    #[tokio::test]
    async fn a_slow_reading_brings_no_revoked_key_back() {
        let store = open("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let roots = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let schedule = Schedule { interval: None, prepublish: Duration::ZERO };
        let keys = SigningKeys::open(store.as_ref(), &roots, schedule).await.unwrap();
        let kid = keys.ring().active(SigningAlgorithm::Es256).kid().to_owned();
        let slow = read(store.as_ref(), &roots, schedule, None).await.unwrap();
        let replacement = new_signing_key(SigningAlgorithm::Es256, &roots).unwrap();
        store.revoke_signing_key(&kid, replacement).await.unwrap();
        keys.reload(store.as_ref(), &roots).await.unwrap();
        assert!(slow.ring.key(&kid).is_some());
        keys.keep(slow);
        assert!(keys.ring().key(&kid).is_none());
    }
}
