//! Access to the columns of PostgreSQL's rows.

use sqlx::{Row as _, postgres::PgRow};
use time::OffsetDateTime;

use crate::store::{
    Result,
    rows::{Plain, StoredRow},
};

pub(super) use crate::store::rows::{
    bytes, challenge, client, client_of_session, found_challenge, generation, linked_wallets, millis,
    reusable_challenge, revoked_session, root_key_use, sealed, secret, session, signing_key,
    signing_key_state, wallet_kind,
};

impl StoredRow for PgRow {
    fn read<T: Plain>(&self, column: &str) -> Result<T> {
        Ok(self.try_get(column)?)
    }

    fn time(&self, column: &str) -> Result<OffsetDateTime> {
        Ok(self.try_get(column)?)
    }

    fn optional_time(&self, column: &str) -> Result<Option<OffsetDateTime>> {
        Ok(self.try_get(column)?)
    }
}
