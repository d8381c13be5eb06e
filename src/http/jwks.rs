//! `/.well-known/jwks.json`: the JSON Web Key Set (RFC 7517, section 5).

use std::sync::Arc;

use axum::{
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName},
};
use serde_json::json;

use crate::flows::{Flows, PublicJwk};

/// Keys are published an hour before they sign, so a cache of ten minutes never lacks one.
const CACHING: &str = "public, max-age=600";

/// The set as it stands.
pub(super) async fn answer(State(flows): State<Arc<Flows>>) -> ([(HeaderName, &'static str); 2], String) {
    let keys: Vec<_> = flows.public_keys().iter().map(member).collect();
    let body = json!({ "keys": keys }).to_string();
    ([(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, CACHING)], body)
}

fn member(key: &PublicJwk) -> serde_json::Value {
    json!({
        "kty": key.kty, "use": "sig", "alg": key.alg, "kid": key.kid,
        "crv": key.crv, "x": key.x, "y": key.y,
    })
}
