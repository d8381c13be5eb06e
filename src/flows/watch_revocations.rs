//! A client watches what is revoked: first the state of things, then each change, and that nothing changed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    Caller, Credentials, Error, Flows, Result,
    revocation_feed::{Page, Revocation},
    vitals::State,
};
use crate::domain::{Client, ClientId, Role};

/// How often a watcher hears something, be it that there is nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the audience of another client is remembered.
const AUDIENCE_AGE: Duration = Duration::from_secs(10);
/// Of how many clients it is.
const AUDIENCES: usize = 10_000;

/// What a watcher is told at a time.
#[derive(Debug)]
pub struct Update {
    /// Whether the state of things begins here, and what was told before is to be forgotten.
    pub snapshot: bool,
    /// What is revoked.
    pub revocations: Vec<Revocation>,
    /// Up to when, on the database's clock, everything has been told; `None` while there is more to come.
    pub as_of: Option<OffsetDateTime>,
}

/// A watcher that is being served.
pub struct Watch {
    flows: Arc<Flows>,
    credentials: Credentials,
    client: Client,
    position: u64,
    snapshot: bool,
    news: watch::Receiver<u64>,
    state: watch::Receiver<State>,
    authenticated: Instant,
    told: Option<Instant>,
    audiences: HashMap<ClientId, (Instant, Vec<String>)>,
}

impl Flows {
    /// Begins to watch: from the state of things, or after what had been told up to `resume_from`, if that is
    /// still known.
    ///
    /// # Errors
    /// If the caller is no client.
    pub async fn watch_revocations(
        self: &Arc<Self>,
        credentials: Credentials,
        resume_from: Option<OffsetDateTime>,
    ) -> Result<Watch> {
        let caller = self.authenticate(&credentials).await?;
        let position = resume_from.and_then(|from| self.revocations.position_at(from));
        Ok(Watch {
            flows: Arc::clone(self),
            credentials,
            client: caller.client()?.clone(),
            position: position.unwrap_or(0),
            snapshot: position.is_none(),
            news: self.revocations.news(),
            state: self.vitals.watch(),
            authenticated: Instant::now(),
            told: None,
            audiences: HashMap::new(),
        })
    }
}

impl Watch {
    /// The client that watches.
    pub const fn client_id(&self) -> ClientId {
        self.client.id
    }

    /// Waits for the next thing to tell.
    ///
    /// # Errors
    /// Why there is nothing more to tell: the service ends, or the client may not watch any more.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            self.refuse_if_over().await?;
            self.news.mark_unchanged();
            let Page { revocations, next, as_of } = self.flows.revocations.page(self.position);
            self.position = next;
            let revocations = self.in_scope(revocations).await?;
            if !revocations.is_empty() || (as_of.is_some() && self.heartbeat_is_due()) {
                self.told = Some(Instant::now());
                return Ok(Update { snapshot: std::mem::take(&mut self.snapshot), revocations, as_of });
            }
            if as_of.is_some() {
                self.wait().await;
            }
        }
    }

    fn heartbeat_is_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= HEARTBEAT)
    }

    /// Until there is news, or it is time to say that there is none, or the service ends.
    async fn wait(&mut self) {
        let rest = HEARTBEAT.saturating_sub(self.told.map_or(Duration::ZERO, |told| told.elapsed()));
        tokio::select! {
            _ = self.news.changed() => {}
            _ = self.state.wait_for(|state| state.draining) => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    /// A client that is disabled, deleted or has another secret by now is told no more, and one that may hear
    /// of other clients than before starts anew. While the store does not answer, nobody is heard of either.
    async fn refuse_if_over(&mut self) -> Result<()> {
        if self.state.borrow().draining {
            return Err(Error::Draining);
        }
        if self.authenticated.elapsed() < HEARTBEAT {
            return Ok(());
        }
        match self.flows.authenticate(&self.credentials).await {
            Ok(Caller::Client(record)) if scope(&record.client) == scope(&self.client) => {}
            Ok(_) => return Err(Error::WatchInterrupted("what the client may hear has changed")),
            Err(Error::StoreUnavailable(_) | Error::Contention) => {}
            Err(error) => return Err(error),
        }
        self.authenticated = Instant::now();
        Ok(())
    }

    async fn in_scope(&mut self, revocations: Vec<Revocation>) -> Result<Vec<Revocation>> {
        let mut kept = Vec::with_capacity(revocations.len());
        for revocation in revocations {
            let concerns = match revocation.client_id() {
                Some(id) => id == self.client.id || self.guards(id).await?,
                None => true,
            };
            if concerns {
                kept.push(revocation);
            }
        }
        Ok(kept)
    }

    /// Whether the client may look into the access tokens of another one, as IntrospectToken has it.
    async fn guards(&mut self, other: ClientId) -> Result<bool> {
        if scope(&self.client).is_none() {
            return Ok(false);
        }
        let known = self.audiences.get(&other).filter(|(asked, _)| asked.elapsed() < AUDIENCE_AGE);
        let audience = match known {
            Some((_, audience)) => audience.clone(),
            None => self.read_audience(other).await?,
        };
        Ok(audience.iter().any(|audience| self.client.policy.introspect_audiences.contains(audience)))
    }

    async fn read_audience(&mut self, other: ClientId) -> Result<Vec<String>> {
        let audience = self.flows.store.audience(other).await?.unwrap_or_default();
        if self.audiences.len() >= AUDIENCES {
            self.audiences.clear();
        }
        self.audiences.insert(other, (Instant::now(), audience.clone()));
        Ok(audience)
    }
}

/// The audiences of other clients that a client guards, if it does.
fn scope(client: &Client) -> Option<&[String]> {
    client.policy.has(Role::Introspect).then_some(client.policy.introspect_audiences.as_slice())
}
