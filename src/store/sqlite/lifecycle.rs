//! Schema, clock and end of the SQLite store.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Row as _, SqlSafeStr as _, SqliteConnection};
use time::OffsetDateTime;

use super::{READERS, Sqlite, retrying, rows};
use crate::store::{Lifecycle, Location, Result, SchemaState, Store, StoreError, lifecycle::Permit, retry};

/// Version, name and text of each migration.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (1, "initial", include_str!("../../../migrations/sqlite/0001_initial.sql")),
    (2, "client secret slots", include_str!("../../../migrations/sqlite/0002_client_secret_slots.sql")),
    (3, "revocation feed", include_str!("../../../migrations/sqlite/0003_revocation_feed.sql")),
    (4, "request digest", include_str!("../../../migrations/sqlite/0004_request_digest.sql")),
    (5, "audience change", include_str!("../../../migrations/sqlite/0005_audience_change.sql")),
    (6, "session token mac", include_str!("../../../migrations/sqlite/0006_session_token_mac.sql")),
    (7, "equal content", include_str!("../../../migrations/sqlite/0007_equal_content.sql")),
];
/// How long migrations may take, those of another process that is waited for included.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);

#[async_trait]
impl Lifecycle for Sqlite {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    fn location(&self) -> Location {
        self.file.clone().map_or(Location::Memory, Location::File)
    }

    async fn schema(&self) -> Result<SchemaState> {
        let applied = retrying(async || applied(&mut *self.reader.acquire().await?).await).await?;
        let missing = MIGRATIONS.iter().filter(|(version, ..)| !applied.contains(version));
        let missing: Vec<_> = missing.map(|(version, name, _)| format!("{version:04} {name}")).collect();
        Ok(if missing.is_empty() { SchemaState::Current } else { SchemaState::Behind(missing) })
    }

    async fn migrate(&self) -> Result<usize> {
        retry::retrying(MIGRATION_TIMEOUT, async || {
            // sqlx's migrator has no lock on SQLite. Within this transaction it needs none: whoever comes
            // second sees what the first has done. Each migration becomes a savepoint, so none can change
            // what SQLite fixes while a transaction is open (`PRAGMA foreign_keys`).
            let mut tx = self.begin().await?;
            let before = applied(&mut tx).await?.len();
            migrator().run_direct(None, &mut *tx, false).await.map_err(refused)?;
            let after = applied(&mut tx).await?.len();
            tx.commit().await?;
            Ok(after.saturating_sub(before))
        })
        .await
    }

    async fn now(&self) -> Result<OffsetDateTime> {
        retrying(async || {
            // As in the view `clock`, which is not there before the first migration.
            let row = sqlx::query("SELECT CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) AS now")
                .fetch_one(&self.probe)
                .await?;
            rows::time(&row, "now")
        })
        .await
    }

    async fn try_to_write(&self) -> Result<()> {
        retrying(async || {
            let mut tx = self.trial.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(WRITE_NEW_PAGES).execute(&mut *tx).await?;
            Ok(tx.rollback().await?)
        })
        .await
    }

    async fn call_failed(&self) {
        self.calls.failed().await;
    }

    /// One connection writes, and the others read: with more uses, most of those would wait to write.
    fn concurrent_uses(&self) -> usize {
        match self.file {
            Some(_) => 1 + READERS as usize,
            None => 1,
        }
    }

    fn holding(&self, _permit: Permit) -> Option<Box<dyn Store>> {
        None
    }

    /// No-op: calls to a local file never block on a network, so they end without being abandoned.
    fn abandon_calls(&self) {}

    async fn close(&self) {
        self.probe.close().await;
        self.trial.close().await;
        self.background.close().await;
        self.reader.close().await;
        // The last one to close the file folds the write-ahead log into it.
        self.writer.close().await;
    }
}

/// Writes 32 pages, of which most go into the write-ahead log before the rollback, because the cache of this connection is
/// smaller. A smaller change might fit into space that the log already has on a full disk.
const WRITE_NEW_PAGES: &str = "
    INSERT INTO root_key_canaries (root_fingerprint, sealed, create_time)
    VALUES (randomblob(8), randomblob(32 * 4096), 0)";

/// The versions of the migrations that have run.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<i64>> {
    let started =
        sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_optional(&mut *connection)
            .await?;
    if started.is_none() {
        return Ok(Vec::new());
    }
    sqlx::query("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| Ok(row.try_get("version")?))
        .collect()
}

fn refused(error: MigrateError) -> StoreError {
    let text = error.to_string();
    if let MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) = error {
        return cause.into();
    }
    StoreError::Broken(text)
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
