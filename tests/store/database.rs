//! The database as an outsider sees it: contents, single values, and locks on rows.

use std::time::Duration;

use countersign::domain::{ClientId, SessionId};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::support::{TestStore, until_awaited};

/// What calls of the store may change.
const TABLES: [&str; 6] = ["clients", "client_secrets", "accounts", "wallets", "sessions", "challenges"];

/// How long something that must come is waited for.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An id as a statement writes it.
pub fn literal(test: &TestStore, id: Uuid) -> String {
    if test.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.simple()) }
}

/// The database's clock so many milliseconds from now, as a statement writes it.
pub fn in_millis(test: &TestStore, millis: i64) -> String {
    match test.is_postgres() {
        true => format!("(clock_timestamp() + {millis} * interval '1 millisecond')"),
        false => format!("((SELECT now FROM clock) + {millis})"),
    }
}

/// So long after a column, as a statement writes it.
pub fn after(test: &TestStore, column: &str, time: Duration) -> String {
    let millis = time.as_millis();
    match test.is_postgres() {
        true => format!("({column} + {millis} * interval '1 millisecond')"),
        false => format!("({column} + {millis})"),
    }
}

/// Changes one row of a table that has ids.
pub async fn set(test: &TestStore, table: &str, id: Uuid, assignment: &str) {
    test.execute(&format!("UPDATE {table} SET {assignment} WHERE id = {}", literal(test, id))).await;
}

/// Whether a condition holds for one row of a table that has ids.
pub async fn holds(test: &TestStore, table: &str, id: Uuid, condition: &str) -> bool {
    test.count(table, &format!("id = {} AND ({condition})", literal(test, id))).await == 1
}

/// One column of a session, as text.
pub async fn column(test: &TestStore, id: SessionId, column: &str) -> Option<String> {
    let sql = format!("SELECT CAST({column} AS TEXT) FROM sessions WHERE id = {}", literal(test, id.uuid()));
    let sql = AssertSqlSafe(sql);
    match test.is_postgres() {
        true => sqlx::query_scalar(sql).fetch_one(&mut test.postgres_connection().await).await.unwrap(),
        false => sqlx::query_scalar(sql).fetch_one(&mut test.sqlite_connection().await).await.unwrap(),
    }
}

/// Turns the database's clock by so many seconds, for whoever connects from now on.
pub async fn turn_clock(test: &TestStore, seconds: i64) {
    if test.is_postgres() {
        test.execute("CREATE SCHEMA IF NOT EXISTS turned").await;
        test.execute(&format!(
            "CREATE OR REPLACE FUNCTION turned.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
             AS $$ SELECT pg_catalog.clock_timestamp() + {seconds} * interval '1 second' $$"
        ))
        .await;
        let url = url::Url::parse(&test.url).unwrap();
        let database = url.path().trim_start_matches('/');
        test.execute(&format!("ALTER DATABASE {database} SET search_path = turned, pg_catalog, public"))
            .await;
        if std::env::var_os("COUNTERSIGN_TEST_POOLER_URL").is_some() {
            // A pooler's connections are older than whoever connects to it.
            terminate_connections(test).await;
        }
    } else {
        test.execute("DROP VIEW clock").await;
        let now = "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER)";
        test.execute(&format!("CREATE VIEW clock AS SELECT {now} + {seconds} * 1000 AS now")).await;
    }
}

/// Ends every connection to a PostgreSQL database.
pub async fn terminate_connections(test: &TestStore) {
    test.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
}

/// Changes one field of a client's policy behind the store's back; `value` is JSON.
pub async fn set_policy(test: &TestStore, client: ClientId, field: &str, value: &str) {
    let policy = match test.is_postgres() {
        true => format!("policy = jsonb_set(policy, '{{{field}}}', '{value}')"),
        false => format!("policy = json_set(policy, '$.{field}', json('{value}'))"),
    };
    set(test, "clients", client.uuid(), &policy).await;
}

/// Every row that calls of the store may change, as text.
pub async fn contents(test: &TestStore) -> Vec<String> {
    if test.is_postgres() {
        let tables = TABLES.map(|table| format!("SELECT '{table}: ' || whole::text FROM {table} AS whole"));
        let sql = AssertSqlSafe(tables.join(" UNION ALL ") + " ORDER BY 1");
        sqlx::query_scalar(sql).fetch_all(&mut test.postgres_connection().await).await.unwrap()
    } else {
        let mut connection = test.sqlite_connection().await;
        let mut rows = Vec::new();
        for table in TABLES {
            rows.extend(sqlite_rows(&mut connection, table).await);
        }
        rows
    }
}

async fn sqlite_rows(connection: &mut SqliteConnection, table: &str) -> Vec<String> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let quoted: Vec<String> = columns.iter().map(|name| format!("quote({name})")).collect();
    let row = quoted.join(" || ',' || ");
    let sql = AssertSqlSafe(format!("SELECT '{table}: ' || {row} FROM {table} ORDER BY 1"));
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// Fails, and shows the rows, where one has changed, come or gone.
pub async fn assert_unchanged(test: &TestStore, before: &[String], since: &str) {
    let after = contents(test).await;
    let gone: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
    let come: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
    assert!(gone.is_empty() && come.is_empty(), "{since}: changed from {gone:#?} to {come:#?}");
}

/// Somebody else's transaction that keeps a row from the store: on PostgreSQL the lock of that row, on
/// SQLite the one of the whole file.
pub enum Lock {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Lock {
    /// Begins the transaction; on SQLite, that locks.
    pub async fn begin(test: &TestStore) -> Self {
        if test.is_postgres() {
            let mut connection = test.postgres_connection().await;
            connection.execute("BEGIN").await.unwrap();
            Self::Postgres(connection)
        } else {
            let mut connection = test.sqlite_connection().await;
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            Self::Sqlite(connection)
        }
    }

    /// Takes the lock of the one row that a condition holds for.
    pub async fn on(test: &TestStore, table: &str, condition: &str) -> Self {
        let mut lock = Self::begin(test).await;
        if let Self::Postgres(connection) = &mut lock {
            let row = format!("SELECT 1 FROM {table} WHERE {condition} FOR UPDATE");
            connection.fetch_one(AssertSqlSafe(row)).await.unwrap();
        }
        lock
    }

    /// Takes the lock of a row of a table that has ids.
    pub async fn on_id(test: &TestStore, table: &str, id: Uuid) -> Self {
        Self::on(test, table, &format!("id = {}", literal(test, id))).await
    }

    /// Runs a statement within the transaction.
    pub async fn execute(&mut self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    /// Runs a statement that may fail.
    pub async fn try_execute(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
        }
    }

    /// Ends it.
    pub async fn commit(mut self) {
        self.execute("COMMIT").await;
        self.close().await;
    }

    /// Ends it, and what it changed is gone.
    pub async fn rollback(mut self) {
        self.execute("ROLLBACK").await;
        self.close().await;
    }

    /// Returns once a call of the store waits for it. SQLite does not tell; there, a tenth of a second
    /// is given to a call that needs a thousandth.
    pub async fn until_awaited(&mut self) {
        match self {
            Self::Postgres(connection) => until_awaited(connection).await,
            Self::Sqlite(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }

    /// Returns once a query answers true.
    pub async fn until(&mut self, query: &str) {
        let answered = async {
            while !self.is(query).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, answered)
            .await
            .unwrap_or_else(|_| panic!("not so within 20 s: {query}"));
    }

    /// Whether a query answers true.
    pub async fn is(&mut self, query: &str) -> bool {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Postgres(connection) => connection.fetch_one(query).await.unwrap().get(0),
            Self::Sqlite(connection) => connection.fetch_one(query).await.unwrap().get(0),
        }
    }

    async fn close(self) {
        match self {
            Self::Postgres(connection) => connection.close().await.unwrap(),
            Self::Sqlite(connection) => connection.close().await.unwrap(),
        }
    }
}
