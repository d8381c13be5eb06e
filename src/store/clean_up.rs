//! Removal of ended rows.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;

/// The tables whose rows end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupTarget {
    /// Challenges, by their deadline.
    Challenges,
    /// Sessions, by the latest deadline that they may have.
    Sessions,
    /// Signing keys, by when they left the JWKS, or [`MAX_ACCESS_TOKEN_AGE`] after they were revoked.
    ///
    /// [`MAX_ACCESS_TOKEN_AGE`]: crate::domain::MAX_ACCESS_TOKEN_AGE
    SigningKeys,
}

impl CleanupTarget {
    /// All of them, in the order in which they are cleaned up.
    pub const ALL: [Self; 3] = [Self::Challenges, Self::Sessions, Self::SigningKeys];

    /// The table's name.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Challenges => "challenges",
            Self::Sessions => "sessions",
            Self::SigningKeys => "signing_keys",
        }
    }
}

/// What is left to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many rows, counted up to 10,000.
    pub rows: u64,
    /// For how long the oldest could have been removed.
    pub oldest: Duration,
}

/// The intents of clean-up. Validity never depends on it having run.
#[async_trait]
pub trait CleanUp: Send + Sync {
    /// Removes at most `limit` rows whose end lies further back than `retention`: how many. Instances that
    /// do this at the same time pass over each other's rows.
    async fn remove_expired(&self, target: CleanupTarget, retention: Duration, limit: u32) -> Result<u64>;

    /// What is left to remove.
    async fn backlog(&self, target: CleanupTarget, retention: Duration) -> Result<Backlog>;
}
