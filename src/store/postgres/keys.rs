//! Signing keys and canaries, on PostgreSQL.

use async_trait::async_trait;

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{MAX_ACCESS_TOKEN_AGE, RootKeyId, Sealed},
    store::{
        Canary, KeyRotation, KeyStore, NewSigningKey, Result, RootKeyUse, RotateKeyOutcome, SigningKeyState,
        StoreError, StoredSigningKey, sql_fragments::known_algorithm, sql_fragments::root_key_uses,
    },
};

#[async_trait]
impl KeyStore for Postgres {
    async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>> {
        self.retrying(async || {
            sqlx::query(concat!(
                "SELECT kid, algorithm, sealed, root_fingerprint, create_time, activate_time, remove_time,
                        CASE WHEN activate_time IS NULL THEN 'PREPARED'
                             WHEN retire_time IS NULL THEN 'ACTIVE'
                             ELSE 'RETIRING' END AS state
                 FROM signing_keys
                 WHERE revoke_time IS NULL AND ",
                known_algorithm!(),
                " AND (remove_time IS NULL OR remove_time > clock_timestamp())
                 ORDER BY algorithm, create_time",
            ))
            .fetch_all(&mut *self.background().await?)
            .await?
            .iter()
            .map(rows::signing_key)
            .collect::<Result<Vec<StoredSigningKey>>>()
        })
        .await
    }

    async fn add_signing_key(&self, key: NewSigningKey, active: bool) -> Result<bool> {
        self.retrying(async || {
            let added = sqlx::query(
                "INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, activate_time)
                 VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN clock_timestamp() END)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&key.kid)
            .bind(key.algorithm.as_str())
            .bind(&key.sealed.bytes)
            .bind(&key.sealed.root_key_id.0[..])
            .bind(active)
            .execute(&mut *self.connection().await?)
            .await?;
            Ok(added.rows_affected() == 1)
        })
        .await
    }

    async fn rotate_signing_key(&self, rotation: KeyRotation) -> Result<RotateKeyOutcome> {
        self.retrying(async || {
            let verdict: String = sqlx::query_scalar(ROTATE)
                .bind(rotation.next.algorithm.as_str())
                .bind(&rotation.next.kid)
                .bind(&rotation.next.sealed.bytes)
                .bind(&rotation.next.sealed.root_key_id.0[..])
                .bind(rows::millis(rotation.active_for))
                .bind(rows::millis(rotation.published_for))
                .bind(rows::millis(MAX_ACCESS_TOKEN_AGE))
                .fetch_one(&mut *self.connection().await?)
                .await?;
            match verdict.as_str() {
                "ROTATED" => Ok(RotateKeyOutcome::Rotated),
                "NOT_DUE" => Ok(RotateKeyOutcome::NotDue),
                "NOT_PUBLISHED" => Ok(RotateKeyOutcome::NotPublished),
                other => Err(StoreError::unreadable("verdict", other)),
            }
        })
        .await
    }

    async fn revoke_signing_key(
        &self,
        kid: &str,
        replacement: NewSigningKey,
    ) -> Result<Option<SigningKeyState>> {
        self.retrying(async || {
            let was: Option<String> = sqlx::query_scalar(REVOKE)
                .bind(replacement.algorithm.as_str())
                .bind(&replacement.kid)
                .bind(&replacement.sealed.bytes)
                .bind(&replacement.sealed.root_key_id.0[..])
                .bind(kid)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            was.map(|was| rows::signing_key_state(&was)).transpose()
        })
        .await
    }

    async fn reseal_signing_key(&self, kid: &str, from: RootKeyId, sealed: Sealed) -> Result<bool> {
        self.retrying(async || {
            let resealed = sqlx::query(
                "UPDATE signing_keys SET sealed = $3, root_fingerprint = $4
                 WHERE kid = $1 AND root_fingerprint = $2",
            )
            .bind(kid)
            .bind(&from.0[..])
            .bind(&sealed.bytes)
            .bind(&sealed.root_key_id.0[..])
            .execute(&mut *self.connection().await?)
            .await?;
            Ok(resealed.rows_affected() == 1)
        })
        .await
    }

    async fn root_key_uses(&self) -> Result<Vec<RootKeyUse>> {
        self.retrying(async || {
            sqlx::query(concat!(
                "SELECT fingerprint, sum(signing_keys)::bigint AS signing_keys, sum(sessions)::bigint AS sessions,
                        bool_or(canary) AS canary
                 FROM (",
                root_key_uses!("clock_timestamp()"),
                ") AS uses GROUP BY fingerprint ORDER BY fingerprint"
            ))
            .fetch_all(&mut *self.connection().await?)
            .await?
            .iter()
            .map(rows::root_key_use)
            .collect::<Result<Vec<RootKeyUse>>>()
        })
        .await
    }

    async fn forget_root_key(&self, root_key_id: RootKeyId) -> Result<bool> {
        self.retrying(async || {
            let forgotten = sqlx::query(concat!(
                "DELETE FROM root_key_canaries WHERE root_fingerprint = $1 AND NOT EXISTS (
                     SELECT FROM (",
                root_key_uses!("clock_timestamp()"),
                ") AS uses WHERE fingerprint = $1 AND NOT canary)"
            ))
            .bind(&root_key_id.0[..])
            .execute(&mut *self.connection().await?)
            .await?;
            Ok(forgotten.rows_affected() == 1)
        })
        .await
    }

    async fn canaries(&self) -> Result<Vec<Canary>> {
        self.retrying(async || {
            sqlx::query("SELECT root_fingerprint, sealed FROM root_key_canaries")
                .fetch_all(&mut *self.connection().await?)
                .await?
                .iter()
                .map(|row| Ok(Canary { sealed: rows::sealed(row)? }))
                .collect::<Result<Vec<Canary>>>()
        })
        .await
    }

    async fn add_canary(&self, canary: Canary) -> Result<()> {
        self.retrying(async || {
            sqlx::query(
                "INSERT INTO root_key_canaries (root_fingerprint, sealed) VALUES ($1, $2)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&canary.sealed.root_key_id.0[..])
            .bind(&canary.sealed.bytes)
            .execute(&mut *self.connection().await?)
            .await?;
            Ok(())
        })
        .await
    }
}

/// $1 algorithm, $2 next key, $3 sealed, $4 fingerprint, $5 and $6 how long the active key must have signed and the
/// prepared one been published, $7 how long the former stays published, in milliseconds.
///
/// Whoever waited for the lock sees the key that was activated meanwhile, and not the one that was prepared.
const ROTATE: &str = concat!(
    bound_lock_waits!(),
    "held AS MATERIALIZED (
        SELECT signing_keys.* FROM signing_keys, bound
        WHERE algorithm = $1 AND retire_time IS NULL AND revoke_time IS NULL
        ORDER BY kid FOR UPDATE OF signing_keys
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM held) AS locked
    ), verdict AS MATERIALIZED (
        SELECT now, active.kid AS active, prepared.kid AS prepared,
               CASE
                   WHEN active.kid IS NULL OR active.activate_time + $5 * interval '1 millisecond' > now
                       THEN 'NOT_DUE'
                   WHEN prepared.kid IS NULL OR prepared.create_time + $6 * interval '1 millisecond' > now
                       THEN 'NOT_PUBLISHED'
                   ELSE 'ROTATED'
               END AS verdict
        FROM clock
             LEFT JOIN held AS active ON active.activate_time IS NOT NULL
             LEFT JOIN held AS prepared ON prepared.activate_time IS NULL
    ), retired AS (
        UPDATE signing_keys
        SET retire_time = verdict.now, remove_time = verdict.now + $7 * interval '1 millisecond'
        FROM verdict WHERE kid = verdict.active AND verdict.verdict = 'ROTATED'
        RETURNING verdict.now, verdict.prepared
    ), activated AS (
        UPDATE signing_keys SET activate_time = retired.now FROM retired WHERE kid = retired.prepared
        RETURNING retired.now
    ), added AS (
        INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, create_time)
        SELECT $2, $1, $3, $4, now FROM activated
    )
    SELECT verdict FROM verdict"
);

/// $1 algorithm, $2 replacement, $3 sealed, $4 fingerprint, $5 key.
const REVOKE: &str = concat!(
    bound_lock_waits!(),
    "held AS MATERIALIZED (
        SELECT signing_keys.* FROM signing_keys, bound
        WHERE algorithm = $1 AND revoke_time IS NULL AND (kid = $5 OR retire_time IS NULL)
        ORDER BY kid FOR UPDATE OF signing_keys
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM held) AS locked
    ), verdict AS MATERIALIZED (
        SELECT now, prepared.kid AS prepared,
               CASE WHEN revoked.activate_time IS NULL THEN 'PREPARED'
                    WHEN revoked.retire_time IS NULL THEN 'ACTIVE'
                    ELSE 'RETIRING' END AS was
        FROM clock
             JOIN held AS revoked ON revoked.kid = $5
                  AND (revoked.remove_time IS NULL OR revoked.remove_time > now)
             LEFT JOIN held AS prepared ON prepared.activate_time IS NULL AND prepared.kid <> $5
    ), revoked AS (
        UPDATE signing_keys SET revoke_time = verdict.now FROM verdict WHERE kid = $5 RETURNING verdict.*
    ), activated AS (
        UPDATE signing_keys SET activate_time = revoked.now FROM revoked
        WHERE kid = revoked.prepared AND revoked.was = 'ACTIVE'
        RETURNING kid
    ), added AS (
        INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, create_time, activate_time)
        SELECT $2, $1, $3, $4, now, CASE WHEN was = 'ACTIVE' AND activations = 0 THEN now END
        FROM revoked, (SELECT count(*) AS activations FROM activated) AS done WHERE was <> 'RETIRING'
    )
    SELECT was FROM verdict"
);
