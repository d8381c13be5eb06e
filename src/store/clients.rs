//! Clients and their secrets.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{Client, ClientId, LiveSecret, Policy, SecretId, SessionId};

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

/// A client, and its live secrets.
#[derive(Clone, Debug)]
pub struct ClientRecord {
    /// The client.
    pub client: Client,
    /// Its secrets that are not revoked, oldest first.
    pub secrets: Vec<LiveSecret>,
}

/// What adding a secret came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddSecretOutcome {
    /// It lets the client in from now on.
    Added,
    /// The client has as many live secrets as it may have.
    LimitReached,
    /// There is no such client.
    Unknown,
}

/// A stretch of all sessions, looked through for those of a deleted client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The last session looked at; `None` once there are no more.
    pub last: Option<SessionId>,
    /// How many of the client's were live, and now are revoked.
    pub revoked: u32,
}

/// The intents of clients.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// Makes a client with its first secret.
    async fn create_client(&self, client: NewClient) -> Result<Client>;

    /// A client that is not deleted.
    async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>>;

    /// The live secrets of a client, deleted or not; none where there is no such client.
    async fn client_secrets(&self, id: ClientId) -> Result<Vec<LiveSecret>>;

    /// At most `limit` clients that are not deleted, in the order of their ids, after `after`.
    async fn list_clients(&self, after: Option<ClientId>, limit: u32) -> Result<Vec<Client>>;

    /// Gives a client another policy, if it last changed at `seen`: `None` if it changed again, or is gone.
    /// What a later version of this program has noted in the old policy stays.
    async fn update_client(
        &self,
        id: ClientId,
        seen: OffsetDateTime,
        policy: &Policy,
    ) -> Result<Option<Client>>;

    /// Switches a client off or on, and looks at nothing else of its policy. Whether there is one.
    async fn set_client_disabled(&self, id: ClientId, disabled: bool) -> Result<bool>;

    /// Marks a client as deleted, which ends whatever it could do; again is the same. Whether there is one.
    async fn delete_client(&self, id: ClientId) -> Result<bool>;

    /// Looks at the next `limit` sessions of all clients, in the order of their ids, after `after`, and
    /// revokes the client's own as CLIENT_DELETED.
    async fn sweep_sessions(&self, id: ClientId, after: Option<SessionId>, limit: u32) -> Result<Sweep>;

    /// Gives a client a further secret, of which the hash is kept.
    async fn add_client_secret(
        &self,
        id: ClientId,
        secret: SecretId,
        hash: [u8; 32],
    ) -> Result<AddSecretOutcome>;

    /// Revokes a secret; again is the same. Whether the client has, or had, such a secret.
    async fn revoke_client_secret(&self, id: ClientId, secret: SecretId) -> Result<bool>;

    /// Notes that secrets have just been used, unless that was noted within the last half minute.
    async fn client_secrets_used(&self, secrets: &[SecretId]) -> Result<()>;
}
