//! Connections that are held and not used.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
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

/// Connects from an address of the loopback network.
async fn connect_from(host: [u8; 4], address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((host, 0).into())?;
    socket.connect(address).await
}

/// The client's preface, and SETTINGS without any (RFC 9113, sections 3.4 and 6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GOAWAY: u8 = 7;

/// Begins a call and never completes its request: HEADERS without END_STREAM on stream 1 (RFC 9113, section 6.2; RFC 7541).
fn incomplete_call() -> Vec<u8> {
    // `:method: POST`, `:scheme: http`, and names by their indices with literal values.
    let mut fields = vec![0x83, 0x86];
    for (index, value) in [(&[0x04][..], GET_JWKS), (&[0x01], "test"), (&[0x0f, 0x10], "application/grpc")] {
        fields.extend_from_slice(index);
        fields.push(u8::try_from(value.len()).unwrap());
        fields.extend_from_slice(value.as_bytes());
    }
    let mut frame = vec![0, 0, u8::try_from(fields.len()).unwrap(), 0x01, 0x04, 0, 0, 0, 1];
    frame.append(&mut fields);
    frame
}

/// Acknowledges no ping, and begins an incomplete call once the server asks it to leave, until the connection ends.
/// `accepted` is told with the first frame of the server.
async fn refuse_to_leave(mut stream: TcpStream, accepted: oneshot::Sender<()>) -> std::io::Result<()> {
    let mut accepted = Some(accepted);
    stream.write_all(PREFACE).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        if let Some(accepted) = accepted.take() {
            let _ = accepted.send(());
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        if head[3] == GOAWAY {
            stream.write_all(&incomplete_call()).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_refuses_to_leave_keeps_no_other_peer_out() {
    let store = TestStore::sqlite().await;
    let max = scaled(1_000);
    let server = start(&store, &["--max-connections", &max.to_string()]);
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..max {
        let (sender, accepted) = oneshot::channel();
        held.spawn(refuse_to_leave(TcpStream::connect(server.grpc).await.unwrap(), sender));
        tokio::time::timeout(GIVE_UP, accepted).await.unwrap().unwrap();
    }
    let attack = Attack::begin("connections that do not leave");
    let mut others = Vec::new();
    let mut refused = 0;
    for number in 0..max * 9 / 10 {
        let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
        let stream = connect_from([127, 1, high, low], server.grpc).await.unwrap();
        match Peer::over(stream, server.grpc, 65_535).await {
            Ok(peer) if peer.answer(HEALTH_CHECK, &EMPTY).await.is_ok() => others.push(peer),
            _ => refused += 1,
        }
    }
    attack.end(max);
    assert_eq!(refused, 0, "of {} connections of other addresses", max * 9 / 10);
    for peer in &others {
        peer.answer(GET_JWKS, &EMPTY).await.expect("a smaller peer keeps its connection");
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
    closed(server.grpc, PREFACE).await;
    closed(server.http, b"").await;
    // A stream is a running call.
    let watcher = Peer::connect(server.grpc).await;
    let mut states = watcher.call(HEALTH_WATCH, &EMPTY).await.unwrap().await.unwrap().into_body();
    states.data().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    watcher.answer(GET_JWKS, &EMPTY).await.expect("the connection lives");
}
