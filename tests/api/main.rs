//! The real server over real gRPC, on both stores.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may fail, and say why"
)]

#[path = "../support/process.rs"]
mod process;
#[path = "../support/shared_keys.rs"]
mod shared_keys;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod attacks;
mod audit;
mod client_changes;
mod client_commands;
mod client_service;
mod contract_wallets;
mod contract_wallets_load;
mod credentials;
mod crowded_address;
mod earlier_version;
mod explain_signature;
mod ext_authz;
mod formats;
mod full_disk;
mod harness;
mod healthcheck;
mod keys;
mod known_outage;
mod link_challenges;
mod node;
mod operation;
mod outage;
mod processes;
mod rate_limits;
mod refresh;
mod retries;
mod sessions;
mod sign_in;
mod sign_in_races;
mod starting;
mod takeover;
mod tls;
mod tokens;
mod transport;
mod verifier;
mod watch_revocations;
