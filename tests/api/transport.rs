//! What a connection must keep to, and how it ends.

use std::{error::Error as _, net::SocketAddr, time::Duration};

use countersign::{domain::Policy, grpc::v1::challenge_service_client::ChallengeServiceClient};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, GIVE_UP, Server, by_id, http_get, refusal, start_for, wallet, wrong_field},
    support::{TestStore, until_awaited},
};

/// What an HTTP/2 client begins with: the preface, and settings that say nothing (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Types of frames (RFC 9113, section 6).
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// How often a test sets up what a busy machine was too slow for.
const SET_UPS: usize = 20;

/// A call on a connection that was too old before it was sent: no word of the server's.
fn assert_never_sent(status: &Status) {
    assert!(status.source().is_some(), "{status:?}");
}

/// Connects, says something, and then only listens, until the server closes the connection.
pub async fn read_until_closed(address: SocketAddr, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut received = Vec::new();
    let closed = tokio::time::timeout(GIVE_UP, stream.read_to_end(&mut received)).await;
    // An end with a reset is an end.
    let _ = closed.expect("the server closes the connection");
    received
}

/// The types of the HTTP/2 frames in what was received.
fn frames(mut received: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, ..] = *received {
        types.push(kind);
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        received = received.get(9 + length..).unwrap_or_default();
    }
    types
}

/// A channel over one connection: it fails when it would have to connect anew.
async fn one_connection(address: SocketAddr) -> Channel {
    let mut first = Some(TcpStream::connect(address).await.unwrap());
    let connector = tower::service_fn(move |_| {
        let stream = first.take().map(TokioIo::new);
        async move { stream.ok_or_else(|| std::io::Error::other("there is only one connection")) }
    });
    Endpoint::from_static("http://one").connect_with_connector(connector).await.unwrap()
}

#[tokio::test]
async fn a_peer_that_does_not_say_what_it_has_to_is_left() {
    let store = TestStore::sqlite().await;
    let server = Server::start_with(&store, &[("peer-timeout", "500ms")]).await;
    for words in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let received = read_until_closed(server.grpc, words).await;
        assert!(!frames(&received).contains(&PING), "left before it is asked for anything: {received:?}");
    }
    for address in [server.http, server.operations] {
        for words in [&b""[..], b"GET /livez HTTP/1.1\r\nhost: t"] {
            assert_eq!(read_until_closed(address, words).await, b"");
        }
        let mut set_ups = 0..SET_UPS;
        let received = loop {
            let received = read_until_closed(address, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
            if !received.is_empty() || set_ups.next().is_none() {
                break received;
            }
        };
        assert!(received.starts_with(b"HTTP/1.1 404"), "left after the answer only: {received:?}");
    }
}

#[tokio::test]
async fn a_peer_that_is_gone_is_left_and_a_silent_one_that_is_there_stays() {
    let store = TestStore::sqlite().await;
    let flags = [("peer-timeout", "5s"), ("keepalive-interval", "100ms")];
    let server = Server::start_with(&store, &flags).await;
    let mut health = HealthClient::new(one_connection(server.grpc).await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    assert!(frames(&read_until_closed(server.grpc, PREFACE).await).contains(&PING));
    // As long as that took, this one has answered its pings.
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn beyond_the_limit_new_connections_are_closed_at_once_and_counted() {
    let store = TestStore::sqlite().await;
    let server = Server::start_with(&store, &[("max-connections", "3")]).await;
    let client = server.client(Policy::default()).await;
    let _first = client.watch(None).await.unwrap();
    let watching = async || {
        let channel = one_connection(server.grpc).await;
        let watcher = Caller::over(channel.clone(), client.authorization()).watch(None).await.unwrap();
        (HealthClient::new(channel), watcher)
    };
    let ((mut health, _second), (_idle, third)) = (watching().await, watching().await);

    assert_eq!(read_until_closed(server.grpc, b"").await, b"");
    let (_, metrics) = http_get(server.operations, "/metrics").await;
    let refused = "countersign_connections_refused_total{port=\"grpc\"} ";
    assert!(metrics.contains(refused) && !metrics.contains(&format!("{refused}0\n")), "{metrics}");
    health.check(HealthCheckRequest::default()).await.unwrap();

    drop(third);
    let taken = async {
        loop {
            let mut next = HealthClient::new(one_connection(server.grpc).await);
            if next.check(HealthCheckRequest::default()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(GIVE_UP, taken).await.expect("a connection without a call makes room");
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_max_calls_the_api_is_overloaded_and_probes_are_served() {
    let store = TestStore::postgres().await;
    let server = Server::start_with(&store, &[("max-calls", "24")]).await;
    let client = server.client(Policy::default()).await;
    let mut holder = store.hold_challenges().await;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let caller = client.caller.clone();
        calls.spawn(async move { caller.start(start_for(&wallet())).await });
    }
    // None of them is answered before the lock is given back, and 16 may run.
    let rejected = async {
        loop {
            match calls.join_next().await.unwrap().unwrap() {
                Err(status) if status.code() == Code::ResourceExhausted => return status,
                outcome => {
                    assert_eq!(outcome.unwrap_err().code(), Code::Aborted, "it waited for the lock in vain")
                }
            }
        }
    };
    let status = tokio::time::timeout(GIVE_UP, rejected).await.expect("a call is rejected");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert_eq!(refusal::<()>(Err(status)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    let mut health = HealthClient::new(one_connection(server.grpc).await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    client.check(&[], &[]).await;
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    for outcome in calls.join_all().await {
        let is_expected = outcome.as_ref().map_or_else(
            |status| matches!(status.code(), Code::Aborted | Code::ResourceExhausted),
            |challenge| !challenge.nonce.is_empty(),
        );
        assert!(is_expected, "{outcome:?}");
    }
    client.start(start_for(&wallet())).await.unwrap();
}

/// Connects, and waits until the server says that this connection is to end.
async fn told_to_go(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let mut received = Vec::new();
    while !frames(&received).contains(&GOAWAY) {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed without a word");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_finishes_its_call_and_ends() {
    let store = TestStore::postgres().await;
    let server = Server::start_with(&store, &[("max-connection-age", "300ms")]).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    let mut holder = store.hold_challenges().await;
    let mut set_ups = 0..SET_UPS;
    let (call, mut again) = loop {
        set_ups.next().expect("each connection was too old for its first call");
        let mut challenges = ChallengeServiceClient::new(one_connection(server.grpc).await);
        let again = challenges.clone();
        let mut verify = Request::new(by_id(&challenge, &signature));
        verify.metadata_mut().insert("authorization", client.authorization().parse().unwrap());
        let mut call = tokio::spawn(async move { challenges.verify_challenge(verify).await });
        tokio::select! {
            () = until_awaited(&mut holder) => break (call, again),
            ended = &mut call => {
                assert_never_sent(&ended.unwrap().unwrap_err());
            }
        }
    };
    // One after the other they are older than any single one gets.
    told_to_go(server.grpc).await;
    told_to_go(server.grpc).await;
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    call.await.unwrap().unwrap();
    let ended = async {
        loop {
            let status = again.start_challenge(start_for(&wallet)).await.unwrap_err();
            if format!("{status:?}").contains("there is only one connection") {
                return;
            }
        }
    };
    tokio::time::timeout(GIVE_UP, ended).await.expect("the connection ends");
}

#[tokio::test]
async fn a_stream_on_an_old_connection_ends_after_the_longest_calls_time() {
    let store = TestStore::sqlite().await;
    let flags = [("max-connection-age", "200ms"), ("request-timeout", "200ms"), ("peer-timeout", "1s")];
    let server = Server::start_with(&store, &flags).await;
    let mut set_ups = 0..SET_UPS;
    let mut stream = loop {
        set_ups.next().expect("each connection was too old for its first call");
        let mut health = HealthClient::new(one_connection(server.grpc).await);
        match health.watch(HealthCheckRequest::default()).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) => assert_never_sent(&status),
        }
    };
    stream.message().await.unwrap().unwrap();
    stream.message().await.unwrap_err();
}

#[tokio::test]
async fn too_much_metadata_is_refused_and_other_calls_of_the_connection_go_on() {
    let store = TestStore::sqlite().await;
    let server = Server::start(&store).await;
    let client = server.client(Policy::default()).await;
    let channel = one_connection(server.grpc).await;
    let mut stream = HealthClient::new(channel.clone());
    let mut stream = stream.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let mut challenges = ChallengeServiceClient::new(channel);
    let mut start = async |bytes: usize| {
        let mut request = Request::new(start_for(&wallet()));
        request.metadata_mut().insert("authorization", client.authorization().parse().unwrap());
        request.metadata_mut().insert("x-more", "m".repeat(bytes).parse().unwrap());
        challenges.start_challenge(request).await
    };
    start(15 * 1024).await.unwrap();
    let refused = wrong_field(start(17 * 1024).await);
    assert_eq!(refused, ("INVALID_REQUEST".to_owned(), "metadata".to_owned()));
    let refused = start(65 * 1024).await.unwrap_err();
    assert!(refused.message().contains("431"), "refused by the protocol itself: {refused:?}");
    assert_eq!(refused.code(), Code::Unknown, "what gRPC makes of 431");
    start(0).await.unwrap();
    let more = tokio::time::timeout(Duration::ZERO, stream.message()).await;
    assert!(more.is_err(), "the stream has not ended: {more:?}");
    let (_, metrics) = http_get(server.operations, "/metrics").await;
    assert!(metrics.contains("method=\"oversized\",code=\"InvalidArgument\""), "{metrics}");
}

#[tokio::test]
async fn a_peer_that_asks_and_asks_and_reads_nothing_is_left() {
    let store = TestStore::sqlite().await;
    let server = Server::start_with(&store, &[("peer-timeout", "500ms")]).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let requests = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1_000);
    let closed = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(GIVE_UP, closed).await.expect("the server closes the connection");
}

#[tokio::test]
async fn nor_is_one_waited_for_that_pings_and_reads_nothing() {
    let store = TestStore::sqlite().await;
    let server = Server::start_with(&store, &[("peer-timeout", "500ms")]).await;
    let mut stream = TcpStream::connect(server.grpc).await.unwrap();
    // RFC 9113: the preface, SETTINGS without any (type 4), then PING (type 6) after PING.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let pings = b"\0\0\x08\x06\0\0\0\0\0--------".repeat(1_000);
    let closed = async { while stream.write_all(&pings).await.is_ok() {} };
    tokio::time::timeout(GIVE_UP, closed).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_flood_of_headers_is_refused_over_http_too() {
    let store = TestStore::sqlite().await;
    let server = Server::start(&store).await;
    let long = format!("GET / HTTP/1.1\r\nhost: test\r\nx-more: {}\r\n\r\n", "m".repeat(17 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", "x-more: m\r\n".repeat(200));
    for request in [long, many] {
        let received = read_until_closed(server.http, request.as_bytes()).await;
        assert!(received.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&received));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_finished_after_the_end_was_called_for() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let mut holder = store.hold_challenges().await;
    let (caller, request) = (client.caller.clone(), by_id(&challenge, &wallet.sign_text(&challenge.message)));
    let call = tokio::spawn(async move { caller.verify(request).await });
    until_awaited(&mut holder).await;

    let address = server.grpc;
    drop(server);
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(GIVE_UP, closed).await.expect("no connection is taken any more");
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    call.await.unwrap().unwrap();
}
