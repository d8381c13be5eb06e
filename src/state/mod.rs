//! In-memory state of an instance: caches of the store, the database's clock, keys, revocations, limits, health; and
//! the errors and audit events of use cases.
//!
//! Each cached value may be stale by a bounded time; its module states the bound and what happens beyond it.

pub mod audit;
pub mod client_cache;
pub mod database_clock;
pub mod error;
pub mod health;
pub mod lanes;
pub mod rate_limiter;
pub mod revocation_feed;
pub mod running_calls;
mod secret_usage;
pub mod signing_keys;
pub mod store_probe;
pub mod store_shares;
pub mod unmarked_tokens;

pub use error::{Error, Result};
