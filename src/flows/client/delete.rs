//! Deletes a client and revokes its sessions.

use crate::{
    domain::ClientId,
    flows::{Error, Result},
    state::audit::audit,
    store::Store,
};

/// How many sessions are looked at in one statement: few enough to hold locks for milliseconds only.
const STRETCH: u32 = 5_000;

/// Deletes a client and revokes its sessions: how many were live. From its first moment on nothing of the
/// client is good; one that was cut short is finished by doing it again.
///
/// # Errors
/// If there never was such a client, or the store fails.
pub async fn delete_client(store: &dyn Store, id: ClientId) -> Result<u64> {
    if !store.delete_client(id).await? {
        return Err(Error::ClientNotFound);
    }
    let mut revoked = 0;
    let mut after = None;
    loop {
        let sweep = store.sweep_sessions(id, after, STRETCH).await?;
        revoked += u64::from(sweep.revoked);
        if sweep.last.is_none() {
            audit!("client.deleted", client_id = %id, sessions = revoked);
            return Ok(revoked);
        }
        after = sweep.last;
    }
}
