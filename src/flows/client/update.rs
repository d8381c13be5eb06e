//! Changes the policy of a client, or disables and enables the client.

use super::policy_texts;
use crate::{
    domain::{Client, ClientId, Policy},
    flows::{Error, Result},
    state::audit::audit,
    store::{Store, StoreError},
};

/// How often a change is made anew because somebody else changed the client meanwhile.
const ATTEMPTS: usize = 8;

/// Gives a client the policy that `change` makes of it; in force on every instance within a second.
///
/// # Errors
/// If there is no such client, every violation of the new policy at once, or the store fails.
pub async fn update_client(
    store: &dyn Store,
    id: ClientId,
    change: impl Fn(&Client) -> Result<Policy>,
) -> Result<Client> {
    for _ in 0..ATTEMPTS {
        let client = store.client(id).await?.ok_or(Error::ClientNotFound)?.client;
        let policy = policy_texts::validated(change(&client)?)?;
        if policy == client.policy {
            return Ok(client);
        }
        if let Some(updated) = store.update_client(id, client.update_time, &policy).await? {
            audit!("client.updated", client_id = %id, disabled = updated.policy.disabled);
            return Ok(updated);
        }
    }
    Err(StoreError::Contention.into())
}

/// Switches a client off, or on again. Off, it is served nothing, and its tokens are no good.
///
/// # Errors
/// If there is no such client, or the store fails. Nothing else about the client can stand in the way.
pub async fn set_disabled(store: &dyn Store, id: ClientId, disabled: bool) -> Result<()> {
    if !store.set_client_disabled(id, disabled).await? {
        return Err(Error::ClientNotFound);
    }
    audit!("client.updated", client_id = %id, disabled);
    Ok(())
}
