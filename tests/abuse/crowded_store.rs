//! One party that calls without end: the others' sign-ins go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::{
    grpc::v1::{
        RefreshTokenRequest, StartChallengeRequest, TokenPair, VerifyChallengeRequest,
        challenge_service_client::ChallengeServiceClient, token_service_client::TokenServiceClient,
    },
    token::random,
    wallet::evm::EvmPrivateKey,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, transport::Channel};

use crate::{
    attack::{Attack, GIVE_UP, scaled, start},
    process::{Process, client_of},
    support::TestStore,
};

on_both_stores![
    refreshes_with_one_token_keep_nobody_waiting,
    one_clients_challenges_keep_nobody_waiting,
    strangers_keep_nobody_waiting,
];

/// Sign-ins of the other client, whose times are compared.
const SIGN_INS: usize = 20;

async fn channel(server: &Process) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

fn request<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !authorization.is_empty() {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    request
}

async fn sign_in(channel: &Channel, authorization: &str) -> Result<TokenPair, Status> {
    let wallet = EvmPrivateKey::generate(random::bytes);
    let mut challenges = ChallengeServiceClient::new(channel.clone());
    let start = StartChallengeRequest { address: wallet.address().to_string(), ..Default::default() };
    let challenge =
        challenges.start_challenge(request(authorization, start)).await?.into_inner().challenge.unwrap();
    let signature = wallet.sign_text(&challenge.message);
    let verify = VerifyChallengeRequest { challenge_id: challenge.id, signature, ..Default::default() };
    Ok(challenges.verify_challenge(request(authorization, verify)).await?.into_inner().tokens.unwrap())
}

/// Times of the other client's sign-ins, in order. Each must succeed.
async fn sign_ins(server: &Process, authorization: &str) -> Vec<Duration> {
    let channel = channel(server).await;
    let mut times = Vec::new();
    for _ in 0..SIGN_INS {
        let began = Instant::now();
        let signed_in = tokio::time::timeout(GIVE_UP, sign_in(&channel, authorization)).await;
        signed_in.expect("a sign-in hangs").expect("a sign-in of another client fails");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times
}

/// Calls `attack` so many times at once, again and again, while the other client signs in.
async fn beside<F>(name: &'static str, store: &TestStore, server: &Process, attack: impl Fn() -> F)
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let other = client_of(store);
    let quiet = sign_ins(server, &other).await;
    let ended = Arc::new(AtomicBool::new(false));
    let (attempts, shed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let rate = Attack::begin(name);
    let mut calls = JoinSet::new();
    let in_flight = scaled(3_200);
    let mut times = Vec::new();
    {
        let signing_in = sign_ins(server, &other);
        tokio::pin!(signing_in);
        while times.is_empty() {
            while calls.len() < in_flight && !ended.load(Ordering::Relaxed) {
                let (call, attempts, shed) = (attack(), Arc::clone(&attempts), Arc::clone(&shed));
                calls.spawn(async move {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    match call.await {
                        Ok(()) => {}
                        Err(status) if status.code() == Code::ResourceExhausted => {
                            shed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(status) => assert!(
                            matches!(status.code(), Code::Unauthenticated | Code::Aborted),
                            "neither served nor shed: {status:?}"
                        ),
                    }
                });
            }
            tokio::select! {
                signed_in = &mut signing_in => times = signed_in,
                Some(call) = calls.join_next() => call.unwrap(),
            }
        }
    }
    ended.store(true, Ordering::Relaxed);
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    rate.end(attempts.load(Ordering::Relaxed));
    let median = |times: &[Duration]| times[times.len() / 2];
    eprintln!(
        "{} shed; a sign-in of another client takes {:?} in the quiet and {:?} beside the attack, at most {:?}",
        shed.load(Ordering::Relaxed),
        median(&quiet),
        median(&times),
        times[times.len() - 1],
    );
}

/// Some connections, which the calls of an attack use in turn.
async fn channels(server: &Process) -> Arc<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..32 {
        channels.push(channel(server).await);
    }
    Arc::new(channels)
}

async fn refreshes_with_one_token_keep_nobody_waiting(store: &TestStore) {
    let server = start(store, &[]);
    let attacker = client_of(store);
    let channels = channels(&server).await;
    let tokens = sign_in(&channels[0], &attacker).await.unwrap();
    let next = AtomicUsize::new(0);
    beside("refreshes with one token", store, &server, || {
        let channel = channels[next.fetch_add(1, Ordering::Relaxed) % channels.len()].clone();
        let refresh = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
        async move { TokenServiceClient::new(channel).refresh_token(refresh).await.map(drop) }
    })
    .await;
}

async fn one_clients_challenges_keep_nobody_waiting(store: &TestStore) {
    let server = start(store, &[]);
    let attacker = client_of(store);
    let channels = channels(&server).await;
    let next = AtomicUsize::new(0);
    beside("challenges of one client", store, &server, || {
        let channel = channels[next.fetch_add(1, Ordering::Relaxed) % channels.len()].clone();
        let address = EvmPrivateKey::generate(random::bytes).address().to_string();
        let start = request(&attacker, StartChallengeRequest { address, ..Default::default() });
        async move { ChallengeServiceClient::new(channel).start_challenge(start).await.map(drop) }
    })
    .await;
}

async fn strangers_keep_nobody_waiting(store: &TestStore) {
    let server = start(store, &[]);
    let channels = channels(&server).await;
    let next = AtomicUsize::new(0);
    beside("credentials of nobody", store, &server, || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let channel = channels[number % channels.len()].clone();
        // The id of no client, and a well-formed secret.
        let client = countersign::domain::ClientId::generate();
        let secret = countersign::token::ClientSecret::generate().expose().to_owned();
        let start = request(&basic(&client.to_string(), &secret), StartChallengeRequest::default());
        async move { ChallengeServiceClient::new(channel).start_challenge(start).await.map(drop) }
    })
    .await;
}

/// RFC 7617.
fn basic(id: &str, secret: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
