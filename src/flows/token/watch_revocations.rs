//! A client watches what is revoked: first the state of things, then each change, and that nothing changed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    domain::{Client, ClientId, Role},
    flows::{Caller, Credentials, Error, Flows, Result},
    state::{
        error::Cause,
        health::HealthState,
        revocation_feed::{LOOK_FAR_BACK, Page, RevocationEvent},
    },
};

/// How often a watcher hears something, be it that there is nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// An instance that has heard nothing for this long has nothing to tell: another one may have.
const MAX_FEED_AGE: Duration = Duration::from_secs(10);
/// How long it is remembered that another client's audience is guarded.
const AUDIENCE_AGE: Duration = Duration::from_secs(10);
/// Of how many clients it is.
const AUDIENCES: usize = 10_000;

/// What a watcher is told at a time.
#[derive(Debug)]
pub struct Update {
    /// Whether the state of things begins here, and what was told before is to be forgotten.
    pub snapshot: bool,
    /// What is revoked.
    pub revocations: Vec<RevocationEvent>,
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
    changes: watch::Receiver<u64>,
    state: watch::Receiver<HealthState>,
    authenticated: Instant,
    sent: Option<Instant>,
    audiences: HashMap<ClientId, (Instant, bool)>,
}

impl Flows {
    /// Begins to watch: from the state of things, or after what had been told up to `resume_from`, if that is
    /// still known.
    ///
    /// # Errors
    /// If the caller is no client, or this instance hears nothing itself.
    pub async fn watch_revocations(
        self: &Arc<Self>,
        credentials: Credentials,
        resume_from: Option<OffsetDateTime>,
    ) -> Result<Watch> {
        let caller = self.authenticate(&credentials).await?;
        let client = caller.client()?.clone();
        self.ensure_fresh()?;
        // What a client may hear of may have grown when it was last changed, by what it was never told.
        let changed = (client.update_time != client.create_time).then_some(client.update_time);
        let grown = |from| changed.is_some_and(|changed| from <= changed + LOOK_FAR_BACK);
        let resume_from = resume_from.filter(|from| !grown(*from));
        let position = resume_from.and_then(|from| self.revocations.position_at(from));
        Ok(Watch {
            flows: Arc::clone(self),
            credentials,
            client,
            position: position.unwrap_or(0),
            snapshot: position.is_none(),
            changes: self.revocations.subscribe(),
            state: self.health.watch(),
            authenticated: Instant::now(),
            sent: None,
            audiences: HashMap::new(),
        })
    }

    fn ensure_fresh(&self) -> Result<()> {
        if self.revocations.age() <= MAX_FEED_AGE {
            return Ok(());
        }
        Err(Error::StoreUnavailable(Cause("nothing was heard of revocations for 10 s".to_owned())))
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
            self.changes.mark_unchanged();
            let Page { revocations, next, as_of } = self.flows.revocations.page(self.position);
            self.position = next;
            let revocations = self.in_scope(revocations).await?;
            if !revocations.is_empty() || (as_of.is_some() && self.heartbeat_is_due()) {
                self.sent = Some(Instant::now());
                return Ok(Update { snapshot: std::mem::take(&mut self.snapshot), revocations, as_of });
            }
            if as_of.is_some() {
                self.wait().await;
            }
        }
    }

    fn heartbeat_is_due(&self) -> bool {
        self.sent.is_none_or(|sent| sent.elapsed() >= HEARTBEAT)
    }

    /// Until there is news, or it is time to say that there is none, or the service ends.
    async fn wait(&mut self) {
        let rest = HEARTBEAT.saturating_sub(self.sent.map_or(Duration::ZERO, |sent| sent.elapsed()));
        tokio::select! {
            _ = self.changes.changed() => {}
            _ = self.state.wait_for(|state| state.draining) => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    /// A client that is disabled, deleted or has another secret by now is told no more, and one that may hear
    /// of other clients than before starts anew. While the store does not answer, nobody is heard of either; after
    /// some time of that nobody is to go on believing that there is no news.
    async fn refuse_if_over(&mut self) -> Result<()> {
        if self.state.borrow().draining {
            return Err(Error::Draining);
        }
        self.flows.ensure_fresh()?;
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

    async fn in_scope(&mut self, revocations: Vec<RevocationEvent>) -> Result<Vec<RevocationEvent>> {
        let received = Instant::now();
        let mut kept = Vec::with_capacity(revocations.len());
        for revocation in revocations {
            let concerns = match revocation.client_id() {
                Some(id) => id == self.client.id || self.guards(id, received).await?,
                None => true,
            };
            if concerns {
                kept.push(revocation);
            }
        }
        Ok(kept)
    }

    /// Whether the client may look into access tokens of another one, as IntrospectToken has it: that goes by the
    /// audience that a token has, which may be one from before the other's last change.
    async fn guards(&mut self, other: ClientId, received: Instant) -> Result<bool> {
        let Some(guarded) = scope(&self.client) else { return Ok(false) };
        if let Some((asked, guards)) = self.audiences.get(&other) {
            // Who was not guarded then may be by what it was changed to before its token was revoked.
            if *asked >= received || (*guards && asked.elapsed() < AUDIENCE_AGE) {
                return Ok(*guards);
            }
        }
        let tokens = self.flows.store.tokens_audience(other).await?;
        let guards = tokens.is_some_and(|tokens| {
            tokens.changed_lately || tokens.audience.iter().any(|audience| guarded.contains(audience))
        });
        if self.audiences.len() >= AUDIENCES {
            self.audiences.clear();
        }
        self.audiences.insert(other, (Instant::now(), guards));
        Ok(guards)
    }
}

/// The audiences of other clients that a client guards, if it does.
fn scope(client: &Client) -> Option<&[String]> {
    client.policy.has(Role::Introspect).then_some(client.policy.introspect_audiences.as_slice())
}
