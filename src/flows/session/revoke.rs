//! RevokeSession and RevokeAccountSessions.

use crate::{
    domain::{AccountId, RevokeReason, Session, SessionId, SessionState},
    flows::{Caller, Error, Flows, Result, caller::client_or_user_required},
    state::audit::{self, audit},
    store::RevokeScope,
};

impl Flows {
    /// Ends one session; again is no error.
    ///
    /// # Errors
    /// If there is none, or it is somebody else's.
    pub async fn revoke_session(&self, caller: &Caller, session_id: &str) -> Result<Session> {
        let reason = match caller {
            Caller::Client(_) => RevokeReason::RevokedByClient,
            Caller::User { .. } => RevokeReason::RevokedByUser,
            Caller::Device { .. } => return Err(client_or_user_required()),
        };
        let id = SessionId::parse("session_id", session_id)?;
        let share = caller.share().revoking(id);
        let session = self.find_session(caller, id, share).await?;
        if session.state == SessionState::Revoked {
            return Ok(session);
        }
        let store = self.store_turn(share).await?;
        let revoked = store.revoke_session(id, reason).await?.ok_or(Error::SessionNotFound)?;
        audit::session_revoked(&revoked, caller.kind());
        Ok(revoked)
    }

    /// Ends every session of an account that the caller may end: how many were live.
    ///
    /// # Errors
    /// If the caller's realm has no such account, or it is not the user's own.
    pub async fn revoke_account_sessions(&self, caller: &Caller, account_id: &str) -> Result<u32> {
        let id = AccountId::parse("account_id", account_id)?;
        let scope = match caller {
            Caller::Client(record) => {
                RevokeScope::Client { client_id: record.client.id, realm: record.client.realm.clone() }
            }
            Caller::User { session, .. }
                if session.sign_in.as_ref().is_some_and(|own| own.account_id == id) =>
            {
                RevokeScope::Account
            }
            Caller::User { .. } => return Err(Error::AccountNotFound),
            Caller::Device { .. } => return Err(client_or_user_required()),
        };
        let count = self
            .store_turn(caller.share().revoking_all(id))
            .await?
            .revoke_account_sessions(id, scope)
            .await?
            .ok_or(Error::AccountNotFound)?;
        let (client_id, by) = (caller.client_id(), caller.kind());
        audit!("account.sessions_revoked", %client_id, account_id = %id, by, count);
        Ok(count)
    }
}
