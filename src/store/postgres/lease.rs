//! A connection of a pool, with the permit of the call that uses it.
//!
//! The statement of a cancelled call keeps running and occupies its connection until it ends. The permit is released with
//! the connection, so that cancelled calls hold no more connections than others.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::store::{Result, call_monitor::CallMonitor, lifecycle::Permit};

/// A borrowed connection. When dropped, it returns to its pool once it is usable again; in an outage it is closed.
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    calls: CallMonitor,
    permit: Option<Permit>,
}

impl Lease {
    pub(super) async fn of(pool: &PgPool, calls: &CallMonitor, permit: Option<&Permit>) -> Result<Self> {
        let connection = pool.acquire().await?;
        Ok(Self { connection, calls: calls.clone(), permit: permit.cloned() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // In a box: the task, which is moved several times, stays small.
        let returned = Box::pin(self.connection.return_to_pool());
        let (calls, permit) = (self.calls.clone(), self.permit.take());
        tokio::spawn(async move {
            tokio::select! {
                () = returned => {}
                () = calls.abandoned() => {}
            }
            drop(permit);
        });
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
