//! WatchRevocations: a snapshot, then each revocation, and heartbeats.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    domain::{Client, ClientId, Role},
    flows::{Caller, Error, Flows, Presented, Result},
    state::{
        error::Cause,
        health::HealthState,
        revocation_feed::{LOOK_FAR_BACK, Page, RevocationEvent},
        running_calls::RevocationWatch,
        store_shares::{Party, Share},
    },
};

/// Interval of heartbeats, sent also when there are no events.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Age of the feed beyond which a watch is refused; another instance may be current.
const MAX_FEED_AGE: Duration = Duration::from_secs(10);
/// How long it is remembered that another client's audience is guarded.
const AUDIENCE_AGE: Duration = Duration::from_secs(10);
/// Of how many clients it is.
const AUDIENCES: usize = 10_000;

/// Message to a watcher.
#[derive(Debug)]
pub struct Update {
    /// True if a snapshot begins here, which replaces everything sent before.
    pub snapshot: bool,
    /// What is revoked.
    pub revocations: Vec<RevocationEvent>,
    /// Time on the database's clock up to which everything has been sent; `None` while there is more to come.
    pub as_of: Option<OffsetDateTime>,
}

/// Time that an attempt to verify a watch's credentials may take, so that a busy store does not delay heartbeats.
const AUTHENTICATION_WAIT: Duration = Duration::from_millis(250);
/// Time for which a watch may go on while attempts fail for want of the store.
const MAX_UNAUTHENTICATED: Duration = Duration::from_mins(1);

/// A watcher that is being served.
pub struct Watch {
    flows: Arc<Flows>,
    _place: RevocationWatch,
    presented: Presented,
    client: Client,
    position: u64,
    snapshot: bool,
    changes: watch::Receiver<u64>,
    state: watch::Receiver<HealthState>,
    /// Start of the last attempt to verify the credentials.
    asked: Instant,
    /// End of the last attempt that succeeded.
    authenticated: Instant,
    sent: Option<Instant>,
    audiences: HashMap<ClientId, (Instant, bool)>,
}

impl Flows {
    /// Begins to watch: with a snapshot, or after `resume_from` where the feed still knows what came since.
    ///
    /// # Errors
    /// If the caller is no client, or the feed of this instance is stale.
    pub async fn watch_revocations(
        self: &Arc<Self>,
        presented: Presented,
        resume_from: Option<OffsetDateTime>,
    ) -> Result<Watch> {
        let caller = self.authenticate(&presented).await?;
        let client = caller.client()?.clone();
        let place = self.calls.begin_watch(client.id)?;
        self.ensure_fresh()?;
        // The scope of the client may have grown when it was last changed, by clients that it has no events of.
        let changed = (client.update_time != client.create_time).then_some(client.update_time);
        let grown = |from| changed.is_some_and(|changed| from <= changed + LOOK_FAR_BACK);
        let resume_from = resume_from.filter(|from| !grown(*from));
        let position = resume_from.and_then(|from| self.revocations.position_at(from));
        Ok(Watch {
            flows: Arc::clone(self),
            _place: place,
            presented,
            client,
            position: position.unwrap_or(0),
            snapshot: position.is_none(),
            changes: self.revocations.subscribe(),
            state: self.health.watch(),
            asked: Instant::now(),
            authenticated: Instant::now(),
            sent: None,
            audiences: HashMap::new(),
        })
    }

    fn ensure_fresh(&self) -> Result<()> {
        if self.revocations.age() <= MAX_FEED_AGE {
            return Ok(());
        }
        Err(Error::StoreUnavailable(Cause("revocations could not be read for 10 s".to_owned())))
    }
}

impl Watch {
    /// The client that watches.
    pub const fn client_id(&self) -> ClientId {
        self.client.id
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// Why the watch ends: the service shuts down, or the client may not watch any more.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            self.ensure_allowed().await?;
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

    /// Waits for events, the next heartbeat, or the end of the service.
    async fn wait(&mut self) {
        let rest = HEARTBEAT.saturating_sub(self.sent.map_or(Duration::ZERO, |sent| sent.elapsed()));
        tokio::select! {
            _ = self.changes.changed() => {}
            _ = self.state.wait_for(|state| state.draining) => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    /// Ends the watch of a client that is disabled or deleted, whose secret was revoked, or whose scope has changed.
    /// While the store does not answer, the watch goes on until the feed is stale.
    async fn ensure_allowed(&mut self) -> Result<()> {
        if self.state.borrow().draining {
            return Err(Error::Draining);
        }
        self.flows.ensure_fresh()?;
        if self.asked.elapsed() < HEARTBEAT {
            return Ok(());
        }
        self.asked = Instant::now();
        let caller = tokio::time::timeout(AUTHENTICATION_WAIT, self.flows.authenticate(&self.presented));
        match caller.await {
            Ok(Ok(Caller::Client(record))) if scope(&record.client) == scope(&self.client) => {
                self.authenticated = Instant::now();
                Ok(())
            }
            Ok(Ok(_)) => Err(Error::WatchInterrupted("what the client may receive has changed".to_owned())),
            // While the feed is fresh, a watch outlives a busy or absent store, though not for long.
            Err(_) | Ok(Err(Error::StoreUnavailable(_) | Error::Contention | Error::Overloaded(_))) => {
                self.ensure_authenticated_lately()
            }
            Ok(Err(error)) => Err(error),
        }
    }

    fn ensure_authenticated_lately(&self) -> Result<()> {
        if self.authenticated.elapsed() <= MAX_UNAUTHENTICATED {
            return Ok(());
        }
        Err(Error::StoreUnavailable(Cause(
            "the credentials of a watch could not be verified for a minute".to_owned(),
        )))
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
        let own = Share::of(Party::Client(self.client.id));
        let tokens = self.flows.store_turn(own).await?.tokens_audience(other).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::Chains,
        domain::{Policy, Secret},
        flows::{CallLimits, Credentials, client::create::create_client},
        state::signing_keys::Schedule,
        store::open,
        token::RootKeys,
    };

    #[tokio::test]
    async fn a_watch_reads_the_audience_of_another_client_with_a_permit() {
        let store = open("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let shop = Policy { name: "Shop".to_owned(), audience: vec!["shop".to_owned()], ..Policy::default() };
        let guard = Policy {
            name: "Guard".to_owned(),
            roles: vec![Role::Introspect],
            introspect_audiences: shop.audience.clone(),
            ..Policy::default()
        };
        let (shop, _) = create_client(store.as_ref(), shop, "").await.unwrap();
        let (guard, secret) = create_client(store.as_ref(), guard, "").await.unwrap();
        let roots = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let (chains, issuer) = (Chains::new(&[], Duration::ZERO), "https://issuer.example".to_owned());
        let schedule = Schedule { interval: None, prepublish: Duration::ZERO };
        let limits = CallLimits { max_calls: 100, max_health_watches: 0 };
        let flows = Flows::start(store, roots, issuer, chains, schedule, limits).await.unwrap();
        let credentials = Credentials::Basic {
            client_id: guard.id.to_string(),
            client_secret: Secret::new(secret.expose().to_owned()),
        };
        let flows = Arc::new(flows);
        let mut watch = flows.watch_revocations(Presented { credentials, origin: None }, None).await.unwrap();

        let held = flows.shares.permit(Share::of(Party::Unauthenticated)).await.unwrap();
        let Err(Error::Overloaded(calls)) = watch.guards(shop.id, Instant::now()).await else {
            panic!("the look-up does not wait for a permit");
        };
        assert_eq!(calls, "calls of this client waiting for the store");
        drop(held);
        assert!(watch.guards(shop.id, Instant::now()).await.unwrap());
    }
}
