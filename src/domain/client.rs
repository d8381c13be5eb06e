//! An application that lets its users sign in.

use time::OffsetDateTime;

use super::{ClientId, Policy, SecretId};

/// What a client may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Create sessions, start and verify challenges.
    SignIn,
    /// Introspect access tokens of the listed audiences.
    Introspect,
    /// Manage clients.
    Admin,
}

impl Role {
    /// The name on the command line and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "SIGN_IN",
            Self::Introspect => "INTROSPECT",
            Self::Admin => "ADMIN",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::SignIn, Self::Introspect, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

/// A client and its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The id.
    pub id: ClientId,
    /// The set of clients that share their accounts.
    pub realm: String,
    /// What it may do, and how its sign-ins go.
    pub policy: Policy,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// When it last changed.
    pub update_time: OffsetDateTime,
}

/// What is kept of a secret that lets a client in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSecret {
    /// Its id, by which it can be revoked.
    pub id: SecretId,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// When it was last used, to the minute; `None` if it never was.
    pub last_used_time: Option<OffsetDateTime>,
}

/// How many live secrets a client has at most: the one in use, and the one that is to replace it.
pub const SECRET_LIMIT: usize = 2;

/// The `aud` of a client's access tokens: its id unless its policy names audiences.
pub fn token_audience(id: ClientId, policy: &Policy) -> Vec<String> {
    if policy.audience.is_empty() { vec![id.to_string()] } else { policy.audience.clone() }
}

impl Client {
    /// The `aud` of its access tokens.
    pub fn audience(&self) -> Vec<String> {
        token_audience(self.id, &self.policy)
    }
}
