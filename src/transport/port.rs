//! One port: each connection is served in a task of its own, until the end is called for.

use std::{convert::Infallible, future::Future, io, time::Duration};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::Service;

/// How many calls one connection may have open.
const MAX_CALLS_PER_CONNECTION: u32 = 1_024;
/// How long to wait when the system has no connection to give, most often for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, known beforehand.
    Http2,
}

/// What is served on a port, and how.
#[derive(Clone)]
pub struct Port<S> {
    /// What is spoken.
    pub protocol: Protocol,
    /// What answers.
    pub service: S,
}

impl<S, B> Port<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    /// Serves until `end` comes. Then nothing is accepted any more, and each connection finishes what it has
    /// begun.
    pub async fn serve(self, listener: TcpListener, end: impl Future<Output = ()>) {
        let (open, ended) = watch::channel(());
        let mut connections = JoinSet::new();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next() => {}
                stream = accept(&listener) => {
                    connections.spawn(self.clone().connected(stream, ended.clone()));
                }
            }
        }
        // Closes the port: whoever connects now is told at once, and does not wait for the last call's end.
        drop(listener);
        drop(open);
        while connections.join_next().await.is_some() {}
    }

    async fn connected(self, stream: TcpStream, ended: watch::Receiver<()>) {
        // An answer is written at once and whole: there is nothing that waiting would collect.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        self.speak(stream, ended).await;
    }

    async fn speak<I>(self, stream: I, mut ended: watch::Receiver<()>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = self.protocol.builder();
        let service = TowerToHyperService::new(self.service);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            // The sender is gone.
            _ = ended.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection failed");
        }
    }
}

impl Protocol {
    fn builder(self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_CALLS_PER_CONNECTION);
        match self {
            Self::Http1 => builder.http1_only(),
            Self::Http2 => builder.http2_only(),
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // It was gone before it could be accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
