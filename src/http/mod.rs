//! HTTP: the public keys for everybody who verifies access tokens, and the port of operations.
//!
//! The only module that names the HTTP library.

mod jwks;
mod operations;
mod probe;

use std::sync::Arc;

use axum::{Router, routing::get};

pub use operations::{fold_measurements, operations, recorder};
pub use probe::{NotReady, ready};

use crate::flows::Flows;

/// What answers on the HTTP port.
pub fn public(flows: Arc<Flows>) -> Router {
    Router::new().route("/.well-known/jwks.json", get(jwks::answer)).with_state(flows)
}
