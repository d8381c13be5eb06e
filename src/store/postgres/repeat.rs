//! Redemptions that come again, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgRow};
use time::OffsetDateTime;

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{Account, Fingerprint, SessionId},
    store::{
        RepeatOutcome, RepeatStore, Repeated, Repetition, Result, SignedIn, StoreError,
        repeat::verification_method, sql_fragments::session_columns,
    },
};

#[async_trait]
impl RepeatStore for Postgres {
    async fn repeat_redemption(&self, repetition: Repetition) -> Result<RepeatOutcome> {
        self.retrying(async || {
            let row = sqlx::query(REPEAT)
                .bind(&repetition.digest[..])
                .bind(repetition.scope.client_id.uuid())
                .bind(repetition.scope.session_id.map(SessionId::uuid))
                .bind(rows::millis(repetition.access_token_ttl))
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map_or(Ok(RepeatOutcome::Unknown), outcome)
        })
        .await
    }
}

/// $1 digest of the request, $2 client, $3 session if it must be bound to one, $4 access in milliseconds.
const REPEAT: &str = concat!(
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
                   ELSE 'REPEATED'
               END AS verdict
        FROM challenge CROSS JOIN held CROSS JOIN clock LEFT JOIN clients AS client ON client.id = held.client_id
    ), repeated AS (
        UPDATE sessions SET access_expire_time = GREATEST(sessions.access_expire_time, verdict.access_deadline)
        FROM held, verdict WHERE sessions.id = held.id AND verdict.verdict = 'REPEATED'
        RETURNING sessions.*
    )
    SELECT verdict, now, redeem_time, verification_method, verification_block,
           (SELECT accounts.create_time FROM accounts WHERE accounts.id = account_id) AS account_create_time, ",
    session_columns!(),
    " FROM verdict LEFT JOIN repeated ON TRUE"
);

fn outcome(row: &PgRow) -> Result<RepeatOutcome> {
    let verdict: String = row.try_get("verdict")?;
    Ok(match verdict.as_str() {
        "REPEATED" => RepeatOutcome::Repeated(Box::new(repeated(row)?)),
        "TOO_LATE" => RepeatOutcome::TooLate,
        "SESSION_REVOKED" => RepeatOutcome::SessionRevoked,
        "CLIENT_DISABLED" => RepeatOutcome::ClientDisabled,
        other => return Err(StoreError::unreadable("verdict", other)),
    })
}

fn repeated(row: &PgRow) -> Result<Repeated> {
    let session = rows::session(row)?;
    let sign_in = session.sign_in.as_ref().ok_or_else(|| StoreError::unreadable("account_id", "NULL"))?;
    let create_time: OffsetDateTime = row.try_get("account_create_time")?;
    let account = Account {
        id: sign_in.account_id,
        create_time,
        // An account that a sign-in makes is as old as that sign-in.
        created: create_time == row.try_get::<OffsetDateTime, _>("redeem_time")?,
    };
    Ok(Repeated {
        method: verification_method(row.try_get("verification_method")?, row.try_get("verification_block")?)?,
        fingerprint: Fingerprint(rows::bytes(row, "refresh_fingerprint")?),
        signed_in: SignedIn { session, account, now: row.try_get("now")? },
    })
}
