//! For services in Rust that take access tokens: one call checks a token, from memory.
//!
//! The keys come from `GetJwks` and are kept; what is revoked comes from `WatchRevocations`, for which the service has
//! client credentials: of its own client, or, where several clients' tokens are for its audience, of one with the role
//! INTROSPECT for that audience, since any other receives its own sessions only. A session that ends anywhere is
//! rejected here within a second. If the revocations are stale, every token is rejected (fail closed).
//!
//! ```no_run
//! use countersign::verifier::{Refusal, Verifier, VerifierSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = tonic::transport::Channel::from_static("http://countersign:50051").connect().await?;
//! let settings = VerifierSettings::new("https://auth.example", "shop").with_client("client id", "client secret");
//! let verifier = Verifier::start(channel, settings).await?;
//!
//! // For each request; clones are cheap, and share what is known.
//! # let token = "";
//! match verifier.check(token) {
//!     Ok(claims) => println!("{} calls, signed in by {}", claims.sub, claims.address),
//!     Err(Refusal::Expired) => println!("401: refresh it"),
//!     Err(refusal) => println!("401: {refusal}"),
//! }
//! # Ok(())
//! # }
//! ```

mod revoked;
mod subscription;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{sync::Notify, task::JoinSet};
use tonic::transport::Channel;

use crate::{
    domain::{MAX_CHECKER_LEEWAY, Secret},
    token::{AccessRefusal, PublicKeys, VerifiedTokens, VerifyingKeys as _},
};

pub use crate::token::AccessClaims;
use revoked::Revoked;

/// Whose tokens are taken, and how old what is known of them may be.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// The `iss` of the tokens: the service's setting `issuer`.
    pub issuer: String,
    /// One of the `aud` of the tokens: the client's id, or what its policy's `audience` says.
    pub audience: String,
    /// How long keys are kept before they are asked for again; less than the service's `key-prepublish`. Default:
    /// 10 minutes.
    pub keys_max_age: Duration,
    /// Maximum age of the revocations. Default: 1 minute.
    pub revocations_max_age: Duration,
    /// How far this machine's clock may be ahead of the service's, a minute at most. Default: 5 seconds.
    pub leeway: Duration,
    authorization: Option<Secret<String>>,
    keys_pause: Duration,
}

/// Shortest pause between two requests for the keys, whatever tokens arrive.
const KEYS_PAUSE: Duration = Duration::from_secs(5);

impl VerifierSettings {
    /// Tokens of an issuer for an audience; without revocations, unless [`Self::with_client`] follows.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys_max_age: Duration::from_mins(10),
            revocations_max_age: Duration::from_mins(1),
            leeway: Duration::from_secs(5),
            authorization: None,
            keys_pause: KEYS_PAUSE,
        }
    }

    /// Sets the client that subscribes to revocations. Without one, a revoked token passes until it expires.
    #[must_use]
    pub fn with_client(self, client_id: &str, client_secret: &str) -> Self {
        let basic = STANDARD.encode(format!("{client_id}:{client_secret}"));
        Self { authorization: Some(Secret::new(format!("Basic {basic}"))), ..self }
    }

    /// Another pause between two requests for the keys, for tests that cannot wait for the real one.
    #[doc(hidden)]
    #[must_use]
    pub fn with_keys_pause(self, keys_pause: Duration) -> Self {
        Self { keys_pause, ..self }
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an access token of this issuer for this audience.
    #[error("the access token is not a valid one")]
    Invalid,
    /// Good but for its time.
    #[error("the access token has expired")]
    Expired,
    /// Signed by a key that is not known here; it is being asked for.
    #[error("the access token was signed by a key that is not known")]
    UnknownKey,
    /// Its session was revoked, or its client is disabled or deleted.
    #[error("the access token was revoked")]
    Revoked,
    /// The revocations are too old.
    #[error("what is revoked is not known any more")]
    Stale,
}

/// Checks tokens. It keeps its keys and revocations up to date until its last clone is dropped.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// They end with this.
    _tasks: JoinSet<()>,
}

/// What checks read, and the tasks behind them write.
struct Shared {
    settings: VerifierSettings,
    keys: RwLock<Arc<PublicKeys>>,
    /// Asks for the keys before their time.
    missing: Notify,
    revoked: RwLock<Revoked>,
    verified: VerifiedTokens,
}

impl Shared {
    fn keys(&self) -> Arc<PublicKeys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.0.shared.settings).finish()
    }
}

impl Verifier {
    /// Ready to check: the keys are there, and so is all that is revoked.
    ///
    /// # Errors
    /// If the service does not answer, or refuses the client.
    pub async fn start(channel: Channel, settings: VerifierSettings) -> Result<Self, tonic::Status> {
        let shared = Arc::new(Shared {
            settings,
            keys: RwLock::default(),
            missing: Notify::new(),
            revoked: RwLock::default(),
            verified: VerifiedTokens::default(),
        });
        subscription::read_keys(&shared, &channel).await?;
        let mut tasks = JoinSet::new();
        if let Some(stream) = subscription::watch(&shared, &channel).await? {
            tasks.spawn(subscription::follow_revocations(Arc::clone(&shared), channel.clone(), stream));
        }
        tasks.spawn(subscription::follow_keys(Arc::clone(&shared), channel));
        Ok(Self(Arc::new(Inner { shared, _tasks: tasks })))
    }

    /// The claims of a token that is good now.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check(&self, token: &str) -> Result<Arc<AccessClaims>, Refusal> {
        let shared = &self.0.shared;
        let now =
            now() - i64::try_from(shared.settings.leeway.min(MAX_CHECKER_LEEWAY).as_secs()).unwrap_or(0);
        let claims = shared.verified.verify(token, shared.keys().as_ref(), &shared.settings.issuer, now);
        let claims = claims.map_err(|refusal| self.refused(refusal))?;
        if !claims.aud.contains(&shared.settings.audience) {
            return Err(Refusal::Invalid);
        }
        if shared.settings.authorization.is_some() {
            let revoked = shared.revoked.read().unwrap_or_else(PoisonError::into_inner);
            revoked.refuse(&claims, shared.settings.revocations_max_age)?;
        }
        Ok(claims)
    }

    /// Returns whether a key is in the set that was read last, for tests that wait for it.
    #[doc(hidden)]
    pub fn knows_key(&self, kid: &str) -> bool {
        self.0.shared.keys().verifying(kid).is_some()
    }

    fn refused(&self, refusal: AccessRefusal) -> Refusal {
        match refusal {
            AccessRefusal::Invalid => Refusal::Invalid,
            AccessRefusal::Expired => Refusal::Expired,
            AccessRefusal::UnknownKey => {
                self.0.shared.missing.notify_one();
                Refusal::UnknownKey
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is another machine than the service's, with its own clock"
)]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
