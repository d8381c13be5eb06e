//! The rotation of refresh tokens: a session's current generation gives way to the next.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Result;
use crate::domain::{Client, ClientId, RootKeyId, Session, SessionId};

/// A refresh token that was presented.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The session.
    pub session_id: SessionId,
    /// The generation presented.
    pub generation: u32,
    /// The client whose credentials came with it.
    pub client_id: Option<ClientId>,
    /// The root key that the next token would be derived from.
    pub root_key_id: RootKeyId,
}

/// A session whose refresh token moved on, or had just done so.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The session after the step.
    pub session: Session,
    /// Its client, as the step saw it.
    pub client: Client,
    /// The generation that is now current.
    pub generation: u32,
    /// The root key that its token is derived from.
    pub root_key_id: RootKeyId,
    /// The database's clock.
    pub now: OffsetDateTime,
}

/// What presenting a refresh token came to.
#[derive(Clone, Debug)]
pub enum RotateOutcome {
    /// It was current; the next one is.
    Rotated(Rotated),
    /// It was spent within the grace: the same next one, again.
    Replayed(Rotated),
    /// It was spent before: the session is now revoked.
    Reused(SessionId, ClientId),
    /// The session was revoked before.
    Revoked,
    /// The session's time is over.
    Expired,
    /// The client is disabled or deleted.
    ClientDisabled,
    /// The policy demands client credentials, and none came.
    ClientRequired,
    /// No such session, another client's credentials, or a generation that never was handed out.
    Unknown,
}

/// The intent of a refresh.
#[async_trait]
pub trait RotateStore: Send + Sync {
    /// Presents a refresh token: locks the session; looks at its state, its client, its deadlines,
    /// then at the generation; and rotates, replays, or revokes.
    async fn rotate_refresh_token(&self, rotation: Rotation) -> Result<RotateOutcome>;
}
