//! Requests that never arrive whole, and those that are too large.

use std::collections::BTreeMap;

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, attribute_context, check_response::HttpResponse,
};
use prost::Message as _;

use crate::{
    attack::{Attack, GIVE_UP, memory_returns, resident_kib, scaled, start},
    peer::{
        CHECK, EMPTY, GET_JWKS, HEALTH_CHECK, Peer, REFLECTION, Refusal, WATCH_REVOCATIONS, answer,
        overloaded, too_late,
    },
    support::TestStore,
};

/// A call that is rejected without credentials.
const SIGN_IN: &str = "/countersign.v1.ChallengeService/StartChallenge";

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_requests_are_evicted_for_complete_ones() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &["--peer-timeout", "5s"]);
    let other = Peer::connect(server.grpc).await;
    let before = resident_kib(&server);
    let attempts = scaled(20_000);
    let attack = Attack::begin("requests that never arrive whole");
    let mut held = Vec::new();
    for connection in 0..attempts / 100 {
        let peer = Peer::connect(server.grpc).await;
        for call in 0..100 {
            let method = [SIGN_IN, CHECK, HEALTH_CHECK, GET_JWKS][(connection + call) % 4];
            let (response, mut request) = peer.begin(method).await.unwrap();
            // The head of a message of 60,000 bytes, and of every second one a part of it: its call begins.
            request.send_data(Bytes::from_static(b"\0\0\0\xea\x60"), false).unwrap();
            if call % 8 < 4 {
                request.send_data(Bytes::from_static(&[b'x'; 50_000]), false).unwrap();
            }
            held.push((response, request, peer.clone()));
        }
        // Everybody else is served all the time.
        other.answer(GET_JWKS, &EMPTY).await.unwrap();
        other.answer(HEALTH_CHECK, &EMPTY).await.unwrap();
        other.answer(CHECK, &CheckRequest::default()).await.unwrap();
        let refusal = other.answer(SIGN_IN, &EMPTY).await.unwrap_err();
        assert_eq!(refusal, Refusal::Status(16, "CREDENTIALS_MISSING".to_owned()));
    }
    attack.end(attempts);
    eprintln!("{} KiB", resident_kib(&server).saturating_sub(before));
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (response, _request, _peer) in held {
        let outcome = tokio::time::timeout(GIVE_UP, answer(response)).await.expect("nothing ends the call");
        let outcome =
            outcome.map_or_else(|refusal| format!("{refusal:?}"), |check| http_status(&check).to_string());
        *outcomes.entry(outcome).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
    let count = |refusal: Refusal| outcomes.get(&format!("{refusal:?}")).copied().unwrap_or_default();
    let denied = outcomes.get("503").copied().unwrap_or_default();
    assert_eq!(count(too_late()) + count(overloaded()) + denied, attempts, "{outcomes:?}");
    assert_eq!(denied, attempts / 4, "a Check always has a response for the gateway: {outcomes:?}");
    assert!(count(overloaded()) > 0, "the oldest made room: {outcomes:?}");
    memory_returns(&server, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_a_first_message_end() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &["--peer-timeout", "500ms"]);
    let peer = Peer::connect(server.grpc).await;
    let (watch, _request) = peer.begin(WATCH_REVOCATIONS).await.unwrap();
    let (reflection, _silent) = peer.begin(REFLECTION).await.unwrap();
    for stream in [watch, reflection] {
        let outcome = tokio::time::timeout(GIVE_UP, answer(stream)).await.expect("nothing ends the stream");
        assert_eq!(outcome.unwrap_err(), too_late());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_are_rejected_and_not_buffered() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &[]);
    let before = resident_kib(&server);
    let attempts = scaled(800);
    let attack = Attack::begin("messages of 4 MB");
    for attempt in 0..attempts {
        let peer = Peer::connect(server.grpc).await;
        let method = [REFLECTION, HEALTH_CHECK, SIGN_IN, CHECK][attempt % 4];
        let (response, mut request) = peer.begin(method).await.unwrap();
        // The head of a message of 4,000,000 bytes, and all of them, as far as the server lets them come.
        let _ = request.send_data(Bytes::from_static(b"\0\x00\x3d\x09\x00"), false);
        let _ = request.send_data(Bytes::from(vec![b'x'; 4_000_000]), true);
        let outcome = tokio::time::timeout(GIVE_UP, answer(response)).await.expect("nothing ends the call");
        match (method, outcome) {
            (CHECK, Ok(message)) => assert_eq!(http_status(&message), 503),
            (_, outcome) => {
                let refusal = outcome.expect_err("too large");
                assert_eq!(refusal, Refusal::Status(3, "INVALID_REQUEST".to_owned()), "{method}");
            }
        }
    }
    attack.end(attempts);
    memory_returns(&server, before).await;
}

fn http_status(message: &[u8]) -> i32 {
    match CheckResponse::decode(message).unwrap().http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied.status.unwrap().code,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_more_than_256_kib_is_denied_with_503() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &[]);
    let peer = Peer::connect(server.grpc).await;
    let check = |bytes: usize| {
        let headers = [("x-long".to_owned(), "x".repeat(bytes))].into();
        let http = attribute_context::HttpRequest { headers, ..Default::default() };
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..Default::default() }) }
    };
    for (bytes, status) in [(255 * 1024, 403), (257 * 1024, 503)] {
        let (response, mut request) = peer.begin(CHECK).await.unwrap();
        request.send_data(crate::peer::frame(&check(bytes)), true).unwrap();
        assert_eq!(http_status(&answer(response).await.unwrap()), status, "{bytes} bytes");
    }
}
