//! Rows that nobody needs any more, on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;

use super::{Postgres, rows};
use crate::store::{Backlog, CleanUp, Ended, Result};

#[async_trait]
impl CleanUp for Postgres {
    async fn remove_ended(&self, ended: Ended, retention: Duration, limit: u32) -> Result<u64> {
        let statement = match ended {
            Ended::Challenges => {
                "WITH ended AS MATERIALIZED (
                     SELECT id FROM challenges
                     WHERE expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                     ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM challenges USING ended WHERE challenges.id = ended.id"
            }
            Ended::Sessions => {
                "WITH ended AS MATERIALIZED (
                     SELECT id FROM sessions
                     WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                     ORDER BY latest_expire_time LIMIT $2 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM sessions USING ended WHERE sessions.id = ended.id"
            }
        };
        self.retrying(async || {
            let removed = sqlx::query(statement)
                .bind(rows::millis(retention))
                .bind(i64::from(limit))
                .execute(&self.pool)
                .await?;
            Ok(removed.rows_affected())
        })
        .await
    }

    async fn backlog(&self, ended: Ended, retention: Duration) -> Result<Backlog> {
        let statement = match ended {
            Ended::Challenges => {
                "SELECT count(*) AS rows,
                        COALESCE(extract(epoch FROM clock_timestamp() - min(ended)) * 1000 - $1, 0)::bigint AS oldest
                 FROM (SELECT expire_time AS ended FROM challenges
                       WHERE expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                       ORDER BY expire_time LIMIT 10000) AS ended"
            }
            Ended::Sessions => {
                "SELECT count(*) AS rows,
                        COALESCE(extract(epoch FROM clock_timestamp() - min(ended)) * 1000 - $1, 0)::bigint AS oldest
                 FROM (SELECT latest_expire_time AS ended FROM sessions
                       WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'
                       ORDER BY latest_expire_time LIMIT 10000) AS ended"
            }
        };
        self.retrying(async || {
            let row = sqlx::query(statement).bind(rows::millis(retention)).fetch_one(&self.pool).await?;
            let number =
                |column| -> Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
            Ok(Backlog { rows: number("rows")?, oldest: Duration::from_millis(number("oldest")?) })
        })
        .await
    }
}
