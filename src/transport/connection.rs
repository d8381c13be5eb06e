//! One connection: what is spoken on it, what its peer must keep to, and how it ends.

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::{Body, Bytes};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tower::Service;

use super::{
    backlog::{Backlog, Paced},
    buffered_writes::BufferedWrites,
    connection_service::ConnectionService,
    inline_executor::InlineExecutor,
    open_connections::{Eviction, OpenConnection},
    request_body::RequestBody,
    stall_timeout::StallTimeout,
    stalled_calls::StallLimits,
};
use crate::domain::jittered;

/// Calls that one connection may have open; a peer's further ones wait until it may begin them (RFC 9113, section 5.1.2).
const MAX_CALLS: u32 = 100;
/// Bytes that a peer may send ahead on one call. Memory holds them until the call reads them.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that a peer may send ahead on all calls of a connection.
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Grace period of an evicted connection. If a call began meanwhile, `Limits::grace` applies.
const LEAVING_GRACE: Duration = Duration::from_secs(1);
/// How large the metadata of a call may be: more than a proxy lets through (Envoy: 60 KiB), so that one caller's
/// is refused by `grpc`, with a reason. What is larger is answered with 431, and what does not fit in six frames
/// ends the connection.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// How large the head of an HTTP/1.1 request may be; what is larger is answered with 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, known beforehand.
    Http2,
}

/// Limits of the connections of a port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Age of a connection, give or take a tenth; `None` for no limit.
    pub age: Option<Duration>,
    /// Time without a call after which a connection ends.
    pub idle: Duration,
    /// Shutdown grace for running calls.
    pub grace: Duration,
    /// Timeout for a peer that must send or read.
    pub peer_timeout: Duration,
    /// Silence on an HTTP/2 connection after which a ping checks that the peer is alive.
    pub keepalive: Duration,
    /// Limits for calls whose peers do not send, or do not read.
    pub stalls: Arc<StallLimits>,
    /// Calls that have arrived and not begun.
    pub backlog: Arc<Backlog>,
}

/// Serves one connection until the peer closes it, it is idle for too long or too old, it is evicted, or the sender of
/// `ended` is dropped. Then it finishes running calls within a bounded time.
pub(super) async fn serve<I, S, B>(
    stream: I,
    open: OpenConnection,
    service: S,
    protocol: Protocol,
    limits: Limits,
    mut ended: watch::Receiver<()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let executor = InlineExecutor::new(Arc::clone(&limits.backlog));
    let stream = BufferedWrites::new(StallTimeout::new(stream, protocol.first_words(), limits.peer_timeout));
    let builder = protocol.builder(&limits, executor.clone());
    let service = ConnectionService {
        service,
        peer: open.peer().clone(),
        stalls: Arc::clone(&limits.stalls),
        executor: (protocol == Protocol::Http2).then_some(executor),
    };
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = Paced::new(connection, Arc::clone(&limits.backlog));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Ok(outcome),
        _ = ended.changed() => Err(limits.shutdown_grace()),
        () = too_old(limits.age) => Err(limits.shutdown_grace()),
        () = open.idle(limits.idle) => Err(limits.shutdown_grace()),
        eviction = open.must_leave() => Err(limits.eviction_grace(eviction)),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err((grace, more_if_busy)) => {
            connection.as_mut().connection().graceful_shutdown();
            // The connection is polled even without a grace period, which announces the shutdown.
            match tokio::time::timeout(grace, connection.as_mut()).await {
                Ok(outcome) => outcome,
                Err(_) if !more_if_busy.is_zero() && open.is_busy() => {
                    tokio::time::timeout(more_if_busy, connection).await.unwrap_or(Ok(()))
                }
                // Only streams are left, or the peer does not read.
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection failed");
    }
}

impl Limits {
    /// Grace period, and extension of it while a call runs.
    const fn shutdown_grace(&self) -> (Duration, Duration) {
        (self.grace, Duration::ZERO)
    }

    /// The same for an evicted connection.
    const fn eviction_grace(&self, eviction: Eviction) -> (Duration, Duration) {
        match eviction {
            Eviction::Graceful => (LEAVING_GRACE, self.grace.saturating_sub(LEAVING_GRACE)),
            Eviction::AtOnce => (Duration::ZERO, Duration::ZERO),
        }
    }
}

impl Protocol {
    /// How many bytes a peer must send before the protocol's own time limits hold.
    const fn first_words(self) -> usize {
        match self {
            Self::Http1 => 0,
            Self::Http2 => PREFACE_BYTES,
        }
    }

    fn builder(self, limits: &Limits, executor: InlineExecutor) -> Builder<InlineExecutor> {
        let mut builder = Builder::new(executor);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.peer_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CALLS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(limits.peer_timeout);
        match self {
            Self::Http1 => builder.http1_only(),
            Self::Http2 => builder.http2_only(),
        }
    }
}

/// When a connection is too old: at a time of its own, so that those of one moment do not end in one, too.
async fn too_old(age: Option<Duration>) {
    let Some(age) = age else { return future::pending().await };
    tokio::time::sleep(jittered(age, 0.1)).await;
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll},
    };

    use http::HeaderMap;
    use http_body_util::{BodyExt as _, Empty, Full};
    use hyper::{body::Bytes, client::conn::http2};
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{DuplexStream, ReadBuf, duplex};

    use super::*;
    use crate::transport::open_connections::OpenConnections;

    /// Counts what it writes at once.
    struct Counted {
        stream: DuplexStream,
        writes: Arc<AtomicUsize>,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.stream).poll_write_vectored(context, slices)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }

    fn limits() -> Limits {
        Limits {
            connections: 1,
            age: None,
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(1),
            peer_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(60),
            stalls: StallLimits::new(Duration::from_secs(10), 600),
            backlog: Backlog::new(100),
        }
    }

    /// How many writes `calls` at once take, each answered with `size` bytes.
    async fn writes(calls: usize, size: usize) -> usize {
        let (peer, stream) = duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let answer = Bytes::from(vec![b'x'; size]);
        let service = tower::service_fn(move |_| {
            // As gRPC's: trailers follow the message.
            let answer = Full::new(answer.clone()).with_trailers(future::ready(Some(Ok(HeaderMap::new()))));
            let answer = Response::new(answer);
            async { Ok::<_, Infallible>(answer) }
        });
        let (_open, ended) = watch::channel(());
        let counted = Counted { stream, writes: Arc::clone(&writes) };
        let open = OpenConnections::new(1).add("127.0.0.1".parse().unwrap()).unwrap();
        tokio::spawn(serve(counted, open, service, Protocol::Http2, limits(), ended));
        let (mut caller, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(peer)).await.unwrap();
        tokio::spawn(connection);
        let mut call = || caller.send_request(Request::new(Empty::<Bytes>::new()));
        // Both sides have said what they can.
        call().await.unwrap().collect().await.unwrap();
        let before = writes.load(Ordering::Relaxed);
        let answers: Vec<_> = (0..calls).map(|_| call()).collect();
        for answer in answers {
            assert_eq!(answer.await.unwrap().collect().await.unwrap().to_bytes().len(), size);
        }
        writes.load(Ordering::Relaxed) - before
    }

    #[tokio::test]
    async fn answers_of_one_moment_leave_together() {
        for size in [0, 300, 600] {
            let writes = writes(16, size).await;
            assert!(writes <= 4, "16 answers of {size} bytes in {writes} writes");
        }
    }

    #[tokio::test]
    async fn a_small_answer_leaves_in_one_write_and_a_large_one_in_two() {
        for (size, expected) in [(1, 1), (1_000, 1), (1_500, 2), (6_000, 2), (16_384, 2)] {
            assert_eq!(writes(1, size).await, expected, "{size} bytes");
        }
    }
}
