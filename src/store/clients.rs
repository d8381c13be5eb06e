//! Clients and their secrets.

use async_trait::async_trait;

use super::Result;
use crate::domain::{Client, ClientId, Policy};

/// A client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its id.
    pub id: ClientId,
    /// The set of clients it shares its accounts with.
    pub realm: String,
    /// Its policy.
    pub policy: Policy,
    /// SHA-256 of its first secret.
    pub secret_hash: [u8; 32],
}

/// A client, and the hashes of its live secrets.
#[derive(Clone, Debug)]
pub struct ClientRecord {
    /// The client.
    pub client: Client,
    /// SHA-256 of each secret that is not revoked.
    pub secret_hashes: Vec<[u8; 32]>,
}

/// The intents of clients.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// Makes a client with its first secret.
    async fn create_client(&self, client: NewClient) -> Result<Client>;

    /// A client that is not deleted.
    async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>>;

    /// SHA-256 of each live secret of a client; none where there is no such client.
    async fn client_secret_hashes(&self, id: ClientId) -> Result<Vec<[u8; 32]>>;

    /// At most `limit` clients that are not deleted, in the order of their ids, after `after`.
    async fn list_clients(&self, after: Option<ClientId>, limit: u32) -> Result<Vec<Client>>;
}
