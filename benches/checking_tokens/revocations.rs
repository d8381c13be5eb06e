//! Delay of a revocation, and memory of a million of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use countersign::{
    domain::{AccountId, ClientId, RevokeReason, SessionId},
    grpc::v1::{
        self, session_service_client::SessionServiceClient, token_service_client::TokenServiceClient,
    },
    state::revocation_feed::RevocationFeed,
    store::{Revocations, RevokedSession},
};

use crate::server::{Server, SignedIn, check, passes, sign_in, with};

const REVOCATIONS: usize = 200;

/// Revoked on one instance: when a watcher of the other has it, and when that one's ext_authz refuses it.
pub(super) async fn propagation(a: &Server, b: &Server, authorization: &str) {
    let watch = v1::WatchRevocationsRequest::default();
    let mut stream = TokenServiceClient::new(b.channel.clone())
        .watch_revocations(with(watch, authorization))
        .await
        .unwrap()
        .into_inner();
    let (mut watched, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..REVOCATIONS {
        let SignedIn { session_id, access_token: token, .. } = sign_in(&a.channel, authorization).await;
        let revoke = v1::RevokeSessionRequest { session_id: session_id.clone() };
        SessionServiceClient::new(a.channel.clone())
            .revoke_session(with(revoke, authorization))
            .await
            .unwrap();
        let answered = Instant::now();
        let watches = async {
            loop {
                let message = stream.message().await.unwrap().unwrap();
                if format!("{:?}", message.revocations).contains(&session_id) {
                    return answered.elapsed();
                }
            }
        };
        let refuses = async {
            while passes(&b.channel, check(&token)).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answered.elapsed()
        };
        let (seen, denied) = tokio::join!(watches, refuses);
        watched.push(seen);
        refused.push(denied);
    }
    for (what, mut delays) in
        [("a watcher receives it after   ", watched), ("ext_authz refuses after   ", refused)]
    {
        delays.sort();
        let (p50, p99, most) = (percentile(&delays, 50), percentile(&delays, 99), percentile(&delays, 100));
        println!("{REVOCATIONS} revocations, {what}: p50 {p50:.0?}, p99 {p99:.0?}, most {most:.0?}");
    }
}

fn percentile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted[(sorted.len() * hundredths).div_ceil(100).max(1) - 1]
}

/// The memory that a million revocations take, by what the process then has more.
pub(super) fn weight() {
    let resident = || {
        let pages: u64 =
            fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    };
    let now = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let session = || RevokedSession {
        id: SessionId::generate(),
        client_id: ClientId::generate(),
        account_id: AccountId::generate(),
        revoke_time: now,
        reason: RevokeReason::RevokedByUser,
        access_expire_time: now + Duration::from_mins(30),
    };
    let (feed, before) = (RevocationFeed::default(), resident());
    for _ in 0..1_000 {
        let sessions = (0..1_000).map(|_| session()).collect();
        feed.apply(
            Instant::now(),
            Revocations { as_of: now, sessions, clients: Vec::new(), keys: Vec::new() },
        );
    }
    let megabytes = (resident() - before) / 1_000_000;
    println!("a million live revocations: {megabytes} MB");
}
