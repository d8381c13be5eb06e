//! Removal of ended rows, on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgArguments, query::Query};

use super::{Postgres, rows};
use crate::{
    domain::MAX_ACCESS_TOKEN_AGE,
    store::{Backlog, CleanUp, CleanupTarget, Result},
};

#[async_trait]
impl CleanUp for Postgres {
    async fn remove_expired(&self, target: CleanupTarget, retention: Duration, limit: u32) -> Result<u64> {
        let statement = match target {
            CleanupTarget::Challenges => {
                "WITH ended AS MATERIALIZED (
                     SELECT id FROM challenges
                     WHERE expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                     ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM challenges USING ended WHERE challenges.id = ended.id"
            }
            CleanupTarget::Sessions => {
                "WITH ended AS MATERIALIZED (
                     SELECT id FROM sessions
                     WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                     ORDER BY latest_expire_time LIMIT $2 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM sessions USING ended WHERE sessions.id = ended.id"
            }
            CleanupTarget::SigningKeys => {
                "WITH ended AS MATERIALIZED (
                     SELECT kid FROM signing_keys
                     WHERE COALESCE(revoke_time + $3 * interval '1 millisecond', remove_time)
                           < clock_timestamp() - $1 * interval '1 millisecond'
                     ORDER BY kid LIMIT $2 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM signing_keys USING ended WHERE signing_keys.kid = ended.kid"
            }
        };
        self.retrying(async || {
            let query = sqlx::query(statement).bind(rows::millis(retention)).bind(i64::from(limit));
            Ok(bind_life(query, target).execute(&mut *self.connection().await?).await?.rows_affected())
        })
        .await
    }

    async fn backlog(&self, target: CleanupTarget, retention: Duration) -> Result<Backlog> {
        let statement = match target {
            CleanupTarget::Challenges => {
                "SELECT count(*) AS rows,
                        COALESCE(extract(epoch FROM clock_timestamp() - min(ended)) * 1000 - $1, 0)::bigint AS oldest
                 FROM (SELECT expire_time AS ended FROM challenges
                       WHERE expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                       ORDER BY expire_time LIMIT 10000) AS ended"
            }
            CleanupTarget::Sessions => {
                "SELECT count(*) AS rows,
                        COALESCE(extract(epoch FROM clock_timestamp() - min(ended)) * 1000 - $1, 0)::bigint AS oldest
                 FROM (SELECT latest_expire_time AS ended FROM sessions
                       WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                       ORDER BY latest_expire_time LIMIT 10000) AS ended"
            }
            CleanupTarget::SigningKeys => {
                "SELECT count(*) AS rows,
                        COALESCE(extract(epoch FROM clock_timestamp() - min(ended)) * 1000 - $1, 0)::bigint AS oldest
                 FROM (SELECT ended
                       FROM (SELECT COALESCE(revoke_time + $2 * interval '1 millisecond', remove_time) AS ended
                             FROM signing_keys) AS keys
                       WHERE ended < clock_timestamp() - $1 * interval '1 millisecond'
                       ORDER BY ended LIMIT 10000) AS ended"
            }
        };
        self.retrying(async || {
            let query = sqlx::query(statement).bind(rows::millis(retention));
            let row = bind_life(query, target).fetch_one(&mut *self.connection().await?).await?;
            let number =
                |column| -> Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
            Ok(Backlog { rows: number("rows")?, oldest: Duration::from_millis(number("oldest")?) })
        })
        .await
    }
}

/// Where ends of keys are looked for: binds how long after its revocation one has ended.
fn bind_life(
    query: Query<'_, sqlx::Postgres, PgArguments>,
    target: CleanupTarget,
) -> Query<'_, sqlx::Postgres, PgArguments> {
    match target {
        CleanupTarget::SigningKeys => query.bind(rows::millis(MAX_ACCESS_TOKEN_AGE)),
        CleanupTarget::Challenges | CleanupTarget::Sessions => query,
    }
}
