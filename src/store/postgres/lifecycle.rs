//! Schema, clock and end of the PostgreSQL store.

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr as _, postgres::PgPoolOptions};
use time::OffsetDateTime;

use super::Postgres;
use crate::store::{Lifecycle, Result, SchemaState, StoreError};

/// Version, name and text of each migration.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "initial", include_str!("../../../migrations/postgres/0001_initial.sql"))];

#[async_trait]
impl Lifecycle for Postgres {
    fn backend(&self) -> &'static str {
        "postgres"
    }

    async fn schema(&self) -> Result<SchemaState> {
        let applied = self.applied().await?;
        let missing = MIGRATIONS.iter().filter(|(version, ..)| !applied.contains(version)).count();
        Ok(if missing == 0 { SchemaState::Current } else { SchemaState::Behind(missing) })
    }

    async fn migrate(&self) -> Result<usize> {
        let before = self.applied().await?.len();
        // A connection of its own: the migrator's lock belongs to the connection that took it.
        let options = self.pool.connect_options().as_ref().clone();
        let alone = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        let outcome = migrator().run(&alone).await;
        alone.close().await;
        outcome.map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(self.applied().await?.len().saturating_sub(before))
    }

    async fn now(&self) -> Result<OffsetDateTime> {
        self.retrying(async || {
            Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool).await?)
        })
        .await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

impl Postgres {
    /// The versions of the migrations that have run.
    async fn applied(&self) -> Result<Vec<i64>> {
        self.retrying(async || {
            let started: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
                .fetch_one(&self.pool)
                .await?;
            if !started {
                return Ok(Vec::new());
            }
            Ok(sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
                .fetch_all(&self.pool)
                .await?)
        })
        .await
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.into());
    // What a newer version added is none of this one's business.
    migrator.set_ignore_missing(true);
    migrator
}
