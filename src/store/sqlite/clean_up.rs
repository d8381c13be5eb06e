//! Removal of ended rows, on SQLite.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row as _, query::Query, sqlite::SqliteArguments};

use super::{Sqlite, retrying, rows};
use crate::{
    domain::MAX_ACCESS_TOKEN_AGE,
    store::{Backlog, CleanUp, CleanupTarget, Result},
};

#[async_trait]
impl CleanUp for Sqlite {
    async fn remove_expired(&self, target: CleanupTarget, retention: Duration, limit: u32) -> Result<u64> {
        let statement = match target {
            CleanupTarget::Challenges => {
                "DELETE FROM challenges WHERE id IN (
                     SELECT id FROM challenges, clock WHERE expire_time < now - ?1 ORDER BY expire_time LIMIT ?2)"
            }
            CleanupTarget::Sessions => {
                "DELETE FROM sessions WHERE id IN (
                     SELECT id FROM sessions, clock WHERE latest_expire_time < now - ?1
                     ORDER BY latest_expire_time LIMIT ?2)"
            }
            CleanupTarget::SigningKeys => {
                "DELETE FROM signing_keys WHERE kid IN (
                     SELECT kid FROM signing_keys, clock
                     WHERE COALESCE(revoke_time + ?3, remove_time) < now - ?1 ORDER BY kid LIMIT ?2)"
            }
        };
        retrying(async || {
            let mut tx = self.begin().await?;
            let query = sqlx::query(statement).bind(rows::millis(retention)).bind(limit);
            let removed = bind_life(query, target).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(removed.rows_affected())
        })
        .await
    }

    async fn backlog(&self, target: CleanupTarget, retention: Duration) -> Result<Backlog> {
        let statement = match target {
            CleanupTarget::Challenges => {
                "SELECT count(*) AS rows, COALESCE(MAX(now - ?1 - ended), 0) AS oldest
                 FROM (SELECT expire_time AS ended, now FROM challenges, clock
                       WHERE expire_time < now - ?1 ORDER BY expire_time LIMIT 10000)"
            }
            CleanupTarget::Sessions => {
                "SELECT count(*) AS rows, COALESCE(MAX(now - ?1 - ended), 0) AS oldest
                 FROM (SELECT latest_expire_time AS ended, now FROM sessions, clock
                       WHERE latest_expire_time < now - ?1 ORDER BY latest_expire_time LIMIT 10000)"
            }
            CleanupTarget::SigningKeys => {
                "SELECT count(*) AS rows, COALESCE(MAX(now - ?1 - ended), 0) AS oldest
                 FROM (SELECT COALESCE(revoke_time + ?2, remove_time) AS ended, now FROM signing_keys, clock
                       WHERE ended < now - ?1 ORDER BY ended LIMIT 10000)"
            }
        };
        retrying(async || {
            let query = sqlx::query(statement).bind(rows::millis(retention));
            let row = bind_life(query, target).fetch_one(&self.reader).await?;
            let number =
                |column| -> Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
            Ok(Backlog { rows: number("rows")?, oldest: Duration::from_millis(number("oldest")?) })
        })
        .await
    }
}

/// Where ends of keys are looked for: binds how long after its revocation one has ended.
fn bind_life(
    query: Query<'_, sqlx::Sqlite, SqliteArguments>,
    target: CleanupTarget,
) -> Query<'_, sqlx::Sqlite, SqliteArguments> {
    match target {
        CleanupTarget::SigningKeys => query.bind(rows::millis(MAX_ACCESS_TOKEN_AGE)),
        CleanupTarget::Challenges | CleanupTarget::Sessions => query,
    }
}
