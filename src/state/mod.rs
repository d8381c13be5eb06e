//! What an instance keeps in memory: caches of the store, the database's clock, keys, revocations, limits, health.
//!
//! A value here may be stale by a bounded time; each module states the bound and what happens beyond it.

pub mod audit;
pub mod client_cache;
pub mod database_clock;
pub mod error;
pub mod health;
pub mod rate_limiter;
pub mod revocation_feed;
mod secret_usage;
pub mod signing_keys;

pub use error::{Error, Result};
