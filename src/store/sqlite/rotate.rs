//! The rotation of refresh tokens, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Sqlite, retrying, rows, sessions::revoke, write_transaction::WriteTransaction};
use crate::{
    domain::{ClientId, RevokeReason, RootKeyId},
    store::{
        Result, RotateOutcome, RotateStore, Rotated, Rotation, StoreError, sql_fragments::session_columns,
    },
};

#[async_trait]
impl RotateStore for Sqlite {
    async fn rotate_refresh_token(&self, rotation: Rotation) -> Result<RotateOutcome> {
        if i32::try_from(rotation.generation).is_err() {
            return Ok(RotateOutcome::Unknown);
        }
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = rotate(&mut tx, &rotation).await?;
            let changed = matches!(
                outcome,
                RotateOutcome::Rotated(_) | RotateOutcome::Replayed(_) | RotateOutcome::Reused(..)
            );
            tx.end(changed).await?;
            Ok(outcome)
        })
        .await
    }
}

/// ?1 session, ?2 generation presented, ?3 client.
const ROTATE_VERDICT: &str = "
    SELECT clock.now, held.client_id, client.realm AS client_realm, client.policy AS client_policy,
           client.create_time AS client_create_time, client.update_time AS client_update_time,
           MIN(held.hard_expire_time, clock.now + client.refresh_token_ttl_ms) AS deadline,
           MIN(held.hard_expire_time, clock.now + client.access_token_ttl_ms) AS access_deadline,
           CASE
               WHEN held.refresh_generation IS NULL OR ?2 < 1 THEN 'UNKNOWN'
               WHEN ?3 IS NOT NULL AND ?3 <> held.client_id THEN 'UNKNOWN'
               WHEN held.revoke_time IS NOT NULL THEN 'REVOKED'
               WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                   THEN 'CLIENT_DISABLED'
               WHEN client.refresh_requires_client AND ?3 IS NULL THEN 'CLIENT_REQUIRED'
               WHEN held.expire_time <= clock.now OR held.hard_expire_time <= clock.now THEN 'EXPIRED'
               WHEN held.refresh_generation = ?2 THEN 'ROTATED'
               WHEN held.refresh_generation < ?2 THEN 'UNKNOWN'
               WHEN held.refresh_generation - 1 = ?2
                    AND clock.now <= held.refresh_step_time + client.refresh_grace_ms THEN 'REPLAYED'
               ELSE 'REUSED'
           END AS outcome
    FROM sessions AS held CROSS JOIN clock LEFT JOIN clients AS client ON client.id = held.client_id
    WHERE held.id = ?1";

/// ?1 session, ?2 fingerprint of the next, ?3 now, ?4 deadline, ?5 deadline of the access token.
const STEP: &str = concat!(
    "UPDATE sessions SET
         refresh_generation = refresh_generation + 1,
         refresh_fingerprint = ?2,
         refresh_step_time = ?3,
         update_time = ?3,
         expire_time = ?4,
         latest_expire_time = CASE WHEN ?4 <= latest_expire_time THEN latest_expire_time
                                   ELSE MIN(hard_expire_time, ?4 + 86400000) END,
         access_expire_time = MAX(access_expire_time, ?5)
     WHERE id = ?1
     RETURNING ",
    session_columns!(),
    ", ?3 AS now"
);

/// ?1 session, ?2 deadline of the access token, ?3 now.
const REPLAY: &str = concat!(
    "UPDATE sessions SET access_expire_time = MAX(access_expire_time, ?2) WHERE id = ?1 RETURNING ",
    session_columns!(),
    ", ?3 AS now"
);

/// Reads the verdict on the presented token, and acts on it.
async fn rotate(tx: &mut WriteTransaction, rotation: &Rotation) -> Result<RotateOutcome> {
    let verdict = sqlx::query(ROTATE_VERDICT)
        .bind(rotation.session_id.uuid())
        .bind(i64::from(rotation.generation))
        .bind(rotation.client_id.map(ClientId::uuid))
        .fetch_optional(&mut **tx)
        .await?;
    let Some(verdict) = verdict else {
        return Ok(RotateOutcome::Unknown);
    };
    let outcome: String = verdict.try_get("outcome")?;
    Ok(match outcome.as_str() {
        "ROTATED" => RotateOutcome::Rotated(step(tx, rotation, &verdict).await?),
        "REPLAYED" => RotateOutcome::Replayed(replay(tx, rotation, &verdict).await?),
        "REUSED" => {
            revoke(tx, rotation.session_id, RevokeReason::RefreshTokenReused).await?;
            let client_id = verdict.try_get::<Uuid, _>("client_id")?.into();
            RotateOutcome::Reused(rotation.session_id, client_id)
        }
        "REVOKED" => RotateOutcome::Revoked,
        "EXPIRED" => RotateOutcome::Expired,
        "CLIENT_DISABLED" => RotateOutcome::ClientDisabled,
        "CLIENT_REQUIRED" => RotateOutcome::ClientRequired,
        "UNKNOWN" => RotateOutcome::Unknown,
        other => return Err(StoreError::unreadable("outcome", other)),
    })
}

async fn step(tx: &mut WriteTransaction, rotation: &Rotation, verdict: &SqliteRow) -> Result<Rotated> {
    let row = sqlx::query(STEP)
        .bind(rotation.session_id.uuid())
        .bind(&rotation.root_key_id.0[..])
        .bind(verdict.try_get::<i64, _>("now")?)
        .bind(verdict.try_get::<i64, _>("deadline")?)
        .bind(verdict.try_get::<i64, _>("access_deadline")?)
        .fetch_one(&mut **tx)
        .await?;
    rotated(&row, verdict)
}

async fn replay(tx: &mut WriteTransaction, rotation: &Rotation, verdict: &SqliteRow) -> Result<Rotated> {
    let row = sqlx::query(REPLAY)
        .bind(rotation.session_id.uuid())
        .bind(verdict.try_get::<i64, _>("access_deadline")?)
        .bind(verdict.try_get::<i64, _>("now")?)
        .fetch_one(&mut **tx)
        .await?;
    rotated(&row, verdict)
}

fn rotated(row: &SqliteRow, verdict: &SqliteRow) -> Result<Rotated> {
    Ok(Rotated {
        session: rows::session(row)?,
        client: rows::client_of_session(verdict)?,
        generation: rows::generation(row)?,
        root_key_id: RootKeyId(rows::bytes(row, "refresh_fingerprint")?),
        now: rows::time(row, "now")?,
    })
}
