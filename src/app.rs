//! The composition root: opens the store, then the keys, then the ports.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    chain::Chains,
    config::{ServeSettings, StoreSettings},
    domain::peer::HEALTH_WATCHES_PER_CONNECTION,
    flows::{CallLimits, Flows},
    http,
    state::signing_keys::{Schedule, StartError},
    store::{self, Location, OpenError, SchemaState, Store, StoreError},
    transport::TlsError,
};

/// How long it must have been quiet before nothing more is expected: the last answers have left, and peers have
/// have read that nothing new is accepted.
const LAST_ANSWERS: Duration = Duration::from_millis(250);
/// How long closing the store may take, once nothing runs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

mod background;
mod memory;
mod ports;
mod root_keys;
mod setting_checks;

use ports::Ports;
pub use root_keys::{RootKeysError, load_root_keys};
pub use setting_checks::CHECKS;

/// Why the service did not start, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store cannot be opened.
    #[error("database-url: {0}")]
    Open(#[from] OpenError),
    /// The schema is not as this program needs it.
    #[error(
        "the store's schema lacks {} migration(s): {}; run `countersign migrate` first, or `serve --migrate`",
        .0.len(),
        .0.join(", ")
    )]
    SchemaBehind(Vec<String>),
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root keys cannot be read.
    #[error(transparent)]
    RootKeys(#[from] RootKeysError),
    /// The keys do not fit the store.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Certificate and key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port cannot be listened on.
    #[error("{setting}: cannot listen on {address}: {cause}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// Calls were still running when the time to finish them was over.
    #[error("shutdown-timeout: calls were still running after {0:?}")]
    Unfinished(Duration),
    /// A server ended on its own.
    #[error("a server ended: {0}")]
    ServerStopped(String),
}

/// A running service.
pub struct App {
    /// Where gRPC listens.
    pub grpc_address: SocketAddr,
    /// Where HTTP listens.
    pub http_address: SocketAddr,
    /// Where operations listen.
    pub operations_address: SocketAddr,
    /// The store, for the composition root's own callers.
    pub store: Arc<dyn Store>,
    flows: Arc<Flows>,
    end: watch::Sender<bool>,
    servers: JoinSet<()>,
    shutdown_delay: Duration,
    shutdown_timeout: Duration,
}

impl App {
    /// Starts, in order: certificate, store, schema, keys, ports.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn start(settings: &ServeSettings) -> Result<Self, AppError> {
        http::recorder();
        let tls = ports::tls(settings)?;
        let store = open_store(&settings.store, settings.migrate).await?;
        let roots = load_root_keys(settings.root_keys.as_ref(), store.as_ref()).await?;
        let chains = Chains::new(&settings.chain_rpc, settings.chain_rpc_timeout);
        let (issuer, limits) = (settings.issuer.clone(), call_limits(settings));
        let flows = Flows::start(Arc::clone(&store), roots, issuer, chains, schedule(settings), limits);
        let flows = Arc::new(flows.await?);
        let ports = Ports::bind(settings, tls).await?;
        let addresses = ports.addresses().map_err(|error| AppError::ServerStopped(error.to_string()))?;
        tracing::info!(store = store.backend(), "store open");
        let (end, ended) = watch::channel(false);
        let mut servers = JoinSet::new();
        ports.serve(settings, &flows, &ended, &mut servers).await?;
        addresses.log();
        background::spawn(settings, &flows, &ended, &mut servers);
        Ok(Self {
            grpc_address: addresses.grpc,
            http_address: addresses.http,
            operations_address: addresses.operations,
            store,
            flows,
            end,
            servers,
            shutdown_delay: settings.shutdown_delay,
            shutdown_timeout: settings.shutdown_timeout,
        })
    }

    /// Runs until `end` comes or a server fails. Then health says NOT_SERVING; after a while, for a mesh to
    /// notice, nothing new is accepted; what runs is finished, within bounds; and the store is closed.
    ///
    /// # Errors
    /// If a server failed, or calls did not finish in time.
    pub async fn run_until(mut self, end: impl Future<Output = ()>) -> Result<(), AppError> {
        tokio::pin!(end);
        let failed = tokio::select! {
            () = &mut end => None,
            ended = self.servers.join_next() => ended,
        };
        self.flows.health().drain();
        if failed.is_none() {
            tokio::time::sleep(self.shutdown_delay).await;
        }
        self.end.send_replace(true);
        let finished = tokio::time::timeout(self.shutdown_timeout, self.finished()).await.is_ok();
        self.servers.abort_all();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.close()).await.is_err() {
            tracing::warn!("the store did not close in time: its connections are cut");
        }
        match failed {
            None if finished => Ok(()),
            None => Err(AppError::Unfinished(self.shutdown_timeout)),
            Some(Ok(())) => Err(AppError::ServerStopped("without an error".to_owned())),
            Some(Err(panic)) => Err(AppError::ServerStopped(panic.to_string())),
        }
    }
}

impl App {
    async fn close(&self) {
        if let Err(error) = self.flows.flush_secret_uses().await {
            tracing::debug!(%error, "the use of client secrets could not be noted");
        }
        self.store.close().await;
    }

    /// When every connection has ended, or no call is under way any more and the last answers are sent. What
    /// then still holds a connection open is a stream, or does nothing.
    async fn finished(&mut self) {
        let flows = Arc::clone(&self.flows);
        let idle = async move {
            loop {
                let begun = flows.calls().begun();
                tokio::time::sleep(LAST_ANSWERS).await;
                // Peers may send calls until they have read that they should not.
                if flows.calls().is_idle() && flows.calls().begun() == begun {
                    return;
                }
            }
        };
        tokio::select! {
            () = idle => {}
            () = async { while self.servers.join_next().await.is_some() {} } => {}
        }
    }
}

/// Limits on calls that run at once.
fn call_limits(settings: &ServeSettings) -> CallLimits {
    let (max_connections, max_calls) = (settings.connections.max, settings.connections.max_calls);
    let max_health_watches = max_connections.saturating_mul(HEALTH_WATCHES_PER_CONNECTION as usize);
    CallLimits { max_calls, max_health_watches }
}

fn schedule(settings: &ServeSettings) -> Schedule {
    let interval = Some(settings.key_rotation_interval).filter(|interval| !interval.is_zero());
    Schedule { interval, prepublish: settings.key_prepublish }
}

/// Opens a store whose schema is as this program needs it.
///
/// # Errors
/// If it cannot be reached, or the schema is behind and is not to be brought up to date here.
pub async fn open_store(settings: &StoreSettings, migrate: bool) -> Result<Arc<dyn Store>, AppError> {
    let store = store::open_with(&settings.url(), settings.connections).await?;
    let location = store.location();
    if migrate || location.is_embedded() {
        let count = store.migrate().await?;
        if count > 0 && location != Location::Memory {
            tracing::info!(count, "migrations have run");
        }
    }
    match store.schema().await? {
        SchemaState::Current => Ok(store),
        SchemaState::Behind(missing) => Err(AppError::SchemaBehind(missing)),
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    // A sender that is gone is an end, too.
    let _ = ended.wait_for(|ended| *ended).await;
}
