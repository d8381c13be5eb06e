//! The ports: bound together, so that a port that is taken stops the start, and what answers on each.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{AppError, until};
use crate::{
    config::{ServeSettings, TlsSettings},
    flows::Flows,
    grpc, http,
    transport::{Backlog, Limits, Port, Protocol, StallLimits, Tls, TlsFiles},
};

/// The ports, bound.
pub(super) struct Ports {
    grpc: TcpListener,
    http: TcpListener,
    operations: TcpListener,
    tls: Option<Tls>,
}

/// Where the ports are.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) operations: SocketAddr,
}

impl Addresses {
    /// Says that calls are answered from now on.
    pub(super) fn log(&self) {
        tracing::info!(address = %self.operations, "operations listening");
        tracing::info!(address = %self.grpc, "gRPC listening");
        tracing::info!(address = %self.http, "HTTP listening");
    }
}

impl Ports {
    pub(super) async fn bind(settings: &ServeSettings, tls: Option<Tls>) -> Result<Self, AppError> {
        Ok(Self {
            tls,
            grpc: listen("grpc-listen", settings.grpc_listen).await?,
            http: listen("http-listen", settings.http_listen).await?,
            operations: listen("operations-listen", settings.operations_listen).await?,
        })
    }

    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            grpc: self.grpc.local_addr()?,
            http: self.http.local_addr()?,
            operations: self.operations.local_addr()?,
        })
    }

    /// Serves each in a task of its own, until the end is called for.
    pub(super) async fn serve(
        self,
        settings: &ServeSettings,
        flows: &Arc<Flows>,
        ended: &watch::Receiver<bool>,
        servers: &mut JoinSet<()>,
    ) -> Result<(), AppError> {
        let services = grpc::server::services(
            Arc::clone(flows),
            settings.request_timeout,
            settings.revocations_max_age,
            settings.watcher_stall_timeout,
            settings.connections.trusted_proxies.clone(),
        )
        .await;
        let services = services.map_err(|error| AppError::ServerStopped(format!("gRPC: {error}")))?;
        let (public, operations) = (http::public(Arc::clone(flows)), http::operations(Arc::clone(flows)));
        let (name, protocol, tls) = ("grpc", Protocol::Http2, self.tls.clone());
        let grpc = Port { name, protocol, tls, limits: limits(settings), service: services };
        let (name, protocol, tls) = ("http", Protocol::Http1, self.tls.clone());
        let http = Port { name, protocol, tls, limits: limits(settings), service: public };
        let (name, protocol, tls) = ("operations", Protocol::Http1, None);
        let operations = Port { name, protocol, tls, limits: limits(settings), service: operations };
        if let Some(tls) = self.tls {
            servers.spawn(tls.keep_current(until(ended.clone())));
        }
        servers.spawn(grpc.serve(self.grpc, until(ended.clone())));
        servers.spawn(http.serve(self.http, until(ended.clone())));
        servers.spawn(operations.serve(self.operations, until(ended.clone())));
        Ok(())
    }
}

/// TLS, where the settings ask for it.
pub(super) fn tls(settings: &ServeSettings) -> Result<Option<Tls>, AppError> {
    let files = settings.tls.clone().map(|TlsSettings { certificate_file, key_file, client_ca_file }| {
        TlsFiles { certificate: certificate_file, key: key_file, client_ca: client_ca_file }
    });
    Ok(files.map(Tls::load).transpose()?)
}

/// Limits of one port. Each has its own, so that a flood on one does not hold up `/livez` or the public keys.
fn limits(settings: &ServeSettings) -> Limits {
    let connections = &settings.connections;
    Limits {
        connections: connections.max,
        age: connections.max_age,
        idle: connections.idle_timeout,
        // The longest call, and the time its answer takes to arrive.
        grace: settings.request_timeout + connections.peer_timeout,
        peer_timeout: connections.peer_timeout,
        keepalive: connections.keepalive,
        stalls: StallLimits::new(connections.peer_timeout, connections.max_calls),
        backlog: Backlog::new(connections.max_calls),
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|cause| AppError::Listen { setting, address, cause })
}
