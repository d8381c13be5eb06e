//! Access to the columns of SQLite's rows, and times as it keeps them.

use sqlx::{Row as _, sqlite::SqliteRow};
use time::{Duration, OffsetDateTime};

use crate::store::{
    Result, StoreError,
    rows::{Plain, StoredRow},
};

pub(super) use crate::store::rows::{
    bytes, challenge, client, client_of_session, found_challenge, generation, linked_wallets, millis,
    reusable_challenge, revoked_session, root_key_use, sealed, secret, session, signing_key,
    signing_key_state, wallet_kind,
};

impl StoredRow for SqliteRow {
    fn read<T: Plain>(&self, column: &str) -> Result<T> {
        Ok(self.try_get(column)?)
    }

    fn time(&self, column: &str) -> Result<OffsetDateTime> {
        time(self, column)
    }

    fn optional_time(&self, column: &str) -> Result<Option<OffsetDateTime>> {
        let stored: Option<i64> = self.try_get(column)?;
        stored.map(|stored| from_millis(column, stored)).transpose()
    }
}

/// A time.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<OffsetDateTime> {
    from_millis(column, row.try_get(column)?)
}

/// A time as it is kept; `column` is for the error.
pub(super) fn from_millis(column: &str, stored: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::UNIX_EPOCH
        .checked_add(Duration::milliseconds(stored))
        .ok_or_else(|| StoreError::unreadable(column, &stored.to_string()))
}

/// A time as it is kept: milliseconds since 1970 UTC. What is finer is cut off, so that no deadline lies
/// later than it was set.
pub(super) fn to_millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
