//! Idempotent replay of redemptions, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{Account, RootKeyId, SessionId},
    store::{
        Replay, ReplayOutcome, ReplayStore, ReplayedRedemption, Result, SignedIn, StoreError,
        replay::verification_method, sql_fragments::session_columns,
    },
};

#[async_trait]
impl ReplayStore for Sqlite {
    async fn replay_redemption(&self, request: Replay) -> Result<ReplayOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = replay(&mut tx, &request).await?;
            tx.end(matches!(outcome, ReplayOutcome::Replayed(_))).await?;
            Ok(outcome)
        })
        .await
    }
}

/// ?1 digest of the request, ?2 client, ?3 session if it must be bound to one, ?4 access in milliseconds.
const REPLAY_VERDICT: &str = "
    SELECT clock.now, held.id, challenge.redeem_time, verification_method, verification_block,
           MIN(held.hard_expire_time, clock.now + ?4) AS access_deadline,
           (SELECT create_time FROM accounts WHERE accounts.id = held.account_id) AS account_create_time,
           CASE
               WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                   THEN 'CLIENT_DISABLED'
               WHEN held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
               WHEN held.refresh_generation <> 1 OR held.expire_time <= clock.now
                   OR clock.now > challenge.redeem_time + client.refresh_grace_ms THEN 'TOO_LATE'
               ELSE 'REPLAYED'
           END AS verdict
    FROM challenges AS challenge CROSS JOIN clock
         JOIN sessions AS held ON held.id = challenge.redeem_session_id
         LEFT JOIN clients AS client ON client.id = held.client_id
    WHERE challenge.request_digest = ?1 AND challenge.client_id = ?2
      AND (?3 IS NULL OR challenge.session_id = ?3)
    ORDER BY challenge.redeem_time DESC LIMIT 1";

/// ?1 session, ?2 deadline of the access token, ?3 now.
const REPLAY: &str = concat!(
    "UPDATE sessions SET access_expire_time = MAX(access_expire_time, ?2) WHERE id = ?1 RETURNING ",
    session_columns!(),
    ", ?3 AS now"
);

async fn replay(tx: &mut WriteTransaction, request: &Replay) -> Result<ReplayOutcome> {
    let verdict = sqlx::query(REPLAY_VERDICT)
        .bind(&request.digest[..])
        .bind(request.scope.client_id.uuid())
        .bind(request.scope.session_id.map(SessionId::uuid))
        .bind(rows::millis(request.access_token_ttl))
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = verdict else { return Ok(ReplayOutcome::Unknown) };
    let verdict: String = row.try_get("verdict")?;
    Ok(match verdict.as_str() {
        "REPLAYED" => ReplayOutcome::Replayed(Box::new(replayed(tx, &row).await?)),
        "TOO_LATE" => ReplayOutcome::TooLate,
        "SESSION_REVOKED" => ReplayOutcome::SessionRevoked,
        "CLIENT_DISABLED" => ReplayOutcome::ClientDisabled,
        other => return Err(StoreError::unreadable("verdict", other)),
    })
}

async fn replayed(tx: &mut WriteTransaction, verdict: &SqliteRow) -> Result<ReplayedRedemption> {
    let row = sqlx::query(REPLAY)
        .bind(verdict.try_get::<Uuid, _>("id")?)
        .bind(verdict.try_get::<i64, _>("access_deadline")?)
        .bind(verdict.try_get::<i64, _>("now")?)
        .fetch_one(&mut **tx)
        .await?;
    let session = rows::session(&row)?;
    let sign_in = session.sign_in.as_ref().ok_or_else(|| StoreError::unreadable("account_id", "NULL"))?;
    let create_time = rows::time(verdict, "account_create_time")?;
    let account = Account {
        id: sign_in.account_id,
        create_time,
        // An account that a sign-in makes is as old as that sign-in.
        created: create_time == rows::time(verdict, "redeem_time")?,
    };
    Ok(ReplayedRedemption {
        method: verification_method(
            verdict.try_get("verification_method")?,
            verdict.try_get("verification_block")?,
        )?,
        root_key_id: RootKeyId(rows::bytes(&row, "refresh_fingerprint")?),
        signed_in: SignedIn { session, account, now: rows::time(verdict, "now")? },
    })
}
