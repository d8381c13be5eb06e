//! Responses that are never read: the peer grants no room for them, or room for one byte.

use crate::{
    attack::{Attack, GIVE_UP, memory_returns, resident_kib, scaled, start},
    peer::{EMPTY, GET_JWKS, HEALTH_CHECK, Peer},
    support::TestStore,
};

const STREAMS: usize = 100;

/// Asks for so many responses on each of some connections, none of which is read.
async fn ask(
    address: std::net::SocketAddr,
    window: u32,
    connections: usize,
) -> Vec<(Peer, Vec<h2::client::ResponseFuture>)> {
    let mut asked = Vec::new();
    for _ in 0..connections {
        let peer = Peer::with_window(address, window).await;
        let mut responses = Vec::new();
        for _ in 0..STREAMS {
            responses.push(peer.call(GET_JWKS, &EMPTY).await.unwrap());
        }
        asked.push((peer, responses));
    }
    asked
}

/// The end of a response that is given no more room.
async fn end_of(response: h2::client::ResponseFuture) -> Result<(), h2::Error> {
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        data?;
    }
    body.trailers().await.map(drop)
}

/// The attack of a window: what is asked for is reset in time, costs little memory, and keeps no other caller out.
async fn unread_responses_are_reset(window: u32) {
    let store = TestStore::sqlite().await;
    let server = start(&store, &["--peer-timeout", "1s"]);
    let other = Peer::connect(server.grpc).await;
    other.answer(GET_JWKS, &EMPTY).await.unwrap();
    let before = resident_kib(&server);
    let connections = scaled(600);
    let attack = Attack::begin("responses that are never read");
    let asked = ask(server.grpc, window, connections).await;
    attack.end(connections * STREAMS);
    let grown = resident_kib(&server).saturating_sub(before);
    eprintln!("{} KiB for {} responses", grown, connections * STREAMS);
    for method in [GET_JWKS, HEALTH_CHECK] {
        other.answer(method, &EMPTY).await.unwrap();
    }
    let mut reset = 0;
    for (_, responses) in asked {
        for response in responses {
            let end = tokio::time::timeout(GIVE_UP, end_of(response)).await.expect("nothing ends the call");
            reset += usize::from(end.is_err());
        }
    }
    assert_eq!(reset, connections * STREAMS);
    assert!(grown < 96 * 1024, "{grown} KiB");
    memory_returns(&server, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_window_are_reset() {
    unread_responses_are_reset(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_with_a_window_of_one_byte_are_reset() {
    unread_responses_are_reset(1).await;
}
