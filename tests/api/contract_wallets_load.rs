//! Contract wallets under load: each client's share of an endpoint, and the calls that one verification makes.

use countersign::{
    domain::Policy,
    grpc::v1::{Challenge, StartChallengeRequest, VerifyChallengeRequest, VerifyChallengeResponse},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    contract_wallets::{CONTRACT, SIGNATURE, start_on},
    harness::{Caller, GIVE_UP, Server, TestClient, by_id, reason, refusal},
    node::{Node, Says},
    support::TestStore,
};

on_both_stores![
    one_client_with_many_slow_calls_cannot_deny_another_client,
    a_client_over_its_share_of_one_endpoint_is_served_by_the_next,
    a_verification_makes_one_call_at_a_time_where_its_clients_share_ends,
    one_verification_has_at_most_two_calls_in_flight,
    the_first_accepted_signature_cancels_the_other_calls,
    timed_out_calls_count_against_their_client_only,
    silent_chains_do_not_block_a_wallet_of_another_chain,
];

/// The contract wallet of the client that must not suffer from the other one.
const OTHER_CONTRACT: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
/// Longer than any case runs: no call times out.
const NO_TIMEOUT: &str = "30m";

type Answers = JoinSet<Result<VerifyChallengeResponse, Status>>;

async fn server(store: &TestStore, endpoints: &[String], timeout: &str) -> Server {
    let endpoints = endpoints.join(",");
    let flags = [("chain-rpc", &*endpoints), ("chain-rpc-timeout", timeout), ("request-timeout", "50m")];
    Server::start_with(store, &flags).await
}

async fn client_of(server: &Server) -> TestClient {
    server.client(Policy { contract_wallets: true, ..Policy::default() }).await
}

/// Verifications of one challenge, all at once.
fn verify_at_once(caller: &Caller, challenge: &Challenge, count: usize) -> Answers {
    let verify = |_| {
        let (caller, request) = (caller.clone(), by_id(challenge, SIGNATURE));
        async move { caller.verify(request).await }
    };
    (0..count).map(verify).collect()
}

/// The next refusal; the calls may run into their end first.
async fn next_refusal(answers: &mut Answers) -> Status {
    let answer = tokio::time::timeout(GIVE_UP, answers.join_next()).await.expect("no further answer");
    answer.unwrap().unwrap().unwrap_err()
}

async fn expect_shed(answers: &mut Answers, count: usize) {
    for _ in 0..count {
        let status = next_refusal(answers).await;
        assert!(status.get_details_retry_info().is_some(), "{status:?}");
        assert_eq!(refusal::<()>(Err(status)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    }
}

fn start_for_the_other_contract() -> StartChallengeRequest {
    StartChallengeRequest { address: OTHER_CONTRACT.to_owned(), ..start_on("eip155:1") }
}

async fn expect_sign_in_of_the_other_contract(client: &TestClient) {
    let challenge = client.start(start_for_the_other_contract()).await.unwrap();
    let answer = tokio::time::timeout(GIVE_UP, client.verify(by_id(&challenge, SIGNATURE))).await;
    let verification = answer.expect("the other client waits").unwrap().verification.unwrap();
    assert_eq!(verification.address, OTHER_CONTRACT);
}

/// By address alone, so that every live challenge is a candidate.
fn by_address(contract: &str) -> VerifyChallengeRequest {
    VerifyChallengeRequest {
        address: contract.to_owned(),
        signature: SIGNATURE.to_owned(),
        ..Default::default()
    }
}

async fn one_client_with_many_slow_calls_cannot_deny_another_client(store: &TestStore) {
    let node = Node::that(Says::AboutOnly(OTHER_CONTRACT, true)).await;
    let server = server(store, &[node.of("eip155:1")], NO_TIMEOUT).await;
    let (greedy, other) = (client_of(&server).await, client_of(&server).await);
    let challenge = greedy.start(start_on("eip155:1")).await.unwrap();
    let mut answers = verify_at_once(&greedy, &challenge, 70);
    // Half of the endpoint's 64 places is the most that one client gets.
    expect_shed(&mut answers, 70 - 32).await;
    node.until(|counts| counts.in_flight == 32).await;
    expect_sign_in_of_the_other_contract(&other).await;
    assert_eq!((node.asked(), answers.len()), (33, 32));
    assert!(answers.try_join_next().is_none(), "a call that no node answered has ended");
}

async fn a_client_over_its_share_of_one_endpoint_is_served_by_the_next(store: &TestStore) {
    let (silent, good) = (Node::that(Says::Nothing).await, Node::that(Says::No(1)).await);
    let server = server(store, &[silent.of("eip155:1"), good.of("eip155:1")], NO_TIMEOUT).await;
    let client = client_of(&server).await;
    let challenge = client.start(start_on("eip155:1")).await.unwrap();
    let mut answers = verify_at_once(&client, &challenge, 40);
    for _ in 0..8 {
        let status = next_refusal(&mut answers).await;
        assert_eq!(reason::<()>(Err(status)), "SIGNATURE_MISMATCH");
    }
    silent.until(|counts| counts.in_flight == 32).await;
    assert_eq!((silent.asked(), good.asked()), (32, 8));
}

/// Its second candidate waits for the place of the first one.
async fn a_verification_makes_one_call_at_a_time_where_its_clients_share_ends(store: &TestStore) {
    let node = Node::that(Says::AboutOnly(OTHER_CONTRACT, false)).await;
    let server = server(store, &[node.of("eip155:1")], NO_TIMEOUT).await;
    let client = client_of(&server).await;
    let challenge = client.start(start_on("eip155:1")).await.unwrap();
    let _silent = verify_at_once(&client, &challenge, 31);
    node.until(|counts| counts.in_flight == 31).await;
    for _ in 0..2 {
        client.start(start_for_the_other_contract()).await.unwrap();
    }
    let answer = tokio::time::timeout(GIVE_UP, client.verify(by_address(OTHER_CONTRACT))).await;
    assert_eq!(reason(answer.expect("no answer")), "SIGNATURE_MISMATCH");
    assert_eq!(node.asked(), 33);
}

async fn one_verification_has_at_most_two_calls_in_flight(store: &TestStore) {
    let node = Node::that(Says::NoWhenReleased).await;
    let server = server(store, &[node.of("eip155:1")], NO_TIMEOUT).await;
    let client = client_of(&server).await;
    for _ in 0..8 {
        client.start(start_on("eip155:1")).await.unwrap();
    }
    let caller = client.caller.clone();
    let answer = tokio::spawn(async move { caller.verify(by_address(CONTRACT)).await });
    for asked in 2..=8 {
        node.until(|counts| counts.asked >= asked && counts.in_flight >= 2).await;
        node.release();
    }
    node.release();
    assert_eq!(reason(answer.await.unwrap()), "SIGNATURE_MISMATCH");
    assert_eq!((node.asked(), node.counts().most_in_flight), (8, 2));
}

async fn the_first_accepted_signature_cancels_the_other_calls(store: &TestStore) {
    let node = Node::that(Says::NothingThenYes).await;
    let server = server(store, &[node.of("eip155:1")], NO_TIMEOUT).await;
    let client = client_of(&server).await;
    for _ in 0..2 {
        client.start(start_on("eip155:1")).await.unwrap();
    }
    let answer = tokio::time::timeout(GIVE_UP, client.verify(by_address(CONTRACT))).await;
    answer.expect("the answer waits for the silent call").unwrap();
    node.until(|counts| counts.in_flight == 0).await;
    assert_eq!(node.asked(), 2);
}

async fn timed_out_calls_count_against_their_client_only(store: &TestStore) {
    let node = Node::that(Says::AboutOnly(OTHER_CONTRACT, true)).await;
    let server = server(store, &[node.of("eip155:1")], "9s").await;
    let (slow, other) = (client_of(&server).await, client_of(&server).await);
    let challenge = slow.start(start_on("eip155:1")).await.unwrap();
    let mut answers = verify_at_once(&slow, &challenge, 8);
    for _ in 0..8 {
        let status = next_refusal(&mut answers).await;
        assert_eq!(reason::<()>(Err(status)), "CHAIN_RPC_UNAVAILABLE");
    }
    // For the next 9 seconds 72 places are counted as taken by the client: it gets its minimum of two.
    let mut answers = verify_at_once(&slow, &challenge, 10);
    expect_shed(&mut answers, 8).await;
    node.until(|counts| counts.asked == 10).await;
    expect_sign_in_of_the_other_contract(&other).await;
}

/// The newest candidates are of chains that do not answer.
async fn silent_chains_do_not_block_a_wallet_of_another_chain(store: &TestStore) {
    let silent = [Node::that(Says::Nothing).await, Node::that(Says::Nothing).await];
    let good = Node::that(Says::Yes(1)).await;
    let endpoints = [good.of("eip155:1"), silent[0].of("eip155:10"), silent[1].of("eip155:137")];
    let server = server(store, &endpoints, "9s").await;
    let client = client_of(&server).await;
    for network in ["eip155:1", "eip155:10", "eip155:137", "eip155:10", "eip155:137"] {
        client.start(start_on(network)).await.unwrap();
    }
    let verification = client.verify(by_address(CONTRACT)).await.unwrap().verification.unwrap();
    assert_eq!(verification.network, "eip155:1");
    assert_eq!((silent[0].asked(), silent[1].asked(), good.asked()), (1, 1, 1));
}
