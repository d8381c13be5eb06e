//! Starts that are refused, each with a word on what to do.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::{
    harness::root_keys_file,
    process::{Process, countersign, failure, run},
    support::TestStore,
};

on_both_stores![the_wrong_root_keys_stop_the_start];

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
    assert!(failure(&serve(other.to_str().unwrap()), 2).contains("root key 1 is none"));
    assert!(
        failure(&serve("/does/not/exist"), 2)
            .contains("root-keys-file (flag --root-keys-file): /does/not/exist")
    );
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
    let said = failure(&run(&["migrate", "--database-url", "mysql://someone:hunter2@h/d"]), 2);
    assert!(
        said.contains("database-url") && said.contains("postgres://") && !said.contains("hunter2"),
        "{said}"
    );
    let said = failure(&run(&["migrate", "--database-url", "postgres://someone:hunter2@h:port/d"]), 2);
    assert!(said.contains("database-url") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn postgresql_needs_root_keys_and_a_schema_and_says_how_to_get_them() {
    let store = TestStore::postgres().await;
    let said = failure(&run(&["serve", "--database-url", &store.url]), 2);
    assert!(said.contains("root-keys (default): is required") && said.contains("keys new-root"), "{said}");
    let keys = root_keys_file(&store);
    let serve = ["serve", "--database-url", &store.url, "--root-keys-file", keys.to_str().unwrap()];
    let said = failure(&run(&serve), 1);
    assert!(said.contains("countersign migrate") && said.contains("0001 initial"), "{said}");
    let said = failure(&run(&["migrate", "--check", "--database-url", &store.url]), 1);
    assert!(said.contains("0001 initial"), "{said}");
    assert_eq!(store.count("pg_tables", "schemaname = 'public'").await, 0, "checking changes nothing");
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    assert!(run(&["migrate", "--check", "--database-url", &store.url]).status.success());
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

/// The exit code tells a supervisor that another try would fail in the same way.
#[tokio::test]
async fn every_wrong_setting_is_told_before_anything_is_opened() {
    let store = TestStore::sqlite().await;
    let garbage = store.folder.path().join("garbage");
    std::fs::write(&garbage, "hunter2").unwrap();
    let garbage = garbage.to_str().unwrap();
    let files = ["--root-keys-file", garbage, "--tls-certificate-file", garbage, "--tls-key-file", garbage];
    let ports = ["--grpc-listen", "127.0.0.1:50052"];
    for command in ["settings", "serve"] {
        let url = [command, "--database-url", "mysql://someone:hunter2@h/d"];
        let said = failure(&run(&[&url[..], &files, &ports].concat()), 2);
        assert!(said.contains("5 settings are wrong:") && !said.contains("hunter2"), "{said}");
        for expected in [
            "database-url (flag --database-url): expected sqlite:FILE",
            "root-keys (flag --root-keys-file): root key 1 is none",
            "tls-certificate-file (flag --tls-certificate-file): /",
            "tls-key-file (flag --tls-key-file): /",
            "http-listen (default): 127.0.0.1:50052 is taken by grpc-listen",
        ] {
            assert!(said.contains(expected), "{expected} is missing from {said}");
        }
        failure(&run(&[&[command, "--database-url", &store.url], &files[..]].concat()), 2);
    }
    assert!(!store.folder.path().join("countersign.db").exists(), "nothing was opened");
}

#[cfg(unix)]
#[test]
fn a_variable_of_another_program_may_hold_any_bytes() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let odd = OsStr::from_bytes(b"\xff");
    for arguments in [&["settings"][..], &["keys", "new-root"], &["completions", "bash"]] {
        let output = countersign().args(arguments).env("FOO", odd).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let said = failure(&countersign().arg("settings").env("COUNTERSIGN_ISSUER", odd).output().unwrap(), 2);
    assert!(said.contains("(environment COUNTERSIGN_ISSUER): is not UTF-8"), "{said}");
}

/// Every write to this device fails as on a full disk.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_printed_is_a_failure() {
    let store = TestStore::sqlite().await;
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let create = ["client", "create", "--name", "x", "--database-url", &store.url];
    for arguments in [&["keys", "new-root"][..], &["settings"], &create, &["demo"]] {
        let output = countersign().args(arguments).stdout(full()).output().unwrap();
        let said = failure(&output, 1);
        assert!(said.contains("standard output: No space left on device"), "{arguments:?}: {said}");
    }
}

#[test]
fn whoever_reads_no_further_has_read_enough() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = countersign().args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn checking_the_schema_makes_no_store_where_there_is_none() {
    let store = TestStore::sqlite().await;
    let said = failure(&run(&["migrate", "--check", "--database-url", &store.url]), 1);
    assert!(said.contains("there is no store at /"), "{said}");
    assert_eq!(std::fs::read_dir(store.folder.path()).unwrap().count(), 0, "checking changes nothing");
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    assert!(run(&["migrate", "--check", "--database-url", &store.url]).status.success());
}
