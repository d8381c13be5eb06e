//! Challenges that others start for a wallet's address: the owner can still sign in, and nobody receives a challenge
//! with different content.

use std::time::Duration;

use countersign::{
    domain::{ChallengeFormat as Format, Policy, RateLimit},
    flows::client::update::update_client,
    grpc::v1::{Challenge, ChallengeFormat, StartChallengeRequest, VerifyChallengeRequest},
    wallet::evm::EvmPrivateKey,
};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, Server, TestClient, by_address, by_id, reason, start_for, wallet},
    support::TestStore,
};

on_both_stores![
    beyond_the_limit_of_the_address_an_equal_challenge_is_handed_out_again,
    beyond_the_limit_of_the_address_each_stated_field_makes_another_content,
    beyond_the_address_limit_redeemed_or_half_expired_challenges_are_not_reused,
    a_flood_beyond_the_limit_of_the_address_does_not_keep_its_owner_out,
    a_malformed_signature_is_reported_among_many_challenges,
    beyond_the_limit_of_the_address_a_changed_policy_makes_another_content,
    no_challenge_of_another_client_or_session_is_handed_out,
    at_eight_live_ones_an_equal_challenge_is_handed_out_again,
    a_ninth_different_challenge_hides_the_oldest_from_look_up_by_address,
    challenges_on_invented_chains_do_not_block_sign_in_by_address,
    challenges_of_other_sessions_do_not_block_sign_in_by_address,
];

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn policy(per_address: u32) -> Policy {
    Policy {
        formats: vec![Format::Text, Format::Siwx],
        domains: texts(&["shop.example", "shop.example:8443"]),
        uris: texts(&["https://shop.example/login", "https://shop.example/other"]),
        statements: texts(&["I accept the terms.", "Hello again."]),
        resources: texts(&["https://shop.example/cart"]),
        rate_limit: RateLimit { per_address, ..RateLimit::NONE },
        ..Policy::default()
    }
}

fn siwx(wallet: &EvmPrivateKey) -> StartChallengeRequest {
    StartChallengeRequest { format: ChallengeFormat::Siwx.into(), ..start_for(wallet) }
}

fn on(network: &str, wallet: &EvmPrivateKey) -> StartChallengeRequest {
    StartChallengeRequest { network: network.to_owned(), ..start_for(wallet) }
}

#[track_caller]
fn limited(outcome: Result<Challenge, Status>) {
    let status = outcome.expect_err("a challenge was handed out");
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_mins(1), "{wait:?}");
    assert!(status.message().contains("rate limit of the address exceeded"), "{status:?}");
    assert_eq!(reason::<()>(Err(status)), "RATE_LIMITED");
}

async fn beyond_the_limit_of_the_address_an_equal_challenge_is_handed_out_again(store: &TestStore) {
    let server = Server::start(store).await;
    let wallet = wallet();
    for request in [start_for(&wallet), siwx(&wallet)] {
        let client = server.client(policy(1)).await;
        let challenge = client.start(request.clone()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.start(request.clone()).await.unwrap(), challenge);
        }
        limited(client.start(on("eip155:137", &wallet)).await);
        client.redeem(&wallet, &challenge).await.unwrap();
    }
    assert_eq!(store.count("challenges", "TRUE").await, 2, "nothing was written beyond the limit");
}

async fn beyond_the_limit_of_the_address_each_stated_field_makes_another_content(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(policy(1)).await;
    let wallet = wallet();
    let challenge = client.start(siwx(&wallet)).await.unwrap();
    let soon = server.store.now().await.unwrap() + Duration::from_secs(30);
    let not_before = prost_types::Timestamp { seconds: soon.unix_timestamp(), nanos: 0 };
    for different in [
        start_for(&wallet),
        StartChallengeRequest { network: "eip155:137".to_owned(), ..siwx(&wallet) },
        StartChallengeRequest { domain: "shop.example:8443".to_owned(), ..siwx(&wallet) },
        StartChallengeRequest { uri: "https://shop.example/other".to_owned(), ..siwx(&wallet) },
        StartChallengeRequest { statement: "Hello again.".to_owned(), ..siwx(&wallet) },
        StartChallengeRequest { resources: texts(&["https://shop.example/cart"]), ..siwx(&wallet) },
        StartChallengeRequest { request_id: "7".to_owned(), ..siwx(&wallet) },
        StartChallengeRequest { not_before: Some(not_before), ..siwx(&wallet) },
    ] {
        limited(client.start(different).await);
    }
    // What is stated counts, not how it was asked for.
    let same = StartChallengeRequest { domain: "shop.example".to_owned(), ..siwx(&wallet) };
    assert_eq!(client.start(same).await.unwrap(), challenge);
}

async fn beyond_the_address_limit_redeemed_or_half_expired_challenges_are_not_reused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(policy(1)).await;
    let (signer, other) = (wallet(), wallet());
    let challenge = client.challenge_for(&signer).await;
    client.redeem(&signer, &challenge).await.unwrap();
    limited(client.start(start_for(&signer)).await);
    let challenge = client.challenge_for(&other).await;
    store.age("challenges", challenge.id.parse().unwrap(), 61).await;
    limited(client.start(start_for(&other)).await);
    client.redeem(&other, &challenge).await.unwrap();
}

async fn a_flood_beyond_the_limit_of_the_address_does_not_keep_its_owner_out(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(policy(1)).await;
    let wallet = wallet();
    let challenge = client.start(siwx(&wallet)).await.unwrap();
    let start_at_once = |requests: Vec<StartChallengeRequest>| {
        let calls = requests.into_iter().map(|request| {
            let caller = client.caller.clone();
            tokio::spawn(async move { caller.start(request).await })
        });
        calls.collect::<Vec<_>>()
    };
    let flood = (0..200).map(|number| match number % 2 {
        0 => siwx(&wallet),
        _ => StartChallengeRequest { request_id: number.to_string(), ..siwx(&wallet) },
    });
    let flood = start_at_once(flood.collect());
    for owner in start_at_once(vec![siwx(&wallet); 20]) {
        assert_eq!(owner.await.unwrap().unwrap(), challenge);
    }
    for (number, call) in flood.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(again) => assert_eq!((again, number % 2), (challenge.clone(), 0)),
            refused => limited(refused),
        }
    }
    client.redeem(&wallet, &challenge).await.unwrap();
    limited(client.start(siwx(&wallet)).await);
}

async fn a_malformed_signature_is_reported_among_many_challenges(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(unlimited()).await;
    let wallet = wallet();
    flood(&client, &wallet, 40).await;
    let malformed = client.verify(by_address(&wallet, "0x00")).await;
    assert_eq!(reason(malformed), "INVALID_SIGNATURE_ENCODING");
}

async fn beyond_the_limit_of_the_address_a_changed_policy_makes_another_content(store: &TestStore) {
    let first = Server::start(store).await;
    let client = first.client(policy(1)).await;
    let wallet = wallet();
    let challenge = client.start(siwx(&wallet)).await.unwrap();
    // An instance that starts now has read no other policy, and counted no call.
    let server = Server::start(store).await;
    let changed =
        Policy { domains: texts(&["new.example"]), name: client.client.policy.name.clone(), ..policy(1) };
    update_client(server.store.as_ref(), client.client.id, |_| Ok(changed.clone())).await.unwrap();
    let caller = server.caller(client.authorization()).await;
    caller.start(start_for(&wallet)).await.unwrap();
    limited(caller.start(siwx(&wallet)).await);
    caller.redeem(&wallet, &challenge).await.unwrap();
}

async fn no_challenge_of_another_client_or_session_is_handed_out(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, neighbour) = (server.client(policy(1)).await, server.client(policy(1)).await);
    let wallet = wallet();
    // The sign-in is the first call, and spends its challenge.
    let (user, _) = client.user(&wallet).await;
    let (_, device) = client.device_of(&wallet).await;
    let of_device = device.start(Default::default()).await.unwrap();
    neighbour.start(siwx(&wallet)).await.unwrap();
    limited(neighbour.start(start_for(&wallet)).await);
    limited(client.start(start_for(&wallet)).await);
    limited(user.start(start_for(&wallet)).await);
    device.redeem(&wallet, &of_device).await.unwrap();
}

fn unlimited() -> Policy {
    policy(0)
}

async fn start_eight(caller: &Caller, wallet: &EvmPrivateKey) -> Vec<Challenge> {
    let mut issued = Vec::new();
    for _ in 0..8 {
        issued.push(caller.start(siwx(wallet)).await.unwrap());
    }
    assert!(issued.windows(2).all(|pair| pair[0].id != pair[1].id));
    issued
}

async fn at_eight_live_ones_an_equal_challenge_is_handed_out_again(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(unlimited()).await;
    let wallet = wallet();
    let (_, device) = client.device_of(&wallet).await;
    let (user, _) = client.user(&wallet).await;
    for caller in [&client.caller, &device, &user] {
        let mut issued = start_eight(caller, &wallet).await;
        assert_eq!(caller.start(siwx(&wallet)).await.unwrap(), issued[7]);
        for challenge in issued.drain(1..) {
            store.age("challenges", challenge.id.parse().unwrap(), 61).await;
        }
        assert_eq!(caller.start(siwx(&wallet)).await.unwrap(), issued[0]);
        store.age("challenges", issued[0].id.parse().unwrap(), 61).await;
        assert_ne!(caller.start(siwx(&wallet)).await.unwrap(), issued[0]);
    }
}

async fn a_ninth_different_challenge_hides_the_oldest_from_look_up_by_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(unlimited()).await;
    let wallet = wallet();
    let issued = start_eight(&client, &wallet).await;
    for (number, oldest) in issued[..2].iter().enumerate() {
        let other = StartChallengeRequest { request_id: number.to_string(), ..siwx(&wallet) };
        let new = client.start(other).await.unwrap();
        assert!(issued.iter().all(|old| old.id != new.id));
        let signature = wallet.sign_text(&oldest.message);
        assert_eq!(reason(client.verify(by_address(&wallet, &signature)).await), "SIGNATURE_MISMATCH");
        let by_nonce = VerifyChallengeRequest {
            nonce: oldest.nonce.clone(),
            signature: signature.clone(),
            ..Default::default()
        };
        let named = if number == 0 { by_nonce } else { by_id(oldest, &signature) };
        client.verify(named).await.unwrap();
    }
    client.verify(by_address(&wallet, &wallet.sign_text(&issued[2].message))).await.unwrap();
}

/// Starts challenges for the address of a wallet over chains that nobody uses.
async fn flood(caller: &Caller, wallet: &EvmPrivateKey, challenges: u32) {
    for chain in 0..challenges {
        caller.start(on(&format!("eip155:{}", 1_000_000 + chain), wallet)).await.unwrap();
    }
}

/// Each of some challenges signs in by address alone, whatever is started for the same address after it.
async fn sign_in_by_address(caller: &Caller, wallet: &EvmPrivateKey, challenges: &[Challenge]) {
    for challenge in challenges {
        caller.verify(by_address(wallet, &wallet.sign_text(&challenge.message))).await.unwrap();
    }
}

async fn challenges_on_invented_chains_do_not_block_sign_in_by_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(unlimited()).await;
    let wallet = wallet();
    let on_polygon = client.start(on("eip155:137", &wallet)).await.unwrap();
    client.redeem(&wallet, &on_polygon).await.unwrap();
    let on_main = client.challenge_for(&wallet).await;
    let where_it_was = client.start(on("eip155:137", &wallet)).await.unwrap();
    let elsewhere = client.start(on("eip155:10", &wallet)).await.unwrap();
    flood(&client, &wallet, 200).await;
    sign_in_by_address(&client, &wallet, &[on_main, where_it_was]).await;
    let signature = wallet.sign_text(&elsewhere.message);
    let alone = by_address(&wallet, &signature);
    let status = client.verify(alone.clone()).await.unwrap_err();
    assert!(status.message().contains("also set `challenge_id`, `nonce` or `network`"), "{status:?}");
    client.verify(VerifyChallengeRequest { network: "eip155:10".to_owned(), ..alone }).await.unwrap();
}

async fn challenges_of_other_sessions_do_not_block_sign_in_by_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client: TestClient = server.client(unlimited()).await;
    let wallet = wallet();
    let (_, device) = client.device_of(&wallet).await;
    let (_, stranger) = client.device_of(&wallet).await;
    let of_client = client.start(on("eip155:137", &wallet)).await.unwrap();
    let of_device = device.start(on("eip155:137", &wallet)).await.unwrap();
    flood(&stranger, &wallet, 200).await;
    sign_in_by_address(&device, &wallet, &[of_device]).await;
    sign_in_by_address(&client, &wallet, &[of_client]).await;
}
