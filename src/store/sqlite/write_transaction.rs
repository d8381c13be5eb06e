//! The transaction in which an intent reads its verdict and acts on it.

use std::ops::{Deref, DerefMut};

use sqlx::{SqliteConnection, sqlite::SqliteTransaction};

use super::{Result, Sqlite};
use crate::store::call_monitor::CallMonitor;

/// A transaction that holds SQLite's write lock from before its first statement until it ends.
///
/// The lock is what makes single use hold: no statement here locks a row. What a verdict has read cannot change before
/// the intent commits, and the clock that deadlines are compared with is read after the lock was taken. Functions that
/// read a verdict and act on it take this type. [`Sqlite::begin`] alone makes one, so they can run neither on a bare
/// connection nor in a transaction that takes the lock late.
pub(super) struct WriteTransaction {
    transaction: SqliteTransaction<'static>,
    unended: Unended,
}

impl Sqlite {
    /// Waits for the write lock, and begins a transaction that holds it. Dropped, it rolls back.
    pub(super) async fn begin(&self) -> Result<WriteTransaction> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        // Armed after BEGIN: a call that is cancelled while it waits for the writer is no failure of the store.
        let unended = Unended(Some(self.calls.clone()));
        Ok(WriteTransaction { transaction: begun?, unended })
    }
}

impl WriteTransaction {
    pub(super) async fn commit(self) -> Result<()> {
        self.end(true).await
    }

    /// Commits what was changed; rolls back if nothing was.
    pub(super) async fn end(mut self, changed: bool) -> Result<()> {
        if changed {
            self.transaction.commit().await?;
        } else {
            self.transaction.rollback().await?;
        }
        self.unended.0 = None;
        Ok(())
    }
}

/// Notes a failure of the store when it is dropped before its transaction has ended: the disk may be full.
struct Unended(Option<CallMonitor>);

impl Drop for Unended {
    fn drop(&mut self) {
        if let Some(calls) = self.0.take() {
            calls.note_failure();
        }
    }
}

impl Deref for WriteTransaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}
