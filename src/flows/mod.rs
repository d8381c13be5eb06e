//! Use cases: one folder per service, one file per use case; each line of one is one call into one module.

pub mod account;
mod authenticate;
mod caller;
pub mod challenge;
pub mod client;
pub mod operator;
mod page;
pub mod session;
pub mod token;

use std::{sync::Arc, time::Instant};

use tokio::sync::Semaphore;

pub use authenticate::{Credentials, Presented, Target};
pub use caller::Caller;

pub use crate::{
    state::{Error, Result},
    token::{
        AccessClaims,
        signing_key::{KeyMembers, PublicJwk},
    },
};

use crate::{
    chain::Chains,
    state::{
        client_cache::ClientCache,
        database_clock::DatabaseClock,
        health::{Health, StoreState},
        lanes::{ReusableLanes, RotationLanes},
        rate_limiter::{RateLimiter, SessionBudgets},
        revocation_feed::RevocationFeed,
        running_calls::RunningCalls,
        signing_keys::{self, RevocationAwareKeys, Schedule, SigningKeys, StartError},
        store_probe::StoreProbe,
        store_shares::{Share, StoreAccess, StoreShares, StoreTurn},
        unmarked_tokens::UnmarkedTokens,
    },
    store::{Store, StoreError},
    token::{RootKeys, VerifiedTokens},
};

/// Limits on calls that run at once.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Calls of the process.
    pub max_calls: usize,
    /// Health/Watch streams, beyond which connections have no more than their share.
    pub max_health_watches: usize,
}

/// What the flows work with; one per process.
pub struct Flows {
    store: Arc<dyn Store>,
    roots: RootKeys,
    keys: SigningKeys,
    clients: ClientCache,
    rate_limits: RateLimiter,
    session_budgets: SessionBudgets,
    unmarked_tokens: UnmarkedTokens,
    /// Slots for calls that wait for the store to decide on an unrecognized token.
    doubtful_tokens: Semaphore,
    clock: DatabaseClock,
    revocations: RevocationFeed,
    verified: VerifiedTokens,
    chains: Chains,
    issuer: String,
    health: Health,
    probe: StoreProbe,
    calls: RunningCalls,
    shares: StoreShares,
    rotations: RotationLanes,
    reusable_challenges: ReusableLanes,
}

impl Flows {
    /// Ready to serve: the root keys fit the store, there are signing keys, the clock is read, and what is
    /// revoked is known.
    ///
    /// # Errors
    /// What is wrong with the keys or the store.
    pub async fn start(
        store: Arc<dyn Store>,
        roots: RootKeys,
        issuer: String,
        chains: Chains,
        schedule: Schedule,
        limits: CallLimits,
    ) -> std::result::Result<Self, StartError> {
        if !signing_keys::check_root_keys(store.as_ref(), &roots).await? {
            signing_keys::leave_canary(store.as_ref(), &roots).await?;
        }
        let keys = SigningKeys::open(store.as_ref(), &roots, schedule).await?;
        let clock = DatabaseClock::default();
        clock.start(store.as_ref()).await?;
        let revocations = RevocationFeed::default();
        let began = Instant::now();
        revocations.apply(began, store.revocations(None).await?);
        let unmarked_tokens = UnmarkedTokens::new(Arc::clone(&store));
        unmarked_tokens.ask().await?;
        let CallLimits { max_calls, max_health_watches } = limits;
        let calls = RunningCalls::new(max_calls, max_health_watches);
        let shares = StoreShares::new(store.concurrent_uses(), calls.of_the_api());
        Ok(Self {
            store,
            roots,
            keys,
            clients: ClientCache::default(),
            rate_limits: RateLimiter::default(),
            session_budgets: SessionBudgets::default(),
            unmarked_tokens,
            doubtful_tokens: Semaphore::new(max_calls / 12),
            clock,
            revocations,
            verified: VerifiedTokens::default(),
            chains,
            issuer,
            health: Health::default(),
            probe: StoreProbe::default(),
            shares,
            rotations: RotationLanes::new(max_calls / 24),
            reusable_challenges: ReusableLanes::new(max_calls / 3),
            calls,
        })
    }

    /// The public keys that verify access tokens.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        let mut keys = self.keys.ring().public_keys();
        keys.retain(|key| !self.revocations.is_key_revoked(&key.kid));
        keys
    }

    fn verifying_keys(&self) -> RevocationAwareKeys<'_> {
        RevocationAwareKeys { ring: self.keys.ring(), revocations: &self.revocations }
    }

    /// Health of the service.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// The store, as a party uses it.
    fn store_for(&self, share: Share) -> StoreAccess<'_> {
        StoreAccess::new(self.store.as_ref(), &self.shares, share)
    }

    /// Waits for a permit, then gives access to the store for one use.
    async fn store_turn(&self, share: Share) -> Result<StoreTurn<'_>> {
        self.store_for(share).turn().await
    }

    /// The calls that run.
    pub const fn calls(&self) -> &RunningCalls {
        &self.calls
    }

    /// Probes the store by reading its clock. During an outage it rejects waiting and new calls that need the store,
    /// and cancels running ones. Called at every [`INTERVAL`](crate::state::store_probe::INTERVAL), and after a failed
    /// call.
    pub async fn probe_store(&self, call_failed: bool) -> StoreState {
        self.shares.probe_begins();
        let answer = self.probe.ask(self.store.as_ref(), &self.clock).await;
        if matches!(answer, Ok(()) | Err(StoreError::Busy)) {
            self.shares.probe_answered();
        }
        let found = self.probe.judge(answer, self.store.as_ref(), call_failed).await;
        let rejected = match found.state {
            StoreState::Down => {
                self.shares.close();
                self.store.abandon_calls();
                None
            }
            StoreState::Up | StoreState::NotWritable if found.is_answered => self.shares.open(),
            StoreState::Up | StoreState::NotWritable => None,
        };
        self.probe.note(&found, rejected.unwrap_or_default());
        self.health.store_is(found.state);
        found.state
    }

    /// Resolves once a store call has failed.
    pub async fn store_call_failed(&self) {
        self.store.call_failed().await;
    }

    /// Reads the signing keys, and replaces those that are due; called every second.
    ///
    /// # Errors
    /// If the store does not answer, or holds a key that does not open; what was known stays in force.
    pub async fn keep_keys_current(&self) -> std::result::Result<(), StartError> {
        self.keys.reload(self.store.as_ref(), &self.roots).await?;
        match self.clock.now() {
            Ok(now) => operator::keys::rotate_due(self.store.as_ref(), &self.roots, &self.keys, now).await,
            Err(_) => Ok(()),
        }
    }

    /// Polls the store for revocations and applies them to the feed; called at every
    /// [`POLL_INTERVAL`](crate::state::revocation_feed::POLL_INTERVAL).
    ///
    /// # Errors
    /// If the store does not answer: what was applied before stays in force. If a signing key was revoked and the keys
    /// cannot be read again: its revocation is applied all the same, so that it verifies nothing more.
    pub async fn poll_revocations(&self) -> std::result::Result<(), StartError> {
        let began = Instant::now();
        let read = self.store.revocations(self.revocations.look_back()).await?;
        let has_new_key = self.revocations.has_new_key(&read);
        // First, so that a watcher that receives the event finds the replacement published.
        let reloaded = match has_new_key {
            true => self.keys.reload(self.store.as_ref(), &self.roots).await,
            false => Ok(()),
        };
        self.revocations.apply(began, read);
        reloaded
    }

    /// Checks whether the store holds sessions whose token has no MAC; called at every
    /// [`ASK_INTERVAL`](crate::state::unmarked_tokens::ASK_INTERVAL). Separate from [`Self::keep_keys_current`], which
    /// must not block on a lock on the sessions.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn ask_for_unmarked_tokens(&self) -> std::result::Result<(), StartError> {
        Ok(self.unmarked_tokens.ask().await?)
    }

    /// Writes to the store which client secrets were used; called every second.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn flush_secret_uses(&self) -> Result<()> {
        self.clients.flush_uses(self.store.as_ref()).await
    }
}
