//! Schema, clock and end of the PostgreSQL store.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection as _, PgConnection, SqlSafeStr as _};
use time::OffsetDateTime;

use super::Postgres;
use crate::store::{Lifecycle, Location, Result, SchemaState, Store, StoreError, lifecycle::Permit};

/// Version, name and text of each migration.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (1, "initial", include_str!("../../../migrations/postgres/0001_initial.sql")),
    (2, "client secret slots", include_str!("../../../migrations/postgres/0002_client_secret_slots.sql")),
    (3, "revocation feed", include_str!("../../../migrations/postgres/0003_revocation_feed.sql")),
    (4, "request digest", include_str!("../../../migrations/postgres/0004_request_digest.sql")),
    (5, "audience change", include_str!("../../../migrations/postgres/0005_audience_change.sql")),
    (6, "session token mac", include_str!("../../../migrations/postgres/0006_session_token_mac.sql")),
    (7, "equal content", include_str!("../../../migrations/postgres/0007_equal_content.sql")),
];

/// How often a migration is tried while somebody holds on to a table, and how long it leaves the table alone in
/// between: ten minutes in all.
const MIGRATION_ATTEMPTS: usize = 240;
const MIGRATION_PAUSE: Duration = Duration::from_secs(2);

/// Names the lock under which migrations run: `counters`, in ASCII.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"counters");

#[async_trait]
impl Lifecycle for Postgres {
    fn backend(&self) -> &'static str {
        "postgres"
    }

    fn location(&self) -> Location {
        Location::Server
    }

    async fn schema(&self) -> Result<SchemaState> {
        let applied = self.retrying(async || applied(&mut *self.connection().await?).await).await?;
        let missing = MIGRATIONS.iter().filter(|(version, ..)| !applied.contains(version));
        let missing: Vec<_> = missing.map(|(version, name, _)| format!("{version:04} {name}")).collect();
        Ok(if missing.is_empty() { SchemaState::Current } else { SchemaState::Behind(missing) })
    }

    async fn migrate(&self) -> Result<usize> {
        for _ in 1..MIGRATION_ATTEMPTS {
            match self.migrate_once().await {
                Err(StoreError::Locked) => {
                    tracing::info!("somebody holds a lock on a table that is to change: trying again");
                    tokio::time::sleep(MIGRATION_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        self.migrate_once().await
    }

    async fn now(&self) -> Result<OffsetDateTime> {
        self.retrying(async || {
            let mut connection = self.probe.lend().await?;
            let (now, _) = self.read_clock(&mut connection).await?;
            connection.keep();
            Ok(now)
        })
        .await
    }

    async fn try_to_write(&self) -> Result<()> {
        self.retrying(async || {
            let mut connection = self.probe.lend().await?;
            let mut tx = connection.begin_with(BEGIN_TRIAL).await?;
            let written = sqlx::query(WRITE_NEW_PAGES).execute(&mut *tx).await;
            let is_slow = written.as_ref().is_err_and(is_cancelled);
            if !is_slow {
                written?;
            }
            tx.rollback().await?;
            connection.keep();
            if is_slow { Err(StoreError::Locked) } else { Ok(()) }
        })
        .await
    }

    async fn call_failed(&self) {
        self.calls.failed().await;
    }

    fn concurrent_uses(&self) -> usize {
        usize::try_from(self.pool.options().get_max_connections()).unwrap_or(usize::MAX)
    }

    fn holding(&self, permit: Permit) -> Option<Box<dyn Store>> {
        Some(Box::new(Self { permit: Some(permit), ..self.clone() }))
    }

    fn abandon_calls(&self) {
        self.suspicion.last_unavailable.note();
        self.calls.abandon();
    }

    async fn close(&self) {
        self.pool.close().await;
        self.background.close().await;
        self.probe.close().await;
    }
}

/// Needs four pages that the table does not have: on a full disk a smaller change may fit into a page that is there. The
/// row is rolled back.
const WRITE_NEW_PAGES: &str = "
    INSERT INTO root_key_canaries (root_fingerprint, sealed)
    SELECT substring(uuid_send(gen_random_uuid()) FOR 8), string_agg(uuid_send(gen_random_uuid()), '')
    FROM generate_series(1, 2048)";

/// Begins a trial write. The server's timeout ends it before that of the probe, so that the connection is kept.
const BEGIN_TRIAL: &str = "BEGIN; SELECT set_config('statement_timeout', '800ms', true)";

fn is_cancelled(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|refusal| refusal.code().as_deref() == Some("57014"))
}

impl Postgres {
    /// The clock, and true if the server is read-only. A standby is rejected: its data may be stale.
    pub(super) async fn read_clock(&self, connection: &mut PgConnection) -> Result<(OffsetDateTime, bool)> {
        let sql =
            "SELECT clock_timestamp(), current_setting('transaction_read_only') = 'on', pg_is_in_recovery()";
        match sqlx::query_as(sql).fetch_one(connection).await? {
            (now, only_reads, false) => Ok((now, only_reads)),
            (_, _, true) => {
                self.suspicion.last_read_only.note();
                Err(StoreError::Unavailable("the PostgreSQL server is a standby".to_owned()))
            }
        }
    }

    /// One transaction holds a lock that ends with it, and so is right behind a pooler too; sqlx's own lock
    /// belongs to a connection. Whoever comes second waits, however long, and sees what the first has done.
    ///
    /// A lock on a table is not waited for longer than a moment: whoever reads that table queues up behind.
    async fn migrate_once(&self) -> Result<usize> {
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await?;
        sqlx::query(
            "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)",
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *tx).await?;
        sqlx::query("SELECT set_config('lock_timeout', '500', true)").execute(&mut *tx).await?;
        let before = applied(&mut tx).await?.len();
        migrator().run_direct(None, &mut *tx, false).await.map_err(refused)?;
        let after = applied(&mut tx).await?.len();
        tx.commit().await?;
        Ok(after.saturating_sub(before))
    }
}

/// Asked of the catalogue itself: within a transaction, `to_regclass` may answer from a cache that is older than a lock
/// which was waited for, and the second instance would then report the migrations of the first as its own.
const HAS_MIGRATIONS: &str = "
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class
                   WHERE relname = '_sqlx_migrations' AND pg_catalog.pg_table_is_visible(oid))";

/// The versions of the migrations that have run.
async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>> {
    let started: bool = sqlx::query_scalar(HAS_MIGRATIONS).fetch_one(&mut *connection).await?;
    if !started {
        return Ok(Vec::new());
    }
    let versions = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success");
    Ok(versions.fetch_all(connection).await?)
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
    migrator.set_ignore_missing(true).set_locking(false);
    migrator
}
