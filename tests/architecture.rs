//! Holds the arrows between the rooms, and what each room alone may name.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which rooms a room may use, besides itself. `app` and `cli` may use all.
const ARROWS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("wallet", &["domain"]),
    ("token", &["domain"]),
    ("chain", &["domain", "wallet"]),
    ("store", &["domain"]),
    ("state", &["domain", "token", "store"]),
    ("flows", &["domain", "wallet", "token", "chain", "state", "store"]),
    ("grpc", &["flows", "state", "domain"]),
    ("http", &["flows", "state", "domain", "log"]),
    ("verifier", &["domain", "token", "grpc"]),
    ("transport", &["domain"]),
    ("log", &[]),
    ("config", &["domain", "log"]),
];

/// Crates, and the only rooms that may name them.
const NAMED_ALONE: [(&str, &[&str]); 22] = [
    ("secp256k1", &["wallet"]),
    ("tiny_keccak", &["wallet"]),
    ("ed25519_dalek", &["wallet"]),
    ("jsonwebtoken", &["token"]),
    ("aws_lc_rs", &["token"]),
    ("getrandom", &["token"]),
    ("sqlx", &["store"]),
    ("prost", &["grpc"]),
    ("prost_types", &["grpc", "verifier"]),
    ("tonic", &["grpc", "cli", "verifier"]),
    ("tonic_prost", &["grpc"]),
    ("envoy_types", &["grpc"]),
    ("axum", &["http"]),
    ("hyper", &["transport", "chain"]),
    ("hyper_rustls", &["chain"]),
    ("hyper_util", &["transport", "http", "chain"]),
    ("rustls", &["transport"]),
    ("tokio_rustls", &["transport"]),
    ("clap", &["cli", "config"]),
    ("tracing_subscriber", &["log"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
];

/// Every source file with its room: the folder or the file below `src`.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
            let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (room, path, text)
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The code without comments and without unit tests, which may look further.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that code names by `crate::room` or within `crate::{...}`.
fn rooms_named(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    c if depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
                if depth == 0 && (c == ',' || c == ':' || c == '{') && !word.is_empty() {
                    rooms.push(std::mem::take(&mut word));
                }
            }
            if !word.is_empty() {
                rooms.push(word);
            }
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let rooms: Vec<&str> = arrows.keys().copied().chain(["app", "cli"]).collect();
    let mut seen = 0;
    for (room, path, text) in sources() {
        let Some(allowed) = arrows.get(room.as_str()) else { continue };
        for named in rooms_named(&code(&text)) {
            if !rooms.contains(&named.as_str()) || named == room {
                continue;
            }
            seen += 1;
            assert!(allowed.contains(&named.as_str()), "{} uses {named}", path.display());
        }
    }
    assert!(seen > 40, "only {seen} arrows were seen: this test has gone blind");
}

#[test]
fn each_library_is_named_only_in_its_room() {
    let mut seen = 0;
    for (room, path, text) in sources() {
        let code = code(&text);
        for (library, rooms) in NAMED_ALONE {
            let names = [format!("{library}::"), format!("use {library};")];
            if names.iter().any(|name| is_named(&code, name)) {
                seen += 1;
                assert!(rooms.contains(&room.as_str()), "{} names {library}", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} uses were seen: this test has gone blind");
}

/// Whether a path starts with this name: `tonic::` but not `crate::tonic::`.
fn is_named(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

#[test]
fn every_file_says_its_one_job_first() {
    for (_, path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not start with its job", path.display());
    }
}

/// Behind a pooler that gives each transaction another connection, an unnamed statement may meet another
/// caller's, and whatever else belongs to a connection is lost, or found by somebody else.
#[test]
fn the_store_relies_on_no_connection_of_its_own() {
    let forbidden = [
        ".persistent(",
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "listen ",
        "set session",
        "set local",
        "temp table",
        "temporary table",
        "', false)",
        "pglistener",
        "statement_cache_capacity",
    ];
    let mut statements = 0;
    for (_, path, text) in
        sources().into_iter().filter(|(_, path, _)| path.iter().any(|part| part == "postgres"))
    {
        let code = code(&text).to_lowercase();
        statements += code.matches("sqlx::query").count();
        for word in forbidden {
            assert!(!code.contains(word), "{} says {word}", path.display());
        }
    }
    assert!(statements > 20, "only {statements} statements were seen: this test has gone blind");
}
