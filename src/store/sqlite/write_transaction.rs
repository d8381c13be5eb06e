//! The transaction in which an intent reads its verdict and acts on it.

use std::ops::{Deref, DerefMut};

use sqlx::{SqliteConnection, sqlite::SqliteTransaction};

use super::{Result, Sqlite};

/// A transaction that holds SQLite's write lock from before its first statement until it ends.
///
/// The lock is what makes single use hold: no statement here locks a row. What a verdict has read cannot change before
/// the intent commits, and the clock that deadlines are compared with is read after the lock was taken. Functions that
/// read a verdict and act on it take this type. [`Sqlite::begin`] alone makes one, so they can run neither on a bare
/// connection nor in a transaction that takes the lock late.
pub(super) struct WriteTransaction(SqliteTransaction<'static>);

impl Sqlite {
    /// Waits for the write lock, and begins a transaction that holds it. Dropped, it rolls back.
    pub(super) async fn begin(&self) -> Result<WriteTransaction> {
        Ok(WriteTransaction(self.writer.begin_with("BEGIN IMMEDIATE").await?))
    }
}

impl WriteTransaction {
    pub(super) async fn commit(self) -> Result<()> {
        Ok(self.0.commit().await?)
    }

    /// Commits what was changed; rolls back if nothing was.
    pub(super) async fn end(self, changed: bool) -> Result<()> {
        if changed {
            self.0.commit().await?;
        } else {
            self.0.rollback().await?;
        }
        Ok(())
    }
}

impl Deref for WriteTransaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}
