//! The real program: started, refused, stopped, killed.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use countersign::{grpc::v1::SessionState, wallet::signer::Signer};
use tokio::task::JoinSet;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{Caller, by_id, reason, root_keys_file, start_for, wallet},
    support::TestStore,
};

on_both_stores![
    two_processes_on_one_store_redeem_a_challenge_once,
    nothing_answered_is_lost_and_nothing_spent_is_spendable_after_kill_9,
    sigterm_finishes_and_exits_with_0,
    the_wrong_root_keys_stop_the_start,
    clients_are_made_listed_and_shown_from_the_command_line,
    a_wrong_policy_is_refused_with_every_field_named,
    no_secret_of_a_full_run_is_in_the_log,
];

/// The program, without settings from this process's environment.
pub fn countersign() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    countersign().args(arguments).output().unwrap()
}

/// What a failed command said, which must not have been a panic.
pub fn failure(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A server process; killed with this value.
pub struct Process {
    pub child: Child,
    grpc: SocketAddr,
    pub operations: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts and waits until it listens.
    pub fn start(store: &TestStore) -> Self {
        Self::start_with(store, &[])
    }

    /// The same, with further flags.
    pub fn start_with(store: &TestStore, flags: &[&str]) -> Self {
        let keys = root_keys_file(store);
        let mut child = countersign()
            .args(["serve", "--migrate", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--database-url", &store.url, "--root-keys-file", keys.to_str().unwrap()])
            .args(["--operations-listen", "127.0.0.1:0", "--log", "trace", "--log-format", "text"])
            .args(flags)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut grpc, mut operations) = (None, None);
        for line in lines.by_ref().map_while(Result::ok) {
            *log.lock().unwrap() += &format!("{line}\n");
            for (what, found) in [("gRPC", &mut grpc), ("operations", &mut operations)] {
                if let Some((_, address)) = line.split_once(&format!("{what} listening address=")) {
                    *found = Some(address.trim().parse().unwrap());
                }
            }
            if line.contains("HTTP listening") {
                break;
            }
        }
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *kept.lock().unwrap() += &format!("{line}\n");
            }
        });
        let address =
            |found: Option<_>| found.unwrap_or_else(|| panic!("did not start: {}", log.lock().unwrap()));
        Self { child, grpc: address(grpc), operations: address(operations), log }
    }

    async fn caller(&self, authorization: &str) -> Caller {
        Caller::connect(self.grpc, authorization).await
    }

    /// SIGKILL: no chance to finish anything.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `authorization` of a client made by the command line.
fn client_of(store: &TestStore) -> String {
    let output =
        run(&["client", "create", "--name", "Test", "--output", "json", "--database-url", &store.url]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    made["authorization"].as_str().unwrap().to_owned()
}

async fn two_processes_on_one_store_redeem_a_challenge_once(store: &TestStore) {
    let processes = [Process::start(store), Process::start(store)];
    let authorization = client_of(store);
    let callers = [processes[0].caller(&authorization).await, processes[1].caller(&authorization).await];
    let wallet = wallet();
    let challenge = callers[0].challenge_for(&wallet).await;
    let request = by_id(&challenge, &wallet.sign_text(&challenge.message));
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let (caller, request) = (callers[number % 2].clone(), request.clone());
        calls.spawn(async move { caller.verify(request).await });
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
async fn sign_in_until_killed(caller: Caller, wallet: Signer) -> Vec<Answered> {
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
    while store.count("sessions", "1 = 1").await < 40 {
        tokio::task::yield_now().await;
    }
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
    let mut process = Process::start(store);
    // A stream that nobody ends does not keep the server from its end.
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", process.grpc)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let mut states = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();
    let pid = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let status = tokio::task::spawn_blocking(move || process.child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

async fn the_wrong_root_keys_stop_the_start(store: &TestStore) {
    drop(Process::start(store));
    let other = store.folder.path().join("other-keys");
    let made = run(&["keys", "new-root"]);
    std::fs::write(&other, &made.stdout).unwrap();
    let serve = |keys: &str| {
        let ports = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
        let store = ["serve", "--database-url", &store.url, "--root-keys-file", keys];
        run(&[&store[..], &ports[..]].concat())
    };
    let said = failure(&serve(other.to_str().unwrap()), 1);
    assert!(said.contains("the root keys do not fit this store"), "{said}");
    assert!(!said.contains(std::str::from_utf8(&made.stdout).unwrap().trim()), "{said}");
    std::fs::write(&other, "crk_short").unwrap();
    assert!(failure(&serve(other.to_str().unwrap()), 1).contains("root key 1 is none"));
    assert!(
        failure(&serve("/does/not/exist"), 2)
            .contains("root-keys-file (flag --root-keys-file): /does/not/exist")
    );
}

async fn clients_are_made_listed_and_shown_from_the_command_line(store: &TestStore) {
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let policy = store.folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"name": "From file", "challengeTtl": "90s", "networks": ["EVM"]}"#).unwrap();
    let at_store = ["--database-url", &store.url];
    let create = ["client", "create", "--role", "sign_in", "--role", "INTROSPECT", "--policy-file"];
    let made = run(&[&create[..], &[policy.to_str().unwrap()], &at_store].concat());
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.contains("client_secret:  ccs_") && text.contains("authorization:  Basic "), "{text}");
    let id = text.lines().next().unwrap().rsplit(' ').next().unwrap();

    let listed = String::from_utf8(run(&[&["client", "list"], &at_store[..]].concat()).stdout).unwrap();
    assert_eq!(listed, format!("{id}  enabled   From file\n"));
    let shown = run(&[&["client", "show", id], &at_store[..]].concat());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["policy"]["challengeTtl"], "90s");
    assert_eq!(
        shown["policy"]["roles"],
        serde_json::json!(["CLIENT_ROLE_SIGN_IN", "CLIENT_ROLE_INTROSPECT"])
    );
    assert!(!shown.to_string().contains("ccs_"));
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    let said = failure(&run(&[&["client", "show", unknown], &at_store[..]].concat()), 1);
    assert!(said.contains("there is no client"), "{said}");
}

async fn a_wrong_policy_is_refused_with_every_field_named(store: &TestStore) {
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let policy = store.folder.path().join("policy.json");
    let create = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        let file = policy.to_str().unwrap();
        failure(&run(&["client", "create", "--policy-file", file, "--database-url", &store.url]), 1)
    };
    let said = create(r#"{"challengeTtl": "1s", "origin": "a\nb", "scope": "a  b"}"#);
    for field in ["challenge_ttl", "name", "origin", "scope"] {
        assert!(said.contains(&format!("{field}: ")), "{field} is not named: {said}");
    }
    let said = create(r#"{"name": "x", "textTemplate": "no code", "networks": ["moon"]}"#);
    assert!(said.contains("text_template: ") && said.contains("networks: "), "{said}");
    assert!(create(r#"{"nam": "x"}"#).contains("nam"));
    assert!(create(r#"{"name": "x", "realm": "a realm"}"#).contains("realm: "));
    assert_eq!(store.count("clients", "1 = 1").await, 0);
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
    let log = process.log.lock().unwrap().clone();
    assert!(log.contains("a spent refresh token came back"), "the log was not read: {log}");
    for secret in [
        keys.trim(),
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

#[tokio::test]
async fn an_unreachable_database_is_said_without_its_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://someone:hunter2@127.0.0.1:{port}/countersign");
    let said = failure(&run(&["migrate", "--database-url", &url]), 1);
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("cannot be reached"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let said = failure(&run(&["migrate", "--database-url", "mysql://someone:hunter2@h/d"]), 1);
    assert!(
        said.contains("database-url") && said.contains("postgres://") && !said.contains("hunter2"),
        "{said}"
    );
    let said = failure(&run(&["migrate", "--database-url", "postgres://someone:hunter2@h:port/d"]), 1);
    assert!(said.contains("database-url") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn postgresql_needs_root_keys_and_a_schema_and_says_how_to_get_them() {
    let store = TestStore::postgres().await;
    let said = failure(&run(&["serve", "--database-url", &store.url]), 1);
    assert!(said.contains("countersign migrate"), "{said}");
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let said = failure(&run(&["serve", "--database-url", &store.url]), 1);
    assert!(said.contains("root-keys is required") && said.contains("keys new-root"), "{said}");
}

#[tokio::test]
async fn an_embedded_store_makes_its_own_root_keys_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let store = TestStore::sqlite().await;
    let serve = || {
        let mut child = countersign()
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--operations-listen", "127.0.0.1:0"])
            .args(["--data-dir", store.folder.path().to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = String::new();
        for line in lines {
            said += &format!("{line}\n");
            if line.contains("HTTP listening") {
                break;
            }
        }
        let _ = child.kill();
        (child.wait().unwrap(), said)
    };
    let keys = store.folder.path().join("countersign.db.root-keys");
    assert!(serve().1.contains("HTTP listening"));
    let made = std::fs::read_to_string(&keys).unwrap();
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(serve().1.contains("HTTP listening"));
    assert_eq!(std::fs::read_to_string(&keys).unwrap(), made);
    std::fs::remove_file(&keys).unwrap();
    let (status, said) = serve();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("root keys of this store are missing"), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let store = TestStore::sqlite().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = failure(&run(&["serve", "--database-url", &store.url, "--grpc-listen", &address]), 1);
    assert!(said.contains("grpc-listen") && said.contains(&address), "{said}");
}
