//! Attacks on the running program, as programs: each prints its rate, and asserts who was served and who was shed.
//!
//! `cargo test` runs a tenth of each attack, `./check nightly abuse` (COUNTERSIGN_TEST_ABUSE=full) all of it.
//! COUNTERSIGN_TEST_PROGRAM names another program to attack, such as one of an earlier commit.
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

mod all_limits;
mod attack;
mod crowded_address;
mod fairness;
mod held_connections;
mod log_floods;
mod open_streams;
mod peer;
mod unread_responses;
mod unsent_requests;
