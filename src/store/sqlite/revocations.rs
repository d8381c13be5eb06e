//! Revocations, on SQLite.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sqlite, retrying, rows};
use crate::{
    domain::{ClientId, MAX_ACCESS_TOKEN_AGE, MAX_CHECKER_LEEWAY, token_audience},
    store::{
        InactiveClient, Lifecycle as _, Result, RevocationStore, Revocations, RevokedKey, RevokedSession,
        TokenAudience, policy_json, revocations::REVOCATIONS_AT_ONCE,
    },
};

#[async_trait]
impl RevocationStore for Sqlite {
    async fn revocations(&self, since: Option<OffsetDateTime>) -> Result<Revocations> {
        let as_of = self.now().await?;
        let oldest = as_of - MAX_ACCESS_TOKEN_AGE;
        let mut sessions = Vec::new();
        let mut after = (since.unwrap_or(oldest), Uuid::nil());
        // No statement takes long, however many there are.
        while self.read_revoked_sessions(&mut after, &mut sessions).await? == REVOCATIONS_AT_ONCE {}
        let (clients, keys) = (self.inactive_clients(oldest).await?, self.revoked_keys(oldest).await?);
        Ok(Revocations { as_of, sessions, clients, keys })
    }

    async fn tokens_audience(&self, id: ClientId) -> Result<Option<TokenAudience>> {
        retrying(async || {
            let row: Option<(String, bool)> = sqlx::query_as(
                "SELECT policy, audience_change_time IS NOT NULL AND audience_change_time > clock.now - ?2
                 FROM clients, clock WHERE id = ?1",
            )
            .bind(id.uuid())
            .bind(rows::millis(MAX_ACCESS_TOKEN_AGE))
            .fetch_optional(&self.reader)
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

impl Sqlite {
    /// The next of them, in the order of their revocations and ids: how many.
    async fn read_revoked_sessions(
        &self,
        after: &mut (OffsetDateTime, Uuid),
        sessions: &mut Vec<RevokedSession>,
    ) -> Result<usize> {
        let (time, id) = *after;
        let read = retrying(async || {
            sqlx::query(
                "SELECT id, client_id, account_id, revoke_time, revoke_reason, access_expire_time
                 FROM sessions, clock
                 WHERE revoke_time >= ?1 AND (revoke_time, id) > (?1, ?2)
                       AND access_expire_time > clock.now - ?4
                 ORDER BY revoke_time, id LIMIT ?3",
            )
            .bind(rows::to_millis(time))
            .bind(id)
            .bind(i64::try_from(REVOCATIONS_AT_ONCE).unwrap_or(i64::MAX))
            .bind(rows::millis(MAX_CHECKER_LEEWAY))
            .fetch_all(&self.background)
            .await?
            .iter()
            .map(rows::revoked_session)
            .collect::<Result<Vec<RevokedSession>>>()
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
        retrying(async || {
            sqlx::query(
                "SELECT id, delete_time FROM clients
                 WHERE (disabled OR delete_time IS NOT NULL) AND (delete_time IS NULL OR delete_time >= ?1)",
            )
            .bind(rows::to_millis(oldest))
            .fetch_all(&self.background)
            .await?
            .iter()
            .map(|row| {
                let id = row.try_get::<Uuid, _>("id")?.into();
                let delete_time = row.try_get::<Option<i64>, _>("delete_time")?;
                let delete_time =
                    delete_time.map(|time| rows::from_millis("delete_time", time)).transpose()?;
                Ok(InactiveClient { id, delete_time })
            })
            .collect::<Result<Vec<InactiveClient>>>()
        })
        .await
    }

    async fn revoked_keys(&self, oldest: OffsetDateTime) -> Result<Vec<RevokedKey>> {
        retrying(async || {
            sqlx::query("SELECT kid, revoke_time FROM signing_keys WHERE revoke_time >= ?1")
                .bind(rows::to_millis(oldest))
                .fetch_all(&self.background)
                .await?
                .iter()
                .map(|row| {
                    Ok(RevokedKey { kid: row.try_get("kid")?, revoke_time: rows::time(row, "revoke_time")? })
                })
                .collect::<Result<Vec<RevokedKey>>>()
        })
        .await
    }
}
