//! ChallengeService: a challenge goes out, its signature comes back.

mod composed_message;
mod content;
pub mod explain;
pub(crate) mod find_signer;
pub(crate) mod lookup;
mod owner;
mod replay;
pub mod requests;
mod signed_message;
pub mod start;
pub mod verify;
