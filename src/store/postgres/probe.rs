//! Connection of the probe. No other statement can occupy it, so only an outage delays its answer.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, error::DatabaseError, postgres::PgConnectOptions,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::store::{Result, StoreError};

/// Age at which the connection is replaced, as the pool does with its own: the server may have been replaced.
const MAX_AGE: Duration = Duration::from_mins(30);

/// The connection, opened on demand, and closed after a statement that failed or did not end.
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
            State::Absent => (self.connect().await?, Instant::now()),
            State::Closed => {
                *state = State::Closed;
                return Err(sqlx::Error::PoolClosed.into());
            }
        };
        Ok(Lent { state, connection, made })
    }

    /// Connects. A server or pooler that has no room for another connection is busy, not down.
    async fn connect(&self) -> Result<PgConnection> {
        match self.options.connect().await {
            Err(sqlx::Error::Database(refusal)) if has_no_room(refusal.as_ref()) => Err(StoreError::Busy),
            outcome => Ok(outcome?),
        }
    }

    pub(super) async fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock().await, State::Closed);
        if let State::Ready(connection, _) = state {
            let _ = connection.close().await;
        }
    }
}

/// True for `too_many_connections`, and for pgbouncer's message at `max_client_conn`, which has a general code.
fn has_no_room(refusal: &dyn DatabaseError) -> bool {
    refusal.code().as_deref() == Some("53300") || refusal.message().starts_with("no more connections allowed")
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Error of a connection to a server that rejects it with this code and message.
    async fn refused_with(code: &str, message: &str) -> StoreError {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(server.local_addr().unwrap().port())
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        let serving = tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.unwrap();
            let _ = connection.read(&mut [0; 1_024]).await.unwrap();
            connection.write_all(b"E").await.unwrap();
            connection.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes()).await.unwrap();
            connection.write_all(fields.as_bytes()).await.unwrap();
        });
        let refused = ProbeConnection::new(options).lend().await.err().unwrap();
        serving.await.unwrap();
        refused
    }

    #[tokio::test]
    async fn a_server_without_room_for_a_connection_is_busy_and_not_down() {
        for (code, message) in [
            ("53300", "sorry, too many clients already"),
            ("08P01", "no more connections allowed (max_client_conn)"),
        ] {
            assert!(matches!(refused_with(code, message).await, StoreError::Busy), "{code}");
        }
        let starting = refused_with("57P03", "the database system is starting up").await;
        assert!(matches!(starting, StoreError::Unavailable(_)));
    }
}
