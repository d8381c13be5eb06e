//! The verifier for services in Rust, against the real service.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::{
    domain::{Policy, RateLimit, SigningAlgorithm},
    store::SigningKeyState,
    verifier::{Refusal, Verifier, VerifierSettings},
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::{
    harness::{Caller, ISSUER, Server, TestClient, claims, wallet},
    outage::server_on_a_wire,
    support::TestStore,
};

on_both_stores![
    a_good_token_of_each_algorithm_passes_with_its_claims,
    whatever_is_not_for_this_audience_and_issuer_is_refused,
    what_another_instance_revokes_is_refused,
    a_disabled_clients_tokens_are_refused_until_it_is_enabled,
    a_revoked_keys_tokens_are_refused,
    keys_that_rotate_under_load_are_known_in_time,
    without_a_client_revocations_are_not_received,
    wrong_credentials_do_not_start,
];

fn shop(signing_alg: SigningAlgorithm) -> Policy {
    Policy { audience: vec!["shop".to_owned()], signing_alg, ..Policy::default() }
}

async fn channel(server: &Server) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

/// With the client's own credentials.
fn settings(client: &TestClient) -> VerifierSettings {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = client.authorization().trim_start_matches("Basic ");
    let pair = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    let (id, secret) = pair.split_once(':').unwrap();
    VerifierSettings::new(ISSUER, "shop").with_client(id, secret)
}

async fn token_of(client: &TestClient) -> String {
    client.sign_in(&wallet()).await.tokens.unwrap().access_token
}

/// Waits until a token is taken, or not, for a reason.
async fn until(verifier: &Verifier, token: &str, expected: Result<(), Refusal>) {
    let began = Instant::now();
    loop {
        let now = verifier.check(token).map(|_| ());
        if now == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{now:?} for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_good_token_of_each_algorithm_passes_with_its_claims(store: &TestStore) {
    let server = Server::start(store).await;
    for algorithm in SigningAlgorithm::ALL {
        let client = server.client(shop(algorithm)).await;
        let verifier = Verifier::start(channel(&server).await, settings(&client)).await.unwrap();
        let token = token_of(&client).await;
        for _ in 0..2 {
            let own = verifier.check(&token).unwrap();
            assert_eq!(claims(&token)["sub"], own.sub.to_string());
            assert_eq!(own.client_id, client.client.id);
        }
        assert!(!format!("{verifier:?}").contains(client.authorization()), "a secret shows");
    }
}

async fn whatever_is_not_for_this_audience_and_issuer_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, other) =
        (server.client(shop(SigningAlgorithm::Es256)).await, server.client(Policy::default()).await);
    let verifier = Verifier::start(channel(&server).await, settings(&client)).await.unwrap();
    let good = client.sign_in(&wallet()).await.tokens.unwrap();
    let (body, _) = good.access_token.rsplit_once('.').unwrap();
    for wrong in [&*token_of(&other).await, "", "a.b.c", &good.refresh_token, &format!("{body}.")] {
        assert_eq!(verifier.check(wrong).unwrap_err(), Refusal::Invalid, "{wrong}");
    }
    let mut issuer = settings(&client);
    "https://other.example".clone_into(&mut issuer.issuer);
    let elsewhere = Verifier::start(channel(&server).await, issuer).await.unwrap();
    assert_eq!(elsewhere.check(&good.access_token).unwrap_err(), Refusal::Invalid);
    assert!(verifier.check(&good.access_token).is_ok());
}

async fn what_another_instance_revokes_is_refused(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(shop(SigningAlgorithm::Es256)).await;
    let (before, one) = (client.sign_in(&wallet()).await, client.sign_in(&wallet()).await);
    client.revoke_session(&before.session.unwrap().id).await.unwrap();
    let verifier = Verifier::start(channel(&b).await, settings(&client)).await.unwrap();
    // It knows at once what had been revoked.
    until(&verifier, &before.tokens.unwrap().access_token, Err(Refusal::Revoked)).await;
    let (token, kept) = (one.tokens.unwrap().access_token, token_of(&client).await);
    assert!(verifier.check(&token).is_ok());
    client.revoke_account_sessions(&one.session.unwrap().account_id).await.unwrap();
    until(&verifier.clone(), &token, Err(Refusal::Revoked)).await;
    assert!(verifier.check(&kept).is_ok());
}

async fn a_disabled_clients_tokens_are_refused_until_it_is_enabled(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let guard = Policy {
        roles: vec![countersign::domain::Role::Introspect],
        introspect_audiences: vec!["shop".to_owned()],
        ..Policy::default()
    };
    let guard = server.client(guard).await;
    let verifier = Verifier::start(channel(&server).await, settings(&guard)).await.unwrap();
    let token = token_of(&client).await;
    assert!(verifier.check(&token).is_ok());
    for disabled in [true, false] {
        server.store.set_client_disabled(client.client.id, disabled).await.unwrap();
        until(&verifier, &token, if disabled { Err(Refusal::Revoked) } else { Ok(()) }).await;
    }
}

async fn a_revoked_keys_tokens_are_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let verifier = Verifier::start(channel(&server).await, settings(&client)).await.unwrap();
    let token = token_of(&client).await;
    assert!(verifier.check(&token).is_ok());
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let keys = crate::harness::root_keys_file(store).display().to_string();
    let at = ["--database-url", &store.url, "--root-keys-file", &keys];
    assert!(crate::process::run(&[&["keys", "revoke", &kid, "--yes"], &at[..]].concat()).status.success());
    until(&verifier, &token, Err(Refusal::UnknownKey)).await;
    // The prepared key, which it knew, signs now.
    let began = Instant::now();
    while jsonwebtoken::decode_header(token_of(&client).await).unwrap().kid.unwrap() == kid {
        assert!(began.elapsed() < Duration::from_secs(20), "a revoked key signs for ever");
    }
    assert!(verifier.check(&token_of(&client).await).is_ok());
}

async fn keys_that_rotate_under_load_are_known_in_time(store: &TestStore) {
    let hourly = [("key-rotation-interval", "1h"), ("key-prepublish", "30m")];
    let servers = [Server::start_with(store, &hourly).await, Server::start_with(store, &hourly).await];
    let policy = Policy { rate_limit: RateLimit::NONE, ..shop(SigningAlgorithm::Es256) };
    let client = servers[0].client(policy).await;
    let mut settings = settings(&client).with_keys_pause(Duration::from_millis(200));
    settings.keys_max_age = Duration::from_millis(200);
    let verifier = Arc::new(Verifier::start(channel(&servers[0]).await, settings).await.unwrap());
    let (mut callers, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    let instances = [client.caller.clone(), servers[1].caller(client.authorization()).await];
    for number in 0..6 {
        let caller = instances[number % instances.len()].clone();
        callers.spawn(sign_in_until(Arc::clone(&stop), caller, Arc::clone(&verifier)));
    }
    for _ in 0..2 {
        let next = prepared_key(&servers[0]).await;
        // It is published for half an hour, and the verifier reads it in that time.
        until_known(&next, &verifier).await;
        store.age_signing_keys(2).await;
        for caller in &instances {
            until_signed_by(&next, caller, &verifier).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let kids: HashSet<String> = callers.join_all().await.into_iter().flatten().collect();
    assert!(kids.len() >= 2, "nobody signed in while the keys rotated: {kids:?}");
}

async fn sign_in_until(stop: Arc<AtomicBool>, caller: Caller, verifier: Arc<Verifier>) -> HashSet<String> {
    let mut kids = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        kids.insert(sign_in_and_check(&caller, &verifier).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kids
}

/// The key that has signed a new token, which the verifier must know.
async fn sign_in_and_check(caller: &Caller, verifier: &Verifier) -> String {
    let token = caller.sign_in(&wallet()).await.tokens.unwrap().access_token;
    verifier.check(&token).unwrap();
    jsonwebtoken::decode_header(&token).unwrap().kid.unwrap()
}

async fn until_signed_by(kid: &str, caller: &Caller, verifier: &Verifier) {
    let began = Instant::now();
    while sign_in_and_check(caller, verifier).await != kid {
        assert!(began.elapsed() < Duration::from_mins(1), "the keys do not rotate");
    }
}

async fn prepared_key(server: &Server) -> String {
    let keys = server.store.signing_keys().await.unwrap().into_iter();
    let mut prepared = keys.filter(|key| key.state == SigningKeyState::Prepared);
    prepared.find(|key| key.algorithm == SigningAlgorithm::Es256).unwrap().kid
}

/// A token of an unknown key would make the verifier ask for it.
async fn until_known(kid: &str, verifier: &Verifier) {
    let began = Instant::now();
    while !verifier.knows_key(kid) {
        assert!(began.elapsed() < Duration::from_mins(1), "the keys are not read again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn without_a_client_revocations_are_not_received(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let without =
        Verifier::start(channel(&server).await, VerifierSettings::new(ISSUER, "shop")).await.unwrap();
    let with = Verifier::start(channel(&server).await, settings(&client)).await.unwrap();
    let token = token_of(&client).await;
    client.revoke_token(&token).await.unwrap();
    until(&with, &token, Err(Refusal::Revoked)).await;
    assert!(without.check(&token).is_ok());
}

async fn wrong_credentials_do_not_start(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let wrong = VerifierSettings::new(ISSUER, "shop").with_client(&client.client.id.to_string(), "ccs_wrong");
    let refused = Verifier::start(channel(&server).await, wrong).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

/// The service runs and cannot read its store, so its revocations are old.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_feed_of_the_service_is_stale_no_token_is_accepted() {
    let store = TestStore::postgres().await;
    let (server, wire) = server_on_a_wire(&store, &[]).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let mut settings = settings(&client);
    settings.revocations_max_age = Duration::from_secs(3);
    let verifier = Verifier::start(channel(&server).await, settings.clone()).await.unwrap();
    let token = token_of(&client).await;
    until(&verifier, &token, Ok(())).await;
    wire.cut();
    until(&verifier, &token, Err(Refusal::Stale)).await;
    wire.mend();
    until(&verifier, &token, Ok(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_message_arrives_no_token_is_accepted() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(shop(SigningAlgorithm::Es256)).await;
    let service = crate::outage::Wire::to(server.grpc).await;
    let way = Channel::from_shared(format!("http://{}", service.address)).unwrap().connect_lazy();
    let mut settings = settings(&client);
    settings.revocations_max_age = Duration::from_secs(3);
    let verifier = Verifier::start(way, settings).await.unwrap();
    let token = token_of(&client).await;
    until(&verifier, &token, Ok(())).await;
    service.cut();
    until(&verifier, &token, Err(Refusal::Stale)).await;
    service.mend();
    until(&verifier, &token, Ok(())).await;
}
