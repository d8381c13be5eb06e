//! GetSession: a session in any state, for a caller that may see it.

use crate::{
    domain::{Session, SessionId},
    flows::{Caller, Error, Flows, Result},
    state::store_shares::Share,
};

impl Flows {
    /// The session, in whatever state it is.
    ///
    /// # Errors
    /// If there is none, or it is somebody else's: both look the same.
    pub async fn get_session(&self, caller: &Caller, session_id: &str) -> Result<Session> {
        let id = SessionId::parse("session_id", session_id)?;
        self.find_session(caller, id, caller.share()).await
    }

    /// The session, read in a share of the store.
    pub(crate) async fn find_session(&self, caller: &Caller, id: SessionId, share: Share) -> Result<Session> {
        match caller {
            Caller::Client(record) => {
                let session = self.store_turn(share).await?.session(id).await?;
                session.filter(|session| session.client_id == record.client.id).ok_or(Error::SessionNotFound)
            }
            Caller::Device { .. } | Caller::User { .. } => caller.own_session(id).cloned(),
        }
    }
}
