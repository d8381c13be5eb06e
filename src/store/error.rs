//! What can be wrong with a store, told apart by what a caller can do about it.

/// Trouble with the store. The texts are for the log: they may hold a driver's words.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer now; the same call may succeed later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// Others were in the way each time; nothing was changed.
    #[error("the store was contended too long")]
    Contention,
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
            let code = refusal.code().unwrap_or_default();
            return from_code(&code, &error);
        }
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// SQLSTATE (PostgreSQL's documentation, appendix A), or SQLite's extended result code.
fn from_code(code: &str, error: &sqlx::Error) -> StoreError {
    match code {
        // Serialisation failure, deadlock; SQLITE_BUSY and its kin.
        "40001" | "40P01" | "5" | "261" | "517" | "6" | "262" => StoreError::Contention,
        // Shut down, starting up, too many connections, read only, time-outs, lost connections;
        // SQLite: I/O error, full, cannot open, read only.
        "57P01" | "57P02" | "57P03" | "57014" | "53300" | "53200" | "53100" | "25006" | "55P03" | "10"
        | "13" | "14" | "8" => StoreError::Unavailable(error.to_string()),
        lost if lost.starts_with("08") => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Broken(error.to_string()),
    }
}
