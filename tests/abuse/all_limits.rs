//! All limits reached at the same time: the memory of the process stays within its bound.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use countersign::grpc::v1::{
    CreateSessionRequest, ListSessionsRequest, VerifyChallengeRequest, WatchRevocationsRequest,
    challenge_service_client::ChallengeServiceClient, session_service_client::SessionServiceClient,
};
use prost::Message;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    attack::{Attack, is_full, memory_returns, resident_kib, scaled, start, status_kib},
    fairness::{channel, request},
    peer::{CHECK, EMPTY, HEALTH_WATCH, Peer, WATCH_REVOCATIONS, frame},
    process::{Process, client_of},
    support::TestStore,
    unread_responses::leave_small_unread,
};

/// Growth of the memory at most: at any scale, and with the default settings in addition. Together with an idle process
/// (40 MiB) and the rate limits and verified tokens (110 MiB), which this test does not fill, that is 512 MiB.
const MAX_GROWTH_KIB: (u64, usize) = (16 * 1024, (512 - 40 - 110 - 16) * 1024);
/// Default of `max-connections`.
const CONNECTIONS: usize = 1_000;
/// Default of `max-calls`.
const CALLS: usize = 1_536;
/// Sessions in a page of the largest size.
const PAGE: usize = 250;
const ADDRESS: &str = "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1";
const LIST_SESSIONS: &str = "/countersign.v1.SessionService/ListSessions";

/// Streams and connections that a peer holds open.
type Held = Vec<Box<dyn Send>>;

#[tokio::test(flavor = "multi_thread")]
async fn memory_at_all_limits_together_stays_within_its_bound() {
    let store = TestStore::sqlite().await;
    let (connections, calls) = (scaled(CONNECTIONS), scaled(CALLS));
    // Nothing ends while the rest is set up.
    let flags = ["--peer-timeout", "2m", "--request-timeout", "2m"];
    let limits = ["--max-connections", &connections.to_string(), "--max-calls", &calls.to_string()];
    let server = start(&store, &[&flags[..], &limits].concat());
    let client = client_of(&store);
    create_sessions(server.grpc, &client, PAGE).await;
    let before = resident_kib(&server);
    let attack = Attack::begin("all limits together");
    let mut held = Held::new();
    let mut last = before;
    let mut grown = async |what: &str| {
        let now = settled_kib(&server).await;
        eprintln!("{:>7} KiB for {what}", now.saturating_sub(std::mem::replace(&mut last, now)));
    };
    let few = connections / 8;
    for _ in 0..few {
        held.push(Box::new(leave_small_unread(server.grpc, &client).await));
    }
    grown("small responses that are not read").await;
    watch_revocations(&store, server.grpc, calls - calls / 3, &mut held).await;
    grown("WatchRevocations streams").await;
    leave_unread(server.grpc, &client, calls / 3, &mut held).await;
    grown("responses that are not read").await;
    leave_unsent_heads(server.http, connections, &mut held).await;
    leave_unsent_heads(server.operations, connections, &mut held).await;
    grown("connections of the other ports").await;
    leave_beginnings(server.grpc, 2 * calls, &mut held).await;
    grown("requests of which a beginning has arrived").await;
    leave_unsent(server.grpc, calls / 12, &mut held).await;
    grown("requests that have not arrived whole").await;
    // The calls so far use some connections, and the large calls need some.
    let used = few + calls.div_ceil(10);
    watch_health(server.grpc, connections - used, 8 * connections, &mut held).await;
    grown("Health/Watch streams on all other connections").await;
    large_calls(server.grpc, &client, 2 * calls).await;
    attack.end(held.len() + 2 * calls);
    let peak = status_kib(&server, "VmHWM");
    eprintln!("{before} KiB idle, {peak} KiB at most");
    assert!(peak - before < MAX_GROWTH_KIB.0 + scaled(MAX_GROWTH_KIB.1) as u64);
    drop(held);
    memory_returns(&server, before).await;
}

/// Resident memory, once it no longer grows by a MiB in an interval; what was sent arrives a moment later.
async fn settled_kib(server: &Process) -> u64 {
    let interval = Duration::from_millis(if is_full() { 2_000 } else { 200 });
    let mut last = resident_kib(server);
    loop {
        tokio::time::sleep(interval).await;
        let now = resident_kib(server);
        if now < last + 1_024 {
            return now;
        }
        last = now;
    }
}

async fn create_sessions(address: SocketAddr, client: &str, count: usize) {
    let mut sessions = SessionServiceClient::new(channel(address).await);
    for _ in 0..count {
        let create = CreateSessionRequest {
            signing_address: ADDRESS.to_owned(),
            signing_network: "ETHEREUM".to_owned(),
            ..Default::default()
        };
        sessions.create_session(request(client, create)).await.unwrap();
    }
}

/// Opens streams that stay open. A client may have half of what is free.
async fn watch_revocations(store: &TestStore, address: SocketAddr, count: usize, held: &mut Held) {
    let message = frame(&WatchRevocationsRequest::default());
    let mut free = count;
    while free > 0 {
        let (client, own) = (client_of(store), free.div_ceil(2));
        let headers = [("authorization", client.as_str())];
        hold_calls(address, 65_535, WATCH_REVOCATIONS, &headers, (&message, true), own, held).await;
        free -= own;
    }
}

/// Sends requests whose calls have not begun.
async fn leave_beginnings(address: SocketAddr, count: usize, held: &mut Held) {
    let mut message = vec![b'x'; 4_000];
    message[..5].copy_from_slice(b"\0\0\0\xff\xff");
    hold_calls(address, 65_535, CHECK, &[], (&message.into(), false), count, held).await;
}

/// Asks for the largest pages, and reads none of them.
async fn leave_unread(address: SocketAddr, client: &str, count: usize, held: &mut Held) {
    let list = ListSessionsRequest { address: ADDRESS.to_owned(), page_size: 1_000, ..Default::default() };
    hold_calls(address, 0, LIST_SESSIONS, &[("authorization", client)], (&frame(&list), true), count, held)
        .await;
}

/// Sends Checks of the largest size with the largest metadata, but for their last bytes.
async fn leave_unsent(address: SocketAddr, count: usize, held: &mut Held) {
    let long = "x".repeat(15_000);
    let mut message = frame(&EMPTY).to_vec();
    message[1..].copy_from_slice(&u32::to_be_bytes(255 * 1024));
    message.resize(254 * 1024, b'x');
    hold_calls(address, 65_535, CHECK, &[("x-long", &long)], (&message.into(), false), count, held).await;
}

/// Makes calls that are not ended, 50 on a connection.
async fn hold_calls(
    address: SocketAddr,
    window: u32,
    path: &str,
    headers: &[(&str, &str)],
    (message, ends): (&Bytes, bool),
    count: usize,
    held: &mut Held,
) {
    let mut peer = None;
    for number in 0..count {
        if number % 50 == 0 {
            peer = Some(Peer::with_window(address, window).await);
        }
        let Some(peer) = &peer else { continue };
        let (response, mut body) = peer.begin_with(path, headers).await.unwrap();
        body.send_data(message.clone(), ends).unwrap();
        held.push(Box::new((response, body, peer.clone())));
    }
}

/// Sends the largest head over HTTP/1.1, but for its end.
async fn leave_unsent_heads(address: SocketAddr, count: usize, held: &mut Held) {
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nx-long: {}", "x".repeat(15_000));
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(Box::new(stream));
    }
}

/// Opens as many Health/Watch streams as connections may have: 100 on each up to the limit, and then 8.
async fn watch_health(address: SocketAddr, connections: usize, limit: usize, held: &mut Held) {
    for number in 0..connections {
        let Ok(peer) = Peer::try_with_window(address, 65_535).await else { continue };
        for _ in 0..if number < limit / 100 { 100 } else { 8 } {
            if let Ok(response) = peer.call(HEALTH_WATCH, &EMPTY).await {
                held.push(Box::new((response, peer.clone())));
            }
        }
    }
}

/// Makes calls with the largest message, all at once.
async fn large_calls(address: SocketAddr, client: &str, count: usize) {
    let message = "x".repeat(60 * 1024);
    let mut channels = Vec::new();
    for _ in 0..count.div_ceil(100) {
        channels.push(channel(address).await);
    }
    let mut calls = JoinSet::new();
    for number in 0..count {
        let mut challenges = ChallengeServiceClient::new(channels[number / 100].clone());
        let verify = VerifyChallengeRequest {
            address: ADDRESS.to_owned(),
            message: message.clone(),
            signature: "0x00".to_owned(),
            ..Default::default()
        };
        assert!(verify.encoded_len() < 64 * 1024);
        let verify = request(client, verify);
        calls.spawn(async move { challenges.verify_challenge(verify).await.map(drop) });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap_err();
    }
}
