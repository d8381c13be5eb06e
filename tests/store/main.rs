//! The store's conformance suite: what the traits promise, on every backend.
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

#[macro_use]
mod fixture;
mod crowd;
mod database;

mod accounts;
mod bounded_waits;
mod cancelled;
mod challenge_limit;
mod challenges;
mod clean_up;
mod client_changes;
mod client_secrets;
mod clients;
mod clock;
mod contention;
mod crowded_address;
mod deadlines;
mod equal_challenge;
mod key_rotation;
mod keys;
mod lifecycle;
mod link_races;
mod link_wallet;
mod linking;
mod locks;
mod memory;
mod open;
mod redeem;
mod redeem_races;
mod redeem_refused;
mod replay;
mod revocations;
mod revoke;
mod revoke_account;
mod rotate;
mod rotate_races;
mod rotate_refused;
mod sessions;
mod store_probe;
mod unlink_wallet;
mod writers;
