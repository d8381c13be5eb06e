//! Responses that are never read: the peer grants no room for them, or room for one byte.

use crate::{
    attack::{Attack, GIVE_UP, memory_returns, resident_kib, scaled, start, status_kib},
    peer::{CHECK, EMPTY, GET_JWKS, HEALTH_CHECK, Peer, answer, frame},
    process::client_of,
    support::TestStore,
};

const GET_SESSION: &str = "/countersign.v1.SessionService/GetSession";

/// Calls on each connection.
const STREAMS: usize = 100;
/// Methods that need no credentials: responses of some kilobytes, and of some bytes.
const METHODS: [&str; 3] = [GET_JWKS, CHECK, HEALTH_CHECK];
/// Growth of the memory at most: of any attack, and of the full one in addition.
const MAX_GROWTH_KIB: (u64, usize) = (32 * 1024, 64 * 1024);

/// Makes calls on a number of connections, and reads no response.
async fn ask(
    address: std::net::SocketAddr,
    window: u32,
    connections: usize,
) -> Vec<(Peer, Vec<h2::client::ResponseFuture>)> {
    let mut asked = Vec::new();
    for _ in 0..connections {
        let peer = Peer::with_window(address, window).await;
        let mut responses = Vec::new();
        for number in 0..STREAMS {
            responses.push(peer.call(METHODS[number % METHODS.len()], &EMPTY).await.unwrap());
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

/// Attacks with a flow-control window: the streams must be reset in time, cost little memory, and exclude no other caller.
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
    for method in METHODS {
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
    let grown = status_kib(&server, "VmHWM").saturating_sub(before);
    eprintln!("{grown} KiB for {reset} responses");
    assert!(grown < MAX_GROWTH_KIB.0 + scaled(MAX_GROWTH_KIB.1) as u64, "{grown} KiB");
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

/// A connection with valid credentials, and calls on it whose small responses it does not read.
pub async fn leave_small_unread(
    address: std::net::SocketAddr,
    client: &str,
) -> (Peer, Vec<h2::client::ResponseFuture>) {
    let peer = Peer::with_window(address, 1).await;
    // It has no session of this id.
    let (response, mut request) = peer.begin_with(GET_SESSION, &[("authorization", client)]).await.unwrap();
    request.send_data(frame(&EMPTY), true).unwrap();
    answer(response).await.unwrap_err();
    let mut responses = Vec::new();
    for _ in 1..STREAMS {
        responses.push(peer.call(HEALTH_CHECK, &EMPTY).await.unwrap());
    }
    (peer, responses)
}

/// Some connections with valid credentials may keep small responses unread until they are idle for too long.
#[tokio::test(flavor = "multi_thread")]
async fn small_unread_responses_of_authenticated_connections_cost_little() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &["--connection-idle-timeout", "10s"]);
    let client = client_of(&store);
    let before = resident_kib(&server);
    let connections = scaled(600);
    let attack = Attack::begin("small responses that are never read");
    let mut asked = Vec::new();
    for _ in 0..connections {
        asked.push(leave_small_unread(server.grpc, &client).await);
    }
    attack.end(connections * STREAMS);
    let grown = resident_kib(&server).saturating_sub(before);
    eprintln!("{grown} KiB for {} responses", connections * STREAMS);
    assert!(grown < MAX_GROWTH_KIB.0 + scaled(MAX_GROWTH_KIB.1) as u64, "{grown} KiB");
    memory_returns(&server, before).await;
}
