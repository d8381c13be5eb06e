//! Errors of a store, by what a caller can do about them.

use sqlx::{error::DatabaseError, sqlite::SqliteError};

/// A failure of the store. The texts are for the log: they may hold a driver's words.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer now; the same call may succeed later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// Every connection was in use for too long; nothing was executed.
    #[error("no database connection became free in time")]
    Busy,
    /// The server only reads: it was demoted, or never was a primary. Its connections are of no more use.
    #[error("the store only reads: {0}")]
    ReadOnly(String),
    /// Others were in the way each time; nothing was changed.
    #[error("the store was contended too long")]
    Contention,
    /// Somebody has held on to a row for so long that waiting on would hold up everybody else; nothing was
    /// changed.
    #[error("a row was locked too long")]
    Locked,
    /// The store answered what it never should.
    #[error("the store answered what it never should: {0}")]
    Broken(String),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL's scheme names no backend.
    #[error("expected sqlite:FILE, sqlite::memory: or postgres://...")]
    UnknownScheme,
    /// The URL itself cannot be read.
    #[error("the URL cannot be read: {0}")]
    MalformedUrl(String),
    /// The store cannot be reached.
    #[error("{target} cannot be reached: {cause}")]
    Unreachable {
        /// The store, without user and password.
        target: String,
        /// What stood in the way.
        cause: String,
    },
}

impl StoreError {
    /// A stored value that cannot be read back.
    pub(super) fn unreadable(column: &str, value: &str) -> Self {
        Self::Broken(format!("{column} holds {value:?}"))
    }

    pub(super) const fn is_contention(&self) -> bool {
        matches!(self, Self::Contention)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(refusal) = &error {
            return from_code(refusal.as_ref())(error.to_string());
        }
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}

fn from_code(refusal: &dyn DatabaseError) -> fn(String) -> StoreError {
    let code = refusal.code().unwrap_or_default();
    if refusal.try_downcast_ref::<SqliteError>().is_some() {
        // The low byte of SQLite's extended code is the primary one.
        from_sqlite(code.parse().unwrap_or(0) & 0xff)
    } else {
        from_sqlstate(&code)
    }
}

/// PostgreSQL's documentation, appendix A.
fn from_sqlstate(code: &str) -> fn(String) -> StoreError {
    match code {
        // Serialisation failure, deadlock; division by zero, by which a redeem undoes itself when its time ran
        // out while it waited.
        "40001" | "40P01" | "22012" => |_| StoreError::Contention,
        // `lock_timeout` has passed.
        "55P03" => |_| StoreError::Locked,
        // Shut down, starting up, cancelled, out of connections, memory or disk.
        "57P01" | "57P02" | "57P03" | "57014" | "53300" | "53200" | "53100" => StoreError::Unavailable,
        "25006" => StoreError::ReadOnly,
        // A prepared statement that is not there, or is there already.
        "26000" | "42P05" => |text| {
            let hint =
                "is there a pooler between that does not track prepared statements? See docs/postgresql.md";
            StoreError::Broken(format!("{text}; {hint}"))
        },
        lost if lost.starts_with("08") => StoreError::Unavailable,
        _ => StoreError::Broken,
    }
}

/// SQLite's documentation, "Result and Error Codes".
fn from_sqlite(primary: i64) -> fn(String) -> StoreError {
    const BUSY: i64 = 5;
    const LOCKED: i64 = 6;
    const READONLY: i64 = 8;
    const IOERR: i64 = 10;
    const FULL: i64 = 13;
    const CANTOPEN: i64 = 14;
    const PROTOCOL: i64 = 15;
    match primary {
        BUSY | LOCKED => |_| StoreError::Contention,
        READONLY | IOERR | FULL | CANTOPEN | PROTOCOL => StoreError::Unavailable,
        _ => StoreError::Broken,
    }
}
