//! How often a client, a device and an address may ask.

use std::time::Duration;

use countersign::domain::{Policy, RateLimit};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Server, refusal, session_for, start_for, wallet},
    support::TestStore,
};

on_both_stores![
    one_device_cannot_starve_the_others,
    one_address_cannot_starve_the_others,
    a_flood_of_one_client_is_stopped_and_writes_nothing,
    zero_is_no_limit,
    what_is_refused_for_another_reason_is_not_counted,
];

fn limited(per_client: u32, per_session: u32, per_address: u32) -> Policy {
    let rate_limit = RateLimit { per_client, per_session, per_address, ..RateLimit::NONE };
    Policy { rate_limit, ..Policy::default() }
}

/// A refusal that says when to come back, within the time that one more call takes to be due.
#[track_caller]
fn too_many<T: std::fmt::Debug>(outcome: Result<T, Status>, of: &str) {
    let status = outcome.expect_err("this is one too many");
    assert!(status.message().contains(&format!("of one {of}")), "{status:?}");
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_mins(1), "{wait:?}");
    assert_eq!(refusal::<()>(Err(status)), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
}

async fn one_device_cannot_starve_the_others(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(4, 1, 0)).await;
    let ((_, greedy), (_, modest)) = (client.device_of(&wallet()).await, client.device_of(&wallet()).await);
    greedy.start(Default::default()).await.unwrap();
    for _ in 0..20 {
        too_many(greedy.start(Default::default()).await, "session");
    }
    let challenge = modest.start(Default::default()).await.unwrap();
    assert!(!challenge.message.is_empty());
    // Two sessions and two challenges are counted for the client, and none of what was refused.
    too_many(client.start(start_for(&wallet())).await, "client");
}

async fn one_address_cannot_starve_the_others(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(0, 0, 2)).await;
    let other = server.client(limited(0, 0, 2)).await;
    let wallet = wallet();
    for _ in 0..2 {
        client.start(start_for(&wallet)).await.unwrap();
    }
    too_many(client.start(start_for(&wallet)).await, "address");
    client.start(start_for(&crate::harness::wallet())).await.unwrap();
    other.start(start_for(&wallet)).await.unwrap();
}

async fn a_flood_of_one_client_is_stopped_and_writes_nothing(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(3, 0, 0)).await;
    let other = server.client(Policy::default()).await;
    let wallet = wallet();
    client.sign_in(&wallet).await;
    let challenge = client.challenge_for(&wallet).await;
    let before = (store.count("sessions", "1 = 1").await, store.count("challenges", "1 = 1").await);
    for _ in 0..30 {
        too_many(client.start(start_for(&crate::harness::wallet())).await, "client");
        too_many(client.create_session(session_for(&wallet)).await, "client");
        too_many(client.redeem(&wallet, &challenge).await, "client");
    }
    assert_eq!((store.count("sessions", "1 = 1").await, store.count("challenges", "1 = 1").await), before);
    other.sign_in(&wallet).await;
}

async fn zero_is_no_limit(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(0, 0, 0)).await;
    let wallet = wallet();
    for _ in 0..100 {
        client.start(start_for(&wallet)).await.unwrap();
    }
}

async fn what_is_refused_for_another_reason_is_not_counted(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(1, 0, 0)).await;
    for _ in 0..5 {
        assert_eq!(refusal(client.start(Default::default()).await).1, "INVALID_ADDRESS");
    }
    client.start(start_for(&wallet())).await.unwrap();
    too_many(client.start(start_for(&wallet())).await, "client");
}
