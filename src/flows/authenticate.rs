//! Authentication of callers: a client, the device of a session, or a signed-in user.

use std::sync::Arc;

use crate::{
    domain::{Client, ClientId, Role, Secret, Session, SessionId, SessionState, session::SignIn},
    flows::{Error, Flows, Result},
    state::client_cache::enabled,
    store::ClientRecord,
    token::{AccessClaims, AccessRefusal, ClientSecret, SessionToken},
};

/// The `authorization` of a call, taken apart.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// None was sent.
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

/// A caller who is who they say.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A client.
    Client(Arc<ClientRecord>),
    /// The device that holds a session token; the session in whatever state it is.
    Device {
        /// The session.
        session: Box<Session>,
        /// Its client.
        client: Arc<ClientRecord>,
    },
    /// A user whose session is ACTIVE on the store.
    User {
        /// The session.
        session: Box<Session>,
        /// Its client.
        client: Arc<ClientRecord>,
    },
}

const ANY: &str = "Basic client credentials, or Bearer with a session token or an access token";

impl Flows {
    /// Finds out who calls.
    ///
    /// # Errors
    /// If the credentials are missing, wrong or no longer good.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Caller> {
        match credentials {
            Credentials::None | Credentials::Unreadable => Err(Error::CredentialsMissing(ANY)),
            Credentials::Basic { client_id, client_secret } => {
                self.authenticate_client(client_id, client_secret).await.map(Caller::Client)
            }
            Credentials::Token(token) if SessionToken::has_prefix(token.expose()) => {
                self.authenticate_device(token.expose()).await
            }
            Credentials::Token(token) => self.authenticate_user(token.expose()).await,
        }
    }

    /// The client whose credentials were sent, where nobody needs to send any; anything but `Basic` is
    /// ignored.
    ///
    /// # Errors
    /// If client credentials were sent and are wrong.
    pub async fn authenticate_if_client(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<ClientRecord>>> {
        match credentials {
            Credentials::Basic { client_id, client_secret } => {
                self.authenticate_client(client_id, client_secret).await.map(Some)
            }
            Credentials::None | Credentials::Token(_) | Credentials::Unreadable => Ok(None),
        }
    }

    async fn authenticate_client(&self, id: &str, secret: &Secret<String>) -> Result<Arc<ClientRecord>> {
        let id = id.parse::<ClientId>().map_err(|_| Error::ClientCredentialsInvalid)?;
        let secret = ClientSecret::parse(secret.expose()).ok_or(Error::ClientCredentialsInvalid)?;
        self.clients.authenticate(self.store.as_ref(), id, &secret).await
    }

    async fn authenticate_device(&self, token: &str) -> Result<Caller> {
        let token = SessionToken::parse(token).ok_or(Error::SessionTokenInvalid)?;
        let session = self.store.session_by_token(token.hash()).await?.ok_or(Error::SessionTokenInvalid)?;
        let client = self
            .clients
            .find(self.store.as_ref(), session.client_id)
            .await?
            .ok_or(Error::SessionTokenInvalid)?;
        Ok(Caller::Device { session: Box::new(session), client: enabled(client)? })
    }

    async fn authenticate_user(&self, token: &str) -> Result<Caller> {
        let claims = self.verify_access_token(token).await?;
        let session = self.session_of(&claims).await?.ok_or(Error::AccessTokenInvalid)?;
        let client = self.clients.find(self.store.as_ref(), session.client_id).await?;
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
    pub(crate) async fn verify_access_token(&self, token: &str) -> Result<AccessClaims> {
        let now = self.clock.now()?.unix_timestamp();
        let verify = || AccessClaims::verify(token, &self.verifying_keys(), &self.issuer, now);
        let verified = match verify() {
            Err(AccessRefusal::UnknownKey) => {
                self.keys.reread(self.store.as_ref(), &self.roots).await.map_err(Error::from)?;
                verify()
            }
            verified => verified,
        };
        verified.map_err(refused)
    }

    /// The session that claims speak of, if it is of that client and account.
    pub(crate) async fn session_of(&self, claims: &AccessClaims) -> Result<Option<Session>> {
        let session = self.store.session(claims.sid).await?;
        Ok(session.filter(|session| {
            let account = session.sign_in.as_ref().map(|sign_in| sign_in.account_id);
            session.client_id == claims.client_id && account == Some(claims.sub)
        }))
    }
}

impl Caller {
    /// The client that the caller is, or belongs to.
    pub fn client_id(&self) -> ClientId {
        match self {
            Self::Client(record) => record.client.id,
            Self::Device { session, .. } | Self::User { session, .. } => session.client_id,
        }
    }

    /// The kind of caller, as audit events name it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Device { .. } => "device",
            Self::User { .. } => "user",
        }
    }

    /// The session of the caller's token, if it is the one that was asked for.
    pub(crate) fn own_session(&self, id: SessionId) -> Result<&Session> {
        match self {
            Self::Device { session, .. } | Self::User { session, .. } if session.id == id => Ok(session),
            Self::Client(_) | Self::Device { .. } | Self::User { .. } => Err(Error::SessionNotFound),
        }
    }

    /// The client, where only a client may call.
    pub(crate) fn client(&self) -> Result<&Client> {
        match self {
            Self::Client(record) => Ok(&record.client),
            Self::Device { .. } | Self::User { .. } => {
                Err(Error::CredentialsMissing("this call takes Basic client credentials only"))
            }
        }
    }
}

/// The error for a session token where a client or a signed-in user must call.
pub(crate) const fn client_or_user_required() -> Error {
    Error::CredentialsMissing("this call takes Basic client credentials or Bearer with an access token")
}

/// What a caller is told of a token that was refused.
pub(crate) const fn refused(refusal: AccessRefusal) -> Error {
    match refusal {
        AccessRefusal::Expired => Error::AccessTokenExpired,
        AccessRefusal::Invalid | AccessRefusal::UnknownKey => Error::AccessTokenInvalid,
    }
}

/// A signed-in user: the session, what its sign-in left in it, and its client.
pub(crate) struct User<'a> {
    pub(crate) session: &'a Session,
    pub(crate) sign_in: &'a SignIn,
    pub(crate) client: &'a Client,
}

impl Caller {
    /// The user, where only an access token will do.
    pub(crate) fn user(&self) -> Result<User<'_>> {
        match self {
            Self::User { session, client } => {
                let sign_in = session.sign_in.as_ref().ok_or(Error::AccessTokenInvalid)?;
                Ok(User { session, sign_in, client: &client.client })
            }
            Self::Client(_) | Self::Device { .. } => {
                Err(Error::CredentialsMissing("this call takes Bearer with an access token only"))
            }
        }
    }
}

/// The error where the policy `refresh_requires_client` demands credentials and none came.
pub(crate) const fn client_required() -> Error {
    Error::CredentialsMissing(
        "the client's policy `refresh_requires_client` demands Basic client credentials",
    )
}

/// The client itself, if it has a role.
pub(crate) fn with_role(client: &Client, role: Role) -> Result<&Client> {
    if client.policy.has(role) { Ok(client) } else { Err(Error::RoleRequired(role)) }
}
