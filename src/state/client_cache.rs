//! Cache of clients, half a second old at most.
//!
//! So a policy change or a disabled client is in force on every instance after half a second.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{Error, Result, secret_usage::SecretUsage, store_shares::StoreAccess};
use crate::{
    domain::{ClientId, LiveSecret, SECRET_LIMIT},
    store::{ClientRecord, Store},
    token::ClientSecret,
};

/// How long a client is remembered.
const MAX_AGE: Duration = Duration::from_millis(500);
const _: () = assert!(MAX_AGE.as_millis() <= 500, "a change is promised to be in force within a second");
/// How many clients are remembered at most.
const MAX_CLIENTS: usize = 10_000;

/// Remembers the clients of the last half second.
#[derive(Default)]
pub struct ClientCache {
    clients: RwLock<HashMap<ClientId, (Instant, Arc<ClientRecord>)>>,
    uses: SecretUsage,
}

impl ClientCache {
    /// A client that is not deleted.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn find(&self, store: StoreAccess<'_>, id: ClientId) -> Result<Option<Arc<ClientRecord>>> {
        match self.remembered(id) {
            Some(record) => Ok(Some(record)),
            None => self.read(store, id).await,
        }
    }

    /// The client with these credentials, if it was read within the last half second. If nothing matches, the caller must
    /// use [`Self::authenticate`].
    pub fn authenticated_lately(&self, id: ClientId, secret: &ClientSecret) -> Option<Arc<ClientRecord>> {
        let record = self.remembered(id)?;
        self.uses.note(matching(secret, &record.secrets)?.id);
        Some(record)
    }

    /// Looks up the client with these credentials. An unknown id and a wrong secret cost the same work and give the same
    /// error.
    ///
    /// # Errors
    /// If they are nobody's, or the client is disabled.
    pub async fn authenticate(
        &self,
        store: StoreAccess<'_>,
        id: ClientId,
        secret: &ClientSecret,
    ) -> Result<Arc<ClientRecord>> {
        let secrets = store.turn().await?.client_secrets(id).await?;
        let used = matching(secret, &secrets).ok_or(Error::ClientCredentialsInvalid)?;
        let record = self.read(store, id).await?.ok_or(Error::ClientCredentialsInvalid)?;
        self.uses.note(used.id);
        enabled(record)
    }

    /// True if a secret was the client's when the client was last read, however long ago.
    pub fn recognises(&self, id: ClientId, secret: &ClientSecret) -> bool {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.get(&id).is_some_and(|(_, record)| matching(secret, &record.secrets).is_some())
    }

    /// Writes to the store which secrets were used since the last time.
    ///
    /// # Errors
    /// If the store does not answer; they are written the next time.
    pub async fn flush_uses(&self, store: &dyn Store) -> Result<()> {
        let used = self.uses.pending();
        if !used.is_empty() {
            store.client_secrets_used(&used).await?;
            self.uses.flushed(&used);
        }
        Ok(())
    }

    async fn read(&self, store: StoreAccess<'_>, id: ClientId) -> Result<Option<Arc<ClientRecord>>> {
        let asked = Instant::now();
        let record = store.turn().await?.client(id).await?.map(Arc::new);
        if let Some(record) = &record {
            self.remember(id, asked, Arc::clone(record));
        }
        Ok(record)
    }

    /// A client that was read within the last half second.
    pub(crate) fn remembered(&self, id: ClientId) -> Option<Arc<ClientRecord>> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.get(&id).filter(|(asked, _)| asked.elapsed() <= MAX_AGE).map(|(_, record)| Arc::clone(record))
    }

    fn remember(&self, id: ClientId, asked: Instant, record: Arc<ClientRecord>) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(id, (asked, record));
    }
}

/// The secret's own record. As many hashes are compared, whether or not a client has so many secrets.
fn matching<'a>(secret: &ClientSecret, secrets: &'a [LiveSecret]) -> Option<&'a LiveSecret> {
    let mut hashes: Vec<[u8; 32]> = secrets.iter().map(|secret| secret.hash).collect();
    hashes.resize(hashes.len().max(SECRET_LIMIT), [0; 32]);
    secret.position_in(&hashes).and_then(|at| secrets.get(at))
}

/// A client that may be served.
///
/// # Errors
/// If it is disabled.
pub fn enabled(record: Arc<ClientRecord>) -> Result<Arc<ClientRecord>> {
    if record.client.policy.disabled { Err(Error::ClientDisabled) } else { Ok(record) }
}
