//! Fresh stores for tests: a database of its own for each test, gone afterwards.
//!
//! PostgreSQL comes from `COUNTERSIGN_TEST_DATABASE_URL`, a server on which the user may create
//! databases; `./check` provides one. A test that finds none fails: nothing is skipped silently.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

/// Makes a test of each case on each store.
#[macro_export]
macro_rules! on_both_stores {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(&$crate::support::TestStore::sqlite().await).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(&$crate::support::TestStore::postgres().await).await;
            })*
        }
    };
}

/// The environment variable with the URL of the PostgreSQL server.
const SERVER: &str = "COUNTERSIGN_TEST_DATABASE_URL";

/// A store that nobody else uses, empty and without a schema.
pub struct TestStore {
    /// Its URL.
    pub url: String,
    /// A folder of its own, for files that belong to the test.
    pub folder: tempfile::TempDir,
    database: Option<Database>,
}

/// A PostgreSQL database that is dropped with this value.
struct Database {
    server: PgConnectOptions,
    name: String,
}

impl TestStore {
    /// An SQLite file that does not exist yet.
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("countersign.db").display());
        Self { url, folder, database: None }
    }

    /// A new PostgreSQL database.
    pub async fn postgres() -> Self {
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} names no PostgreSQL server: run ./check, which provides one")
        });
        let options = PgConnectOptions::from_str(&server).unwrap();
        let name = format!("countersign_test_{}", countersign::domain::TokenId::generate().uuid().simple());
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        // The store under test may sit behind a pooler; what the test does to the database never does.
        let reached_by = std::env::var("COUNTERSIGN_TEST_POOLER_URL").unwrap_or(server);
        let mut url = url::Url::parse(&reached_by).unwrap();
        url.set_path(&name);
        Self {
            url: url.to_string(),
            folder: tempfile::tempdir().unwrap(),
            database: Some(Database { server: options, name }),
        }
    }

    /// The URL of the PostgreSQL database without the pooler that may be in front of it.
    pub fn direct_url(&self) -> url::Url {
        let database = self.database.as_ref().expect("a PostgreSQL store");
        let mut url = url::Url::parse(&std::env::var(SERVER).unwrap()).unwrap();
        url.set_path(&database.name);
        url
    }

    /// Whether the store is on PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// Moves every time of one row into the past, as if that long had gone by: what has not happened
    /// (NULL) stays so.
    pub async fn age(&self, table: &str, id: uuid::Uuid, seconds: i64) {
        let changed = match &self.database {
            Some(database) => {
                let columns = times_of(table).map(|c| format!("{c} = {c} - $2 * interval '1 second'"));
                let sql = format!("UPDATE {table} SET {} WHERE id = $1", columns.join(", "));
                let mut connection = database.connect().await;
                let query = sqlx::query(AssertSqlSafe(sql)).bind(id).bind(seconds);
                query.execute(&mut connection).await.unwrap().rows_affected()
            }
            None => {
                let columns = times_of(table).map(|c| format!("{c} = {c} - $2 * 1000"));
                let sql = format!("UPDATE {table} SET {} WHERE id = $1", columns.join(", "));
                let mut connection = self.sqlite_connection().await;
                let query = sqlx::query(AssertSqlSafe(sql)).bind(id).bind(seconds);
                query.execute(&mut connection).await.unwrap().rows_affected()
            }
        };
        assert_eq!(changed, 1, "no row of {table} was aged");
    }

    /// Moves the creation and the activation of every signing key into the past.
    pub async fn age_signing_keys(&self, hours: u32) {
        let ago = match self.is_postgres() {
            true => format!("{hours} * interval '1 hour'"),
            false => format!("{hours} * 3600000"),
        };
        let times = format!("create_time = create_time - {ago}, activate_time = activate_time - {ago}");
        self.execute(&format!("UPDATE signing_keys SET {times}")).await;
    }

    /// How many rows a table has that a condition holds for.
    pub async fn count(&self, table: &str, condition: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {condition}"));
        match &self.database {
            Some(database) => sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap(),
            None => sqlx::query_scalar(sql).fetch_one(&mut self.sqlite_connection().await).await.unwrap(),
        }
    }

    /// Runs a statement as an outsider would.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.database {
            Some(database) => {
                sqlx::query(sql).execute(&mut database.connect().await).await.unwrap();
            }
            None => {
                sqlx::query(sql).execute(&mut self.sqlite_connection().await).await.unwrap();
            }
        }
    }

    /// A connection of the test's own.
    pub async fn postgres_connection(&self) -> PgConnection {
        self.database.as_ref().expect("a PostgreSQL store").connect().await
    }

    /// Keeps every call waiting that needs a challenge, for as long as it may take.
    pub async fn hold_challenges(&self) -> PgConnection {
        self.hold("challenges").await
    }

    /// Keeps every call waiting that needs a session.
    pub async fn hold_sessions(&self) -> PgConnection {
        self.hold("sessions").await
    }

    async fn hold(&self, table: &str) -> PgConnection {
        let mut holder = self.postgres_connection().await;
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
        holder
    }

    /// A connection of the test's own.
    pub async fn sqlite_connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::from_str(&self.url).unwrap();
        SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(20))).await.unwrap()
    }
}

impl Database {
    async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server.clone().database(&self.name)).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A test's runtime cannot be waited on from here; a thread's own can.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut connection = PgConnection::connect_with(&server).await?;
                let statement = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                sqlx::query(statement).execute(&mut connection).await
            })
        });
        if !matches!(dropped.join(), Ok(Ok(_))) {
            eprintln!("the test database {} could not be dropped", self.name);
        }
    }
}

/// The columns of a table that hold a time.
fn times_of(table: &str) -> Vec<&'static str> {
    match table {
        "sessions" => vec![
            "create_time",
            "update_time",
            "expire_time",
            "latest_expire_time",
            "authenticate_time",
            "hard_expire_time",
            "refresh_step_time",
            "access_expire_time",
            "revoke_time",
        ],
        "challenges" => vec!["create_time", "expire_time", "redeem_time"],
        other => panic!("{other} is not aged"),
    }
}

/// Fails where something took ten times as long as is promised, since a test may share its machine.
/// `COUNTERSIGN_TEST_JUDGE_TIMES=1`, as `./check nightly times` sets it, fails at the promised time itself.
#[track_caller]
pub fn assert_promised(promise: &str, took: Duration, bound: Duration) {
    let judges = std::env::var("COUNTERSIGN_TEST_JUDGE_TIMES").is_ok_and(|value| value == "1");
    let most = if judges { bound } else { 10 * bound };
    eprintln!("{promise}: {took:?}, promised within {bound:?}");
    assert!(took <= most, "{promise}: {took:?}, promised within {bound:?}");
}

/// Waits until somebody waits for a lock that this connection's transaction holds.
pub async fn until_awaited(holder: &mut PgConnection) {
    // `pg_stat_activity` would show the same picture throughout a transaction.
    let awaited = "SELECT count(*) > 0 FROM pg_locks
                   WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    for _ in 0..2_000 {
        if sqlx::query_scalar(awaited).fetch_one(&mut *holder).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody ever waited");
}

/// Lets `map` be written for a list of columns.
trait Each {
    fn map(self, each: impl Fn(&str) -> String) -> Vec<String>;
}

impl Each for Vec<&'static str> {
    fn map(self, each: impl Fn(&str) -> String) -> Vec<String> {
        self.into_iter().map(each).collect()
    }
}
