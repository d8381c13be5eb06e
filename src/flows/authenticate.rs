//! Authentication of callers: a client, the device of a session, or a signed-in user.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::SemaphorePermit;

use crate::{
    domain::{AccountId, ClientId, RateLimit, Secret, Session, SessionId, SessionState},
    flows::{Caller, Error, Flows, Result, caller::client_or_user_required},
    state::{
        client_cache::enabled,
        rate_limiter::{ClientLimits, SessionCall, SessionKey},
        store_shares::{Lane, Party, Share},
    },
    store::ClientRecord,
    token::{AccessClaims, AccessRefusal, ClientSecret, SessionToken},
};

/// Credentials of a call, and the address that it came from.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The `authorization`.
    pub credentials: Credentials,
    /// Address of the caller, as far as it is known.
    pub origin: Option<IpAddr>,
}

/// Parsed `authorization` of a call.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// No `authorization` was sent.
    None,
    /// `Basic`: a client id and a secret, in the clear.
    Basic {
        /// What stands before the colon.
        client_id: String,
        /// What stands after it.
        client_secret: Secret<String>,
    },
    /// `Bearer` or `JWT`: a session token or an access token.
    Token(Secret<String>),
    /// A scheme that is not known here, or a value that cannot be read.
    Unreadable,
}

const ANY: &str = "Basic client credentials, or Bearer with a session token or an access token";

/// Object of a revocation.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The session with this id.
    Session(&'a str),
    /// All sessions of the account with this id.
    Account(&'a str),
}

impl Target<'_> {
    /// Rejects a target that is not the user's own session or account.
    fn ensure_own(self, claims: &AccessClaims) -> Result<()> {
        match self {
            Self::Session(id) if SessionId::parse("session_id", id)? != claims.sid => {
                Err(Error::SessionNotFound)
            }
            Self::Account(id) if AccountId::parse("account_id", id)? != claims.sub => {
                Err(Error::AccountNotFound)
            }
            Self::Session(_) | Self::Account(_) => Ok(()),
        }
    }
}

/// Credentials whose form, and signature or MAC if present, are verified. The store has not been queried yet.
enum Verified {
    Client(ClientId, ClientSecret),
    Device(SessionToken),
    User(Arc<AccessClaims>),
}

impl Flows {
    /// Authenticates the caller. A call with a token counts against the budget of its session.
    ///
    /// # Errors
    /// If the credentials are missing, invalid or expired, or the session's budget is spent.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Caller> {
        let verified = self.verify_credentials(&presented.credentials).await?;
        let call = self.count_verified(&verified)?;
        let unauthenticated = Share::of_origin(presented.origin);
        let caller = match verified {
            Verified::Client(id, secret) => {
                Caller::Client(self.find_client(id, &secret, unauthenticated).await?)
            }
            Verified::Device(token) => {
                self.find_device(&token, self.share_of_token(&token, unauthenticated)).await?
            }
            Verified::User(claims) => {
                self.find_user(&claims, Share::of_session(claims.client_id, claims.sid)).await?
            }
        };
        if let (Some(call), Some(client)) = (call, caller.client_of_token()) {
            self.session_budgets.learn(call, client);
        }
        Ok(caller)
    }

    /// Authenticates a caller that revokes. No budget applies: a flood of calls with a stolen token must not delay the
    /// owner's log-out. A target that is not the caller's own is rejected before any query, because revocations of a
    /// session wait for the store in a lane of their own.
    ///
    /// # Errors
    /// If the credentials are missing, invalid or expired, or the target is not the user's own. Session tokens cannot
    /// revoke.
    pub async fn authenticate_to_revoke(&self, presented: &Presented, target: Target<'_>) -> Result<Caller> {
        match self.verify_credentials(&presented.credentials).await? {
            Verified::Device(_) => Err(client_or_user_required()),
            Verified::Client(id, secret) => {
                let unauthenticated = Share::of_origin(presented.origin);
                self.find_client(id, &secret, unauthenticated).await.map(Caller::Client)
            }
            Verified::User(claims) => {
                target.ensure_own(&claims)?;
                let share = Share::of_session(claims.client_id, claims.sid).revoking(claims.sid);
                self.find_user(&claims, share).await
            }
        }
    }

    async fn verify_credentials(&self, credentials: &Credentials) -> Result<Verified> {
        match credentials {
            Credentials::None | Credentials::Unreadable => Err(Error::CredentialsMissing(ANY)),
            Credentials::Basic { client_id, client_secret } => {
                let (id, secret) = parse_client(client_id, client_secret)?;
                Ok(Verified::Client(id, secret))
            }
            Credentials::Token(token) if SessionToken::has_prefix(token.expose()) => {
                self.verify_session_token(token.expose()).await.map(Verified::Device)
            }
            Credentials::Token(token) => self.verify_access_token(token.expose()).await.map(Verified::User),
        }
    }

    /// Parses a session token and verifies its MAC. A token without a valid MAC is accepted for look-up only while the
    /// store may hold a session whose token an earlier version made.
    async fn verify_session_token(&self, text: &str) -> Result<SessionToken> {
        let token = SessionToken::parse(text).ok_or(Error::SessionTokenInvalid)?;
        if token.is_marked(&self.roots) {
            return Ok(token);
        }
        self.shares.ensure_open()?;
        let _waits = self.doubtful()?;
        if self.unmarked_tokens.may_exist().await? { Ok(token) } else { Err(Error::SessionTokenInvalid) }
    }

    /// Acquires a slot to wait for the store to decide on a token that may come from another instance, or be forged.
    fn doubtful(&self) -> Result<SemaphorePermit<'_>> {
        self.doubtful_tokens
            .try_acquire()
            .map_err(|_| Error::Overloaded("calls waiting for the store to verify an unrecognized token"))
    }

    fn count_verified(&self, verified: &Verified) -> Result<Option<SessionCall>> {
        let (key, client_id) = match verified {
            Verified::Client(..) => return Ok(None),
            Verified::Device(token) => (SessionKey::Token(token.hash()), None),
            Verified::User(claims) => (SessionKey::Session(claims.sid), Some(claims.client_id)),
        };
        self.count_session(key, client_id).map(|(call, _)| Some(call))
    }

    /// Counts a call against the budget of a session, before any query; returns the limits of the session's client if
    /// they are known by then. The cache has the newest ones; the session's last answer named the client.
    pub(crate) fn count_session(
        &self,
        key: SessionKey,
        client_id: Option<ClientId>,
    ) -> Result<(SessionCall, Option<ClientLimits>)> {
        let answered = self.session_budgets.client(key);
        let cached = client_id
            .or(answered.map(|client| client.client_id))
            .and_then(|id| self.clients.remembered(id))
            .map(|record| ClientLimits::from(&record.client));
        let client = cached.or(answered);
        let limits = client.map_or_else(RateLimit::default, |client| client.limits);
        Ok((self.session_budgets.count(key, limits.per_session)?, client))
    }

    /// The share of the store that a session token is looked up with: its own if it has a MAC.
    fn share_of_token(&self, token: &SessionToken, unauthenticated: Share) -> Share {
        match token.is_marked(&self.roots) {
            true => self.session_share(SessionKey::Token(token.hash())),
            false => unauthenticated,
        }
    }

    /// Share of a session; its client is known if the session was served within the last minute.
    pub(crate) fn session_share(&self, key: SessionKey) -> Share {
        let client = self.session_budgets.client(key);
        let party = client.map_or(Party::Sessions, |client| Party::Client(client.client_id));
        Share { party, lane: Lane::Session(key) }
    }

    /// The client, if the call has client credentials; any other `authorization` is ignored.
    ///
    /// # Errors
    /// If client credentials were sent and are wrong.
    pub async fn authenticate_if_client(&self, presented: &Presented) -> Result<Option<Arc<ClientRecord>>> {
        match &presented.credentials {
            Credentials::Basic { client_id, client_secret } => {
                let (id, secret) = parse_client(client_id, client_secret)?;
                self.find_client(id, &secret, Share::of_origin(presented.origin)).await.map(Some)
            }
            Credentials::None | Credentials::Token(_) | Credentials::Unreadable => Ok(None),
        }
    }

    /// Looks up a client. If this instance has verified the same secret before, the look-up uses the client's own
    /// share, so that it does not queue behind unauthenticated callers each time the cache expires.
    async fn find_client(
        &self,
        id: ClientId,
        secret: &ClientSecret,
        unauthenticated: Share,
    ) -> Result<Arc<ClientRecord>> {
        if let Some(record) = self.clients.authenticated_lately(id, secret) {
            return enabled(record);
        }
        let is_known = self.clients.recognises(id, secret);
        let share = if is_known { Share::of(Party::Client(id)) } else { unauthenticated };
        self.clients.authenticate(self.store_for(share), id, secret).await
    }

    async fn find_device(&self, token: &SessionToken, share: Share) -> Result<Caller> {
        let session = self.store_turn(share).await?.session_by_token(token.hash()).await?;
        let session = session.ok_or(Error::SessionTokenInvalid)?;
        let client = self.clients.find(self.store_for(share), session.client_id).await?;
        let client = client.ok_or(Error::SessionTokenInvalid)?;
        Ok(Caller::Device { session: Box::new(session), client: enabled(client)? })
    }

    async fn find_user(&self, claims: &AccessClaims, share: Share) -> Result<Caller> {
        let session = self.session_of(claims, share).await?.ok_or(Error::AccessTokenInvalid)?;
        let client = self.clients.find(self.store_for(share), session.client_id).await?;
        let client = enabled(client.ok_or(Error::AccessTokenInvalid)?)?;
        match session.state {
            SessionState::Active => Ok(Caller::User { session: Box::new(session), client }),
            SessionState::Revoked => Err(Error::SessionRevoked),
            SessionState::Expired => Err(Error::AccessTokenExpired),
            SessionState::Pending => Err(Error::AccessTokenInvalid),
        }
    }

    /// The claims of an access token of this service, good by what can be seen without the store. A key that is
    /// not known may have begun to sign a moment ago, on another instance: the keys are read once more then.
    pub(crate) async fn verify_access_token(&self, token: &str) -> Result<Arc<AccessClaims>> {
        let now = self.clock.now()?.unix_timestamp();
        let verify = || self.verified.verify(token, &self.verifying_keys(), &self.issuer, now);
        let verified = match verify() {
            Err(AccessRefusal::UnknownKey) => {
                self.shares.ensure_open()?;
                let _waits = self.doubtful()?;
                self.keys.reread(self.store.as_ref(), &self.roots).await.map_err(Error::from)?;
                verify()
            }
            verified => verified,
        };
        verified.map_err(refused)
    }

    /// The session that claims speak of, if it is of that client and account.
    pub(crate) async fn session_of(&self, claims: &AccessClaims, share: Share) -> Result<Option<Session>> {
        let session = self.store_turn(share).await?.session(claims.sid).await?;
        Ok(session.filter(|session| {
            let account = session.sign_in.as_ref().map(|sign_in| sign_in.account_id);
            session.client_id == claims.client_id && account == Some(claims.sub)
        }))
    }
}

/// The client id and the secret of `Basic` credentials.
fn parse_client(id: &str, secret: &Secret<String>) -> Result<(ClientId, ClientSecret)> {
    let id = id.parse().map_err(|_| Error::ClientCredentialsInvalid)?;
    let secret = ClientSecret::parse(secret.expose()).ok_or(Error::ClientCredentialsInvalid)?;
    Ok((id, secret))
}

/// The error of a rejected access token.
pub(crate) const fn refused(refusal: AccessRefusal) -> Error {
    match refusal {
        AccessRefusal::Expired => Error::AccessTokenExpired,
        AccessRefusal::Invalid | AccessRefusal::UnknownKey => Error::AccessTokenInvalid,
    }
}
