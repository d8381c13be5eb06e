//! Sessions and the generations of their refresh tokens, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Sqlite, end, retrying, rows};
use crate::{
    domain::{AccountId, ClientId, Fingerprint, RevokeReason, Session, SessionId},
    store::{
        NewSession, Result, RevokeScope, RotateOutcome, Rotated, Rotation, SessionQuery, SessionStore,
        StoreError, sql_fragments::session_columns,
    },
};

#[async_trait]
impl SessionStore for Sqlite {
    async fn create_session(&self, session: NewSession) -> Result<Session> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let row = sqlx::query(CREATE)
                .bind(session.id.uuid())
                .bind(session.client_id.uuid())
                .bind(&session.token_hash[..])
                .bind(session.signing.address.as_str())
                .bind(session.signing.network.as_str())
                .bind(session.deposit.address.as_str())
                .bind(session.deposit.network.as_str())
                .bind(rows::millis(session.pending_ttl))
                .fetch_one(&mut *tx)
                .await?;
            let created = rows::session(&row)?;
            tx.commit().await?;
            Ok(created)
        })
        .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        retrying(async || {
            let row = sqlx::query(FIND).bind(id.uuid()).fetch_optional(&self.reader).await?;
            row.as_ref().map(rows::session).transpose()
        })
        .await
    }

    async fn session_by_token(&self, token_hash: [u8; 32]) -> Result<Option<Session>> {
        retrying(async || {
            let row = sqlx::query(FIND_BY_TOKEN).bind(&token_hash[..]).fetch_optional(&self.reader).await?;
            row.as_ref().map(rows::session).transpose()
        })
        .await
    }

    async fn list_sessions(
        &self,
        client_id: ClientId,
        query: SessionQuery,
        before: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Session>> {
        retrying(async || {
            let listed = match &query {
                SessionQuery::Account(id) => sqlx::query(LIST_BY_ACCOUNT).bind(id.uuid()),
                SessionQuery::Address(address) => sqlx::query(LIST_BY_ADDRESS).bind(address.as_str()),
            };
            listed
                .bind(client_id.uuid())
                .bind(before.map_or(Uuid::max(), SessionId::uuid))
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?
                .iter()
                .map(rows::session)
                .collect::<Result<Vec<Session>>>()
        })
        .await
    }

    async fn revoke_session(&self, id: SessionId, reason: RevokeReason) -> Result<Option<Session>> {
        retrying(async || {
            let mut tx = self.begin().await?;
            revoke(&mut tx, id, reason).await?;
            let row = sqlx::query(FIND).bind(id.uuid()).fetch_optional(&mut *tx).await?;
            let revoked = row.as_ref().map(rows::session).transpose()?;
            tx.commit().await?;
            Ok(revoked)
        })
        .await
    }

    async fn revoke_account_sessions(
        &self,
        account_id: AccountId,
        scope: RevokeScope,
    ) -> Result<Option<u32>> {
        let (client_id, realm) = match scope {
            RevokeScope::Client { client_id, realm } => (Some(client_id.uuid()), Some(realm)),
            RevokeScope::Account => (None, None),
        };
        retrying(async || {
            let mut tx = self.begin().await?;
            let account = sqlx::query("SELECT 1 FROM accounts WHERE id = ?1 AND (?2 IS NULL OR realm = ?2)")
                .bind(account_id.uuid())
                .bind(realm.as_deref())
                .fetch_optional(&mut *tx)
                .await?;
            if account.is_none() {
                tx.rollback().await?;
                return Ok(None);
            }
            let revoked = sqlx::query(REVOKE_ACCOUNT)
                .bind(account_id.uuid())
                .bind(client_id)
                .bind(RevokeReason::AccountSessionsRevoked.as_str())
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            let live = revoked.iter().filter(|row| row.try_get("was_live").unwrap_or(false)).count();
            Ok(Some(u32::try_from(live).unwrap_or(u32::MAX)))
        })
        .await
    }

    async fn rotate_refresh_token(&self, rotation: Rotation) -> Result<RotateOutcome> {
        if i32::try_from(rotation.generation).is_err() {
            return Ok(RotateOutcome::Unknown);
        }
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = rotate(&mut tx, &rotation).await?;
            let changed = matches!(
                outcome,
                RotateOutcome::Rotated(_) | RotateOutcome::Repeated(_) | RotateOutcome::Reused(..)
            );
            end(tx, changed).await?;
            Ok(outcome)
        })
        .await
    }
}

/// ?1 id, ?2 client, ?3 token hash, ?4 to ?7 signing and deposit, ?8 life in milliseconds.
const CREATE: &str = concat!(
    "INSERT INTO sessions (id, client_id, token_hash, signing_address, signing_network,
                           deposit_address, deposit_network, create_time, update_time,
                           expire_time, latest_expire_time)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, now, now, now + ?8, now + ?8 FROM clock
     RETURNING ",
    session_columns!(),
    ", create_time AS now"
);

/// ?1 session.
const FIND: &str =
    concat!("SELECT ", session_columns!(), ", (SELECT now FROM clock) AS now FROM sessions WHERE id = ?1");

/// ?1 token hash.
const FIND_BY_TOKEN: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", (SELECT now FROM clock) AS now FROM sessions WHERE token_hash = ?1"
);

/// ?1 account, ?2 client, ?3 the id before which to go on, ?4 limit.
const LIST_BY_ACCOUNT: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", (SELECT now FROM clock) AS now FROM sessions
     WHERE account_id = ?1 AND client_id = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
);

/// ?1 signing address, further as above.
const LIST_BY_ADDRESS: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", (SELECT now FROM clock) AS now FROM sessions
     WHERE signing_address = ?1 AND client_id = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
);

/// ?1 session, ?2 reason.
const REVOKE: &str = "
    UPDATE sessions SET revoke_time = clock.now, revoke_reason = ?2, update_time = clock.now
    FROM clock WHERE id = ?1 AND revoke_time IS NULL";

/// ?1 account, ?2 client if only its own, ?3 reason.
const REVOKE_ACCOUNT: &str = "
    UPDATE sessions SET revoke_time = clock.now, revoke_reason = ?3, update_time = clock.now
    FROM clock
    WHERE account_id = ?1 AND revoke_time IS NULL AND (?2 IS NULL OR client_id = ?2)
      AND hard_expire_time > clock.now
    RETURNING expire_time > update_time AS was_live";

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
                    AND clock.now <= held.refresh_step_time + client.refresh_grace_ms THEN 'REPEATED'
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
const REPEAT: &str = concat!(
    "UPDATE sessions SET access_expire_time = MAX(access_expire_time, ?2) WHERE id = ?1 RETURNING ",
    session_columns!(),
    ", ?3 AS now"
);

/// What the presented token comes to, and what that asks for, in one transaction that holds the lock.
async fn rotate(tx: &mut SqliteConnection, rotation: &Rotation) -> Result<RotateOutcome> {
    let verdict = sqlx::query(ROTATE_VERDICT)
        .bind(rotation.session_id.uuid())
        .bind(i64::from(rotation.generation))
        .bind(rotation.client_id.map(ClientId::uuid))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(verdict) = verdict else {
        return Ok(RotateOutcome::Unknown);
    };
    let outcome: String = verdict.try_get("outcome")?;
    Ok(match outcome.as_str() {
        "ROTATED" => RotateOutcome::Rotated(step(tx, rotation, &verdict).await?),
        "REPEATED" => RotateOutcome::Repeated(repeat(tx, rotation, &verdict).await?),
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

async fn step(tx: &mut SqliteConnection, rotation: &Rotation, verdict: &SqliteRow) -> Result<Rotated> {
    let row = sqlx::query(STEP)
        .bind(rotation.session_id.uuid())
        .bind(&rotation.fingerprint.0[..])
        .bind(verdict.try_get::<i64, _>("now")?)
        .bind(verdict.try_get::<i64, _>("deadline")?)
        .bind(verdict.try_get::<i64, _>("access_deadline")?)
        .fetch_one(tx)
        .await?;
    rotated(&row, verdict)
}

async fn repeat(tx: &mut SqliteConnection, rotation: &Rotation, verdict: &SqliteRow) -> Result<Rotated> {
    let row = sqlx::query(REPEAT)
        .bind(rotation.session_id.uuid())
        .bind(verdict.try_get::<i64, _>("access_deadline")?)
        .bind(verdict.try_get::<i64, _>("now")?)
        .fetch_one(tx)
        .await?;
    rotated(&row, verdict)
}

/// Ends a session, once.
async fn revoke(tx: &mut SqliteConnection, id: SessionId, reason: RevokeReason) -> Result<()> {
    sqlx::query(REVOKE).bind(id.uuid()).bind(reason.as_str()).execute(tx).await?;
    Ok(())
}

fn rotated(row: &SqliteRow, verdict: &SqliteRow) -> Result<Rotated> {
    Ok(Rotated {
        session: rows::session(row)?,
        client: rows::client_of_session(verdict)?,
        generation: rows::generation(row)?,
        fingerprint: Fingerprint(rows::bytes(row, "refresh_fingerprint")?),
        now: rows::time(row, "now")?,
    })
}
