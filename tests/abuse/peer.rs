//! A peer that follows the HTTP/2 protocol but neither gRPC's nor fair use.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;

/// One connection.
#[derive(Clone)]
pub struct Peer {
    streams: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_window(address, 65_535).await
    }

    /// One that grants so many bytes for each response.
    pub async fn with_window(address: SocketAddr, window: u32) -> Self {
        Self::try_with_window(address, window).await.unwrap()
    }

    pub async fn try_with_window(address: SocketAddr, window: u32) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, address, window).await
    }

    /// The same, over a connection that is open already.
    pub async fn over(stream: TcpStream, address: SocketAddr, window: u32) -> std::io::Result<Self> {
        stream.set_nodelay(true).unwrap();
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_max_send_streams(100);
        let (streams, connection) = builder.handshake(stream).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self { streams: streams.ready().await.map_err(std::io::Error::other)?, address })
    }

    /// Begins a call: its response, and the stream of its request.
    pub async fn begin(&self, path: &str) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.begin_with(path, &[]).await
    }

    /// The same, with further metadata.
    pub async fn begin_with(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let uri = format!("http://{}{path}", self.address);
        let mut request =
            Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut streams = self.streams.clone().ready().await?;
        streams.send_request(request.body(()).unwrap(), false)
    }

    /// Makes a call with one message.
    pub async fn call(&self, path: &str, message: &impl Message) -> Result<ResponseFuture, h2::Error> {
        let (response, mut request) = self.begin(path).await?;
        // A call that was rejected at once takes no message.
        let _ = request.send_data(frame(message), true);
        Ok(response)
    }

    /// Makes a call: the bytes of its message, or the gRPC code and the reason of its refusal.
    pub async fn answer(&self, path: &str, message: &impl Message) -> Result<Bytes, Refusal> {
        let response = self.call(path, message).await.map_err(Refusal::from)?;
        answer(response).await
    }
}

/// Outcome of a call that was not answered with a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A gRPC code, with the message beside it.
    Status(i32, String),
    /// The stream or the connection was reset.
    Reset(String),
}

impl From<h2::Error> for Refusal {
    fn from(error: h2::Error) -> Self {
        Self::Reset(error.to_string())
    }
}

/// The message of a response.
pub async fn answer(response: ResponseFuture) -> Result<Bytes, Refusal> {
    let (head, mut body) = response.await?.into_parts();
    if let Some(refusal) = refusal(&head.headers) {
        return Err(refusal);
    }
    let data = read(&mut body).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    match refusal(&trailers) {
        Some(refusal) => Err(refusal),
        None => Ok(data.slice(data.len().min(5)..)),
    }
}

async fn read(body: &mut RecvStream) -> Result<Bytes, Refusal> {
    let mut data = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        data.extend_from_slice(&chunk);
    }
    Ok(data.into())
}

/// The refusal that metadata holds: its code, and the reason of its ErrorInfo.
pub fn refusal(headers: &http::HeaderMap) -> Option<Refusal> {
    let status = tonic::Status::from_header_map(headers)?;
    let reason = tonic_types::StatusExt::get_details_error_info(&status).map(|info| info.reason);
    let code = status.code() as i32;
    (code != 0).then(|| Refusal::Status(code, reason.unwrap_or_else(|| status.message().to_owned())))
}

/// gRPC over HTTP/2, "Length-Prefixed-Message".
pub fn frame(message: &impl Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat().into()
}

/// RESOURCE_EXHAUSTED with this reason.
pub fn overloaded() -> Refusal {
    Refusal::Status(8, "OVERLOADED".to_owned())
}

/// DEADLINE_EXCEEDED with this reason.
pub fn too_late() -> Refusal {
    Refusal::Status(4, "DEADLINE_EXCEEDED".to_owned())
}

/// An empty message of any type.
pub const EMPTY: () = ();

pub const GET_JWKS: &str = "/countersign.v1.TokenService/GetJwks";
pub const WATCH_REVOCATIONS: &str = "/countersign.v1.TokenService/WatchRevocations";
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
pub const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
