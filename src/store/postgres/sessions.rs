//! Sessions, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use super::{BEGIN_BRIEF, Postgres, bound_lock_waits, rows};
use crate::{
    domain::{AccountId, ClientId, RevokeReason, Session, SessionId},
    store::{NewSession, Result, RevokeScope, SessionQuery, SessionStore, sql_fragments::session_columns},
};

#[async_trait]
impl SessionStore for Postgres {
    async fn create_session(&self, session: NewSession) -> Result<Session> {
        self.retrying(async || {
            let row = sqlx::query(concat!(
                "INSERT INTO sessions (id, client_id, token_hash, signing_address, signing_network,
                                       deposit_address, deposit_network, create_time, update_time,
                                       expire_time, latest_expire_time, token_fingerprint)
                 SELECT $1, $2, $3, $4, $5, $6, $7, now, now, deadline, deadline, $9
                 FROM (SELECT now, now + $8 * interval '1 millisecond' AS deadline
                       FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock OFFSET 0) AS times
                 RETURNING create_time AS now, ",
                session_columns!()
            ))
            .bind(session.id.uuid())
            .bind(session.client_id.uuid())
            .bind(&session.token_hash[..])
            .bind(session.signing.address.as_str())
            .bind(session.signing.network.as_str())
            .bind(session.deposit.address.as_str())
            .bind(session.deposit.network.as_str())
            .bind(rows::millis(session.pending_ttl))
            .bind(&session.token_root_key_id.0[..])
            .fetch_one(&mut *self.connection().await?)
            .await?;
            rows::session(&row)
        })
        .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        self.retrying(async || {
            let row = sqlx::query(concat!(
                "SELECT ",
                session_columns!(),
                ", clock_timestamp() AS now FROM sessions WHERE id = $1"
            ))
            .bind(id.uuid())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
            row.as_ref().map(rows::session).transpose()
        })
        .await
    }

    async fn session_by_token(&self, token_hash: [u8; 32]) -> Result<Option<Session>> {
        self.retrying(async || {
            let row = sqlx::query(concat!(
                "SELECT ",
                session_columns!(),
                ", clock_timestamp() AS now FROM sessions WHERE token_hash = $1"
            ))
            .bind(&token_hash[..])
            .fetch_optional(&mut *self.connection().await?)
            .await?;
            row.as_ref().map(rows::session).transpose()
        })
        .await
    }

    async fn has_unmarked_tokens(&self) -> Result<bool> {
        self.retrying(async || {
            let mut connection = self.background().await?;
            let mut tx = connection.begin_with(BEGIN_BRIEF).await?;
            let found = sqlx::query(FIND_UNMARKED_TOKEN).fetch_optional(&mut *tx).await?;
            tx.rollback().await?;
            Ok(found.is_some())
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
        let (statement, wanted) = match &query {
            SessionQuery::Account(account_id) => (LIST_OF_ACCOUNT, account_id.to_string()),
            SessionQuery::Address(address) => (LIST_OF_ADDRESS, address.as_str().to_owned()),
        };
        self.retrying(async || {
            sqlx::query(statement)
                .bind(client_id.uuid())
                .bind(&wanted)
                .bind(before.map_or(Uuid::max(), SessionId::uuid))
                .bind(i64::from(limit))
                .fetch_all(&mut *self.connection().await?)
                .await?
                .iter()
                .map(rows::session)
                .collect::<Result<Vec<Session>>>()
        })
        .await
    }

    async fn revoke_session(&self, id: SessionId, reason: RevokeReason) -> Result<Option<Session>> {
        self.retrying(async || {
            let row = sqlx::query(REVOKE)
                .bind(id.uuid())
                .bind(reason.as_str())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(rows::session).transpose()
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
        self.retrying(async || {
            let row = sqlx::query(REVOKE_OF_ACCOUNT)
                .bind(account_id.uuid())
                .bind(client_id)
                .bind(realm.as_deref())
                .bind(RevokeReason::AccountSessionsRevoked.as_str())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.map(|row| Ok(u32::try_from(row.try_get::<i64, _>("revoked")?).unwrap_or(u32::MAX)))
                .transpose()
        })
        .await
    }
}

/// Ordered, so that the index `sessions_with_unmarked_token` is used whatever the planner's statistics say: where many
/// such sessions are expected and none is left, it would otherwise read the whole table.
const FIND_UNMARKED_TOKEN: &str = "
    SELECT create_time FROM sessions WHERE token_hash IS NOT NULL AND token_fingerprint IS NULL
    ORDER BY create_time LIMIT 1";

/// $1 client, $2 account, $3 only those older than this one, $4 how many.
const LIST_OF_ACCOUNT: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", clock_timestamp() AS now FROM sessions
    WHERE client_id = $1 AND account_id = $2::uuid AND id < $3 ORDER BY id DESC LIMIT $4"
);

/// $1 client, $2 address, further as above.
const LIST_OF_ADDRESS: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", clock_timestamp() AS now FROM sessions
    WHERE client_id = $1 AND signing_address = $2 AND id < $3 ORDER BY id DESC LIMIT $4"
);

/// $1 account, $2 client whose sessions it must be, $3 realm that the account must be of, $4 reason.
const REVOKE_OF_ACCOUNT: &str = concat!(
    bound_lock_waits!(),
    "account AS MATERIALIZED (
        SELECT id FROM accounts WHERE id = $1 AND ($3::text IS NULL OR realm = $3)
    ), held AS MATERIALIZED (
        SELECT sessions.id FROM sessions, account, bound
        WHERE sessions.account_id = account.id AND revoke_time IS NULL AND ($2::uuid IS NULL OR client_id = $2)
        ORDER BY sessions.id FOR UPDATE OF sessions
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM held) AS locked
    ), revoked AS (
        UPDATE sessions SET revoke_time = clock.now, revoke_reason = $4, update_time = clock.now
        FROM held, clock WHERE sessions.id = held.id AND sessions.hard_expire_time > clock.now
        RETURNING sessions.expire_time > clock.now AS was_live
    )
    SELECT (SELECT count(*) FROM revoked WHERE was_live) AS revoked FROM account"
);

/// $1 session, $2 reason.
const REVOKE: &str = concat!(
    bound_lock_waits!(),
    "held AS MATERIALIZED (
        SELECT sessions.* FROM sessions, bound WHERE id = $1 FOR UPDATE OF sessions
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM held
    ), revoked AS (
        UPDATE sessions SET revoke_time = clock.now, revoke_reason = $2, update_time = clock.now
        FROM held, clock WHERE sessions.id = held.id AND held.revoke_time IS NULL
        RETURNING sessions.*
    )
    SELECT now, ",
    session_columns!(),
    " FROM clock, (
        SELECT * FROM revoked
        UNION ALL SELECT * FROM held WHERE held.revoke_time IS NOT NULL
    ) AS session"
);
