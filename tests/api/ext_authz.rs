//! envoy.service.auth.v3.Authorization: who passes, as whom, and what becomes of everybody else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use countersign::domain::Policy;
use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::auth::v3::{CheckResponse, attribute_context::HttpRequest, check_response::HttpResponse},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{Caller, Server, TestClient, claims, wallet},
    outage::server_on_a_wire,
    support::{TestStore, assert_promised},
};

on_both_stores![
    a_good_token_passes_and_the_service_is_told_who_calls,
    identity_headers_from_outside_are_overwritten_or_removed_in_every_spelling,
    headers_in_their_raw_form_are_read_too,
    a_request_of_as_many_headers_as_a_gateway_lets_through_is_read,
    a_route_that_names_nobody_is_closed,
    another_clients_token_does_not_open_a_route,
    whatever_is_no_access_token_is_refused_with_a_challenge,
    a_session_that_another_instance_revoked_is_refused_within_a_second,
    a_disabled_clients_tokens_are_refused_until_it_is_enabled,
];

const SHOP: [(&str, &str); 1] = [("audience", "shop")];

fn shop() -> Policy {
    Policy { audience: vec!["shop".to_owned()], scope: "read write".to_owned(), ..Policy::default() }
}

/// The `authorization` of a user who has just signed in.
async fn bearer_of(client: &TestClient) -> String {
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    format!("Bearer {}", tokens.access_token)
}

/// The headers that an upstream gets, and those that are taken from it.
fn passed(response: CheckResponse) -> (BTreeMap<String, String>, Vec<String>) {
    assert_eq!(response.status.unwrap().code, i32::from(Code::Ok));
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!() };
    let set = ok.headers.into_iter().map(|option| {
        assert_eq!(
            option.append_action, 2,
            "anything else than OVERWRITE_IF_EXISTS_OR_ADD leaves a forged value"
        );
        let header = option.header.unwrap();
        (header.key, header.value)
    });
    (set.collect(), ok.headers_to_remove)
}

/// The response that the caller gets: status, headers, and the reason in its body.
fn denied(response: CheckResponse) -> (i32, BTreeMap<String, String>, String) {
    assert_ne!(response.status.unwrap().code, i32::from(Code::Ok));
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!() };
    let headers = denied.headers.into_iter().filter_map(|option| option.header);
    let headers = headers.map(|header| (header.key, header.value)).collect();
    let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    (denied.status.unwrap().code, headers, body["reason"].as_str().unwrap().to_owned())
}

fn is_denied_as(response: CheckResponse, status: i32, reason: &str) {
    let (own_status, _, own_reason) = denied(response);
    assert_eq!((own_status, own_reason.as_str()), (status, reason));
}

async fn a_good_token_passes_and_the_service_is_told_who_calls(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let wallet = wallet();
    let answer = client.sign_in(&wallet).await;
    let token = answer.tokens.unwrap().access_token;
    let own = client.client.id.to_string();
    for route in [&SHOP[..], &[("client_id", own.as_str())], &[("client_id", own.as_str()), SHOP[0]]] {
        for scheme in ["Bearer", "bearer", "JWT"] {
            let headers = [("authorization", &*format!("{scheme} {token}"))];
            let (set, removed) = passed(client.check(&headers, route).await);
            let session = answer.session.as_ref().unwrap();
            let expected = [
                ("x-countersign-account", session.account_id.as_str()),
                ("x-countersign-session", &session.id),
                ("x-countersign-client", &own),
                ("x-countersign-address", &session.signing_address),
                ("x-countersign-network", "eip155:1"),
                ("x-countersign-wallet-kind", "eoa"),
                ("x-countersign-scope", "read write"),
            ];
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(set, BTreeMap::from(expected));
            assert!(removed.is_empty());
        }
    }
}

async fn identity_headers_from_outside_are_overwritten_or_removed_in_every_spelling(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { scope: String::new(), ..shop() }).await;
    let authorization = bearer_of(&client).await;
    let headers = [
        ("authorization", authorization.as_str()),
        ("x-countersign-account", "somebody-else"),
        ("x-countersign-admin", "true"),
        ("x_countersign_account", "somebody-else"),
        ("X-Countersign_Session", "somebody-elses"),
        ("X-Countersign-Client", "somebody-elses"),
        ("x-countersigned", "kept"),
        ("x-other", "kept"),
    ];
    let (set, mut removed) = passed(client.check(&headers, &SHOP).await);
    removed.sort();
    // This client's tokens have no scope, so nobody's header may say one.
    let expected =
        ["X-Countersign_Session", "x-countersign-admin", "x-countersign-scope", "x_countersign_account"];
    assert_eq!(removed, expected);
    assert_eq!(set["x-countersign-account"], claims(&authorization[7..])["sub"].as_str().unwrap());
}

async fn headers_in_their_raw_form_are_read_too(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    let raw = |pairs: &[(&str, &str)]| {
        let headers = pairs.iter().map(|(name, value)| HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..Default::default()
        });
        HttpRequest { header_map: Some(HeaderMap { headers: headers.collect() }), ..Default::default() }
    };
    let route = || [("audience".to_owned(), "shop".to_owned())].into();
    let good = raw(&[("authorization", &authorization), ("x-countersign-role", "admin")]);
    let (_, removed) = passed(client.check_http(good, route()).await);
    assert_eq!(removed, ["x-countersign-role"]);
    let key = "authorization".to_owned();
    let text = HeaderValue { key, value: authorization.clone(), ..Default::default() };
    let text = HttpRequest { header_map: Some(HeaderMap { headers: vec![text] }), ..Default::default() };
    passed(client.check_http(text, route()).await);
    let two = raw(&[("authorization", &authorization), ("authorization", &authorization)]);
    is_denied_as(client.check_http(two, route()).await, 401, "CREDENTIALS_MISSING");
}

async fn a_request_of_as_many_headers_as_a_gateway_lets_through_is_read(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    let with = |bytes| {
        let headers =
            [("authorization".to_owned(), authorization.clone()), ("cookie".to_owned(), "c".repeat(bytes))];
        let http = HttpRequest { headers: headers.into(), ..Default::default() };
        client.try_check(http, SHOP.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    };
    passed(with(250 * 1024).await.unwrap());
    // A bare status would reach the gateway's caller as 403, though what was asked about may be allowed.
    is_denied_as(with(256 * 1024).await.unwrap(), 503, "INVALID_REQUEST");
    let other = client.send("/envoy.service.auth.v3.Authorization/Other", "identity", &[0, 0, 0, 0, 0]).await;
    assert_eq!(other.code(), Code::Unimplemented);
}

async fn a_route_that_names_nobody_is_closed(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    let headers = [("authorization", authorization.as_str())];
    for route in [
        &[][..],
        &[("virtual_host", "shop")],
        &[("audience", "")],
        &[("audience", "shop"), ("client_id", "")],
        &[("audience", "shop"), ("client_id", "shop")],
    ] {
        is_denied_as(client.check(&headers, route).await, 403, "INVALID_REQUEST");
    }
}

async fn another_clients_token_does_not_open_a_route(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, other) = (server.client(shop()).await, server.client(Policy::default()).await);
    let (shops, others) = (bearer_of(&shop).await, bearer_of(&other).await);
    let (shop_id, other_id) = (shop.client.id.to_string(), other.client.id.to_string());
    for (token, route) in [
        (&others, &SHOP[..]),
        (&others, &[("client_id", shop_id.as_str())]),
        (&shops, &[("audience", other_id.as_str())]),
        (&shops, &[("client_id", other_id.as_str())]),
        // Everything that a route names must hold.
        (&shops, &[("audience", "shop"), ("client_id", other_id.as_str())]),
    ] {
        is_denied_as(shop.check(&[("authorization", token)], route).await, 401, "ACCESS_TOKEN_INVALID");
    }
}

async fn whatever_is_no_access_token_is_refused_with_a_challenge(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let (_, device) = client.device_of(&wallet()).await;
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    let refresh = format!("Bearer {}", tokens.refresh_token);
    let twice = format!("Bearer {0},Bearer {0}", tokens.access_token);
    let unsigned = format!("Bearer {}.", tokens.access_token.rsplit_once('.').unwrap().0);
    for (sent, reason) in [
        (None, "CREDENTIALS_MISSING"),
        (Some(client.authorization()), "CREDENTIALS_MISSING"),
        (Some("Bearer"), "CREDENTIALS_MISSING"),
        (Some(device.authorization()), "ACCESS_TOKEN_INVALID"),
        (Some(&refresh), "ACCESS_TOKEN_INVALID"),
        (Some(&twice), "ACCESS_TOKEN_INVALID"),
        (Some(&unsigned), "ACCESS_TOKEN_INVALID"),
        (Some("Bearer garbage"), "ACCESS_TOKEN_INVALID"),
    ] {
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
        let (status, headers, own_reason) = denied(client.check(&headers, &SHOP).await);
        assert_eq!((status, own_reason.as_str()), (401, reason), "{sent:?}");
        // RFC 6750, section 3.1: no error for whoever sent no token.
        let error = headers["www-authenticate"].contains("error=\"invalid_token\"");
        assert_eq!(error, reason != "CREDENTIALS_MISSING", "{headers:?}");
        assert!(headers["www-authenticate"].starts_with("Bearer realm=\"countersign\""));
    }
}

/// Asks until the answer is another than to pass, and how long that took.
async fn refused(caller: &Caller, authorization: &str) -> (CheckResponse, Duration) {
    let began = Instant::now();
    loop {
        let response = caller.check(&[("authorization", authorization)], &SHOP).await;
        if response.status.as_ref().unwrap().code != i32::from(Code::Ok) {
            return (response, began.elapsed());
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it passes for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_session_that_another_instance_revoked_is_refused_within_a_second(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(shop()).await;
    let gateway = b.caller("").await;
    let (kept, ended) = (bearer_of(&client).await, bearer_of(&client).await);
    for token in [&kept, &ended] {
        passed(gateway.check(&[("authorization", token)], &SHOP).await);
    }
    client.revoke_session(claims(&ended[7..])["sid"].as_str().unwrap()).await.unwrap();
    let (response, took) = refused(&gateway, &ended).await;
    is_denied_as(response, 401, "SESSION_REVOKED");
    assert_promised("a revoked session is refused by another instance", took, Duration::from_secs(1));
    passed(gateway.check(&[("authorization", &kept)], &SHOP).await);
    // Who starts later knows.
    let server = Server::start(store).await;
    let later = server.caller("").await;
    is_denied_as(later.check(&[("authorization", &ended)], &SHOP).await, 401, "SESSION_REVOKED");
}

async fn a_disabled_clients_tokens_are_refused_until_it_is_enabled(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    server.store.set_client_disabled(client.client.id, true).await.unwrap();
    is_denied_as(refused(&client, &authorization).await.0, 401, "ACCESS_TOKEN_INVALID");
    server.store.set_client_disabled(client.client.id, false).await.unwrap();
    until_passed(&client, &authorization).await;
}

/// Asks until the answer is to pass.
async fn until_passed(caller: &Caller, authorization: &str) {
    let began = Instant::now();
    let headers = [("authorization", authorization)];
    while caller.check(&headers, &SHOP).await.status.unwrap().code != i32::from(Code::Ok) {
        assert!(began.elapsed() < Duration::from_secs(20), "it is refused for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The database's clock decides, as this instance last read it; on PostgreSQL a test can turn it.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_an_expired_token_is_refused() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    passed(client.check(&[("authorization", &authorization)], &SHOP).await);
    store.execute("CREATE SCHEMA turned").await;
    let later = "pg_catalog.clock_timestamp() + interval '30 minutes'";
    for statement in [
        &format!(
            "CREATE FUNCTION turned.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT {later} $$"
        ),
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = turned, pg_catalog, public', current_database()); END $$",
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    ] {
        store.execute(statement).await;
    }
    is_denied_as(refused(&client, &authorization).await.0, 401, "ACCESS_TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_requests_pass_until_what_is_known_is_too_old() {
    let store = TestStore::postgres().await;
    let (server, wire) = server_on_a_wire(&store, &[("revocations-max-age", "4s")]).await;
    let client = server.client(shop()).await;
    let authorization = bearer_of(&client).await;
    let headers = [("authorization", authorization.as_str())];
    let passes = async || client.check(&headers, &SHOP).await.status.unwrap().code == i32::from(Code::Ok);
    // What is known may be old already on a busy machine: then the store is there again, and gone again.
    let mut set_ups = 0..20;
    while {
        wire.cut();
        !passes().await
    } {
        set_ups.next().expect("it passes without the store");
        wire.mend();
        until_passed(&client, &authorization).await;
    }
    let (response, _) = refused(&client, &authorization).await;
    let (status, headers, reason) = denied(response);
    assert_eq!((status, reason.as_str(), headers["retry-after"].as_str()), (503, "STORE_UNAVAILABLE", "1"));
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service = "envoy.service.auth.v3.Authorization".to_owned();
    let state = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(state.status(), ServingStatus::Serving);
    wire.mend();
    until_passed(&client, &authorization).await;
}
