//! Contract wallets under load: the calls that one verification makes.

use countersign::{domain::Policy, grpc::v1::VerifyChallengeRequest};

use crate::{
    contract_wallets::{CONTRACT, SIGNATURE, start_on},
    harness::{GIVE_UP, Server, TestClient, reason},
    node::{Node, Says},
    support::TestStore,
};

on_both_stores![
    one_verification_has_at_most_two_calls_in_flight,
    the_first_accepted_signature_cancels_the_other_calls,
    silent_chains_do_not_block_a_wallet_of_another_chain,
];

/// Longer than any case runs: no call times out.
const NO_TIMEOUT: &str = "30m";

async fn server(store: &TestStore, endpoints: &[String], timeout: &str) -> Server {
    let endpoints = endpoints.join(",");
    let flags = [("chain-rpc", &*endpoints), ("chain-rpc-timeout", timeout), ("request-timeout", "50m")];
    Server::start_with(store, &flags).await
}

async fn client_of(server: &Server) -> TestClient {
    server.client(Policy { contract_wallets: true, ..Policy::default() }).await
}

/// By address alone, so that every live challenge is a candidate.
fn by_address() -> VerifyChallengeRequest {
    VerifyChallengeRequest {
        address: CONTRACT.to_owned(),
        signature: SIGNATURE.to_owned(),
        ..Default::default()
    }
}

async fn one_verification_has_at_most_two_calls_in_flight(store: &TestStore) {
    let node = Node::that(Says::NoWhenReleased).await;
    let server = server(store, &[node.of("eip155:1")], NO_TIMEOUT).await;
    let client = client_of(&server).await;
    for _ in 0..8 {
        client.start(start_on("eip155:1")).await.unwrap();
    }
    let caller = client.caller.clone();
    let answer = tokio::spawn(async move { caller.verify(by_address()).await });
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
    let answer = tokio::time::timeout(GIVE_UP, client.verify(by_address())).await;
    answer.expect("the answer waits for the silent call").unwrap();
    node.until(|counts| counts.in_flight == 0).await;
    assert_eq!(node.asked(), 2);
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
    let verification = client.verify(by_address()).await.unwrap().verification.unwrap();
    assert_eq!(verification.network, "eip155:1");
    assert_eq!((silent[0].asked(), silent[1].asked(), good.asked()), (1, 1, 1));
}
