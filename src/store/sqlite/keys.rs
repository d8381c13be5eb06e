//! Signing keys and canaries, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Sqlite, retrying, rows};
use crate::{
    domain::{Fingerprint, Sealed},
    store::{Canary, KeyStore, NewSigningKey, Result, SigningKeyState, StoredSigningKey},
};

#[async_trait]
impl KeyStore for Sqlite {
    async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>> {
        retrying(async || {
            sqlx::query(
                "SELECT kid, sealed, root_fingerprint,
                        CASE WHEN activate_time IS NULL THEN 'PREPARED'
                             WHEN retire_time IS NULL THEN 'ACTIVE'
                             ELSE 'RETIRING' END AS state
                 FROM signing_keys, clock
                 WHERE algorithm = 'ES256' AND revoke_time IS NULL AND (remove_time IS NULL OR remove_time > now)",
            )
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(signing_key)
            .collect::<Result<Vec<StoredSigningKey>>>()
        })
        .await
    }

    async fn add_signing_key(&self, key: NewSigningKey) -> Result<bool> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let added = sqlx::query(
                "INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, create_time, activate_time)
                 SELECT ?1, 'ES256', ?2, ?3, now, CASE WHEN ?4 THEN now END FROM clock WHERE TRUE
                 ON CONFLICT DO NOTHING",
            )
            .bind(&key.kid)
            .bind(&key.sealed.bytes)
            .bind(&key.sealed.fingerprint.0[..])
            .bind(key.state == SigningKeyState::Active)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(added.rows_affected() == 1)
        })
        .await
    }

    async fn canaries(&self) -> Result<Vec<Canary>> {
        retrying(async || {
            sqlx::query("SELECT root_fingerprint, sealed FROM root_key_canaries")
                .fetch_all(&self.reader)
                .await?
                .iter()
                .map(|row| Ok(Canary { sealed: sealed(row)? }))
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
            .bind(&canary.sealed.fingerprint.0[..])
            .bind(&canary.sealed.bytes)
            .execute(&mut *tx)
            .await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

fn signing_key(row: &SqliteRow) -> Result<StoredSigningKey> {
    let state: String = row.try_get("state")?;
    Ok(StoredSigningKey {
        kid: row.try_get("kid")?,
        sealed: sealed(row)?,
        state: match state.as_str() {
            "PREPARED" => SigningKeyState::Prepared,
            "ACTIVE" => SigningKeyState::Active,
            _ => SigningKeyState::Retiring,
        },
    })
}

fn sealed(row: &SqliteRow) -> Result<Sealed> {
    Ok(Sealed {
        fingerprint: Fingerprint(rows::bytes(row, "root_fingerprint")?),
        bytes: row.try_get("sealed")?,
    })
}
