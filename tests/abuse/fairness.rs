//! Floods by one party must not delay the sign-ins of another client.
//!
//! `./check` asserts who is served and who is shed. The whole attack also measures: how long a sign-in takes beside it, and
//! how long beside the same program calling GetJwks with as many calls in flight, which uses no store.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign::{
    domain::{ClientId, SessionId},
    grpc::v1::{
        GetJwksRequest, GetSessionRequest, RefreshTokenRequest, RevokeSessionRequest, StartChallengeRequest,
        TokenPair, VerifyChallengeRequest, challenge_service_client::ChallengeServiceClient,
        session_service_client::SessionServiceClient, token_service_client::TokenServiceClient,
    },
    token::{ClientSecret, random},
    wallet::evm::EvmPrivateKey,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    attack::{Attack, GIVE_UP, is_another_program, is_full, scaled, start},
    process::{Process, client_of, client_with},
    support::TestStore,
};

on_both_stores![
    refreshes_of_one_session_keep_no_other_client_waiting,
    challenges_of_one_client_keep_no_other_client_waiting,
    challenges_beyond_a_clients_limit_keep_no_other_client_waiting,
    invented_credentials_keep_no_client_waiting,
    invented_session_tokens_keep_no_client_waiting,
    revocations_of_foreign_sessions_keep_no_client_waiting,
    a_flood_with_a_stolen_token_does_not_delay_the_log_out,
];

/// Sign-ins of the other client, where nothing is measured.
const SIGN_INS: usize = 5;
/// Sign-ins in one round of a measurement, several at a time.
const MEASURED_SIGN_INS: usize = 104;
/// Sign-ins at a time.
const AT_A_TIME: usize = 8;
/// Pause of a caller between its calls, unless the whole attack is made. Without it a development build uses all processors
/// of a small machine to reject calls, and calls of other tests miss their deadlines.
const PAUSE: Duration = Duration::from_secs(2);
/// Rounds of a measurement, each with the attack and with GetJwks.
const ROUNDS: usize = 2;
/// Bounds for the median and the 99th percentile beside an attack, as multiples of those beside GetJwks.
const BOUNDS: (f64, f64) = (3.0, 10.0);

type Outcome = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The service under attack and the attacker's connections.
struct Target<'a> {
    store: &'a TestStore,
    server: Process,
    channels: Vec<Channel>,
    next: AtomicUsize,
}

impl<'a> Target<'a> {
    async fn start(store: &'a TestStore) -> Self {
        // A tenth of the calls, and of their limit; times are not judged then.
        let tenth = ["--request-timeout", "60s", "--max-calls", "153"];
        let flags = match (is_full(), is_another_program()) {
            (true, _) => &[][..],
            (false, true) => &tenth[..2],
            (false, false) => &tenth,
        };
        let server = start(store, flags);
        let mut channels = Vec::new();
        for _ in 0..32 {
            channels.push(channel(server.grpc).await);
        }
        Self { store, server, channels, next: AtomicUsize::new(0) }
    }

    /// A connection, each in turn.
    fn channel(&self) -> Channel {
        self.channels[self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len()].clone()
    }
}

pub async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub fn request<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !authorization.is_empty() {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    request
}

async fn sign_in(channel: &Channel, authorization: &str) -> Result<(String, TokenPair), Status> {
    let wallet = EvmPrivateKey::generate(random::bytes);
    let mut challenges = ChallengeServiceClient::new(channel.clone());
    let start = StartChallengeRequest { address: wallet.address().to_string(), ..Default::default() };
    let challenge =
        challenges.start_challenge(request(authorization, start)).await?.into_inner().challenge.unwrap();
    let signature = wallet.sign_text(&challenge.message);
    let verify = VerifyChallengeRequest { challenge_id: challenge.id, signature, ..Default::default() };
    let signed_in = challenges.verify_challenge(request(authorization, verify)).await?.into_inner();
    Ok((signed_in.session.unwrap().id, signed_in.tokens.unwrap()))
}

/// Times of a client's sign-ins, each of which must succeed.
async fn sign_ins(service: SocketAddr, authorization: String, count: usize) -> Vec<Duration> {
    let channel = channel(service).await;
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        let signed_in = tokio::time::timeout(GIVE_UP, sign_in(&channel, &authorization)).await;
        signed_in.expect("a sign-in hangs").expect("a sign-in of another client fails");
        times.push(began.elapsed());
    }
    times
}

/// Calls of an attack: how many were made, and how many of them were rejected by a limit.
#[derive(Debug, Default)]
struct Calls {
    made: usize,
    shed: usize,
}

impl Calls {
    /// Notes the outcome of a call, which is served, rejected for what it is, or shed.
    fn note(&mut self, outcome: Result<(), Status>) {
        self.made += 1;
        if let Err(status) = outcome {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            let is_shed = reason == "OVERLOADED";
            self.shed += usize::from(is_shed);
            // On a slow machine a call may miss its deadline, or time out while a probe of the store is late.
            let is_late = matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable);
            let is_rejected = matches!(status.code(), Code::Unauthenticated | Code::Aborted | Code::NotFound)
                || reason == "RATE_LIMITED";
            assert!(is_shed || is_rejected || is_late, "neither served nor shed: {status:?}");
        }
    }
}

/// Keeps calls of an attack in flight while `others` run.
async fn beside<T>(attack: &impl Fn() -> Outcome, others: impl Future<Output = T>) -> (T, Calls) {
    let (mut calls, mut in_flight) = (Calls::default(), JoinSet::new());
    tokio::pin!(others);
    let outcome = loop {
        while in_flight.len() < scaled(3_200) {
            let call = attack();
            in_flight.spawn(async move {
                let outcome = call.await;
                tokio::time::sleep(if is_full() { Duration::ZERO } else { PAUSE }).await;
                outcome
            });
        }
        tokio::select! {
            outcome = &mut others => break outcome,
            Some(call) = in_flight.join_next() => calls.note(call.unwrap()),
        }
    };
    while let Some(call) = in_flight.join_next().await {
        calls.note(call.unwrap());
    }
    (outcome, calls)
}

/// Lets another client sign in beside an attack, and measures it if the whole attack is made. Returns the calls of the
/// attack.
async fn keeps_no_client_waiting(
    name: &'static str,
    target: &Target<'_>,
    attack: impl Fn() -> Outcome,
) -> Calls {
    let other = client_of(target.store);
    sign_ins(target.server.grpc, other.clone(), 1).await;
    let rate = Attack::begin(name);
    let (_, calls) = beside(&attack, sign_ins(target.server.grpc, other.clone(), SIGN_INS)).await;
    rate.end(calls.made);
    eprintln!("{} of {} calls were shed", calls.shed, calls.made);
    if is_full() {
        measure(name, target, &other, &attack).await;
    }
    calls
}

/// Judges the times of sign-ins beside an attack by those beside GetJwks.
async fn measure(name: &'static str, target: &Target<'_>, other: &str, attack: &impl Fn() -> Outcome) {
    let jwks = || -> Outcome {
        let channel = target.channel();
        Box::pin(async move { TokenServiceClient::new(channel).get_jwks(GetJwksRequest {}).await.map(drop) })
    };
    let sign_ins = async || {
        let some = |_| sign_ins(target.server.grpc, other.to_owned(), MEASURED_SIGN_INS / AT_A_TIME);
        (0..AT_A_TIME).map(some).collect::<JoinSet<_>>().join_all().await.concat()
    };
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let rate = Attack::begin("GetJwks");
        let (times, calls) = beside(&jwks, sign_ins()).await;
        rate.end(calls.made);
        quiet.extend(times);
        let rate = Attack::begin(name);
        let (times, calls) = beside(attack, sign_ins()).await;
        rate.end(calls.made);
        attacked.extend(times);
    }
    let ratio = |of: f64| percentile(&mut attacked.clone(), of) / percentile(&mut quiet.clone(), of);
    let (median, p99) = (ratio(0.5), ratio(0.99));
    let store = if target.store.url.starts_with("sqlite") { "SQLite" } else { "PostgreSQL" };
    eprintln!(
        "| {store} | {name} | {:.1} ms | {:.1} ms | {median:.2} | {:.1} ms | {:.1} ms | {p99:.2} |",
        percentile(&mut quiet, 0.5),
        percentile(&mut attacked, 0.5),
        percentile(&mut quiet, 0.99),
        percentile(&mut attacked, 0.99),
    );
    assert!(median < BOUNDS.0 && p99 < BOUNDS.1, "median {median:.2}, 99th percentile {p99:.2}");
}

/// In milliseconds.
fn percentile(times: &mut [Duration], of: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * of).round() as usize].as_secs_f64() * 1_000.0
}

async fn refreshes_of_one_session_keep_no_other_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let (_, tokens) = sign_in(&target.channel(), &client_of(store)).await.unwrap();
    let calls = keeps_no_client_waiting("refreshes of one session", &target, || {
        refresh(target.channel(), &tokens.refresh_token)
    });
    assert!(calls.await.shed > 0);
}

fn refresh(channel: Channel, token: &str) -> Outcome {
    let refresh = RefreshTokenRequest { refresh_token: token.to_owned() };
    Box::pin(async move { TokenServiceClient::new(channel).refresh_token(refresh).await.map(drop) })
}

async fn challenges_of_one_client_keep_no_other_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let attacker = client_of(store);
    let calls = keeps_no_client_waiting("challenges of one client", &target, || {
        let address = EvmPrivateKey::generate(random::bytes).address().to_string();
        start_challenge(target.channel(), &attacker, address)
    });
    assert!(calls.await.shed > 0);
}

async fn challenges_beyond_a_clients_limit_keep_no_other_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let attacker = client_with(store, r#"{"rateLimit": {"perClient": 1, "perAddress": 1}}"#);
    keeps_no_client_waiting("challenges beyond a client's limit", &target, || {
        let address = EvmPrivateKey::generate(random::bytes).address().to_string();
        start_challenge(target.channel(), &attacker, address)
    })
    .await;
}

fn start_challenge(channel: Channel, authorization: &str, address: String) -> Outcome {
    let start = request(authorization, StartChallengeRequest { address, ..Default::default() });
    Box::pin(async move { ChallengeServiceClient::new(channel).start_challenge(start).await.map(drop) })
}

async fn invented_credentials_keep_no_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let calls = keeps_no_client_waiting("invented client credentials", &target, || {
        // The id of no client, and a well-formed secret.
        let (id, secret) = (ClientId::generate(), ClientSecret::generate());
        start_challenge(target.channel(), &basic(&id.to_string(), secret.expose()), String::new())
    });
    assert!(calls.await.shed > 0);
}

/// RFC 7617.
fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn invented_session_tokens_keep_no_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let calls = keeps_no_client_waiting("invented session tokens", &target, || {
        // As an earlier version makes them.
        let token = format!("Bearer cst_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>()));
        get_session(target.channel(), &token)
    });
    assert!(calls.await.shed > 0);
}

fn get_session(channel: Channel, authorization: &str) -> Outcome {
    let session_id = SessionId::generate().to_string();
    let get = request(authorization, GetSessionRequest { session_id });
    Box::pin(async move { SessionServiceClient::new(channel).get_session(get).await.map(drop) })
}

async fn revocations_of_foreign_sessions_keep_no_client_waiting(store: &TestStore) {
    let target = Target::start(store).await;
    let (_, tokens) = sign_in(&target.channel(), &client_of(store)).await.unwrap();
    let token = format!("Bearer {}", tokens.access_token);
    let calls = keeps_no_client_waiting("revocations of foreign sessions", &target, || {
        revoke_session(target.channel(), &token, SessionId::generate().to_string())
    });
    let Calls { made, shed } = calls.await;
    assert!(shed * 10 < made, "{shed} of {made} waited and were shed; each can be rejected by its id");
}

fn revoke_session(channel: Channel, authorization: &str, session_id: String) -> Outcome {
    let revoke = request(authorization, RevokeSessionRequest { session_id });
    Box::pin(async move { SessionServiceClient::new(channel).revoke_session(revoke).await.map(drop) })
}

async fn a_flood_with_a_stolen_token_does_not_delay_the_log_out(store: &TestStore) {
    let target = Target::start(store).await;
    let (session_id, tokens) = sign_in(&target.channel(), &client_of(store)).await.unwrap();
    let token = format!("Bearer {}", tokens.access_token);
    let turn = AtomicUsize::new(0);
    let flood = || match turn.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => refresh(target.channel(), &tokens.refresh_token),
        1 => get_session(target.channel(), &token),
        _ => revoke_session(target.channel(), &token, SessionId::generate().to_string()),
    };
    let victim = channel(target.server.grpc).await;
    let log_out = async {
        // The flood is under way once one of its calls has been answered.
        refresh(victim.clone(), "none").await.unwrap_err();
        revoke_session(victim.clone(), &token, session_id.clone()).await
    };
    let (logged_out, _) = beside(&flood, log_out).await;
    logged_out.expect("the log-out is neither rejected nor behind the flood");
    let refused = refresh(victim, &tokens.refresh_token).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
}
