//! The errors of use cases: one variant per reason that callers can tell apart.

use std::time::Duration;

use crate::{
    domain::{DeniedBy, Role, Violation},
    store::StoreError,
    token::KeyError,
};

/// The reasons; `grpc::status` gives each its code.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation: they are what callers read")]
pub enum Error {
    #[error("{}", list(.0))]
    Invalid(Vec<Violation>),

    #[error("missing or unsupported `authorization` metadata; expected {0}")]
    CredentialsMissing(&'static str),
    #[error("the client id or the client secret is wrong (`Basic` takes base64 of id:secret)")]
    ClientCredentialsInvalid,
    #[error("the session token is not one of this service")]
    SessionTokenInvalid,
    #[error("the session token has expired: create a new session")]
    SessionTokenExpired,
    #[error("the access token is not one of this service, or not a valid one")]
    AccessTokenInvalid,
    #[error("the access token has expired: refresh it")]
    AccessTokenExpired,
    #[error("the refresh token is not a valid one of this service")]
    RefreshTokenInvalid,
    #[error("the refresh token has expired: sign in again")]
    RefreshTokenExpired,
    #[error("the refresh token was spent before: its session is now revoked, sign in again")]
    RefreshTokenReused,
    #[error("the session was revoked: sign in again")]
    SessionRevoked,
    #[error("the signature was not made by the claimed address over this challenge")]
    SignatureMismatch,

    #[error("the sign-in is too long ago for this: sign in again")]
    ReauthenticationRequired,

    #[error("the client lacks the role {}", .0.as_str())]
    RoleRequired(Role),
    #[error("the client's policy does not allow this: {0}")]
    PolicyDenied(&'static str),
    #[error("the client is disabled")]
    ClientDisabled,

    #[error("there is no such session")]
    SessionNotFound,
    #[error("there is no such challenge in the caller's scope")]
    ChallengeNotFound,
    #[error("there is no such account")]
    AccountNotFound,
    #[error("there is no such client")]
    ClientNotFound,
    #[error("the account has no such wallet")]
    WalletNotFound,

    #[error("the challenge has expired: start a new one")]
    ChallengeExpired,
    #[error("the challenge was redeemed before: start a new one")]
    ChallengeAlreadyUsed,
    #[error("the session is signed in already")]
    SessionAlreadyActive,
    #[error("the session has expired: create a new one")]
    SessionExpired,
    #[error("the client has two live secrets already: revoke one first")]
    SecretLimitReached,

    #[error("the wallet is the account's last one: link another one first")]
    LastWallet,
    #[error("the account has as many wallets as it may have: unlink one first")]
    WalletLimitReached,
    #[error("the wallet belongs to another account of the realm")]
    WalletAlreadyLinked,

    #[error("rate limit of the {whose} exceeded: retry in {wait:.1?}")]
    RateLimited { whose: &'static str, wait: Duration },
    #[error("overloaded: too many {0}; nothing was executed, retry later")]
    Overloaded(&'static str),
    #[error("other calls were in the way each time; nothing was changed, try again")]
    Contention,
    #[error("the client has changed since the `etag` was read: read it again, and decide anew")]
    EtagMismatch,
    #[error("the stream ends: {0}; start again")]
    WatchInterrupted(String),
    #[error("this instance is shutting down; go on with another one")]
    Draining,
    #[error("the call took longer than its deadline; whether it acted is not known")]
    DeadlineExceeded,
    #[error("the request did not arrive completely in time; nothing was executed, send it again")]
    RequestIncomplete,
    #[error("no RPC node of the chain answered the contract wallet check; nothing was changed, retry later")]
    ChainRpcUnavailable(#[source] Cause),
    #[error("the store does not answer; try again")]
    StoreUnavailable(#[source] Cause),
    #[error("an internal error; it has been logged")]
    Internal(#[source] Cause),
}

/// The outcome of every use case.
pub type Result<T> = std::result::Result<T, Error>;

/// A cause that is for the log alone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(pub String);

impl Cause {
    /// A cause that has been logged already, and not for each call.
    pub const fn logged() -> Self {
        Self(String::new())
    }

    /// Returns true if it has been logged already.
    pub const fn is_logged(&self) -> bool {
        self.0.is_empty()
    }
}

impl Error {
    /// True if the error says nothing about the request, whose outcome may even be a success.
    pub const fn is_no_verdict(&self) -> bool {
        matches!(self, Self::Internal(_) | Self::StoreUnavailable(_) | Self::Overloaded(_) | Self::Contention)
    }

    /// An error of one field.
    pub fn invalid(field: &str, description: impl Into<String>) -> Self {
        Violation::request(field, description).into()
    }

    /// An error that nobody but an engineer can do anything about.
    pub fn internal(cause: impl ToString) -> Self {
        Self::Internal(Cause(cause.to_string()))
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

impl From<DeniedBy> for Error {
    fn from(DeniedBy(rule): DeniedBy) -> Self {
        Self::PolicyDenied(rule)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::ReadOnly(_) => {
                Self::StoreUnavailable(Cause(error.to_string()))
            }
            StoreError::Busy => Self::Overloaded("calls waiting for a database connection"),
            StoreError::Contention | StoreError::Locked => Self::Contention,
            StoreError::Broken(_) => Self::internal(error),
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::internal(error)
    }
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
