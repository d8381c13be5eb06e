//! Clients and their secrets, on SQLite.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sqlite, retrying, rows};
use crate::{
    domain::{Client, ClientId, LiveSecret, Policy, RevokeReason, SecretId, SessionId},
    store::{AddSecretOutcome, ClientRecord, ClientStore, NewClient, Result, Sweep, policy_json},
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
            let found = sqlx::query(FIND).bind(id.uuid()).fetch_all(&self.reader).await?;
            let Some(first) = found.first() else { return Ok(None) };
            let secrets =
                found.iter().filter_map(|row| rows::secret(row).transpose()).collect::<Result<_>>()?;
            Ok(Some(ClientRecord { client: rows::client(first)?, secrets }))
        })
        .await
    }

    async fn client_secrets(&self, id: ClientId) -> Result<Vec<LiveSecret>> {
        retrying(async || {
            let found = sqlx::query(FIND_SECRETS).bind(id.uuid()).fetch_all(&self.reader).await?;
            found.iter().filter_map(|row| rows::secret(row).transpose()).collect()
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

    async fn update_client(
        &self,
        id: ClientId,
        seen: OffsetDateTime,
        policy: &Policy,
    ) -> Result<Option<Client>> {
        let policy = policy_json::write(policy)?;
        retrying(async || {
            let mut tx = self.begin().await?;
            let row = sqlx::query(UPDATE)
                .bind(id.uuid())
                .bind(rows::to_millis(seen))
                .bind(&policy)
                .fetch_optional(&mut *tx)
                .await?;
            let updated = row.as_ref().map(rows::client).transpose()?;
            tx.end(updated.is_some()).await?;
            Ok(updated)
        })
        .await
    }

    async fn set_client_disabled(&self, id: ClientId, disabled: bool) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let statement = sqlx::query(SET_DISABLED).bind(id.uuid()).bind(disabled);
            let known = statement.execute(&mut *tx).await?.rows_affected() > 0;
            tx.end(known).await?;
            Ok(known)
        })
        .await
    }

    async fn delete_client(&self, id: ClientId) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let marked = sqlx::query(DELETE).bind(id.uuid()).execute(&mut *tx).await?.rows_affected();
            tx.end(marked > 0).await?;
            Ok(marked > 0)
        })
        .await
    }

    async fn sweep_sessions(&self, id: ClientId, after: Option<SessionId>, limit: u32) -> Result<Sweep> {
        let after = after.map_or(Uuid::nil(), SessionId::uuid);
        retrying(async || {
            let mut tx = self.begin().await?;
            let stretch = sqlx::query(STRETCH).bind(after).bind(limit).fetch_one(&mut *tx).await?;
            let last: Option<Uuid> = stretch.try_get("last")?;
            let revoked = sqlx::query(SWEEP)
                .bind(id.uuid())
                .bind(after)
                .bind(last)
                .bind(RevokeReason::ClientDeleted.as_str())
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            let live = revoked.iter().filter(|row| row.try_get("was_live").unwrap_or(false)).count();
            Ok(Sweep { last: last.map(SessionId::from), revoked: u32::try_from(live).unwrap_or(u32::MAX) })
        })
        .await
    }

    async fn add_client_secret(
        &self,
        id: ClientId,
        secret: SecretId,
        hash: [u8; 32],
    ) -> Result<AddSecretOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let known = sqlx::query("SELECT 1 FROM clients WHERE id = ?1 AND delete_time IS NULL")
                .bind(id.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let added = sqlx::query(ADD_SECRET)
                .bind(id.uuid())
                .bind(secret.uuid())
                .bind(&hash[..])
                .execute(&mut *tx)
                .await?
                .rows_affected();
            tx.end(added > 0).await?;
            Ok(match (known, added) {
                (None, _) => AddSecretOutcome::Unknown,
                (Some(_), 0) => AddSecretOutcome::LimitReached,
                (Some(_), _) => AddSecretOutcome::Added,
            })
        })
        .await
    }

    async fn revoke_client_secret(&self, id: ClientId, secret: SecretId) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let revoke = sqlx::query(REVOKE_SECRET).bind(id.uuid()).bind(secret.uuid());
            let revoked = revoke.execute(&mut *tx).await?.rows_affected();
            tx.end(revoked > 0).await?;
            Ok(revoked > 0)
        })
        .await
    }

    async fn client_secrets_used(&self, secrets: &[SecretId]) -> Result<()> {
        retrying(async || {
            let mut tx = self.begin().await?;
            for secret in secrets {
                sqlx::query(NOTE_USE).bind(secret.uuid()).execute(&mut *tx).await?;
            }
            tx.commit().await
        })
        .await
    }
}

/// ?1 client. One row per live secret, and one without any where there is none.
const FIND: &str = "
    SELECT clients.id, realm, policy, clients.create_time, update_time,
           secret.id AS secret_id, hash, secret.create_time AS secret_create_time, last_used_time
    FROM clients LEFT JOIN client_secrets AS secret ON secret.client_id = clients.id AND secret.revoke_time IS NULL
    WHERE clients.id = ?1 AND delete_time IS NULL ORDER BY secret.id";

/// ?1 client. The same work whether there is such a client or not.
const FIND_SECRETS: &str = "
    SELECT id AS secret_id, hash, create_time AS secret_create_time, last_used_time
    FROM client_secrets WHERE client_id = ?1 AND revoke_time IS NULL ORDER BY id";

/// ?1 client, ?2 when it last changed, ?3 its policy.
const UPDATE: &str = "
    UPDATE clients SET
        policy = json_patch(policy, ?3),
        audience_change_time = CASE WHEN policy->'$.audience' = ?3->'$.audience' THEN audience_change_time
                                    ELSE clock.now END,
        update_time = max(clock.now, update_time + 1)
    FROM clock WHERE id = ?1 AND update_time = ?2 AND delete_time IS NULL
    RETURNING id, realm, policy, create_time, update_time";

/// ?1 client, ?2 whether it is off.
const SET_DISABLED: &str = "
    UPDATE clients SET
        policy = json_set(policy, '$.disabled', json(CASE WHEN ?2 THEN 'true' ELSE 'false' END)),
        update_time = CASE WHEN disabled = ?2 THEN update_time ELSE max(clock.now, update_time + 1) END
    FROM clock WHERE id = ?1 AND delete_time IS NULL";

/// ?1 client.
const DELETE: &str = "
    UPDATE clients SET delete_time = COALESCE(delete_time, clock.now) FROM clock WHERE id = ?1";

/// ?1 only sessions after this one, ?2 how many to look at.
const STRETCH: &str = "
    SELECT max(id) AS last FROM (SELECT id FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?2)";

/// ?1 client, ?2 only sessions after this one, ?3 up to this one, ?4 reason.
const SWEEP: &str = "
    UPDATE sessions SET revoke_time = clock.now, revoke_reason = ?4, update_time = clock.now
    FROM clock
    WHERE id > ?2 AND id <= ?3 AND client_id = ?1 AND revoke_time IS NULL
          AND COALESCE(hard_expire_time, expire_time) > clock.now
    RETURNING expire_time > update_time AS was_live";

/// ?1 client, ?2 id of the secret, ?3 its hash.
const ADD_SECRET: &str = "
    INSERT INTO client_secrets (id, client_id, hash, slot, create_time)
    SELECT ?2, clients.id, ?3, places.slot, clock.now
    FROM clients, clock, (SELECT 0 AS slot UNION ALL SELECT 1) AS places
    WHERE clients.id = ?1 AND delete_time IS NULL
          AND NOT EXISTS (SELECT 1 FROM client_secrets AS taken
                          WHERE taken.client_id = ?1 AND taken.slot = places.slot AND taken.revoke_time IS NULL)
    ORDER BY places.slot LIMIT 1";

/// ?1 client, ?2 secret.
const REVOKE_SECRET: &str = "
    UPDATE client_secrets SET revoke_time = COALESCE(revoke_time, clock.now)
    FROM clock WHERE client_id = ?1 AND id = ?2";

/// ?1 secret.
const NOTE_USE: &str = "
    UPDATE client_secrets SET last_used_time = clock.now
    FROM clock WHERE id = ?1 AND (last_used_time IS NULL OR last_used_time < clock.now - 30000)";
