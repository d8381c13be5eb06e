//! The settings, from flags, environment and file to what is in force.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::{app::CHECKS, token::RootKeys};

fn reader(flags: &[(&str, &str)], variables: &[(&str, &str)], config: Option<PathBuf>) -> Reader {
    let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Reader::new(
        &flags::FlagValues { by_key: owned(flags), config },
        owned(variables).into_iter().map(|(name, value)| (name.into(), value.into())),
    )
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// What a person reads of these settings.
fn problems(mut reader: Reader) -> String {
    let settings = reader.serve(&CHECKS);
    reader.log();
    reader.finish(settings).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_valid_and_local() {
    let mut reader = reader(&[], &[], None);
    let settings = reader.serve(&CHECKS);
    let settings = reader.finish(settings).unwrap();
    assert_eq!(settings.grpc_listen.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.store.url(), "sqlite:countersign-data/countersign.db");
}

#[test]
fn a_flag_outweighs_the_environment_which_outweighs_the_file() {
    let (_folder, path) =
        file("issuer = \"https://file.example\"\nhttp_listen = \"127.0.0.1:3\"\nmigrate = true\n");
    let flags = [("grpc-listen", "127.0.0.1:1")];
    let variables = [("COUNTERSIGN_GRPC_LISTEN", "127.0.0.1:2"), ("COUNTERSIGN_HTTP_LISTEN", "127.0.0.1:2")];
    let mut reader = reader(&flags, &variables, Some(path));
    assert_eq!(reader.in_force(setting("grpc-listen")).1, Origin::Flag("--grpc-listen".to_owned()));
    let settings = reader.serve(&CHECKS);
    let settings = reader.finish(settings).unwrap();
    assert_eq!(settings.grpc_listen.port(), 1);
    assert_eq!(settings.http_listen.port(), 2);
    assert_eq!((settings.issuer.as_str(), settings.migrate), ("https://file.example", true));
}

#[test]
fn every_mistake_is_told_at_once_with_its_name_and_origin() {
    let (_folder, path) = file("issur = \"x\"\nlog-format = \"xml\"\nrequest-timeout = [1]\n");
    let said = problems(reader(
        &[("grpc-listen", "localhost"), ("migrate", "perhaps")],
        &[("COUNTERSIGN_ISSUER", "not a url"), ("COUNTERSIGN_SHUTDOWN_TIMEOUT", "2 fortnights")],
        Some(path.clone()),
    ));
    assert!(said.starts_with("7 settings are wrong:"), "{said}");
    for expected in [
        "grpc-listen (flag --grpc-listen): must be an IP address and a port",
        "migrate (flag --migrate): must be true or false, not `perhaps`",
        "issuer (environment COUNTERSIGN_ISSUER): must be an absolute URL",
        "shutdown-timeout (environment COUNTERSIGN_SHUTDOWN_TIMEOUT): must be a length of time",
        &format!("issur (file {}): is no setting", path.display()),
        &format!("log-format (file {}): must be text, json or auto, not `xml`", path.display()),
        &format!("request-timeout (file {}): must be a text, a number", path.display()),
    ] {
        assert!(said.contains(expected), "{expected} is missing from {said}");
    }
}

#[test]
fn a_secret_may_come_from_a_file_but_not_twice() {
    let key = RootKeys::new_key().into_exposed();
    let (_folder, path) = file(&format!("{key}\n"));
    let path = path.display().to_string();
    let mut one = reader(&[("root-keys-file", &path)], &[], None);
    assert_eq!(one.serve(&CHECKS).root_keys.unwrap().expose(), &key);
    let twice = [("COUNTERSIGN_ROOT_KEYS", "crk_other"), ("COUNTERSIGN_ROOT_KEYS_FILE", path.as_str())];
    let said = problems(reader(&[], &twice, None));
    assert!(said.contains("root-keys (environment COUNTERSIGN_ROOT_KEYS): is given twice"), "{said}");
    assert!(!said.contains("crk_"), "{said}");
    let missing = problems(reader(&[("database-url-file", "/does/not/exist")], &[], None));
    assert!(missing.contains("database-url-file (flag --database-url-file): /does/not/exist"), "{missing}");
}

#[test]
fn plain_text_stays_on_loopback_unless_a_mesh_protects_the_port() {
    let public = [("grpc-listen", "0.0.0.0:50051"), ("http-listen", "[::]:50052")];
    let said = problems(reader(&public, &[], None));
    assert!(said.starts_with("2 settings are wrong:") && said.contains("plaintext-behind-mesh"), "{said}");
    let mut meshed = reader(&public, &[("COUNTERSIGN_PLAINTEXT_BEHIND_MESH", "true")], None);
    let settings = meshed.serve(&CHECKS);
    meshed.finish(settings).unwrap();
}

#[test]
fn with_certificate_and_key_no_mesh_is_needed_and_neither_goes_alone() {
    let made = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let ((_folder, path), (_other, key_path)) =
        (file(&made.cert.pem()), file(&made.signing_key.serialize_pem()));
    let (path, key_path) = (path.display().to_string(), key_path.display().to_string());
    let (certificate, key) = (("tls-certificate-file", path.as_str()), ("tls-key-file", key_path.as_str()));
    let public = ("grpc-listen", "0.0.0.0:50051");
    let mut both = reader(&[public, certificate], &[("COUNTERSIGN_TLS_KEY_FILE", &key_path)], None);
    let settings = both.serve(&CHECKS);
    assert_eq!(both.finish(settings).unwrap().tls.unwrap().key_file, PathBuf::from(&key_path));
    for (given, missing) in [(certificate, "tls-key-file"), (key, "tls-certificate-file")] {
        let said = problems(reader(&[public, given], &[], None));
        assert!(said.starts_with("a setting is wrong:"), "{said}");
        assert!(said.contains(&format!("{missing} (default): is missing")), "{said}");
    }
    let said = problems(reader(&[("tls-client-ca-file", &path)], &[], None));
    assert!(said.starts_with("2 settings are wrong:"), "{said}");
    let said = problems(reader(&[certificate, ("tls-key-file", "/does/not/exist")], &[], None));
    assert!(said.contains("tls-key-file (flag --tls-key-file): /does/not/exist: No such file"), "{said}");
}

#[test]
fn limits_of_connections_are_numbers_and_times_within_bounds() {
    let flags = [("max-connections", "7"), ("max-connection-age", "0s"), ("keepalive-interval", "1m")];
    let connections = reader(&flags, &[], None).serve(&CHECKS).connections;
    assert_eq!((connections.max, connections.max_age), (7, None));
    assert_eq!(connections.keepalive, Duration::from_mins(1));
    let old = reader(&[("max-connection-age", "5m")], &[], None).serve(&CHECKS).connections.max_age;
    assert_eq!(old, Some(Duration::from_mins(5)));
    let said = problems(reader(&[("max-connections", "0"), ("peer-timeout", "0s")], &[], None));
    assert!(said.contains("max-connections (flag --max-connections): must be a number from 1 to"), "{said}");
    assert!(
        said.contains("peer-timeout (flag --peer-timeout): must be a length of time from 100ms"),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let said = problems(reader(&[], &[("COUNTERSIGN_CONFIG", "/does/not/exist")], None));
    assert!(said.contains("config (file /does/not/exist): "), "{said}");
    let (_folder, path) = file("= nonsense");
    assert!(problems(reader(&[], &[], Some(path))).contains("config (file "));
}

#[test]
fn mistyped_variables_are_found_and_those_of_kubernetes_are_not() {
    let variables = [
        ("COUNTERSIGN_GRPC_LISTN", "x"),
        ("COUNTERSIGN_PORT_50051_TCP", "x"),
        ("COUNTERSIGN_SERVICE_HOST", "x"),
        ("COUNTERSIGN_DATABASE_URL_FILE", "x"),
        ("OTHER", "x"),
    ];
    assert_eq!(reader(&[], &variables, None).unknown_variables(), ["COUNTERSIGN_GRPC_LISTN"]);
}

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    if std::env::var_os("COUNTERSIGN_TEST_WRITE_DOCS").is_some() {
        std::fs::write(path, reference::page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let advice = "run the tests once with COUNTERSIGN_TEST_WRITE_DOCS=1";
    assert!(written == reference::page(), "docs/settings.md is not what the table says: {advice}");
}

#[test]
fn a_mistyped_log_level_is_told_and_does_not_silence_the_log() {
    let said = problems(reader(&[("log", "inof")], &[], None));
    assert!(said.contains("log") && said.contains("must be off, error, warn, info"), "{said}");
}

#[test]
fn what_other_rooms_read_is_checked_with_everything_else_and_never_shown() {
    let (_folder, path) = file("hunter2");
    let path = path.display().to_string();
    let flags =
        [("tls-certificate-file", path.as_str()), ("tls-key-file", &path), ("tls-client-ca-file", &path)];
    let variables =
        [("COUNTERSIGN_ROOT_KEYS", "hunter2"), ("COUNTERSIGN_DATABASE_URL", "mysql://u:hunter2@h/d")];
    let said = problems(reader(&flags, &variables, None));
    assert!(said.starts_with("5 settings are wrong:") && !said.contains("hunter2"), "{said}");
    for key in ["database-url", "root-keys", "tls-certificate-file", "tls-key-file", "tls-client-ca-file"] {
        assert!(said.contains(&format!("\n  {key} (")), "{key} is missing from {said}");
    }
    let said = problems(reader(&[("database-url", "postgres://h/d")], &[], None));
    assert!(said.contains("root-keys (default): is required with PostgreSQL"), "{said}");
}

#[test]
fn one_port_is_not_listened_on_twice() {
    for (one, other) in [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("[::1]:9", "[::]:9"),
        ("[::1]:9", "[::1]:9"),
    ] {
        let flags = [("grpc-listen", one), ("http-listen", other), ("plaintext-behind-mesh", "true")];
        let said = problems(reader(&flags, &[], None));
        assert!(
            said.contains(&format!("http-listen (flag --http-listen): {other} is taken by grpc")),
            "{said}"
        );
    }
    for (one, other) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:9", "[::1]:9"), ("127.0.0.1:9", "127.0.0.2:9")]
    {
        let mut reader = reader(&[("grpc-listen", one), ("http-listen", other)], &[], None);
        let settings = reader.serve(&CHECKS);
        reader.finish(settings).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_problem_only_if_it_is_a_setting() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};
    let odd = || OsString::from_vec(vec![0xff]);
    let variables = |names: &[&str]| {
        let pairs: Vec<_> = names.iter().map(|name| (OsString::from(name), odd())).collect();
        Reader::new(&flags::FlagValues::default(), pairs.into_iter().chain([(odd(), odd())]))
    };
    let mut other = variables(&["FOO"]);
    let settings = other.serve(&CHECKS);
    other.finish(settings).unwrap();
    let said = problems(variables(&["FOO", "COUNTERSIGN_ISSUER"]));
    assert!(said.ends_with("COUNTERSIGN_ISSUER (environment COUNTERSIGN_ISSUER): is not UTF-8"), "{said}");
    assert!(said.starts_with("a setting is wrong:"), "{said}");
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_line_and_column_and_without_its_text() {
    let (_folder, path) = file("migrate = true\ndatabase-url = \"hunter2\nissuer = \"x\"\n");
    let said = problems(reader(&[], &[], Some(path)));
    assert!(said.contains("line 2, column ") && !said.contains("hunter2"), "{said}");
    let (_folder, path) = file("= nonsense");
    assert!(problems(reader(&[], &[], Some(path))).contains("line 1, column 1: "));
}

#[test]
fn one_setting_under_two_names_of_the_file_is_a_problem() {
    let (_folder, path) = file("http_listen = \"127.0.0.1:1\"\nhttp-listen = \"127.0.0.1:2\"\n");
    let said = problems(reader(&[], &[], Some(path)));
    assert!(
        said.contains("http_listen (file ") && said.contains("is given twice: also as http-listen"),
        "{said}"
    );
}

#[test]
fn endpoints_of_chains_come_from_a_flag_or_a_list_of_the_file_and_stay_secret() {
    let (_folder, path) =
        file("chain-rpc = [\"eip155:1=https://a.example/hunter2\", \"eip155:10=http://127.0.0.1:8545\"]\n");
    let mut listed = reader(&[], &[], Some(path));
    let settings = listed.serve(&CHECKS);
    let settings = listed.finish(settings).unwrap();
    let networks: Vec<_> = settings.chain_rpc.iter().map(|endpoint| endpoint.network.to_string()).collect();
    assert_eq!(networks, ["eip155:1", "eip155:10"]);
    assert!(!format!("{settings:?}").contains("hunter2"));
    let said = problems(reader(&[("chain-rpc", "eip155:1=https://a.example,EVM=hunter2")], &[], None));
    assert!(said.contains("chain-rpc (flag --chain-rpc): entry 2 ") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_chain_is_asked_in_plain_text_only_on_this_machine_or_behind_a_mesh() {
    let endpoints = "eip155:1=https://a.example,eip155:1=http://node.example:8545/hunter2";
    let said = problems(reader(&[("chain-rpc", endpoints)], &[], None));
    assert!(said.contains("entry 2 would be asked in plain text") && !said.contains("hunter2"), "{said}");
    let flags = [("chain-rpc", endpoints), ("plaintext-behind-mesh", "true")];
    let mut reader = reader(&flags, &[], None);
    let settings = reader.serve(&CHECKS);
    reader.finish(settings).unwrap();
}

#[test]
fn a_chains_time_ends_before_the_calls() {
    let flags = [("chain-rpc", "eip155:1=https://a"), ("chain-rpc-timeout", "3s"), ("request-timeout", "3s")];
    let said = problems(reader(&flags, &[], None));
    assert!(
        said.contains("chain-rpc-timeout (flag --chain-rpc-timeout): must be less than request-timeout"),
        "{said}"
    );
    let mut alone = reader(&flags[1..], &[], None);
    let settings = alone.serve(&CHECKS);
    alone.finish(settings).unwrap();
}
