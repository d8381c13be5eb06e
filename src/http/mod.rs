//! HTTP: the public keys for everybody who verifies access tokens, and the port of operations.
//!
//! The only room that names the HTTP library.

mod jwks;
mod operations;
mod probe;

use std::{future::Future, sync::Arc};

use axum::{Router, routing::get};
use tokio::net::TcpListener;

pub use operations::recorder;
pub use probe::{NotReady, ready};

use crate::flows::Flows;

/// Serves until `end` comes.
///
/// # Errors
/// If the transport fails.
pub async fn serve(
    flows: Arc<Flows>,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new().route("/.well-known/jwks.json", get(jwks::answer)).with_state(flows);
    axum::serve(listener, router).with_graceful_shutdown(end).await
}

/// Serves probes and metrics until `end` comes.
///
/// # Errors
/// If the transport fails.
pub async fn serve_operations(
    flows: Arc<Flows>,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, operations::router(flows)).with_graceful_shutdown(end).await
}
