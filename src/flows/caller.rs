//! The caller of a use case, authenticated.

use std::sync::Arc;

use crate::{
    domain::{Client, ClientId, Role, Session, SessionId, session::SignIn},
    flows::{Error, Result},
    state::store_shares::{Party, Share},
    store::ClientRecord,
};

/// An authenticated caller.
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

impl Caller {
    /// The client that the caller is, or belongs to.
    pub fn client_id(&self) -> ClientId {
        match self {
            Self::Client(record) => record.client.id,
            Self::Device { session, .. } | Self::User { session, .. } => session.client_id,
        }
    }

    /// The client that a token's session belongs to.
    pub(crate) fn client_of_token(&self) -> Option<&Client> {
        match self {
            Self::Client(_) => None,
            Self::Device { client, .. } | Self::User { client, .. } => Some(&client.client),
        }
    }

    /// The share of the store that its calls use.
    pub(crate) fn share(&self) -> Share {
        match self {
            Self::Client(record) => Share::of(Party::Client(record.client.id)),
            Self::Device { session, .. } | Self::User { session, .. } => {
                Share::of_session(session.client_id, session.id)
            }
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
                Err(Error::CredentialsMissing("Basic client credentials"))
            }
        }
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
                Err(Error::CredentialsMissing("Bearer with an access token"))
            }
        }
    }
}

/// The error where the policy `refresh_requires_client` demands credentials and none came.
pub(crate) const fn client_required() -> Error {
    Error::CredentialsMissing("Basic client credentials (the client's policy sets `refresh_requires_client`)")
}

/// The client, if it has a role.
pub(crate) fn with_role(client: &Client, role: Role) -> Result<&Client> {
    if client.policy.has(role) { Ok(client) } else { Err(Error::RoleRequired(role)) }
}

/// The error for a session token where a client or a signed-in user must call.
pub(crate) const fn client_or_user_required() -> Error {
    Error::CredentialsMissing("Basic client credentials or Bearer with an access token")
}
