//! The real program: two at once, stopped, killed, and its log.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::{
    grpc::v1::{GetJwksRequest, SessionState, token_service_client::TokenServiceClient},
    wallet::evm::EvmPrivateKey,
};
use tokio::task::JoinSet;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{
        Caller, GIVE_UP, by_id, crowds_turn, http, reason, retry_while_locked, root_keys_file, start_for,
        wallet,
    },
    process::{Process, client_of, countersign},
    support::{TestStore, until_awaited},
};

on_both_stores![
    two_processes_on_one_store_redeem_a_challenge_once,
    nothing_answered_is_lost_and_nothing_spent_is_spendable_after_kill_9,
    sigterm_finishes_and_exits_with_0,
    a_second_signal_ends_at_once_with_130,
    no_secret_of_a_full_run_is_in_the_log,
    the_line_of_a_call_names_method_client_outcome_and_time,
    the_logs_filter_is_changed_while_the_program_runs,
];

async fn two_processes_on_one_store_redeem_a_challenge_once(store: &TestStore) {
    let processes = [Process::start(store), Process::start(store)];
    let authorization = client_of(store);
    let callers = [processes[0].caller(&authorization).await, processes[1].caller(&authorization).await];
    let wallet = wallet();
    let challenge = callers[0].challenge_for(&wallet).await;
    let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
    let mut calls = JoinSet::new();
    let _turn = crowds_turn().await;
    for number in 0..64 {
        let (caller, request) = (callers[number % 2].clone(), request.clone());
        calls.spawn(async move { retry_while_locked(|| caller.verify(request.clone())).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 63));
    assert!(lost.into_iter().all(|outcome| reason(outcome) == "CHALLENGE_ALREADY_USED"));
    assert_eq!(store.count("sessions", "1 = 1").await, 1);
}

/// A sign-in that was answered: what was spent for it, and what it gave.
struct Answered {
    request: countersign::grpc::v1::VerifyChallengeRequest,
    session: String,
    refresh_token: String,
}

/// Signs in again and again until the server is gone.
async fn sign_in_until_killed(caller: Caller, wallet: EvmPrivateKey) -> Vec<Answered> {
    let mut answered = Vec::new();
    loop {
        let Ok(challenge) = caller.start(start_for(&wallet)).await else { return answered };
        let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
        let Ok(answer) = caller.verify(request.clone()).await else { return answered };
        answered.push(Answered {
            request,
            session: answer.session.unwrap().id,
            refresh_token: answer.tokens.unwrap().refresh_token,
        });
    }
}

async fn nothing_answered_is_lost_and_nothing_spent_is_spendable_after_kill_9(store: &TestStore) {
    let mut process = Process::start(store);
    let authorization = client_of(store);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        callers.spawn(sign_in_until_killed(process.caller(&authorization).await, wallet()));
    }
    let enough = async { while store.count("sessions", "1 = 1").await < 40 {} };
    tokio::time::timeout(GIVE_UP, enough).await.expect("nobody signs in any more");
    process.kill();
    let answered: Vec<Answered> = callers.join_all().await.into_iter().flatten().collect();
    assert!(answered.len() >= 20, "only {} sign-ins were answered", answered.len());

    let restarted = Process::start(store);
    let caller = restarted.caller(&authorization).await;
    for one in answered {
        let session = caller.get_session(&one.session).await.unwrap();
        assert_eq!(session.state(), SessionState::Active);
        assert_eq!(reason(caller.verify(one.request).await), "CHALLENGE_ALREADY_USED");
        let next = caller.refresh(&one.refresh_token).await.unwrap();
        assert_ne!(next.refresh_token, one.refresh_token);
    }
}

async fn sigterm_finishes_and_exits_with_0(store: &TestStore) {
    let process = Process::start(store);
    // A stream that nobody ends does not keep the server from its end.
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", process.grpc)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let mut states = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();
    process.signal("TERM");
    // Or its end comes first.
    if let Ok(Some(state)) = states.message().await {
        assert_eq!(state.status(), ServingStatus::NotServing);
    }
    assert_eq!(process.code().await, Some(0));
}

async fn a_second_signal_ends_at_once_with_130(store: &TestStore) {
    for signal in ["TERM", "INT"] {
        let process = Process::start_with(store, &["--shutdown-delay", "10m"]);
        process.signal("TERM");
        process.logged_until("stopping: calls that run are finished").await;
        process.signal(signal);
        assert_eq!(process.code().await, Some(130));
    }
}

async fn no_secret_of_a_full_run_is_in_the_log(store: &TestStore) {
    let process = Process::start(store);
    let client = process.caller(&client_of(store)).await;
    let wallet = wallet();
    let (_, device) = client.device_of(&wallet).await;
    let challenge = device.challenge_for(&wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    let first = device.verify(by_id(&challenge, &signature)).await.unwrap().tokens.unwrap();
    let second = client.refresh(&first.refresh_token).await.unwrap();
    let third = client.refresh(&second.refresh_token).await.unwrap();
    assert_eq!(reason(client.refresh(&first.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(device.verify(by_id(&challenge, &signature)).await), "CHALLENGE_ALREADY_USED");
    assert_eq!(reason(client.with("Bearer x.y.z").get_session("x").await), "ACCESS_TOKEN_INVALID");

    let keys = std::fs::read_to_string(root_keys_file(store)).unwrap();
    let decoded = |authorization: &str| authorization.rsplit(' ').next().unwrap().to_owned();
    let log = process.logged_until("ACCESS_TOKEN_INVALID").await;
    assert!(log.contains("refresh_token.reused"), "the log was not read: {log}");
    let secret_of = |authorization: &str| {
        let basic = String::from_utf8(STANDARD.decode(decoded(authorization)).unwrap()).unwrap();
        basic.split_once(':').unwrap().1.to_owned()
    };
    if let Some(password) = url::Url::parse(&store.url).unwrap().password() {
        assert!(!log.contains(password), "the database's password is in the log");
    }
    for secret in [
        keys.trim(),
        &secret_of(client.authorization()),
        &decoded(client.authorization()),
        &decoded(device.authorization()),
        &first.access_token,
        &first.refresh_token,
        &second.refresh_token,
        &third.access_token,
        &third.refresh_token,
        &signature[2..],
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn the_logs_filter_is_changed_while_the_program_runs(store: &TestStore) {
    let process = Process::start(store);
    let caller = process.caller(&client_of(store)).await;
    let change = async |method, filter, answer| {
        let (head, body) = http(process.operations, method, "/log", filter).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body.trim(), answer);
    };
    change("GET", "", "trace").await;
    change("PUT", "warn,countersign=error\n", "countersign=error,warn").await;
    caller.start(start_for(&wallet())).await.unwrap();
    change("PUT", "info", "info").await;
    caller.start(start_for(&wallet())).await.unwrap();
    let (head, body) = http(process.operations, "PUT", "/log", "inof").await;
    assert!(head.starts_with("http/1.1 400") && body.contains("must be off, error"), "{head}\n{body}");
    change("DELETE", "", "trace").await;

    // Each change is told, and what is told between them shows which was in force.
    let log = process.logged_until("from=\"info\" to=\"trace\"").await;
    let (silent, spoken) = log.split_once("to=\"info\"").unwrap();
    let (_, silent) = silent.split_once("to=\"warn,countersign=error\"").unwrap_or_default();
    assert!(!silent.contains("StartChallenge"), "{silent}");
    assert!(spoken.contains("StartChallenge"), "{spoken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlast_the_hard_cap_are_cut_and_the_exit_code_is_3() {
    let store = TestStore::postgres().await;
    let process = Process::start_with(&store, &["--shutdown-timeout", "100ms"]);
    let caller = process.caller(&client_of(&store)).await;
    let wallet = wallet();
    let challenge = caller.challenge_for(&wallet).await;
    let mut holder = store.hold_challenges().await;
    let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
    let call = tokio::spawn(async move { caller.verify(request).await });
    until_awaited(&mut holder).await;
    process.signal("TERM");
    assert_eq!(process.code().await, Some(3));
    call.await.unwrap().unwrap_err();
}

async fn the_line_of_a_call_names_method_client_outcome_and_time(store: &TestStore) {
    let process = Process::start(store);
    let authorization = client_of(store);
    let client = process.caller(&authorization).await;
    let id = countersign::store::open(&store.url).await.unwrap().list_clients(None, 1).await.unwrap()[0].id;
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    let nobody = client.with("");
    nobody.refresh(&tokens.refresh_token).await.unwrap();
    nobody.revoke_token(&tokens.access_token).await.unwrap();
    let wrong = crate::harness::basic(&id.to_string(), "ccs_wrong");
    client.with(&wrong).get_session("x").await.unwrap_err();
    let log = process.logged_until("reason=\"CLIENT_CREDENTIALS_INVALID\"").await;
    let line_of = |method: &str| {
        let mut lines = log.lines().filter(|line| line.contains("milliseconds=") && line.contains(method));
        let line = lines.next().unwrap_or_else(|| panic!("{method}: {log}"));
        assert_eq!(lines.next(), None, "one line for each call");
        line
    };
    for method in ["StartChallenge", "VerifyChallenge", "RefreshToken", "RevokeToken", "GetSession"] {
        let line = line_of(method);
        for part in [&format!("\"{id}\""), "request_id=", "origin=\"127.0.0.1\""] {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
    }
    assert!(line_of("GetSession").contains("code=Unauthenticated"));
    assert!(line_of("RefreshToken").contains("code=Ok"));
}

/// Calls with an `x-forwarded-for`, and finds the origin that the call's line names.
async fn logged_origin(process: &Process, request_id: &str, forwarded: &str) -> String {
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", process.grpc)).unwrap();
    let mut tokens = TokenServiceClient::new(channel.connect().await.unwrap());
    let mut request = tonic::Request::new(GetJwksRequest {});
    request.metadata_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    tokens.get_jwks(request).await.unwrap();
    let log = process.logged_until(&format!("{request_id}}}: call method")).await;
    let line = log.lines().find(|line| line.contains(request_id) && line.contains("origin=")).unwrap();
    line.split("origin=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let store = TestStore::sqlite().await;
    let behind_proxy = Process::start_with(&store, &["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"]);
    assert_eq!(
        logged_origin(&behind_proxy, "forged", "192.0.2.66, 203.0.113.9, 10.1.1.1").await,
        "203.0.113.9"
    );
    let direct = Process::start(&store);
    for attempt in ["first", "second"] {
        assert_eq!(logged_origin(&direct, attempt, "203.0.113.9").await, "127.0.0.1");
    }
    assert_eq!(direct.log().matches("x-forwarded-for is ignored").count(), 1, "one warning");
    assert!(!behind_proxy.log().contains("x-forwarded-for is ignored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_start_that_waits() {
    let store = TestStore::postgres().await;
    let mut holder = store.postgres_connection().await;
    let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({})", i64::from_be_bytes(*b"counters"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    let keys = root_keys_file(&store);
    let mut serve = countersign();
    serve.args(["serve", "--migrate", "--database-url", &store.url]).arg("--root-keys-file").arg(keys);
    let mut child = serve.spawn().unwrap();
    until_awaited(&mut holder).await;
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_close_is_no_call_that_was_cut() {
    let store = TestStore::postgres().await;
    let process = Process::start(&store);
    let mut holder = store.postgres_connection().await;
    let lock = "BEGIN; LOCK TABLE signing_keys IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    until_awaited(&mut holder).await;
    process.signal("TERM");
    assert_eq!(process.code().await, Some(0));
}
