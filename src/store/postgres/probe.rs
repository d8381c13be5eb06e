//! The connection of the probe, which no other statement can occupy: only an outage keeps it from its answer.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{Mutex, MutexGuard};

use crate::store::Result;

/// Age at which the connection is made anew, as the pool does with its own: its server may have been replaced.
const MAX_AGE: Duration = Duration::from_mins(30);

/// The connection, made when it is needed. One whose statement failed or did not end is closed.
pub(super) struct ProbeConnection {
    options: PgConnectOptions,
    state: Mutex<State>,
}

enum State {
    Absent,
    Ready(PgConnection, Instant),
    Closed,
}

impl ProbeConnection {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, state: Mutex::new(State::Absent) }
    }

    /// Lends the connection; unless it is kept afterwards, it is closed.
    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        let mut state = self.state.lock().await;
        let (connection, made) = match std::mem::replace(&mut *state, State::Absent) {
            State::Ready(connection, made) if made.elapsed() < MAX_AGE => (connection, made),
            // A server without room for a new connection is not down.
            State::Ready(connection, made) => match self.options.connect().await {
                Ok(connection) => (connection, Instant::now()),
                Err(_) => (connection, made),
            },
            State::Absent => (self.options.connect().await?, Instant::now()),
            State::Closed => {
                *state = State::Closed;
                return Err(sqlx::Error::PoolClosed.into());
            }
        };
        Ok(Lent { state, connection, made })
    }

    pub(super) async fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock().await, State::Closed);
        if let State::Ready(connection, _) = state {
            let _ = connection.close().await;
        }
    }
}

/// The connection, lent.
pub(super) struct Lent<'a> {
    state: MutexGuard<'a, State>,
    connection: PgConnection,
    made: Instant,
}

impl Lent<'_> {
    /// Keeps the connection for the next use.
    pub(super) fn keep(mut self) {
        *self.state = State::Ready(self.connection, self.made);
    }
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
