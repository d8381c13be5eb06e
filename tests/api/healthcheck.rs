//! `countersign healthcheck`, beside the real program.

use std::{
    net::TcpListener,
    process::{Command, Output},
    time::Instant,
};

use crate::{
    harness::GIVE_UP,
    process::{Process, countersign, failure, run},
    support::TestStore,
};

fn healthcheck(address: &str) -> Output {
    run(&["healthcheck", "--operations-listen", address])
}

/// Asks again where a busy machine answered too late.
fn in_time(ask: impl Fn() -> Output) -> Output {
    for _ in 0..10 {
        let output = ask();
        if !String::from_utf8_lossy(&output.stderr).contains("within 2s") {
            return output;
        }
    }
    panic!("no answer in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_until_it_is_told_to_end() {
    let store = TestStore::sqlite().await;
    let mut process = Process::start_with(&store, &["--shutdown-delay", "1h"]);
    let address = process.operations.to_string();
    let said = in_time(|| healthcheck(&address));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{address} is ready\n"));

    let pid = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let began = Instant::now();
    let refused = loop {
        assert!(began.elapsed() < GIVE_UP, "it goes on being ready");
        let output = in_time(|| healthcheck(&address));
        if !output.status.success() {
            break failure(&output, 1);
        }
    };
    let expected = format!("not ready: {address} answers 503 Service Unavailable: draining\n");
    assert_eq!(refused, format!("countersign: {expected}"));
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let said = failure(&in_time(|| healthcheck(&address)), 1);
    assert!(said.contains(&format!("no answer from {address}: Connection refused")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_everywhere_is_asked_on_loopback_by_the_same_settings() {
    let store = TestStore::sqlite().await;
    let process = Process::start(&store);
    let everywhere = format!("0.0.0.0:{}", process.operations.port());
    // As in a container: the same environment. What concerns the service alone is not looked at.
    let ask = || {
        countersign()
            .arg("healthcheck")
            .env("COUNTERSIGN_OPERATIONS_LISTEN", &everywhere)
            .env("COUNTERSIGN_GRPC_LISTEN", "0.0.0.0:50051")
            .env("COUNTERSIGN_DATABASE_URL_FILE", "/does/not/exist")
            .output()
            .unwrap()
    };
    let output = in_time(ask);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{} is ready\n", process.operations));
}

#[test]
fn a_port_that_takes_the_call_and_never_answers_is_not_ready() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let said = failure(&healthcheck(&address), 1);
    assert!(said.contains(&format!("no answer from {address} within 2s")), "{said}");
}

#[test]
fn an_address_that_is_none_is_a_wrong_setting() {
    let said = failure(&healthcheck("localhost"), 2);
    assert!(said.contains("operations-listen (flag --operations-listen): must be"), "{said}");
    assert!(failure(&healthcheck("127.0.0.1:0"), 1).contains("the system chose the port"));
    assert!(failure(&run(&["healthcheck", "--database-url", "x"]), 2).contains("--database-url"));
}
