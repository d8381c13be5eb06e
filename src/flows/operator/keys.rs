//! Rotates and revokes signing keys; forgets root keys.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    domain::{RootKeyId, SigningAlgorithm},
    state::{
        audit::audit,
        signing_keys::{SigningKeys, StartError, new_signing_key},
    },
    store::{KeyRotation, RotateKeyOutcome, SigningKeyState, Store},
    token::RootKeys,
};

/// Replaces the keys that have signed for as long as they may; of many instances one does it.
///
/// # Errors
/// If the store does not answer.
pub(crate) async fn rotate_due(
    store: &dyn Store,
    roots: &RootKeys,
    keys: &SigningKeys,
    now: OffsetDateTime,
) -> Result<(), StartError> {
    let schedule = keys.schedule();
    let Some(interval) = schedule.interval else { return Ok(()) };
    for algorithm in keys.due(now) {
        rotate(store, roots, algorithm, interval, schedule.prepublish).await?;
    }
    Ok(())
}

/// Lets an algorithm's prepared key sign, if the active one has signed and the prepared one has been published for
/// long enough.
///
/// # Errors
/// If the store does not answer.
pub async fn rotate(
    store: &dyn Store,
    roots: &RootKeys,
    algorithm: SigningAlgorithm,
    active_for: Duration,
    published_for: Duration,
) -> Result<RotateKeyOutcome, StartError> {
    let next = new_signing_key(algorithm, roots)?;
    let kid = next.kid.clone();
    let outcome = store.rotate_signing_key(KeyRotation { next, active_for, published_for }).await?;
    if outcome == RotateKeyOutcome::Rotated {
        let algorithm = algorithm.as_str();
        audit!("signing_key.rotated", algorithm, prepared = kid);
    }
    Ok(outcome)
}

/// Forgets a root key that nothing needs any more; false while something does.
///
/// # Errors
/// If the store does not answer.
pub async fn forget_root(store: &dyn Store, root_key_id: RootKeyId) -> Result<bool, StartError> {
    let forgotten = store.forget_root_key(root_key_id).await?;
    if forgotten {
        audit!("root_key.forgotten", fingerprint = %root_key_id);
    }
    Ok(forgotten)
}

/// Revokes a published key at once: what it was, or `None` where there is none.
///
/// # Errors
/// If the store does not answer.
pub async fn revoke(
    store: &dyn Store,
    roots: &RootKeys,
    kid: &str,
) -> Result<Option<SigningKeyState>, StartError> {
    let published = store.signing_keys().await?;
    let Some(key) = published.iter().find(|key| key.kid == kid) else { return Ok(None) };
    let was = store.revoke_signing_key(kid, new_signing_key(key.algorithm, roots)?).await?;
    if let Some(was) = was {
        audit!("signing_key.revoked", kid, was = was.as_str());
    }
    Ok(was)
}
