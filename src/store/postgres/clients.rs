//! Clients and their secrets, on PostgreSQL.

use async_trait::async_trait;
use sqlx::Row as _;
use uuid::Uuid;

use super::{Postgres, rows};
use crate::{
    domain::{Client, ClientId, SecretId},
    store::{ClientRecord, ClientStore, NewClient, Result, policy_json},
};

#[async_trait]
impl ClientStore for Postgres {
    async fn create_client(&self, client: NewClient) -> Result<Client> {
        let policy = policy_json::write(&client.policy)?;
        self.retrying(async || {
            let row = sqlx::query(
                "WITH client AS (
                     INSERT INTO clients (id, realm, policy, create_time, update_time)
                     SELECT $1, $2, $3::jsonb, now, now FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
                     RETURNING id, realm, policy::text AS policy, create_time, update_time
                 ), secret AS (
                     INSERT INTO client_secrets (id, client_id, hash) VALUES ($4, $1, $5)
                 )
                 SELECT * FROM client",
            )
            .bind(client.id.uuid())
            .bind(&client.realm)
            .bind(&policy)
            .bind(SecretId::generate().uuid())
            .bind(&client.secret_hash[..])
            .fetch_one(&self.pool)
            .await?;
            rows::client(&row)
        })
        .await
    }

    async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>> {
        self.retrying(async || {
            let row = sqlx::query(
                "SELECT id, realm, policy::text AS policy, create_time, update_time,
                        ARRAY(SELECT hash FROM client_secrets
                              WHERE client_id = $1 AND revoke_time IS NULL) AS hashes
                 FROM clients WHERE id = $1 AND delete_time IS NULL",
            )
            .bind(id.uuid())
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| {
                let hashes: Vec<Vec<u8>> = row.try_get("hashes")?;
                let secret_hashes = hashes.iter().map(|hash| rows::exactly("hash", hash));
                Ok(ClientRecord {
                    client: rows::client(&row)?,
                    secret_hashes: secret_hashes.collect::<Result<_>>()?,
                })
            })
            .transpose()
        })
        .await
    }

    async fn client_secret_hashes(&self, id: ClientId) -> Result<Vec<[u8; 32]>> {
        self.retrying(async || {
            let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT ARRAY(SELECT hash FROM client_secrets WHERE client_id = $1 AND revoke_time IS NULL)",
            )
            .bind(id.uuid())
            .fetch_one(&self.pool)
            .await?;
            hashes.iter().map(|hash| rows::exactly("hash", hash)).collect::<Result<_>>()
        })
        .await
    }

    async fn list_clients(&self, after: Option<ClientId>, limit: u32) -> Result<Vec<Client>> {
        self.retrying(async || {
            sqlx::query(
                "SELECT id, realm, policy::text AS policy, create_time, update_time
                 FROM clients WHERE delete_time IS NULL AND id > $1 ORDER BY id LIMIT $2",
            )
            .bind(after.map_or(Uuid::nil(), ClientId::uuid))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(rows::client)
            .collect::<Result<Vec<Client>>>()
        })
        .await
    }
}
