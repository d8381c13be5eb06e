//! Idempotent replay of redemptions, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgRow};
use time::OffsetDateTime;

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{Account, RootKeyId, SessionId},
    store::{
        Replay, ReplayOutcome, ReplayStore, ReplayedRedemption, Result, SignedIn, StoreError,
        replay::verification_method, sql_fragments::session_columns,
    },
};

#[async_trait]
impl ReplayStore for Postgres {
    async fn replay_redemption(&self, replay: Replay) -> Result<ReplayOutcome> {
        self.retrying(async || {
            let row = sqlx::query(REPLAY)
                .bind(&replay.digest[..])
                .bind(replay.scope.client_id.uuid())
                .bind(replay.scope.session_id.map(SessionId::uuid))
                .bind(rows::millis(replay.access_token_ttl))
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map_or(Ok(ReplayOutcome::Unknown), outcome)
        })
        .await
    }
}

/// $1 digest of the request, $2 client, $3 session if it must be bound to one, $4 access in milliseconds.
const REPLAY: &str = concat!(
    bound_lock_waits!(),
    "challenge AS MATERIALIZED (
        SELECT redeem_time, redeem_session_id, verification_method, verification_block FROM challenges
        WHERE request_digest = $1 AND client_id = $2 AND ($3::uuid IS NULL OR session_id = $3)
        ORDER BY redeem_time DESC LIMIT 1
    ), held AS MATERIALIZED (
        SELECT sessions.* FROM sessions, bound WHERE id = (SELECT redeem_session_id FROM challenge)
        FOR UPDATE OF sessions
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM held
    ), verdict AS MATERIALIZED (
        SELECT clock.now, challenge.redeem_time, verification_method, verification_block,
               LEAST(held.hard_expire_time, clock.now + $4 * interval '1 millisecond') AS access_deadline,
               CASE
                   WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                       THEN 'CLIENT_DISABLED'
                   WHEN held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
                   WHEN held.refresh_generation <> 1 OR held.expire_time <= clock.now
                       OR clock.now > challenge.redeem_time + client.refresh_grace_ms * interval '1 millisecond'
                       THEN 'TOO_LATE'
                   ELSE 'REPLAYED'
               END AS verdict
        FROM challenge CROSS JOIN held CROSS JOIN clock LEFT JOIN clients AS client ON client.id = held.client_id
    ), replayed AS (
        UPDATE sessions SET access_expire_time = GREATEST(sessions.access_expire_time, verdict.access_deadline)
        FROM held, verdict WHERE sessions.id = held.id AND verdict.verdict = 'REPLAYED'
        RETURNING sessions.*
    )
    SELECT verdict, now, redeem_time, verification_method, verification_block,
           (SELECT accounts.create_time FROM accounts WHERE accounts.id = account_id) AS account_create_time, ",
    session_columns!(),
    " FROM verdict LEFT JOIN replayed ON TRUE"
);

fn outcome(row: &PgRow) -> Result<ReplayOutcome> {
    let verdict: String = row.try_get("verdict")?;
    Ok(match verdict.as_str() {
        "REPLAYED" => ReplayOutcome::Replayed(Box::new(replayed(row)?)),
        "TOO_LATE" => ReplayOutcome::TooLate,
        "SESSION_REVOKED" => ReplayOutcome::SessionRevoked,
        "CLIENT_DISABLED" => ReplayOutcome::ClientDisabled,
        other => return Err(StoreError::unreadable("verdict", other)),
    })
}

fn replayed(row: &PgRow) -> Result<ReplayedRedemption> {
    let session = rows::session(row)?;
    let sign_in = session.sign_in.as_ref().ok_or_else(|| StoreError::unreadable("account_id", "NULL"))?;
    let create_time: OffsetDateTime = row.try_get("account_create_time")?;
    let account = Account {
        id: sign_in.account_id,
        create_time,
        // An account that a sign-in makes is as old as that sign-in.
        created: create_time == row.try_get::<OffsetDateTime, _>("redeem_time")?,
    };
    Ok(ReplayedRedemption {
        method: verification_method(row.try_get("verification_method")?, row.try_get("verification_block")?)?,
        root_key_id: RootKeyId(rows::bytes(row, "refresh_fingerprint")?),
        signed_in: SignedIn { session, account, now: row.try_get("now")? },
    })
}
