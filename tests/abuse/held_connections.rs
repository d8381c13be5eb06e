//! Connections that are held and not used.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    attack::{Attack, GIVE_UP, scaled, start},
    peer::{EMPTY, GET_JWKS, HEALTH_CHECK, HEALTH_WATCH, Peer},
    support::TestStore,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_holds_all_connections_makes_room() {
    let store = TestStore::sqlite().await;
    let max = scaled(1_000);
    let server = start(&store, &["--max-connections", &max.to_string()]);
    let attack = Attack::begin("connections that are held");
    let attempts = 3 * max;
    let mut held = Vec::new();
    for number in 0..attempts {
        // They answer pings. One kind makes no call, one makes calls without credentials, one watches health.
        if let Ok(peer) = Peer::try_with_window(server.grpc, 65_535).await {
            let watch = match number % 3 {
                0 => None,
                1 => peer.answer(GET_JWKS, &EMPTY).await.ok().map(|_| None).unwrap_or_default(),
                _ => peer.call(HEALTH_WATCH, &EMPTY).await.ok(),
            };
            held.push((peer, watch));
        }
    }
    attack.end(attempts);
    let served = async {
        for _ in 0..max {
            while !is_served(server.grpc).await {}
        }
    };
    tokio::time::timeout(GIVE_UP, served).await.expect("new connections are served");
}

/// True if a new connection is served. One that makes room needs a moment for it, and while many do so, more are refused.
async fn is_served(address: SocketAddr) -> bool {
    match Peer::try_with_window(address, 65_535).await {
        Ok(peer) => peer.answer(HEALTH_CHECK, &EMPTY).await.is_ok(),
        Err(_) => false,
    }
}

/// Sends a request for the JWKS, and reads its response's head.
async fn get_jwks(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: test\r\n\r\n").await?;
    let mut received = vec![0; 16 * 1024];
    let length = stream.read(&mut received).await?;
    Ok(String::from_utf8_lossy(&received[..length]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_kept_alive_over_http_make_room() {
    let store = TestStore::sqlite().await;
    let max = scaled(1_000);
    let server = start(&store, &["--max-connections", &max.to_string()]);
    let attack = Attack::begin("HTTP/1.1 connections that are held");
    let mut held = Vec::new();
    for _ in 0..max {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        assert!(get_jwks(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        held.push(stream);
    }
    attack.end(max);
    for _ in 0..max {
        let mut other = TcpStream::connect(server.http).await.unwrap();
        let answer = tokio::time::timeout(GIVE_UP, get_jwks(&mut other)).await.unwrap();
        assert!(answer.expect("a new connection is served").starts_with("HTTP/1.1 200"));
    }
}

/// Waits until the server closes a connection.
async fn closed(address: SocketAddr, first: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    let mut received = Vec::new();
    let closed = stream.read_to_end(&mut received);
    let _ = tokio::time::timeout(GIVE_UP, closed).await.expect("the server closes the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_calls_ends_after_a_while() {
    let store = TestStore::sqlite().await;
    let server = start(
        &store,
        &["--connection-idle-timeout", "300ms", "--request-timeout", "300ms", "--peer-timeout", "5s"],
    );
    // RFC 9113: the preface, and SETTINGS without any (type 4).
    closed(server.grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    closed(server.http, b"").await;
    // A stream is a running call.
    let watcher = Peer::connect(server.grpc).await;
    let mut states = watcher.call(HEALTH_WATCH, &EMPTY).await.unwrap().await.unwrap().into_body();
    states.data().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    watcher.answer(GET_JWKS, &EMPTY).await.expect("the connection lives");
}
