//! Sessions, on SQLite.

use async_trait::async_trait;
use sqlx::Row as _;
use uuid::Uuid;

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{AccountId, ClientId, RevokeReason, Session, SessionId},
    store::{NewSession, Result, RevokeScope, SessionQuery, SessionStore, sql_fragments::session_columns},
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
                .bind(&session.token_root_key_id.0[..])
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

    async fn has_unmarked_tokens(&self) -> Result<bool> {
        retrying(async || {
            Ok(sqlx::query(FIND_UNMARKED_TOKEN).fetch_optional(&self.background).await?.is_some())
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
                tx.end(false).await?;
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
}

/// ?1 id, ?2 client, ?3 token hash, ?4 to ?7 signing and deposit, ?8 life in milliseconds, ?9 root key of the token.
const CREATE: &str = concat!(
    "INSERT INTO sessions (id, client_id, token_hash, signing_address, signing_network,
                           deposit_address, deposit_network, create_time, update_time,
                           expire_time, latest_expire_time, token_fingerprint)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, now, now, now + ?8, now + ?8, ?9 FROM clock
     RETURNING ",
    session_columns!(),
    ", create_time AS now"
);

/// ?1 session.
const FIND: &str =
    concat!("SELECT ", session_columns!(), ", (SELECT now FROM clock) AS now FROM sessions WHERE id = ?1");

/// By the index `sessions_with_unmarked_token`.
const FIND_UNMARKED_TOKEN: &str = "
    SELECT create_time FROM sessions WHERE token_hash IS NOT NULL AND token_fingerprint IS NULL
    ORDER BY create_time LIMIT 1";

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

/// Ends a session, once.
pub(super) async fn revoke(tx: &mut WriteTransaction, id: SessionId, reason: RevokeReason) -> Result<()> {
    sqlx::query(REVOKE).bind(id.uuid()).bind(reason.as_str()).execute(&mut **tx).await?;
    Ok(())
}
