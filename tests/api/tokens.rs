//! RevokeToken, IntrospectToken and the public keys.

use countersign::domain::{Policy, Role, SigningAlgorithm};

use crate::{
    harness::{Server, claims, http_get, reason, root_keys_file, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    either_token_ends_the_session,
    an_unknown_token_is_no_error,
    introspection_tells_what_the_token_says_until_it_is_revoked,
    introspection_is_inactive_out_of_scope,
    a_spent_refresh_token_is_inactive,
    the_keys_over_grpc_and_http_are_the_same_and_verify_tokens,
    a_token_of_another_issuer_or_store_is_invalid,
];

async fn either_token_ends_the_session(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    for access in [true, false] {
        let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
        let token = if access { &tokens.access_token } else { &tokens.refresh_token };
        client.with("").revoke_token(token).await.unwrap();
        client.with("").revoke_token(token).await.unwrap();
        assert_eq!(reason(client.refresh(&tokens.refresh_token).await), "SESSION_REVOKED");
        let user = client.with(&format!("Bearer {}", tokens.access_token));
        let session = claims(&tokens.access_token)["sid"].as_str().unwrap().to_owned();
        assert_eq!(reason(user.get_session(&session).await), "SESSION_REVOKED");
    }
}

async fn an_unknown_token_is_no_error(store: &TestStore) {
    let server = Server::start(store).await;
    let nobody = server.caller("").await;
    for token in ["x", "crt_x", "a.b.c", "'; DROP TABLE sessions; --"] {
        nobody.revoke_token(token).await.unwrap();
    }
    assert_eq!(wrong_field(nobody.revoke_token("").await).1, "token");
}

async fn introspection_tells_what_the_token_says_until_it_is_revoked(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { scope: "a b".to_owned(), ..Policy::default() }).await;
    let answer = client.sign_in(&wallet()).await;
    let tokens = answer.tokens.unwrap();
    let access = client.introspect(&tokens.access_token).await.unwrap();
    let claims = claims(&tokens.access_token);
    assert!(access.active);
    assert_eq!((access.token_type.as_str(), access.scope.as_str()), ("access_token", "a b"));
    assert_eq!(i64::from(access.exp), claims["exp"].as_i64().unwrap());
    assert_eq!(
        (access.sub.as_str(), access.sid.as_str()),
        (claims["sub"].as_str().unwrap(), claims["sid"].as_str().unwrap())
    );
    assert_eq!(access.aud, [client.client.id.to_string()]);
    let refresh = client.introspect(&tokens.refresh_token).await.unwrap();
    assert!(refresh.active);
    assert_eq!((refresh.token_type.as_str(), &refresh.sid), ("refresh_token", &access.sid));

    client.revoke_session(&access.sid).await.unwrap();
    for token in [&tokens.access_token, &tokens.refresh_token] {
        assert_eq!(client.introspect(token).await.unwrap(), Default::default());
    }
}

async fn introspection_is_inactive_out_of_scope(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy { audience: vec!["api".to_owned()], ..Policy::default() }).await;
    let tokens = shop.sign_in(&wallet()).await.tokens.unwrap();
    let guard = |roles, audience: &str| Policy {
        roles,
        introspect_audiences: vec![audience.to_owned()],
        ..Policy::default()
    };
    let gateway = server.client(guard(vec![Role::Introspect], "api")).await;
    let other = server.client(guard(vec![Role::Introspect], "else")).await;
    let roleless = server.client(guard(vec![Role::SignIn], "api")).await;
    assert!(gateway.introspect(&tokens.access_token).await.unwrap().active);
    for caller in [&other, &roleless] {
        assert_eq!(caller.introspect(&tokens.access_token).await.unwrap(), Default::default());
    }
    assert_eq!(gateway.introspect(&tokens.refresh_token).await.unwrap(), Default::default());
    for garbage in ["x", "crt_x", "a.b.c"] {
        assert_eq!(gateway.introspect(garbage).await.unwrap(), Default::default());
    }
    assert_eq!(wrong_field(gateway.introspect("").await).1, "token");
}

async fn a_spent_refresh_token_is_inactive(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let first = client.sign_in(&wallet()).await.tokens.unwrap().refresh_token;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    assert!(!client.introspect(&first).await.unwrap().active);
    assert!(client.introspect(&second).await.unwrap().active);
}

/// Header and claims of a token, by a member of a JSON Web Key Set alone.
fn verified(
    token: &str,
    set: &serde_json::Value,
    audience: &str,
) -> (jsonwebtoken::Header, serde_json::Value) {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let kid = header.kid.clone().unwrap();
    let jwk = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid.as_str()).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[crate::harness::ISSUER]);
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let claims = jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).unwrap().claims;
    (header, claims)
}

async fn the_keys_over_grpc_and_http_are_the_same_and_verify_tokens(store: &TestStore) {
    let (one, two) = (Server::start(store).await, Server::start(store).await);
    let over_grpc = two.caller("").await.jwks().await.unwrap();
    assert_eq!(over_grpc.len(), 6, "for each algorithm one signs, and one is prepared");
    let (head, body) = http_get(two.http, "/.well-known/jwks.json").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("cache-control: public, max-age=600"), "{head}");
    let set: serde_json::Value = serde_json::from_str(&body).unwrap();
    let over_http: Vec<&str> =
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(over_http, over_grpc.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>());
    for signing_alg in SigningAlgorithm::ALL {
        let client = one.client(Policy { signing_alg, ..Policy::default() }).await;
        let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
        let (header, _) = verified(&tokens.access_token, &set, &client.client.id.to_string());
        assert_eq!(
            (format!("{:?}", header.alg).as_str(), header.typ.as_deref()),
            (signing_alg.as_str(), Some("at+jwt"))
        );
        assert!(client.introspect(&tokens.access_token).await.unwrap().active);
        let next = client.refresh(&tokens.refresh_token).await.unwrap().access_token;
        verified(&next, &set, &client.client.id.to_string());
    }
}

async fn a_token_of_another_issuer_or_store_is_invalid(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let elsewhere = TestStore::sqlite().await;
    // Keys of its own.
    root_keys_file(&elsewhere);
    let other = Server::start(&elsewhere).await;
    let other_client = other.client(Policy::default()).await;
    let answer = other_client.sign_in(&wallet()).await;
    let foreign = answer.tokens.unwrap().access_token;
    let session = answer.session.unwrap().id;
    let user = client.with(&format!("Bearer {foreign}"));
    assert_eq!(reason(user.get_session(&session).await), "ACCESS_TOKEN_INVALID");
    assert!(!client.introspect(&foreign).await.unwrap().active);
}
