//! Clients and their secrets, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Sqlite, retrying, rows};
use crate::{
    domain::{Client, ClientId, SecretId},
    store::{ClientRecord, ClientStore, NewClient, Result, policy_json},
};

#[async_trait]
impl ClientStore for Sqlite {
    async fn create_client(&self, client: NewClient) -> Result<Client> {
        let policy = policy_json::write(&client.policy)?;
        retrying(async || {
            let mut tx = self.begin().await?;
            let row = sqlx::query(
                "INSERT INTO clients (id, realm, policy, create_time, update_time)
                 SELECT ?1, ?2, ?3, now, now FROM clock
                 RETURNING id, realm, policy, create_time, update_time",
            )
            .bind(client.id.uuid())
            .bind(&client.realm)
            .bind(&policy)
            .fetch_one(&mut *tx)
            .await?;
            let made = rows::client(&row)?;
            sqlx::query(
                "INSERT INTO client_secrets (id, client_id, hash, create_time)
                 SELECT ?1, id, ?2, create_time FROM clients WHERE id = ?3",
            )
            .bind(SecretId::generate().uuid())
            .bind(&client.secret_hash[..])
            .bind(client.id.uuid())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(made)
        })
        .await
    }

    async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>> {
        retrying(async || {
            let rows = sqlx::query(
                "SELECT clients.id, realm, policy, clients.create_time, update_time, hash
                 FROM clients LEFT JOIN client_secrets
                      ON client_secrets.client_id = clients.id AND client_secrets.revoke_time IS NULL
                 WHERE clients.id = ?1 AND delete_time IS NULL",
            )
            .bind(id.uuid())
            .fetch_all(&self.reader)
            .await?;
            let Some(first) = rows.first() else {
                return Ok(None);
            };
            let secret_hashes = rows.iter().filter_map(|row| hash(row).transpose());
            Ok(Some(ClientRecord {
                client: rows::client(first)?,
                secret_hashes: secret_hashes.collect::<Result<_>>()?,
            }))
        })
        .await
    }

    async fn client_secret_hashes(&self, id: ClientId) -> Result<Vec<[u8; 32]>> {
        retrying(async || {
            sqlx::query("SELECT hash FROM client_secrets WHERE client_id = ?1 AND revoke_time IS NULL")
                .bind(id.uuid())
                .fetch_all(&self.reader)
                .await?
                .iter()
                .map(|row| rows::bytes(row, "hash"))
                .collect::<Result<Vec<[u8; 32]>>>()
        })
        .await
    }

    async fn list_clients(&self, after: Option<ClientId>, limit: u32) -> Result<Vec<Client>> {
        retrying(async || {
            sqlx::query(
                "SELECT id, realm, policy, create_time, update_time
                 FROM clients WHERE delete_time IS NULL AND id > ?1 ORDER BY id LIMIT ?2",
            )
            .bind(after.map_or(Uuid::nil(), ClientId::uuid))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(rows::client)
            .collect::<Result<Vec<Client>>>()
        })
        .await
    }
}

/// The hash of a client's row; none where the client has no live secret.
fn hash(row: &SqliteRow) -> Result<Option<[u8; 32]>> {
    let stored: Option<Vec<u8>> = row.try_get("hash")?;
    stored.map(|stored| rows::exactly("hash", &stored)).transpose()
}
