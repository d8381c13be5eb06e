//! Many callers at once: exactly one wins, whatever the instance.

use std::collections::BTreeMap;

use countersign::{
    domain::Policy,
    grpc::v1::{VerifyChallengeRequest, VerifyChallengeResponse},
};
use tokio::task::JoinSet;
use tonic::Status;

use crate::{
    harness::{
        Caller, Server, by_address, by_id, crowds_turn, reason, retry_while_locked, start_for, wallet,
    },
    support::TestStore,
};

on_both_stores![
    of_64_callers_one_redeems_and_63_are_told_it_is_used,
    by_address_too_one_of_64_redeems,
    eight_first_sign_ins_at_once_make_one_account,
    after_a_race_for_challenges_an_equal_one_is_handed_out_again,
];

/// Callers at two instances on one store, turn by turn.
async fn at_two_instances(store: &TestStore, authorization: &str) -> (Vec<Server>, Vec<Caller>) {
    let servers = vec![Server::start(store).await, Server::start(store).await];
    let mut callers = Vec::new();
    for number in 0..8 {
        callers.push(servers[number % 2].caller(authorization).await);
    }
    (servers, callers)
}

async fn all_at_once(
    callers: &[Caller],
    request: &VerifyChallengeRequest,
) -> Vec<Result<VerifyChallengeResponse, Status>> {
    let mut tasks = JoinSet::new();
    let _turn = crowds_turn().await;
    for number in 0..64 {
        let (caller, request) = (callers[number % callers.len()].clone(), request.clone());
        tasks.spawn(async move { retry_while_locked(|| caller.verify(request.clone())).await });
    }
    tasks.join_all().await
}

/// How many outcomes there were of each kind.
fn tally(outcomes: Vec<Result<VerifyChallengeResponse, Status>>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for outcome in outcomes {
        let kind = if outcome.is_ok() { "OK".to_owned() } else { reason(outcome) };
        *tally.entry(kind).or_default() += 1;
    }
    tally
}

fn one_winner() -> BTreeMap<String, usize> {
    BTreeMap::from([("OK".to_owned(), 1), ("CHALLENGE_ALREADY_USED".to_owned(), 63)])
}

async fn of_64_callers_one_redeems_and_63_are_told_it_is_used(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (_servers, callers) = at_two_instances(store, client.authorization()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
    assert_eq!(tally(all_at_once(&callers, &request).await), one_winner());
    assert_eq!(store.count("sessions", "1 = 1").await, 1);
}

async fn by_address_too_one_of_64_redeems(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let (_, device) = client.device_of(&wallet).await;
    let (_servers, callers) = at_two_instances(store, device.authorization()).await;
    let challenge = device.challenge_for(&wallet).await;
    let request = by_address(&wallet, &wallet.sign_text(&challenge.message));
    assert_eq!(tally(all_at_once(&callers, &request).await), one_winner());
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 1);
}

async fn eight_first_sign_ins_at_once_make_one_account(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (_servers, callers) = at_two_instances(store, client.authorization()).await;
    let wallet = wallet();
    let mut tasks = JoinSet::new();
    for caller in callers {
        let challenge = caller.challenge_for(&wallet).await;
        let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
        tasks.spawn(async move {
            retry_while_locked(|| caller.verify(request.clone())).await.unwrap().account.unwrap()
        });
    }
    let accounts = tasks.join_all().await;
    assert_eq!(accounts.iter().filter(|account| account.created).count(), 1);
    assert!(accounts.iter().all(|account| account.id == accounts[0].id));
    assert!(accounts.iter().all(|account| account.create_time == accounts[0].create_time));
    assert_eq!(store.count("accounts", "1 = 1").await, 1);
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 8);
}

async fn after_a_race_for_challenges_an_equal_one_is_handed_out_again(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (_servers, callers) = at_two_instances(store, client.authorization()).await;
    let wallet = wallet();
    let mut tasks = JoinSet::new();
    let _turn = crowds_turn().await;
    for number in 0..64 {
        let (caller, request) = (callers[number % callers.len()].clone(), start_for(&wallet));
        tasks.spawn(async move { retry_while_locked(|| caller.start(request.clone())).await.unwrap().id });
    }
    let mut ids = tasks.join_all().await;
    ids.sort();
    ids.dedup();
    // Eight is approximate while calls run at once, and exact afterwards.
    assert!((8..=64).contains(&ids.len()), "{}", ids.len());
    let again = callers[0].start(start_for(&wallet)).await.unwrap();
    assert!(ids.contains(&again.id), "a new one beyond {}", ids.len());
    assert_eq!(store.count("challenges", "1 = 1").await, i64::try_from(ids.len()).unwrap());
}
