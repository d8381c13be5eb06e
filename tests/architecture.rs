//! The module boundaries: which modules a module may use, and which libraries it alone may name.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules that a module may use, besides itself. `app` and `cli` may use all.
const ALLOWED: [(&str, &[&str]); 13] = [
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

/// Libraries, and the only modules that may name them.
const NAMED_ALONE: [(&str, &[&str]); 35] = [
    ("secp256k1", &["wallet"]),
    ("tiny_keccak", &["wallet"]),
    ("ed25519_dalek", &["wallet"]),
    ("bs58", &["wallet"]),
    ("jsonwebtoken", &["token"]),
    ("aws_lc_rs", &["token"]),
    ("getrandom", &["token"]),
    ("sqlx", &["store"]),
    ("prost", &["grpc"]),
    ("prost_types", &["grpc", "verifier"]),
    ("tonic", &["grpc", "cli", "verifier"]),
    ("tonic_prost", &["grpc"]),
    ("tonic_health", &["grpc"]),
    ("tonic_reflection", &["grpc"]),
    ("tonic_types", &["grpc", "cli"]),
    ("prost_reflect", &["grpc"]),
    ("tower", &["grpc", "transport"]),
    ("envoy_types", &["grpc"]),
    ("axum", &["http"]),
    ("metrics_exporter_prometheus", &["http"]),
    ("hyper", &["transport", "chain"]),
    ("hyper_rustls", &["chain"]),
    ("hyper_util", &["transport", "http", "chain"]),
    ("ipnet", &["domain"]),
    ("libc", &["app"]),
    ("http_body", &["grpc"]),
    ("pin_project_lite", &["transport"]),
    ("rustls", &["transport"]),
    ("tokio_rustls", &["transport"]),
    ("clap", &["cli", "config"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["log"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("clap_mangen", &["cli"]),
];

/// Every source file with its module: the folder or the file below `src`.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, path, text)
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

/// The modules that code names by `crate::module` or within `crate::{...}`.
fn modules_named(code: &str) -> Vec<String> {
    named_below(code, "crate::")
}

/// The names that follow a path, one by one or in braces.
fn named_below(code: &str, parent: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices(parent) {
        let rest = &code[at + parent.len()..];
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
                    modules.push(std::mem::take(&mut word));
                }
            }
            if !word.is_empty() {
                modules.push(word);
            }
        } else {
            modules.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    modules
}

#[test]
fn modules_use_only_the_modules_they_may() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let modules: Vec<&str> = allowed.keys().copied().chain(["app", "cli"]).collect();
    let mut seen = 0;
    for (module, path, text) in sources() {
        let Some(allowed) = allowed.get(module.as_str()) else { continue };
        for named in modules_named(&code(&text)) {
            if !modules.contains(&named.as_str()) || named == module {
                continue;
            }
            seen += 1;
            assert!(allowed.contains(&named.as_str()), "{} uses {named}", path.display());
        }
    }
    assert!(seen > 40, "only {seen} uses were found: the test no longer sees them");
}

#[test]
fn each_library_is_named_only_in_its_module() {
    let mut seen = 0;
    for (module, path, text) in sources() {
        let code = code(&text);
        for (library, modules) in NAMED_ALONE {
            let names = [format!("{library}::"), format!("use {library};")];
            if names.iter().any(|name| is_named(&code, name)) {
                seen += 1;
                assert!(modules.contains(&module.as_str()), "{} names {library}", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} uses were found: the test no longer sees them");
}

/// The modules of `flows` that each of its modules uses: a folder is one module.
fn uses_within_flows() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/flows");
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, path, text) in sources().into_iter().filter(|(module, ..)| module == "flows") {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        let own = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if own != "mod" {
            let named = named_below(&code(&text), "flows::");
            uses.entry(own.clone()).or_default().extend(named.into_iter().filter(|named| *named != own));
        }
    }
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    uses.values_mut().for_each(|named| named.retain(|name| modules.contains(name)));
    uses
}

/// Each module below `flows` uses only modules of lower levels: there is no cycle, and the levels stay few.
#[test]
fn use_cases_form_few_levels_without_a_cycle() {
    let mut uses = uses_within_flows();
    assert!((6..=12).contains(&uses.len()), "flows has {} modules: {:?}", uses.len(), uses.keys());
    assert!(uses["account"].contains("challenge"), "the test no longer sees the uses: {uses:?}");
    let mut levels = 0;
    while !uses.is_empty() {
        let lowest: BTreeSet<String> =
            uses.iter().filter(|(_, named)| named.is_empty()).map(|(module, _)| module.clone()).collect();
        assert!(!lowest.is_empty(), "these form a cycle: {uses:?}");
        uses.retain(|module, _| !lowest.contains(module));
        uses.values_mut().for_each(|named| named.retain(|name| !lowest.contains(name)));
        levels += 1;
    }
    assert!(levels <= 6, "flows has {levels} levels");
}

/// Whether a path starts with this name: `tonic::` but not `crate::tonic::`.
fn is_named(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

/// The path of a source file below `src`.
fn below_src(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The folders of `wallet` know nothing of each other: `evm`, `solana`, and `siwx`, which serves all namespaces.
#[test]
fn a_chain_namespace_names_no_other() {
    let wallet: Vec<_> = sources().into_iter().filter(|(module, ..)| module == "wallet").collect();
    let folders: BTreeSet<String> = wallet
        .iter()
        .filter_map(|(_, path, _)| {
            below_src(path).strip_prefix("wallet/")?.split_once('/').map(|it| it.0.to_owned())
        })
        .collect();
    assert!(
        folders.contains("evm") && folders.contains("solana"),
        "{folders:?}: the test no longer sees them"
    );
    for (_, path, text) in wallet.iter().filter(|(_, path, _)| below_src(path) != "wallet/mod.rs") {
        let (path, code) = (below_src(path), code(text));
        for other in folders.iter().filter(|folder| !path.starts_with(&format!("wallet/{folder}/"))) {
            let paths = [format!("{other}::"), format!("::{other}")];
            assert!(paths.iter().all(|named| !code.contains(named)), "{path} names {other}");
        }
    }
}

/// The only files that tell namespaces apart. A further one is added where the compiler then asks for it, in these and
/// in a folder of its own.
const TELL_NAMESPACES_APART: [&str; 4] =
    ["domain/account.rs", "domain/network.rs", "wallet/mod.rs", "wallet/siwx/dialect.rs"];

#[test]
fn few_files_tell_namespaces_apart() {
    let names_one = |code: &str| {
        let variant = |rest: &str| rest.chars().nth(1).is_some_and(char::is_lowercase);
        code.split("Namespace::").skip(1).any(variant)
    };
    let named: BTreeSet<String> = sources()
        .iter()
        .filter(|(_, _, text)| names_one(&code(text)))
        .map(|(_, path, _)| below_src(path))
        .collect();
    let listed: BTreeSet<String> = TELL_NAMESPACES_APART.into_iter().map(str::to_owned).collect();
    assert_eq!(named, listed);
}

#[test]
fn every_file_states_its_responsibility_first() {
    for (_, path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not start with its responsibility", path.display());
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
    assert!(statements > 20, "only {statements} statements were found: the test no longer sees them");
}
