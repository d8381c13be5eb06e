//! Signing keys and canaries, on SQLite.

use async_trait::async_trait;
use sqlx::Row as _;

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{MAX_ACCESS_TOKEN_AGE, RootKeyId, Sealed},
    store::{
        Canary, KeyRotation, KeyStore, NewSigningKey, Result, RootKeyUse, RotateKeyOutcome, SigningKeyState,
        StoreError, StoredSigningKey, sql_fragments::known_algorithm, sql_fragments::root_key_uses,
    },
};

#[async_trait]
impl KeyStore for Sqlite {
    async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>> {
        retrying(async || {
            sqlx::query(concat!(
                "SELECT kid, algorithm, sealed, root_fingerprint, create_time, activate_time, remove_time,
                        CASE WHEN activate_time IS NULL THEN 'PREPARED'
                             WHEN retire_time IS NULL THEN 'ACTIVE'
                             ELSE 'RETIRING' END AS state
                 FROM signing_keys, clock
                 WHERE revoke_time IS NULL AND ",
                known_algorithm!(),
                " AND (remove_time IS NULL OR remove_time > now)
                 ORDER BY algorithm, create_time",
            ))
            .fetch_all(&self.background)
            .await?
            .iter()
            .map(rows::signing_key)
            .collect::<Result<Vec<StoredSigningKey>>>()
        })
        .await
    }

    async fn add_signing_key(&self, key: NewSigningKey, active: bool) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let added = add(&mut tx, &key, active).await?;
            tx.commit().await?;
            Ok(added)
        })
        .await
    }

    async fn rotate_signing_key(&self, rotation: KeyRotation) -> Result<RotateKeyOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = rotate(&mut tx, &rotation).await?;
            tx.end(outcome == RotateKeyOutcome::Rotated).await?;
            Ok(outcome)
        })
        .await
    }

    async fn revoke_signing_key(
        &self,
        kid: &str,
        replacement: NewSigningKey,
    ) -> Result<Option<SigningKeyState>> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let was = revoke(&mut tx, kid, &replacement).await?;
            tx.end(was.is_some()).await?;
            Ok(was)
        })
        .await
    }

    async fn reseal_signing_key(&self, kid: &str, from: RootKeyId, sealed: Sealed) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let resealed = sqlx::query(
                "UPDATE signing_keys SET sealed = ?3, root_fingerprint = ?4
                 WHERE kid = ?1 AND root_fingerprint = ?2",
            )
            .bind(kid)
            .bind(&from.0[..])
            .bind(&sealed.bytes)
            .bind(&sealed.root_key_id.0[..])
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(resealed.rows_affected() == 1)
        })
        .await
    }

    async fn root_key_uses(&self) -> Result<Vec<RootKeyUse>> {
        retrying(async || {
            sqlx::query(concat!(
                "SELECT fingerprint, sum(signing_keys) AS signing_keys, sum(sessions) AS sessions,
                        max(canary) AS canary
                 FROM (",
                root_key_uses!("(SELECT now FROM clock)"),
                ") AS uses GROUP BY fingerprint ORDER BY fingerprint"
            ))
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(rows::root_key_use)
            .collect::<Result<Vec<RootKeyUse>>>()
        })
        .await
    }

    async fn forget_root_key(&self, root_key_id: RootKeyId) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let forgotten = sqlx::query(concat!(
                "DELETE FROM root_key_canaries WHERE root_fingerprint = ?1 AND NOT EXISTS (
                     SELECT 1 FROM (",
                root_key_uses!("(SELECT now FROM clock)"),
                ") AS uses WHERE fingerprint = ?1 AND NOT canary)"
            ))
            .bind(&root_key_id.0[..])
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(forgotten.rows_affected() == 1)
        })
        .await
    }

    async fn canaries(&self) -> Result<Vec<Canary>> {
        retrying(async || {
            sqlx::query("SELECT root_fingerprint, sealed FROM root_key_canaries")
                .fetch_all(&self.reader)
                .await?
                .iter()
                .map(|row| Ok(Canary { sealed: rows::sealed(row)? }))
                .collect::<Result<Vec<Canary>>>()
        })
        .await
    }

    async fn add_canary(&self, canary: Canary) -> Result<()> {
        retrying(async || {
            let mut tx = self.begin().await?;
            sqlx::query(
                "INSERT INTO root_key_canaries (root_fingerprint, sealed, create_time)
                 SELECT ?1, ?2, now FROM clock WHERE TRUE
                 ON CONFLICT DO NOTHING",
            )
            .bind(&canary.sealed.root_key_id.0[..])
            .bind(&canary.sealed.bytes)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }
}

/// ?1 id, ?2 algorithm, ?3 sealed, ?4 fingerprint, ?5 whether it signs at once.
const ADD: &str = "
    INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, create_time, activate_time)
    SELECT ?1, ?2, ?3, ?4, now, CASE WHEN ?5 THEN now END FROM clock WHERE TRUE
    ON CONFLICT DO NOTHING";

/// ?1 algorithm, ?2 and ?3 how long the active key must have signed and the prepared one been published, in
/// milliseconds.
const ROTATE_VERDICT: &str = "
    SELECT now, active.kid AS active, prepared.kid AS prepared,
           CASE
               WHEN active.kid IS NULL OR active.activate_time + ?2 > now THEN 'NOT_DUE'
               WHEN prepared.kid IS NULL OR prepared.create_time + ?3 > now THEN 'NOT_PUBLISHED'
               ELSE 'ROTATED'
           END AS verdict
    FROM clock
         LEFT JOIN signing_keys AS active ON active.algorithm = ?1 AND active.activate_time IS NOT NULL
              AND active.retire_time IS NULL AND active.revoke_time IS NULL
         LEFT JOIN signing_keys AS prepared ON prepared.algorithm = ?1 AND prepared.activate_time IS NULL
              AND prepared.revoke_time IS NULL";

/// ?1 key.
const REVOKE_VERDICT: &str = "
    SELECT now, prepared.kid AS prepared,
           CASE WHEN revoked.activate_time IS NULL THEN 'PREPARED'
                WHEN revoked.retire_time IS NULL THEN 'ACTIVE'
                ELSE 'RETIRING' END AS was
    FROM clock
         JOIN signing_keys AS revoked ON revoked.kid = ?1 AND revoked.revoke_time IS NULL
              AND (revoked.remove_time IS NULL OR revoked.remove_time > now)
         LEFT JOIN signing_keys AS prepared ON prepared.algorithm = revoked.algorithm
              AND prepared.activate_time IS NULL AND prepared.revoke_time IS NULL AND prepared.kid <> ?1";

async fn add(tx: &mut WriteTransaction, key: &NewSigningKey, active: bool) -> Result<bool> {
    let added = sqlx::query(ADD)
        .bind(&key.kid)
        .bind(key.algorithm.as_str())
        .bind(&key.sealed.bytes)
        .bind(&key.sealed.root_key_id.0[..])
        .bind(active)
        .execute(&mut **tx)
        .await?;
    Ok(added.rows_affected() == 1)
}

/// Reads the verdict, and acts on it.
async fn rotate(tx: &mut WriteTransaction, rotation: &KeyRotation) -> Result<RotateKeyOutcome> {
    let row = sqlx::query(ROTATE_VERDICT)
        .bind(rotation.next.algorithm.as_str())
        .bind(rows::millis(rotation.active_for))
        .bind(rows::millis(rotation.published_for))
        .fetch_one(&mut **tx)
        .await?;
    let verdict: String = row.try_get("verdict")?;
    match verdict.as_str() {
        "ROTATED" => {}
        "NOT_DUE" => return Ok(RotateKeyOutcome::NotDue),
        "NOT_PUBLISHED" => return Ok(RotateKeyOutcome::NotPublished),
        other => return Err(StoreError::unreadable("verdict", other)),
    }
    let now: i64 = row.try_get("now")?;
    sqlx::query("UPDATE signing_keys SET retire_time = ?2, remove_time = ?2 + ?3 WHERE kid = ?1")
        .bind(row.try_get::<String, _>("active")?)
        .bind(now)
        .bind(rows::millis(MAX_ACCESS_TOKEN_AGE))
        .execute(&mut **tx)
        .await?;
    activate(tx, &row.try_get::<String, _>("prepared")?, now).await?;
    add(tx, &rotation.next, false).await?;
    Ok(RotateKeyOutcome::Rotated)
}

/// As above.
async fn revoke(
    tx: &mut WriteTransaction,
    kid: &str,
    replacement: &NewSigningKey,
) -> Result<Option<SigningKeyState>> {
    let row = sqlx::query(REVOKE_VERDICT).bind(kid).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(None) };
    let (was, now) = (rows::signing_key_state(row.try_get("was")?)?, row.try_get::<i64, _>("now")?);
    sqlx::query("UPDATE signing_keys SET revoke_time = ?2 WHERE kid = ?1")
        .bind(kid)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    let prepared: Option<String> = row.try_get("prepared")?;
    if was == SigningKeyState::Active
        && let Some(prepared) = &prepared
    {
        activate(tx, prepared, now).await?;
    }
    if was != SigningKeyState::Retiring {
        add(tx, replacement, was == SigningKeyState::Active && prepared.is_none()).await?;
    }
    Ok(Some(was))
}

async fn activate(tx: &mut WriteTransaction, kid: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE signing_keys SET activate_time = ?2 WHERE kid = ?1")
        .bind(kid)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
