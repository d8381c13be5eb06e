//! SQLite, embedded: each intent is one transaction, and one connection writes.

mod accounts;
mod challenges;
mod clean_up;
mod clients;
mod keys;
mod lifecycle;
mod redeem;
mod replay;
mod revocations;
mod rotate;
mod rows;
mod sessions;
mod write_transaction;

use std::{
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{OpenError, Result, StoreError, call_monitor::CallMonitor};

/// How long a call waits for its turn to write, or for another process to let go of the file. Longer
/// than any caller waits: to them, SQLite is slow rather than busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// Pages that the connection of trial writes keeps in memory.
const TRIAL_CACHE: &str = "8";
/// Connections that only read, each a thread.
const READERS: u32 = 4;

/// The SQLite backend.
pub(super) struct Sqlite {
    /// The one connection that writes. Intents queue for it here, in their order, and not at SQLite's
    /// lock, which knows none; what waits there is other processes.
    writer: SqlitePool,
    /// Those that only read. In memory this is the writer again, since any other connection would have
    /// a database of its own.
    reader: SqlitePool,
    /// The one that signing keys and revocations are read over, whatever the callers' are doing.
    background: SqlitePool,
    /// The one of the clock, which is the probe.
    probe: SqlitePool,
    /// Connection of trial writes, with a small cache.
    trial: SqlitePool,
    calls: CallMonitor,
    /// The database, unless it is in memory.
    file: Option<PathBuf>,
}

impl Sqlite {
    /// Opens a file, which is made if it is missing, or a database in memory.
    pub(super) async fn open(url: &str) -> std::result::Result<Self, OpenError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| OpenError::MalformedUrl(error.to_string()))?
            .shared_cache(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            // What was answered with success is durable, on macOS too (fullfsync).
            .synchronous(SqliteSynchronous::Full)
            .pragma("fullfsync", "ON")
            .disable_statement_logging();
        if is_memory(url) { Self::in_memory(options).await } else { Self::in_file(options).await }
    }

    async fn in_memory(options: SqliteConnectOptions) -> std::result::Result<Self, OpenError> {
        let unreachable = |cause| OpenError::Unreachable { target: "memory".to_owned(), cause };
        // The database ends with its connection, so nothing may close that.
        let writer = connect(pool(1).min_connections(1), options).await.map_err(unreachable)?;
        let (reader, background, probe) = (writer.clone(), writer.clone(), writer.clone());
        let (trial, calls) = (writer.clone(), CallMonitor::default());
        Ok(Self { reader, background, probe, trial, writer, calls, file: None })
    }

    async fn in_file(options: SqliteConnectOptions) -> std::result::Result<Self, OpenError> {
        let file = parse_file(options.get_filename())?.to_owned();
        let unreachable = |cause| OpenError::Unreachable { target: file.display().to_string(), cause };
        make_private(&file).map_err(|error| unreachable(error.to_string()))?;
        let wal = options.clone().journal_mode(SqliteJournalMode::Wal);
        let writer = connect(healed(pool(1)), wal).await.map_err(unreachable)?;
        let small = options.clone().pragma("cache_size", TRIAL_CACHE);
        let trial = healed(pool(1)).connect_lazy_with(small);
        let options = options.pragma("query_only", "ON");
        let readers = |connections| pool(connections).connect_lazy_with(options.clone());
        let (reader, background, probe) = (readers(READERS), readers(1), readers(1));
        let calls = CallMonitor::default();
        Ok(Self { writer, reader, background, probe, trial, calls, file: Some(file) })
    }
}

/// A pool whose connections stay.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A connection is tested when it comes back.
        .test_before_acquire(false)
}

/// A pool that replaces a connection whose transaction SQLite ended by itself, as it does when the disk
/// is full: sqlx goes on counting that transaction, and would never begin another.
fn healed(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    pool.before_acquire(|connection, _| {
        let usable = !connection.is_in_transaction();
        Box::pin(async move { Ok(usable) })
    })
}

/// Connects at once. Turning a new file to WAL fails where another process does the same, and does not
/// wait for it: so this does, however often it takes.
async fn connect(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> std::result::Result<SqlitePool, String> {
    let connecting = async || Ok(pool.clone().connect_with(options.clone()).await?);
    super::retry::retrying_for(BUSY_TIMEOUT, connecting).await.map_err(|error| match error {
        StoreError::Unavailable(cause) | StoreError::ReadOnly(cause) | StoreError::Broken(cause) => cause,
        StoreError::Contention | StoreError::Locked | StoreError::Busy => {
            "another process holds a lock on the database file".to_owned()
        }
    })
}

/// Runs an intent, again where another process was in its way.
async fn retrying<T, F>(intent: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    super::retry::retrying(BUSY_TIMEOUT, intent).await
}

/// Whether a URL that sqlx has read names a database in memory; sqlx does not tell.
pub(super) fn is_memory(url: &str) -> bool {
    let (database, parameters) = url.split_once('?').unwrap_or((url, ""));
    database.trim_start_matches("sqlite://").trim_start_matches("sqlite:") == ":memory:"
        || url::form_urlencoded::parse(parameters.as_bytes())
            .any(|(name, value)| name == "mode" && value == "memory")
}

/// The path, unless SQLite would take it for something else: the empty one for a temporary database of
/// each connection's own, `file:` for a URI.
pub(super) fn parse_file(path: &Path) -> std::result::Result<&Path, OpenError> {
    match path.to_str() {
        Some("") => Err(OpenError::MalformedUrl("it names no file".to_owned())),
        Some(uri) if uri.starts_with("file:") => {
            Err(OpenError::MalformedUrl("write the file's path without `file:`".to_owned()))
        }
        _ => Ok(path),
    }
}

/// Makes the file and its directory unless they are there, for this user alone: hashes and sealed keys
/// will lie in it. SQLite gives its other files the same mode.
fn make_private(file: &Path) -> io::Result<()> {
    let mut directory = fs::DirBuilder::new();
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        directory.mode(0o700);
        options.mode(0o600);
    }
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        directory.recursive(true).create(parent)?;
    }
    match options.write(true).create_new(true).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
