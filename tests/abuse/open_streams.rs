//! Streams that are opened and held.

use std::time::Duration;

use crate::{
    attack::{Attack, scaled, start},
    peer::{
        EMPTY, GET_JWKS, HEALTH_CHECK, HEALTH_WATCH, Peer, REFLECTION, WATCH_REVOCATIONS, answer, overloaded,
        refusal, too_late,
    },
    support::TestStore,
};

#[tokio::test(flavor = "multi_thread")]
async fn health_watches_are_bounded_and_never_ended() {
    let store = TestStore::sqlite().await;
    let attempts = scaled(10_000);
    // The limit is 8 for each of them, which a fifth of the attempts reaches with 100 on a connection.
    let max_connections = (attempts / 40).to_string();
    let server = start(&store, &["--peer-timeout", "500ms", "--max-connections", &max_connections]);
    let limit = attempts / 5;
    let attack = Attack::begin("Health/Watch streams");
    let (mut open, mut shed) = (Vec::new(), 0);
    for _ in 0..attempts / 100 {
        let peer = Peer::connect(server.grpc).await;
        for _ in 0..100 {
            let response = peer.call(HEALTH_WATCH, &EMPTY).await.unwrap().await.unwrap();
            match refusal(response.headers()) {
                None => {
                    let mut body = response.into_body();
                    // The first state, in two frames.
                    body.data().await.unwrap().unwrap();
                    body.data().await.unwrap().unwrap();
                    open.push((body, peer.clone()));
                }
                Some(refused) => {
                    assert_eq!(refused, overloaded());
                    assert!(open.len() >= limit, "no share applies below the limit");
                    shed += 1;
                }
            }
        }
    }
    attack.end(attempts);
    let beyond = (attempts - limit) / 100;
    assert_eq!((open.len(), shed), (limit + 8 * beyond, 92 * beyond), "at the limit each connection has 8");
    let other = Peer::connect(server.grpc).await;
    other.answer(HEALTH_CHECK, &EMPTY).await.unwrap();
    other.answer(GET_JWKS, &EMPTY).await.unwrap();
    // A stream whose peer must send ends meanwhile.
    let (watch, _request) = other.begin(WATCH_REVOCATIONS).await.unwrap();
    assert_eq!(answer(watch).await.unwrap_err(), too_late());
    for (body, _) in &mut open {
        let more = tokio::time::timeout(Duration::ZERO, body.data()).await;
        assert!(more.is_err(), "the stream has ended: {more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_streams_are_bounded_and_do_not_block_other_calls() {
    let store = TestStore::sqlite().await;
    // None of them ends while the others are opened.
    let server = start(&store, &["--peer-timeout", "2m", "--request-timeout", "2m"]);
    let attempts = scaled(3_000);
    let attack = Attack::begin("reflection streams");
    let (mut open, mut shed) = (Vec::new(), 0);
    for _ in 0..attempts / 100 {
        let peer = Peer::connect(server.grpc).await;
        for _ in 0..100 {
            let (response, request) = peer.begin(REFLECTION).await.unwrap();
            let response = response.await.unwrap();
            match refusal(response.headers()) {
                None => open.push((response.into_body(), request, peer.clone())),
                Some(refused) => {
                    assert_eq!(refused, overloaded());
                    shed += 1;
                }
            }
        }
    }
    attack.end(attempts);
    assert_eq!((open.len(), shed), (64, attempts - 64));
    let other = Peer::connect(server.grpc).await;
    other.answer(HEALTH_CHECK, &EMPTY).await.unwrap();
    other.answer(GET_JWKS, &EMPTY).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_streams_with_incomplete_messages_end() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &["--peer-timeout", "2s", "--request-timeout", "1s"]);
    let peer = Peer::connect(server.grpc).await;
    let attack = Attack::begin("reflection streams fed byte by byte");
    let mut streams = Vec::new();
    for _ in 0..64 {
        let (response, request) = peer.begin(REFLECTION).await.unwrap();
        let response = response.await.unwrap();
        assert_eq!(refusal(response.headers()), None);
        streams.push((response.into_body(), request));
    }
    // The head of a message of 200 bytes, and its bytes one by one.
    let mut sent = 0;
    for byte in [&[0, 0, 0, 0, 200][..], &[b'x'; 200]].concat() {
        // An ended stream takes no data.
        streams.retain_mut(|(_, request)| request.send_data(vec![byte].into(), false).is_ok());
        if streams.is_empty() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    attack.end(64);
    assert!(sent < 100, "the streams end within the deadline of a message");
    let (response, _request) = peer.begin(REFLECTION).await.unwrap();
    assert_eq!(refusal(response.await.unwrap().headers()), None, "there is room for another stream");
}
