//! Adds and revokes client secrets.

use crate::{
    domain::{ClientId, SecretId},
    flows::{Error, Result},
    state::audit::audit,
    store::{AddSecretOutcome, Store},
    token::ClientSecret,
};

/// Gives a client a further secret, which is never shown again.
///
/// # Errors
/// If there is no such client, it has two live secrets already, or the store fails.
pub async fn add_client_secret(store: &dyn Store, id: ClientId) -> Result<(SecretId, ClientSecret)> {
    let (secret_id, secret) = (SecretId::generate(), ClientSecret::generate());
    match store.add_client_secret(id, secret_id, secret.hash()).await? {
        AddSecretOutcome::Added => {
            audit!("client_secret.added", client_id = %id, %secret_id);
            Ok((secret_id, secret))
        }
        AddSecretOutcome::LimitReached => Err(Error::SecretLimitReached),
        AddSecretOutcome::Unknown => Err(Error::ClientNotFound),
    }
}

/// Ends a secret, on every instance within a second; again is no error.
///
/// # Errors
/// If the client never had such a secret, or the store fails.
pub async fn revoke_client_secret(store: &dyn Store, id: ClientId, secret: SecretId) -> Result<()> {
    if store.revoke_client_secret(id, secret).await? {
        audit!("client_secret.revoked", client_id = %id, secret_id = %secret);
        return Ok(());
    }
    store.client(id).await?.ok_or(Error::ClientNotFound)?;
    Err(Error::invalid("secret_id", "is no secret of this client"))
}
