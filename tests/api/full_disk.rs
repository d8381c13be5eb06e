//! A store that takes no writes: it does not serve, and reads continue.

use std::process::Command;

use tonic_health::pb::health_check_response::ServingStatus;

use crate::{
    harness::{http_get, start_for, wallet},
    outage::{assert_unavailable, health_of, health_turns},
    process::{Process, client_of, program},
    support::TestStore,
};

on_both_stores!(a_store_that_takes_no_writes_does_not_serve_and_reads_continue,);

/// A store that takes no writes from now on, as one whose disk is full.
async fn fill_disk(store: &TestStore, process: &Process) {
    if !store.is_postgres() {
        return limit_files(process, &one_page_more(store));
    }
    store
        .execute(
            "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
        )
        .await;
    for table in ["challenges", "sessions", "root_key_canaries"] {
        let event = "BEFORE INSERT OR UPDATE OR DELETE";
        let trigger = format!("CREATE TRIGGER disk_full {event} ON {table} EXECUTE FUNCTION disk_full()");
        store.execute(&trigger).await;
    }
}

/// Size of SQLite's write-ahead log with one more page, which is not enough for any call.
fn one_page_more(store: &TestStore) -> String {
    let path = store.url.strip_prefix("sqlite:").unwrap().split('?').next().unwrap();
    let log = std::fs::metadata(format!("{path}-wal")).unwrap();
    (log.len() + 4_096 + 24).to_string()
}

async fn free_disk(store: &TestStore, process: &Process) {
    match store.is_postgres() {
        true => store.execute("DROP FUNCTION disk_full CASCADE").await,
        false => limit_files(process, "unlimited"),
    }
}

/// Limits the size of the files that a process may write (setrlimit(2), `RLIMIT_FSIZE`).
fn limit_files(process: &Process, bytes: &str) {
    let limit = [format!("--pid={}", process.child.id()), format!("--fsize={bytes}:")];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
}

/// The program with SIGXFSZ ignored, so that a write beyond the limit fails instead of killing it.
fn that_survives_its_limit() -> Command {
    let mut shell = program("bash");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_countersign")]);
    shell
}

async fn a_store_that_takes_no_writes_does_not_serve_and_reads_continue(store: &TestStore) {
    let process = Process::start_as(that_survives_its_limit(), store, &[]);
    let caller = process.caller(&client_of(store)).await;
    let signed_in = caller.sign_in(&wallet()).await;
    let (session, tokens) = (signed_in.session.unwrap(), signed_in.tokens.unwrap());

    fill_disk(store, &process).await;
    assert_unavailable(caller.start(start_for(&wallet())).await.unwrap_err());
    health_turns(process.grpc, ServingStatus::NotServing).await;
    for _ in 0..3 {
        assert_unavailable(caller.start(start_for(&wallet())).await.unwrap_err());
        assert_eq!(caller.get_session(&session.id).await.unwrap().id, session.id);
        assert!(caller.introspect(&tokens.access_token).await.unwrap().active);
    }
    let (head, _) = http_get(process.operations, "/readyz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(health_of(process.grpc, "countersign.v1.ChallengeService").await, ServingStatus::NotServing);

    free_disk(store, &process).await;
    health_turns(process.grpc, ServingStatus::Serving).await;
    caller.sign_in(&wallet()).await;
    let log = process.logged_until("the store has recovered").await;
    assert_eq!(log.matches("the store rejects writes").count(), 1, "{log}");
    assert!(!log.contains("the store is down"), "{log}");
}
