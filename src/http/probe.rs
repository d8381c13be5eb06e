//! Asks a service's operations port whether it is ready, as whoever watches over it does.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{StatusCode, Uri, uri},
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// How long the whole answer may take: it comes from memory.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 1_024;

/// Why a service is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// There was no answer.
    #[error("no answer from {0}: {1}")]
    NoAnswer(SocketAddr, String),
    /// There was none in time.
    #[error("no answer from {0} within {TIMEOUT:?}")]
    Slow(SocketAddr),
    /// The answer was no.
    #[error("not ready: {0} answers {1}: {2}")]
    Refused(SocketAddr, StatusCode, String),
}

/// Whether the service whose operations port listens there is ready.
///
/// # Errors
/// If it is not, or does not say so in time.
pub async fn ready(address: SocketAddr) -> Result<(), NotReady> {
    let answer = tokio::time::timeout(TIMEOUT, readyz(address)).await;
    let (status, text) = answer
        .map_err(|_| NotReady::Slow(address))?
        .map_err(|error| NotReady::NoAnswer(address, innermost(error.as_ref())))?;
    if status == StatusCode::OK { Ok(()) } else { Err(NotReady::Refused(address, status, text)) }
}

async fn readyz(address: SocketAddr) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let uri = Uri::builder().scheme(uri::Scheme::HTTP).authority(address.to_string());
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let answer = client.get(uri.path_and_query("/readyz").build()?).await?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), ANSWER_LIMIT).await?;
    Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
}

/// The first cause: "Connection refused" rather than "client error".
fn innermost(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
