//! One port: each connection is served in a task of its own, until the end is called for.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::body::{Body, Bytes};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::Service;

use super::{
    connection::{self, Limits, Protocol},
    open_connections::{OpenConnection, OpenConnections},
    request_body::RequestBody,
    tls::Tls,
};

/// How long to wait when the system has no connection to give, most often for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that connections are refused, or cannot be accepted.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// What is served on a port, and how.
#[derive(Clone)]
pub struct Port<S> {
    /// Its name in the log and in metrics.
    pub name: &'static str,
    /// What is spoken.
    pub protocol: Protocol,
    /// How it is encrypted; `None` for plain text.
    pub tls: Option<Tls>,
    /// What its connections must keep to.
    pub limits: Limits,
    /// What answers.
    pub service: S,
}

impl<S, B> Port<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    /// Serves until `end` comes. Then nothing is accepted any more, and each connection finishes what it has
    /// begun.
    pub async fn serve(self, listener: TcpListener, end: impl Future<Output = ()>) {
        let (open, ended) = watch::channel(());
        let mut connections = JoinSet::new();
        let open_connections = OpenConnections::new(self.limits.connections);
        let mut refusals = Refusals::new(self.name);
        let mut exhausted = LogThrottle::default();
        let count = metrics::gauge!("countersign_connections", "port" => self.name);
        tokio::pin!(end);
        loop {
            count.set(u32::try_from(connections.len()).unwrap_or(u32::MAX));
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next() => {}
                (stream, address) = accept(&listener, &mut exhausted) => {
                    match open_connections.add(address.ip()) {
                        Some(open) => {
                            connections.spawn(self.clone().connected(stream, open, ended.clone()));
                        }
                        None => refusals.refuse(stream),
                    }
                }
            }
        }
        // Closes the port: whoever connects now is told at once, and does not wait for the last call's end.
        drop(listener);
        drop(open);
        while connections.join_next().await.is_some() {}
    }

    async fn connected(self, stream: TcpStream, open: OpenConnection, mut ended: watch::Receiver<()>) {
        // An answer is written at once and whole: there is nothing that waiting would collect.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(tls) = self.tls else {
            return connection::serve(stream, open, self.service, self.protocol, self.limits, ended).await;
        };
        let encrypted = tokio::select! {
            outcome = tls.accept(stream, self.protocol, self.limits.peer_timeout) => outcome,
            _ = ended.changed() => return,
            _ = open.must_leave() => return,
        };
        match encrypted {
            Ok(stream) => {
                connection::serve(stream, open, self.service, self.protocol, self.limits, ended).await;
            }
            Err(error) => {
                tracing::debug!(port = self.name, %error, "a TLS handshake failed");
                metrics::counter!("countersign_tls_handshakes_failed_total", "port" => self.name)
                    .increment(1);
            }
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener, exhausted: &mut LogThrottle) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // It was gone before it could be accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if exhausted.is_due() {
                    tracing::warn!(%error, "no connection can be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connections beyond the limit, if none of the open ones can make room. They are closed at once: left to wait, their peers
/// would hang until their own deadlines, while another instance may have room for them.
struct Refusals {
    port: &'static str,
    log: LogThrottle,
    count: metrics::Counter,
}

/// When something was last said, so that it is not said again all the time.
#[derive(Default)]
struct LogThrottle(Option<Instant>);

impl LogThrottle {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() > LOG_INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

impl Refusals {
    fn new(port: &'static str) -> Self {
        let count = metrics::counter!("countersign_connections_refused_total", "port" => port);
        Self { port, log: LogThrottle::default(), count }
    }

    fn refuse(&mut self, stream: TcpStream) {
        drop(stream);
        self.count.increment(1);
        if self.log.is_due() {
            tracing::warn!(
                port = self.port,
                "new connections are closed: `max-connections` is reached and no open connection can be evicted"
            );
        }
    }
}
