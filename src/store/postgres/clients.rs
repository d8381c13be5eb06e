//! Clients and their secrets, on PostgreSQL.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{Client, ClientId, LiveSecret, Policy, RevokeReason, SecretId, SessionId},
    store::{AddSecretOutcome, ClientRecord, ClientStore, NewClient, Result, StoreError, Sweep, policy_json},
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
            .fetch_one(&mut *self.connection().await?)
            .await?;
            rows::client(&row)
        })
        .await
    }

    async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>> {
        self.retrying(async || {
            let found = sqlx::query(FIND).bind(id.uuid()).fetch_all(&mut *self.connection().await?).await?;
            let Some(first) = found.first() else { return Ok(None) };
            let secrets =
                found.iter().filter_map(|row| rows::secret(row).transpose()).collect::<Result<_>>()?;
            Ok(Some(ClientRecord { client: rows::client(first)?, secrets }))
        })
        .await
    }

    async fn client_secrets(&self, id: ClientId) -> Result<Vec<LiveSecret>> {
        self.retrying(async || {
            let found =
                sqlx::query(FIND_SECRETS).bind(id.uuid()).fetch_all(&mut *self.connection().await?).await?;
            found.iter().filter_map(|row| rows::secret(row).transpose()).collect()
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
            .fetch_all(&mut *self.connection().await?)
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
        self.retrying(async || {
            let row = sqlx::query(UPDATE)
                .bind(id.uuid())
                .bind(seen)
                .bind(&policy)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(rows::client).transpose()
        })
        .await
    }

    async fn set_client_disabled(&self, id: ClientId, disabled: bool) -> Result<bool> {
        self.retrying(async || {
            let statement = sqlx::query(SET_DISABLED).bind(id.uuid()).bind(disabled);
            Ok(statement.fetch_optional(&mut *self.connection().await?).await?.is_some())
        })
        .await
    }

    async fn delete_client(&self, id: ClientId) -> Result<bool> {
        self.retrying(async || {
            let row =
                sqlx::query(DELETE).bind(id.uuid()).fetch_optional(&mut *self.connection().await?).await?;
            Ok(row.is_some())
        })
        .await
    }

    async fn sweep_sessions(&self, id: ClientId, after: Option<SessionId>, limit: u32) -> Result<Sweep> {
        self.retrying(async || {
            let row = sqlx::query(SWEEP)
                .bind(id.uuid())
                .bind(after.map_or(Uuid::nil(), SessionId::uuid))
                .bind(i64::from(limit))
                .bind(RevokeReason::ClientDeleted.as_str())
                .fetch_one(&mut *self.connection().await?)
                .await?;
            let revoked = row.try_get::<i64, _>("revoked")?;
            Ok(Sweep {
                last: row.try_get::<Option<Uuid>, _>("last")?.map(SessionId::from),
                revoked: u32::try_from(revoked).unwrap_or(u32::MAX),
            })
        })
        .await
    }

    async fn add_client_secret(
        &self,
        id: ClientId,
        secret: SecretId,
        hash: [u8; 32],
    ) -> Result<AddSecretOutcome> {
        self.retrying(async || {
            let row = sqlx::query(ADD_SECRET)
                .bind(id.uuid())
                .bind(secret.uuid())
                .bind(&hash[..])
                .fetch_one(&mut *self.connection().await?)
                .await?;
            match (row.try_get("known")?, row.try_get("free")?, row.try_get("added")?) {
                (false, ..) => Ok(AddSecretOutcome::Unknown),
                (true, false, _) => Ok(AddSecretOutcome::LimitReached),
                (true, true, true) => Ok(AddSecretOutcome::Added),
                // Another call took the same place, and was faster.
                (true, true, false) => Err(StoreError::Contention),
            }
        })
        .await
    }

    async fn revoke_client_secret(&self, id: ClientId, secret: SecretId) -> Result<bool> {
        self.retrying(async || {
            let statement = sqlx::query(REVOKE_SECRET).bind(id.uuid()).bind(secret.uuid());
            Ok(statement.fetch_optional(&mut *self.connection().await?).await?.is_some())
        })
        .await
    }

    async fn client_secrets_used(&self, secrets: &[SecretId]) -> Result<()> {
        let ids: Vec<Uuid> = secrets.iter().map(|secret| secret.uuid()).collect();
        self.retrying(async || {
            sqlx::query(NOTE_USE).bind(&ids).execute(&mut *self.connection().await?).await?;
            Ok(())
        })
        .await
    }
}

/// $1 client. One row per live secret, and one without any where there is none.
const FIND: &str = "
    SELECT clients.id, realm, policy::text AS policy, clients.create_time, update_time,
           secret.id AS secret_id, hash, secret.create_time AS secret_create_time, last_used_time
    FROM clients LEFT JOIN client_secrets AS secret ON secret.client_id = clients.id AND secret.revoke_time IS NULL
    WHERE clients.id = $1 AND delete_time IS NULL ORDER BY secret.id";

/// $1 client. The same work whether there is such a client or not.
const FIND_SECRETS: &str = "
    SELECT id AS secret_id, hash, create_time AS secret_create_time, last_used_time
    FROM client_secrets WHERE client_id = $1 AND revoke_time IS NULL ORDER BY id";

/// $1 client, $2 when it last changed, $3 its policy.
const UPDATE: &str = concat!(
    bound_lock_waits!(),
    "clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM bound)
    UPDATE clients SET
        policy = policy || $3::jsonb,
        audience_change_time = CASE WHEN policy->'audience' = $3::jsonb->'audience' THEN audience_change_time
                                    ELSE clock.now END,
        update_time = GREATEST(clock.now, update_time + interval '1 microsecond')
    FROM clock WHERE id = $1 AND update_time = $2 AND delete_time IS NULL
    RETURNING id, realm, policy::text AS policy, create_time, update_time"
);

/// $1 client, $2 whether it is off. One that is as wanted is not touched.
const SET_DISABLED: &str = concat!(
    bound_lock_waits!(),
    "clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM bound)
    UPDATE clients SET
        policy = policy || jsonb_build_object('disabled', $2),
        update_time = CASE WHEN disabled = $2 THEN update_time
                           ELSE GREATEST(clock.now, update_time + interval '1 microsecond') END
    FROM clock WHERE id = $1 AND delete_time IS NULL RETURNING id"
);

/// $1 client.
const DELETE: &str = concat!(
    bound_lock_waits!(),
    "clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM bound)
    UPDATE clients SET delete_time = COALESCE(delete_time, clock.now)
    FROM clock WHERE id = $1 RETURNING id"
);

/// $1 client, $2 only sessions after this one, $3 how many to look at, $4 reason.
const SWEEP: &str = concat!(
    bound_lock_waits!(),
    "stretch AS MATERIALIZED (
        SELECT id, client_id FROM sessions WHERE id > $2 ORDER BY id LIMIT $3
    ), held AS MATERIALIZED (
        SELECT sessions.id FROM sessions, bound
        WHERE sessions.id IN (SELECT id FROM stretch WHERE client_id = $1) AND revoke_time IS NULL
        ORDER BY sessions.id FOR UPDATE OF sessions
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM held) AS locked
    ), revoked AS (
        UPDATE sessions SET revoke_time = clock.now, revoke_reason = $4, update_time = clock.now
        FROM held, clock
        WHERE sessions.id = held.id AND COALESCE(sessions.hard_expire_time, sessions.expire_time) > clock.now
        RETURNING sessions.expire_time > clock.now AS was_live
    )
    SELECT (SELECT id FROM stretch ORDER BY id DESC LIMIT 1) AS last,
           (SELECT count(*) FROM revoked WHERE was_live) AS revoked"
);

/// $1 client, $2 id of the secret, $3 its hash. Whoever takes the same place a moment later adds nothing.
const ADD_SECRET: &str = concat!(
    bound_lock_waits!(),
    "client AS MATERIALIZED (
        SELECT id FROM clients, bound WHERE id = $1 AND delete_time IS NULL
    ), place AS MATERIALIZED (
        SELECT slot FROM (VALUES (0::smallint), (1::smallint)) AS places (slot)
        WHERE NOT EXISTS (SELECT 1 FROM client_secrets AS taken
                          WHERE taken.client_id = $1 AND taken.slot = places.slot AND taken.revoke_time IS NULL)
        ORDER BY slot LIMIT 1
    ), added AS (
        INSERT INTO client_secrets (id, client_id, hash, slot) SELECT $2, id, $3, slot FROM client, place
        ON CONFLICT (client_id, slot) WHERE revoke_time IS NULL DO NOTHING
        RETURNING id
    )
    SELECT EXISTS (SELECT 1 FROM client) AS known, EXISTS (SELECT 1 FROM place) AS free,
           EXISTS (SELECT 1 FROM added) AS added"
);

/// $1 client, $2 secret.
const REVOKE_SECRET: &str = concat!(
    bound_lock_waits!(),
    "clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM bound)
    UPDATE client_secrets SET revoke_time = COALESCE(revoke_time, clock.now)
    FROM clock WHERE client_id = $1 AND id = $2 RETURNING id"
);

/// $1 secrets. One that somebody else is just noting is skipped, so that nobody waits here.
const NOTE_USE: &str = "
    WITH held AS MATERIALIZED (
        SELECT id FROM client_secrets
        WHERE id = ANY($1)
              AND (last_used_time IS NULL OR last_used_time < clock_timestamp() - interval '30 seconds')
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE client_secrets SET last_used_time = clock_timestamp() FROM held WHERE client_secrets.id = held.id";
