//! Revocations, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Connection as _, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{BEGIN_BRIEF, Postgres, rows};
use crate::{
    domain::{ClientId, MAX_ACCESS_TOKEN_AGE, MAX_CHECKER_LEEWAY, token_audience},
    store::{
        InactiveClient, Result, RevocationStore, Revocations, RevokedKey, RevokedSession, StoreError,
        TokenAudience, policy_json, revocations::REVOCATIONS_AT_ONCE,
    },
};

#[async_trait]
impl RevocationStore for Postgres {
    async fn revocations(&self, since: Option<OffsetDateTime>) -> Result<Revocations> {
        // In a statement of its own: one statement's snapshot is older than any clock that it reads.
        let as_of = self.feed_clock().await?;
        let oldest = as_of - MAX_ACCESS_TOKEN_AGE;
        let mut sessions = Vec::new();
        let mut after = (since.unwrap_or(oldest), Uuid::nil());
        // No statement takes long, however many there are.
        while self.read_revoked_sessions(&mut after, &mut sessions).await? == REVOCATIONS_AT_ONCE {}
        let (clients, keys) = (self.inactive_clients(oldest).await?, self.revoked_keys(oldest).await?);
        Ok(Revocations { as_of, sessions, clients, keys })
    }

    async fn tokens_audience(&self, id: ClientId) -> Result<Option<TokenAudience>> {
        self.retrying(async || {
            let row: Option<(String, bool)> = sqlx::query_as(
                "SELECT policy::text,
                        audience_change_time IS NOT NULL
                        AND audience_change_time > clock_timestamp() - $2 * interval '1 millisecond'
                 FROM clients WHERE id = $1",
            )
            .bind(id.uuid())
            .bind(rows::millis(MAX_ACCESS_TOKEN_AGE))
            .fetch_optional(&mut *self.connection().await?)
            .await?;
            row.map(|(policy, changed_lately)| {
                let audience = token_audience(id, &policy_json::read(&policy)?);
                Ok(TokenAudience { audience, changed_lately })
            })
            .transpose()
        })
        .await
    }
}

impl Postgres {
    async fn feed_clock(&self) -> Result<OffsetDateTime> {
        self.retrying(async || match self.read_clock(&mut *self.background().await?).await? {
            (now, false) => Ok(now),
            // A failover may have fenced it: decisions made from memory fail closed.
            (_, true) => Err(StoreError::ReadOnly("the PostgreSQL server is read-only".to_owned())),
        })
        .await
    }

    /// The next of them, in the order of their revocations and ids: how many.
    async fn read_revoked_sessions(
        &self,
        after: &mut (OffsetDateTime, Uuid),
        sessions: &mut Vec<RevokedSession>,
    ) -> Result<usize> {
        let (time, id) = *after;
        let read = self
            .retrying(async || {
                let mut connection = self.background().await?;
                let mut tx = connection.begin_with(BEGIN_BRIEF).await?;
                let read = sqlx::query(
                    "SELECT id, client_id, account_id, revoke_time, revoke_reason, access_expire_time
                     FROM sessions
                     WHERE revoke_time >= $1 AND (revoke_time, id) > ($1, $2)
                           AND access_expire_time > clock_timestamp() - $4 * interval '1 millisecond'
                     ORDER BY revoke_time, id LIMIT $3",
                )
                .bind(time)
                .bind(id)
                .bind(i64::try_from(REVOCATIONS_AT_ONCE).unwrap_or(i64::MAX))
                .bind(rows::millis(MAX_CHECKER_LEEWAY))
                .fetch_all(&mut *tx)
                .await?;
                tx.rollback().await?;
                read.iter().map(rows::revoked_session).collect::<Result<Vec<RevokedSession>>>()
            })
            .await?;
        if let Some(last) = read.last() {
            *after = (last.revoke_time, last.id.uuid());
        }
        let count = read.len();
        sessions.extend(read);
        Ok(count)
    }

    async fn inactive_clients(&self, oldest: OffsetDateTime) -> Result<Vec<InactiveClient>> {
        self.retrying(async || {
            sqlx::query(
                "SELECT id, delete_time FROM clients
                 WHERE (disabled OR delete_time IS NOT NULL) AND (delete_time IS NULL OR delete_time >= $1)",
            )
            .bind(oldest)
            .fetch_all(&mut *self.background().await?)
            .await?
            .iter()
            .map(|row| {
                let id = row.try_get::<Uuid, _>("id")?.into();
                Ok(InactiveClient { id, delete_time: row.try_get("delete_time")? })
            })
            .collect::<Result<Vec<InactiveClient>>>()
        })
        .await
    }

    async fn revoked_keys(&self, oldest: OffsetDateTime) -> Result<Vec<RevokedKey>> {
        self.retrying(async || {
            sqlx::query("SELECT kid, revoke_time FROM signing_keys WHERE revoke_time >= $1")
                .bind(oldest)
                .fetch_all(&mut *self.background().await?)
                .await?
                .iter()
                .map(|row| {
                    Ok(RevokedKey { kid: row.try_get("kid")?, revoke_time: row.try_get("revoke_time")? })
                })
                .collect::<Result<Vec<RevokedKey>>>()
        })
        .await
    }
}
