//! Limits on the calls of a client, a session and an address.

use std::time::Duration;

use countersign::{
    domain::{Policy, RateLimit},
    grpc::v1::{StartChallengeRequest, VerifyChallengeResponse},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, Server, by_address, link_by, refusal, session_for, start_for, wallet},
    support::TestStore,
};

on_both_stores![
    one_device_cannot_starve_the_others,
    one_address_cannot_starve_the_others,
    a_flood_of_one_client_is_stopped_and_writes_nothing,
    zero_is_no_limit,
    what_is_refused_for_another_reason_is_not_counted,
    the_limit_of_the_client_decides_before_that_of_the_address,
    a_session_token_is_not_held_to_the_limit_of_the_address,
    every_call_with_a_session_token_counts_against_its_budget,
    every_call_with_an_access_token_and_every_refresh_counts_against_the_budget_of_the_session,
    a_flood_of_refreshes_is_rejected_and_changes_nothing,
    a_session_with_an_exhausted_budget_can_be_revoked,
    refreshes_count_against_a_limit_of_the_client_that_is_their_own,
];

fn limited(per_client: u32, per_session: u32, per_address: u32) -> Policy {
    with_limits(RateLimit { per_client, per_session, per_address, ..RateLimit::NONE })
}

fn with_limits(rate_limit: RateLimit) -> Policy {
    Policy { rate_limit, ..Policy::default() }
}

/// One call a minute for each session.
fn one_call_per_session() -> Policy {
    limited(0, 1, 0)
}

/// Expects a rejection by one limit that states when there is room again.
#[track_caller]
fn too_many<T: std::fmt::Debug>(outcome: Result<T, Status>, of: &str) {
    let status = outcome.expect_err("this is one too many");
    assert!(status.message().contains(&format!("rate limit of the {of} exceeded")), "{status:?}");
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
    let elsewhere = StartChallengeRequest { network: "eip155:137".to_owned(), ..start_for(&wallet) };
    too_many(client.start(elsewhere).await, "address");
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
    for _ in 0..10 {
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

async fn the_limit_of_the_client_decides_before_that_of_the_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(1, 0, 1)).await;
    let wallet = wallet();
    client.start(start_for(&wallet)).await.unwrap();
    // Both are spent, and only the first one is asked.
    too_many(client.start(start_for(&wallet)).await, "client");
}

async fn a_session_token_is_not_held_to_the_limit_of_the_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(limited(0, 0, 1)).await;
    let wallet = wallet();
    let (user, _) = client.user(&wallet).await;
    let (_, device) = client.device_of(&wallet).await;
    too_many(client.start(start_for(&wallet)).await, "address");
    too_many(user.start(start_for(&wallet)).await, "address");
    for _ in 0..3 {
        device.start(Default::default()).await.unwrap();
    }
}

async fn every_call_with_a_session_token_counts_against_its_budget(store: &TestStore) {
    async fn call(which: usize, device: &Caller, session_id: &str) -> Result<(), Status> {
        match which {
            0 => device.get_session(session_id).await.map(drop),
            1 => device.start(Default::default()).await.map(drop),
            _ => device.verify(by_address(&wallet(), "00")).await.map(drop),
        }
    }
    let server = Server::start(store).await;
    let client = server.client(one_call_per_session()).await;
    for first in 0..3 {
        let (session, device) = client.device_of(&wallet()).await;
        not_limited(call(first, &device, &session.id).await);
        for next in 0..3 {
            too_many(call(next, &device, &session.id).await, "session");
        }
        // The client itself, and its other sessions, are not held up.
        client.get_session(&session.id).await.unwrap();
    }
}

async fn every_call_with_an_access_token_and_every_refresh_counts_against_the_budget_of_the_session(
    store: &TestStore,
) {
    const CALLS: usize = 6;
    async fn call(which: usize, user: &Caller, signed_in: &VerifyChallengeResponse) -> Result<(), Status> {
        let wallet = wallet();
        match which {
            0 => user.get_session(&signed_in.session.as_ref().unwrap().id).await.map(drop),
            1 => user.get_account(&signed_in.account.as_ref().unwrap().id).await.map(drop),
            2 => user.start(start_for(&wallet)).await.map(drop),
            3 => user.link_wallet(link_by(&Default::default(), "00")).await.map(drop),
            4 => user.unlink(&wallet).await.map(drop),
            _ => user.refresh(&signed_in.tokens.as_ref().unwrap().refresh_token).await.map(drop),
        }
    }
    let server = Server::start(store).await;
    let client = server.client(one_call_per_session()).await;
    for first in 0..CALLS {
        let (user, signed_in) = client.user(&wallet()).await;
        not_limited(call(first, &user, &signed_in).await);
        for next in 0..CALLS {
            too_many(call(next, &user, &signed_in).await, "session");
        }
    }
}

/// Expects any outcome but a rejection by a limit.
#[track_caller]
fn not_limited(outcome: Result<(), Status>) {
    if let Err(status) = outcome {
        assert_ne!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
}

async fn a_flood_of_refreshes_is_rejected_and_changes_nothing(store: &TestStore) {
    let (server, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let client = server.client(one_call_per_session()).await;
    let first = client.sign_in(&wallet()).await.tokens.unwrap().refresh_token;
    let nobody = client.with("");
    let second = nobody.refresh(&first).await.unwrap().refresh_token;
    for _ in 0..30 {
        too_many(nobody.refresh(&second).await, "session");
        too_many(client.refresh(&first).await, "session");
    }
    assert_eq!(store.count("sessions", "refresh_generation = 2 AND revoke_time IS NULL").await, 1);
    // Another instance has a budget of its own, and the token is as good there as it was before.
    elsewhere.caller("").await.refresh(&second).await.unwrap();
}

async fn a_session_with_an_exhausted_budget_can_be_revoked(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(one_call_per_session()).await;
    for how in 0..4 {
        let (user, signed_in) = client.user(&wallet()).await;
        let (tokens, session) = (signed_in.tokens.unwrap(), signed_in.session.unwrap());
        user.get_session(&session.id).await.unwrap();
        too_many(user.get_session(&session.id).await, "session");
        match how {
            0 => drop(user.revoke_session(&session.id).await.unwrap()),
            1 => drop(user.revoke_account_sessions(&signed_in.account.unwrap().id).await.unwrap()),
            2 => user.revoke_token(&tokens.access_token).await.unwrap(),
            _ => user.with("").revoke_token(&tokens.refresh_token).await.unwrap(),
        }
        assert_eq!(store.count("sessions", "revoke_time IS NOT NULL").await, how + 1);
    }
}

async fn refreshes_count_against_a_limit_of_the_client_that_is_their_own(store: &TestStore) {
    let server = Server::start(store).await;
    let limits = RateLimit { per_client: 8, per_client_refresh: 2, ..RateLimit::NONE };
    let client = server.client(with_limits(limits)).await;
    let other = server.client(with_limits(limits)).await;
    let nobody = client.with("");
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(client.sign_in(&wallet()).await.tokens.unwrap().refresh_token);
    }
    for token in &mut tokens[..2] {
        *token = nobody.refresh(token).await.unwrap().refresh_token;
    }
    // Whose session it is, is known from its last answer, or from the client's credentials.
    too_many(nobody.refresh(&tokens[0]).await, "client");
    too_many(client.refresh(&tokens[2]).await, "client");
    assert_eq!(store.count("sessions", "refresh_generation = 2").await, 2);
    // It takes nothing from the client's other calls, nor from another client.
    client.sign_in(&wallet()).await;
    let token = other.sign_in(&wallet()).await.tokens.unwrap().refresh_token;
    other.refresh(&token).await.unwrap();
    // A session without an answer in the last minute is served, and counted from its answer.
    nobody.refresh(&tokens[2]).await.unwrap();
    too_many(nobody.refresh(&tokens[1]).await, "client");
}
