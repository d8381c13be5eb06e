//! The rotation of refresh tokens, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgRow};

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{ClientId, RevokeReason, RootKeyId},
    store::{
        Result, RotateOutcome, RotateStore, Rotated, Rotation, StoreError, sql_fragments::session_columns,
    },
};

#[async_trait]
impl RotateStore for Postgres {
    async fn rotate_refresh_token(&self, rotation: Rotation) -> Result<RotateOutcome> {
        let Ok(presented) = i32::try_from(rotation.generation) else {
            return Ok(RotateOutcome::Unknown);
        };
        self.retrying(async || {
            let row = sqlx::query(ROTATE)
                .bind(rotation.session_id.uuid())
                .bind(presented)
                .bind(rotation.client_id.map(ClientId::uuid))
                .bind(&rotation.root_key_id.0[..])
                .bind(RevokeReason::RefreshTokenReused.as_str())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map_or(Ok(RotateOutcome::Unknown), outcome)
        })
        .await
    }
}

/// $1 session, $2 generation presented, $3 client, $4 fingerprint of the next, $5 reason of reuse.
const ROTATE: &str = concat!(
    bound_lock_waits!(),
    "held AS MATERIALIZED (
        SELECT sessions.* FROM sessions, bound WHERE id = $1 FOR UPDATE OF sessions
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM held
    ), verdict AS MATERIALIZED (
        SELECT clock.now,
               LEAST(held.hard_expire_time,
                     clock.now + client.refresh_token_ttl_ms * interval '1 millisecond') AS deadline,
               LEAST(held.hard_expire_time,
                     clock.now + client.access_token_ttl_ms * interval '1 millisecond') AS access_deadline,
               client.realm AS client_realm, client.policy::text AS client_policy,
               client.create_time AS client_create_time, client.update_time AS client_update_time,
               CASE
                   WHEN held.refresh_generation IS NULL OR $2 < 1 THEN 'UNKNOWN'
                   WHEN $3::uuid IS NOT NULL AND $3 <> held.client_id THEN 'UNKNOWN'
                   WHEN held.revoke_time IS NOT NULL THEN 'REVOKED'
                   WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                       THEN 'CLIENT_DISABLED'
                   WHEN client.refresh_requires_client AND $3 IS NULL THEN 'CLIENT_REQUIRED'
                   WHEN held.expire_time <= clock.now OR held.hard_expire_time <= clock.now THEN 'EXPIRED'
                   WHEN held.refresh_generation = $2 THEN 'ROTATED'
                   WHEN held.refresh_generation < $2 THEN 'UNKNOWN'
                   WHEN held.refresh_generation - 1 = $2 AND clock.now <= held.refresh_step_time
                        + client.refresh_grace_ms * interval '1 millisecond' THEN 'REPLAYED'
                   ELSE 'REUSED'
               END AS outcome
        FROM held CROSS JOIN clock LEFT JOIN clients AS client ON client.id = held.client_id
    ), rotated AS (
        UPDATE sessions SET
            refresh_generation = sessions.refresh_generation + 1,
            refresh_fingerprint = $4,
            refresh_step_time = verdict.now,
            update_time = verdict.now,
            expire_time = verdict.deadline,
            latest_expire_time = CASE
                WHEN verdict.deadline <= sessions.latest_expire_time THEN sessions.latest_expire_time
                ELSE LEAST(sessions.hard_expire_time, verdict.deadline + interval '1 day') END,
            access_expire_time = GREATEST(sessions.access_expire_time, verdict.access_deadline)
        FROM verdict WHERE sessions.id = $1 AND verdict.outcome = 'ROTATED'
        RETURNING sessions.*
    ), replayed AS (
        UPDATE sessions SET access_expire_time = GREATEST(sessions.access_expire_time, verdict.access_deadline)
        FROM verdict WHERE sessions.id = $1 AND verdict.outcome = 'REPLAYED'
        RETURNING sessions.*
    ), revoked AS (
        UPDATE sessions SET revoke_time = verdict.now, revoke_reason = $5, update_time = verdict.now
        FROM verdict WHERE sessions.id = $1 AND verdict.outcome = 'REUSED'
        RETURNING sessions.*
    )
    SELECT verdict.now, verdict.outcome, client_realm, client_policy, client_create_time, client_update_time, ",
    session_columns!(),
    " FROM verdict, (
        SELECT * FROM rotated
        UNION ALL SELECT * FROM replayed
        UNION ALL SELECT * FROM revoked
        UNION ALL SELECT held.* FROM held, verdict
                  WHERE verdict.outcome NOT IN ('ROTATED', 'REPLAYED', 'REUSED')
    ) AS session"
);

fn outcome(row: &PgRow) -> Result<RotateOutcome> {
    let outcome: String = row.try_get("outcome")?;
    Ok(match outcome.as_str() {
        "ROTATED" => RotateOutcome::Rotated(rotated(row)?),
        "REPLAYED" => RotateOutcome::Replayed(rotated(row)?),
        "REUSED" => {
            let session = rows::session(row)?;
            RotateOutcome::Reused(session.id, session.client_id)
        }
        "REVOKED" => RotateOutcome::Revoked,
        "EXPIRED" => RotateOutcome::Expired,
        "CLIENT_DISABLED" => RotateOutcome::ClientDisabled,
        "CLIENT_REQUIRED" => RotateOutcome::ClientRequired,
        "UNKNOWN" => RotateOutcome::Unknown,
        other => return Err(StoreError::unreadable("outcome", other)),
    })
}

fn rotated(row: &PgRow) -> Result<Rotated> {
    Ok(Rotated {
        session: rows::session(row)?,
        client: rows::client_of_session(row)?,
        generation: rows::generation(row)?,
        root_key_id: RootKeyId(rows::bytes(row, "refresh_fingerprint")?),
        now: row.try_get("now")?,
    })
}
