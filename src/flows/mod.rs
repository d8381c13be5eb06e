//! One user story per file: each line of a flow is one call into one room.

pub mod audit;
pub mod authenticate;
mod challenge_content;
pub mod challenge_requests;
pub mod check_token;
mod claim;
pub mod clean_up;
pub mod client_secrets;
pub mod clients;
pub mod clock;
mod composed_message;
pub mod create_client;
pub mod create_session;
pub mod delete_client;
pub mod error;
pub mod explain_signature;
pub mod get_account;
pub mod get_session;
pub mod introspect_token;
pub mod issue_tokens;
pub mod keys;
pub mod link_wallet;
pub mod list_sessions;
mod manage_clients;
mod page;
mod policy_texts;
mod rate_limits;
pub mod refresh_token;
mod repeated_request;
pub mod revocation_feed;
pub mod revoke_sessions;
pub mod revoke_token;
pub mod rotate_keys;
mod secret_uses;
mod signed_message;
mod signer;
pub mod start_challenge;
pub mod unlink_wallet;
pub mod update_client;
pub mod verify_challenge;
pub mod vitals;
pub mod watch_revocations;

use std::{sync::Arc, time::Instant};

pub use authenticate::{Caller, Credentials};
pub use error::Error;

pub use crate::token::{
    AccessClaims,
    signing_key::{KeyMembers, PublicJwk},
};

use crate::{
    chain::Chains,
    store::Store,
    token::{RootKeys, VerifiedTokens},
};

/// What every flow answers.
pub type Result<T> = std::result::Result<T, Error>;

/// What the flows work with; one per process.
pub struct Flows {
    store: Arc<dyn Store>,
    roots: RootKeys,
    keys: keys::SigningKeys,
    clients: clients::ClientDirectory,
    rate_limits: rate_limits::RateLimits,
    clock: clock::DatabaseClock,
    revocations: revocation_feed::RevocationFeed,
    verified: VerifiedTokens,
    chains: Chains,
    issuer: String,
    vitals: vitals::Vitals,
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
        schedule: keys::Schedule,
    ) -> std::result::Result<Self, keys::StartError> {
        if !keys::check_root_keys(store.as_ref(), &roots).await? {
            keys::leave_canary(store.as_ref(), &roots).await?;
        }
        let keys = keys::SigningKeys::open(store.as_ref(), &roots, schedule).await?;
        let clock = clock::DatabaseClock::default();
        clock.start(store.as_ref()).await?;
        let revocations = revocation_feed::RevocationFeed::default();
        let began = Instant::now();
        revocations.hear(began, store.revocations(None).await?);
        Ok(Self {
            store,
            roots,
            keys,
            clients: clients::ClientDirectory::default(),
            rate_limits: rate_limits::RateLimits::default(),
            clock,
            revocations,
            verified: VerifiedTokens::default(),
            chains,
            issuer,
            vitals: vitals::Vitals::default(),
        })
    }

    /// The public keys that verify access tokens.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        let mut keys = self.keys.ring().public_keys();
        keys.retain(|key| !self.revocations.ends_key(&key.kid));
        keys
    }

    fn verifying_keys(&self) -> keys::Unrevoked<'_> {
        keys::Unrevoked { ring: self.keys.ring(), revocations: &self.revocations }
    }

    /// How the service is.
    pub const fn vitals(&self) -> &vitals::Vitals {
        &self.vitals
    }

    /// Reads the database's clock and the signing keys anew, notes whether the store answered, and replaces keys
    /// that are due; to be called every second.
    ///
    /// # Errors
    /// If the store does not answer, or holds a key that does not open; what was known stays in force.
    pub async fn keep_current(&self) -> std::result::Result<(), keys::StartError> {
        let clock = self.clock.measure(self.store.as_ref()).await;
        self.vitals.store_answers(clock.is_ok());
        clock?;
        self.keys.reload(self.store.as_ref(), &self.roots).await?;
        match self.clock.now() {
            Ok(now) => rotate_keys::rotate_due(self.store.as_ref(), &self.roots, &self.keys, now).await,
            Err(_) => Ok(()),
        }
    }

    /// Hears what has been revoked; to be called several times a second.
    ///
    /// # Errors
    /// If the store does not answer; what was heard before stays in force. Or if the keys cannot be read, one of
    /// which is revoked: that is heard, and it verifies nothing more.
    pub async fn hear_revocations(&self) -> std::result::Result<(), keys::StartError> {
        let began = Instant::now();
        let read = self.store.revocations(self.revocations.look_back()).await?;
        let has_new_key = self.revocations.has_new_key(&read);
        // First, so that whoever hears of it finds the key in its place.
        let reloaded = match has_new_key {
            true => self.keys.reload(self.store.as_ref(), &self.roots).await,
            false => Ok(()),
        };
        self.revocations.hear(began, read);
        reloaded
    }

    /// Tells the store which client secrets were used of late; to be called every second.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn tell_secret_uses(&self) -> Result<()> {
        self.clients.tell_uses(self.store.as_ref()).await
    }
}
