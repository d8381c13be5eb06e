//! `/.well-known/jwks.json`: the JSON Web Key Set (RFC 7517, section 5).

use std::sync::Arc;

use axum::{
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName},
};
use serde_json::json;

use crate::flows::{Flows, KeyMembers, PublicJwk};

/// Keys are published an hour before they sign, so a cache of ten minutes never lacks one.
const CACHING: &str = "public, max-age=600";

/// The set as it stands.
pub(super) async fn answer(State(flows): State<Arc<Flows>>) -> ([(HeaderName, &'static str); 2], String) {
    let keys: Vec<_> = flows.public_keys().iter().map(member).collect();
    let body = json!({ "keys": keys }).to_string();
    ([(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, CACHING)], body)
}

fn member(key: &PublicJwk) -> serde_json::Value {
    let mut member = match &key.members {
        KeyMembers::Ec { x, y } => json!({ "x": x, "y": y }),
        KeyMembers::Okp { x } => json!({ "x": x }),
        KeyMembers::Rsa { n, e } => json!({ "n": n, "e": e }),
    };
    member["kty"] = key.members.key_type().into();
    if let Some(curve) = key.members.curve() {
        member["crv"] = curve.into();
    }
    member["use"] = "sig".into();
    member["alg"] = key.algorithm.as_str().into();
    member["kid"] = key.kid.as_str().into();
    member
}
