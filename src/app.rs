//! The composition root: opens the store, then the keys, then the doors.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    config::{ServeSettings, StoreKind, StoreSettings},
    flows::{Flows, keys::StartError},
    grpc, http,
    store::{self, OpenError, SchemaState, Store, StoreError},
};

mod root_keys;

pub use root_keys::RootKeysError;

/// How often the database's clock and the signing keys are read anew.
const KEEP_CURRENT: Duration = Duration::from_secs(5);

/// Why the service did not start, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store cannot be opened.
    #[error("database-url: {0}")]
    Open(#[from] OpenError),
    /// The schema is not as this program needs it.
    #[error(
        "the store's schema is {0} migration(s) behind: run `countersign migrate` first, or `serve --migrate`"
    )]
    SchemaBehind(usize),
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root keys cannot be read.
    #[error(transparent)]
    RootKeys(#[from] RootKeysError),
    /// The keys do not fit the store.
    #[error(transparent)]
    Start(#[from] StartError),
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
    /// A server ended on its own.
    #[error("a server ended: {0}")]
    Ended(String),
}

/// A running service.
pub struct App {
    /// Where gRPC listens.
    pub grpc_address: SocketAddr,
    /// Where HTTP listens.
    pub http_address: SocketAddr,
    /// The store, for the composition root's own callers.
    pub store: Arc<dyn Store>,
    end: watch::Sender<bool>,
    servers: JoinSet<Result<(), AppError>>,
}

impl App {
    /// Starts, in order: store, schema, keys, listeners.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn start(settings: &ServeSettings) -> Result<Self, AppError> {
        let store = open_store(&settings.store, settings.migrate).await?;
        let roots = root_keys::load(settings, store.as_ref()).await?;
        let flows = Arc::new(Flows::start(Arc::clone(&store), roots, settings.issuer.clone()).await?);
        let grpc = listen("grpc-listen", settings.grpc_listen).await?;
        let http = listen("http-listen", settings.http_listen).await?;
        Self::serve(store, flows, grpc, http).map_err(|error| AppError::Ended(error.to_string()))
    }

    fn serve(
        store: Arc<dyn Store>,
        flows: Arc<Flows>,
        grpc: TcpListener,
        http: TcpListener,
    ) -> io::Result<Self> {
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
        let (end, ended) = watch::channel(false);
        let mut servers = JoinSet::new();
        servers.spawn(grpc_server(Arc::clone(&flows), grpc, until(ended.clone())));
        servers.spawn(http_server(Arc::clone(&flows), http, until(ended.clone())));
        servers.spawn(keep_current(flows, until(ended)));
        tracing::info!(store = store.backend(), "store open");
        tracing::info!(address = %grpc_address, "gRPC listening");
        tracing::info!(address = %http_address, "HTTP listening");
        Ok(Self { grpc_address, http_address, store, end, servers })
    }

    /// Runs until `end` comes or a server fails, then finishes what runs and closes the store.
    ///
    /// # Errors
    /// If a server failed.
    pub async fn run_until(mut self, end: impl Future<Output = ()>) -> Result<(), AppError> {
        tokio::pin!(end);
        let failed = tokio::select! {
            () = &mut end => None,
            ended = self.servers.join_next() => ended,
        };
        self.end.send_replace(true);
        while self.servers.join_next().await.is_some() {}
        self.store.close().await;
        match failed {
            None => Ok(()),
            Some(Ok(outcome)) => outcome.and(Err(AppError::Ended("without an error".to_owned()))),
            Some(Err(panic)) => Err(AppError::Ended(panic.to_string())),
        }
    }
}

/// Opens a store whose schema is as this program needs it.
///
/// # Errors
/// If it cannot be reached, or the schema is behind and is not to be brought up to date here.
pub async fn open_store(settings: &StoreSettings, migrate: bool) -> Result<Arc<dyn Store>, AppError> {
    let kind = settings.kind();
    let store = store::open(&settings.url(), settings.connections).await?;
    if migrate || kind.is_embedded() {
        let count = store.migrate().await?;
        if count > 0 && kind != StoreKind::Memory {
            tracing::info!(count, "migrations have run");
        }
    }
    match store.schema().await? {
        SchemaState::Current => Ok(store),
        SchemaState::Behind(count) => Err(AppError::SchemaBehind(count)),
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|cause| AppError::Listen { setting, address, cause })
}

async fn grpc_server(
    flows: Arc<Flows>,
    listener: TcpListener,
    end: impl Future<Output = ()>,
) -> Result<(), AppError> {
    grpc::server::serve(flows, listener, end).await.map_err(|error| AppError::Ended(format!("gRPC: {error}")))
}

async fn http_server(
    flows: Arc<Flows>,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AppError> {
    http::serve(flows, listener, end).await.map_err(|error| AppError::Ended(format!("HTTP: {error}")))
}

/// Reads clock and keys anew for ever; a failure is said once, and so is its end.
async fn keep_current(flows: Arc<Flows>, end: impl Future<Output = ()>) -> Result<(), AppError> {
    tokio::pin!(end);
    let mut failing = false;
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(KEEP_CURRENT) => {}
        }
        let outcome = flows.keep_current().await;
        match &outcome {
            Err(error) if !failing => tracing::warn!(%error, "clock and keys could not be read"),
            Ok(()) if failing => tracing::info!("clock and keys are read again"),
            Ok(()) | Err(_) => {}
        }
        failing = outcome.is_err();
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    // A sender that is gone is an end, too.
    let _ = ended.wait_for(|ended| *ended).await;
}
