//! Schema, clock and shutdown of the store.

use std::{any::Any, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Result, Store};

/// How the schema compares with what this program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// Every migration has run; later ones of a newer program may have, too.
    Current,
    /// These migrations are still to run.
    Behind(Vec<String>),
}

/// Where a store lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this process, gone with it.
    Memory,
    /// In a file that comes with the program.
    File(PathBuf),
    /// On a database server.
    Server,
}

impl Location {
    /// Whether the store comes with the program, and so is brought up to date without asking.
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Memory | Self::File(_))
    }
}

/// Token of a use of the store, which counts until it is dropped.
pub type Permit = Arc<dyn Any + Send + Sync>;

/// The intents that concern the store as a whole.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// The backend's name, for logs.
    fn backend(&self) -> &'static str;

    /// Where the store lives.
    fn location(&self) -> Location;

    /// Whether the schema is as this program needs it.
    async fn schema(&self) -> Result<SchemaState>;

    /// Brings the schema up to date; safe when two start at once. Answers how many migrations ran.
    async fn migrate(&self) -> Result<usize>;

    /// The database's clock, read over a dedicated connection (except in memory). It also serves as the probe.
    async fn now(&self) -> Result<OffsetDateTime>;

    /// Tries a write and undoes it; fails if the store rejects writes.
    async fn try_to_write(&self) -> Result<()>;

    /// Resolves once a call has failed since the previous notification, so that the store is probed at once.
    async fn call_failed(&self);

    /// Ends the calls that run as [`StoreError::Unavailable`](super::StoreError::Unavailable): the store is known to be
    /// down.
    fn abandon_calls(&self);

    /// Number of uses that run at once; further ones would wait inside the store, in no fair order.
    fn concurrent_uses(&self) -> usize;

    /// The same store for one use. It keeps the permit until its connections are free again, because the statement of a
    /// cancelled call keeps running. `None` where permits do not count connections.
    fn holding(&self, permit: Permit) -> Option<Box<dyn Store>>;

    /// Lets go of every connection.
    async fn close(&self);
}
