//! The real program as a process, and what it says.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use crate::{
    shared_keys::{root_keys_file, share_keys},
    support::TestStore,
};

/// The program under test, without any settings of the environment.
pub fn countersign() -> Command {
    program(env!("CARGO_BIN_EXE_countersign"))
}

/// Any program, without any settings of the environment.
pub fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command
}

pub fn run(arguments: &[&str]) -> Output {
    countersign().args(arguments).stdin(Stdio::null()).output().unwrap()
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
    pub grpc: SocketAddr,
    pub http: SocketAddr,
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
        share_keys(store);
        Self::start_as(countersign(), store, flags)
    }

    /// The same, of any program; on an empty store it makes its signing keys itself.
    pub fn start_as(mut program: Command, store: &TestStore, flags: &[&str]) -> Self {
        let keys = root_keys_file(store);
        let mut child = program
            .args(["serve", "--migrate", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--database-url", &store.url, "--root-keys-file", keys.to_str().unwrap()])
            .args(["--operations-listen", "127.0.0.1:0", "--log-format", "text"])
            .args(if flags.contains(&"--log") { &[][..] } else { &["--log", "trace"] })
            .args(flags)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut grpc, mut http, mut operations) = (None, None, None);
        for line in lines.by_ref().map_while(Result::ok) {
            *log.lock().unwrap() += &format!("{line}\n");
            let listening = |what| {
                Some(line.split_once(&format!("{what} listening address="))?.1.trim().parse().unwrap())
            };
            grpc = grpc.or_else(|| listening("gRPC"));
            operations = operations.or_else(|| listening("operations"));
            http = listening("HTTP");
            if http.is_some() {
                break;
            }
        }
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *kept.lock().unwrap() += &format!("{line}\n");
            }
        });
        match (grpc, http, operations) {
            (Some(grpc), Some(http), Some(operations)) => Self { child, grpc, http, operations, log },
            _ => panic!("did not start: {}", log.lock().unwrap()),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// The exit code, once it has ended.
    pub async fn code(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap().code()).await.unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log, once it holds a text.
    pub async fn logged_until(&self, text: &str) -> String {
        self.logged_until_times(text, 1).await
    }

    /// The log, once it holds a text so often.
    pub async fn logged_until_times(&self, text: &str, times: usize) -> String {
        for _ in 0..1_000 {
            let log = self.log();
            if log.matches(text).count() >= times {
                return log;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{text} was never logged: {}", self.log());
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&mut self) {
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

/// A policy for tests, which call more often than anybody else would.
const UNLIMITED: &str =
    r#"{"rateLimit": {"perClient": 0, "perSession": 0, "perAddress": 0, "perClientRefresh": 0}}"#;

/// The `authorization` of a client made by the command line.
pub fn client_of(store: &TestStore) -> String {
    client_with(store, UNLIMITED)
}

/// The same, with a policy.
pub fn client_with(store: &TestStore, policy: &str) -> String {
    let file = store.folder.path().join("policy.json");
    std::fs::write(&file, policy).unwrap();
    client_made_by(countersign(), store, &["--policy-file", file.to_str().unwrap()])
}

/// The same, by any program.
pub fn client_made_by(mut program: Command, store: &TestStore, further: &[&str]) -> String {
    let create = ["client", "create", "--name", "Test", "--output", "json", "--database-url", &store.url];
    let output = program.args(create).args(further).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    made["authorization"].as_str().unwrap().to_owned()
}
