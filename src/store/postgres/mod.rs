//! PostgreSQL 14 and later: an intent that decides is one statement, or one transaction if a snapshot would be too old.

mod accounts;
mod challenges;
mod clean_up;
mod clients;
mod keys;
mod lease;
mod lifecycle;
mod probe;
mod redeem;
mod replay;
mod revocations;
mod rotate;
mod rows;
mod sessions;

use std::{future::Future, pin::pin, str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    OpenError, RESERVED_CONNECTIONS, Result, StoreError,
    call_monitor::{CallMonitor, LastTime},
    lifecycle::Permit,
};
use lease::Lease;
use probe::ProbeConnection;

/// How long a call waits for a free connection, or for one to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take in all. What a statement waits for, others hold for a moment only; see
/// [`bound_lock_waits`].
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lay idle for longer may have been cut by something on the way.
const LONG_IDLE: Duration = Duration::from_secs(30);
/// Time that a connection has to answer before it is used again.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The PostgreSQL backend.
#[derive(Clone)]
pub(super) struct Postgres {
    /// Connections of the callers.
    pool: PgPool,
    /// Connection for signing keys and revocations, independent of the callers' pool.
    background: PgPool,
    /// The connection of the clock, which is the probe.
    probe: Arc<ProbeConnection>,
    calls: CallMonitor,
    suspicion: Suspicion,
    /// Permit that is released once no connection of this use is occupied.
    permit: Option<Permit>,
}

/// Failures that make older connections suspect.
#[derive(Clone, Default)]
struct Suspicion {
    last_unavailable: LastTime,
    last_read_only: LastTime,
}

impl Postgres {
    /// Connects once, so that a wrong URL is told at once, and keeps a pool.
    pub(super) async fn open(url: &str, connections: u32) -> std::result::Result<Self, OpenError> {
        refuse_unknown_parts(url)?;
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| OpenError::MalformedUrl(error.to_string()))?
            // Poolers refuse start-up parameters that they do not know.
            .extra_float_digits(None)
            .application_name("countersign")
            .disable_statement_logging();
        let options = without_brackets(options);
        let unreachable = |cause: String| OpenError::Unreachable { target: target(&options), cause };
        tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect())
            .await
            .map_err(|_| unreachable("no answer within 5 s".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?
            .close()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let (calls, suspicion) = (CallMonitor::default(), Suspicion::default());
        let pool = |connections| pool(options.clone(), connections, &suspicion);
        Ok(Self {
            pool: pool(connections.saturating_sub(RESERVED_CONNECTIONS).max(1)),
            background: pool(1),
            probe: Arc::new(ProbeConnection::new(options)),
            calls,
            suspicion,
            permit: None,
        })
    }

    /// A connection of the callers.
    async fn connection(&self) -> Result<Lease> {
        Lease::of(&self.pool, &self.calls, self.permit.as_ref()).await
    }

    /// The connection of keys and revocations.
    async fn background(&self) -> Result<Lease> {
        Lease::of(&self.background, &self.calls, None).await
    }

    /// Runs a statement, again where a serialisation failure, a deadlock or a lost race (`None` of
    /// [`retry_if_missing`]) got in its way.
    async fn retrying<T, F>(&self, statement: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let attempts = pin!(super::retry::retrying(STATEMENT_TIMEOUT, statement));
        let outcome = self.calls.run(attempts).await;
        match outcome {
            Err(StoreError::Unavailable(_)) => self.suspicion.last_unavailable.note(),
            Err(StoreError::ReadOnly(_)) => self.suspicion.last_read_only.note(),
            Ok(_) | Err(_) => {}
        }
        outcome
    }
}

/// A pool that tests a connection before use only where it may have been cut: it has been idle since
/// before the last failure, or for long. Testing each time would double the round trips. One that is older
/// than the last word of a server that only reads may lead to a demoted primary, and is dropped.
fn pool(options: PgConnectOptions, connections: u32, suspicion: &Suspicion) -> PgPool {
    let (suspicion, released) = (suspicion.clone(), suspicion.clone());
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let useless = suspicion.last_read_only.is_within(meta.age);
            let suspect = meta.idle_for > LONG_IDLE || suspicion.last_unavailable.is_within(meta.idle_for);
            Box::pin(async move { Ok(!useless && (!suspect || answers(connection).await)) })
        })
        .after_release(move |connection, _| {
            let suspicion = released.clone();
            Box::pin(async move { Ok(is_released(connection, &suspicion).await) })
        })
        .connect_lazy_with(options)
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

/// Returns true if a released connection may be reused. Its statement may still run, in an outage without end; then the
/// connection is closed, so that it keeps no place in the pool.
async fn is_released(connection: &mut PgConnection, suspicion: &Suspicion) -> bool {
    if suspicion.last_unavailable.is_within(PING_TIMEOUT) {
        return answers(connection).await;
    }
    // sqlx pings it; the lease bounds the wait.
    true
}

/// Refuses what sqlx would read as something else, and might log or show: a password with a `/` in it, which
/// ends up in the name of the database, and parameters that it does not know.
pub(super) fn refuse_unknown_parts(url: &str) -> std::result::Result<(), OpenError> {
    const KNOWN: [&str; 11] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "host",
        "port",
        "application_name",
    ];
    let malformed = |why: &str| Err(OpenError::MalformedUrl(why.to_owned()));
    let Ok(url) = url::Url::parse(url) else { return malformed("it is no URL") };
    if url.path().trim_start_matches('/').contains(['/', '@', ':']) {
        return malformed("its database name holds `/`, `@` or `:`; in a password write %2F, %40 and %3A");
    }
    if url.query_pairs().any(|(name, _)| !KNOWN.contains(&name.as_ref())) {
        return malformed("it has a parameter that is not known");
    }
    Ok(())
}

/// An IPv6 address stands in brackets in a URL, and nowhere else (RFC 3986, section 3.2.2).
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let bare =
        options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    match bare {
        Some(bare) => options.host(&bare),
        None => options,
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

/// The first part of every statement that locks: no lock is waited for longer than two seconds. Set for this
/// statement alone, by itself, so that it holds behind a pooler too and costs no round trip. A locking part
/// names `bound` among its tables, and so comes after it.
macro_rules! bound_lock_waits {
    () => {
        "WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', '2000', true)), "
    };
}
use bound_lock_waits;

/// Begins a transaction with a short lock timeout. Keys and revocations share a connection, and a lock on a table of one
/// must not block the other for long.
const BEGIN_BRIEF: &str = "BEGIN; SELECT set_config('lock_timeout', '500ms', true)";

/// For a statement that answers no row when another was faster.
fn retry_if_missing<T>(row: Option<T>) -> Result<T> {
    row.ok_or(StoreError::Contention)
}
