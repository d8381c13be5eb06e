//! PostgreSQL 14 and later: each intent is one statement on one connection.

mod challenges;
mod clients;
mod keys;
mod lifecycle;
mod rows;
mod sessions;

use std::{future::Future, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{OpenError, Result, StoreError};

/// Connections per instance. Sign-ins hold one for about a millisecond.
const MAX_CONNECTIONS: u32 = 16;
/// How long a call waits for a free connection, or for one to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement may take in all, waiting for locks included.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The PostgreSQL backend.
pub(super) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// Connects once, so that a wrong URL is told at once, and keeps a pool.
    pub(super) async fn open(url: &str) -> std::result::Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| OpenError::MalformedUrl(error.to_string()))?
            // Poolers refuse start-up parameters that they do not know.
            .extra_float_digits(None)
            .application_name("countersign")
            .disable_statement_logging();
        let unreachable = |cause: String| OpenError::Unreachable { target: target(&options), cause };
        tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect())
            .await
            .map_err(|_| unreachable("no answer within 3 s".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?
            .close()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A broken connection shows itself in the statement, which a caller may try again.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

/// Where the server is, without user and password.
fn target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("(default database)");
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL database {database} at {}", socket.display()),
        None => format!("PostgreSQL database {database} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// Runs a statement, again where a serialisation failure, a deadlock or a lost race (`None` of
/// [`once_more`]) got in its way.
async fn retrying<T, F>(statement: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    super::retry::retrying(STATEMENT_TIMEOUT, statement).await
}

/// For a statement that answers no row when another was faster.
fn once_more<T>(row: Option<T>) -> Result<T> {
    row.ok_or(StoreError::Contention)
}
