//! The real server over real gRPC, on both stores.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may fail, and say why"
)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod credentials;
mod harness;
mod healthcheck;
mod operation;
mod outage;
mod processes;
mod refresh;
mod sessions;
mod sign_in;
mod sign_in_races;
mod tokens;
