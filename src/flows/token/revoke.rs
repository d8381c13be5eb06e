//! RevokeToken: ends the session of a token (RFC 7009).

use std::sync::Arc;

use crate::{
    domain::{ClientId, RevokeReason, Session, SessionId, SessionState},
    flows::{Error, Flows, Presented, Result, caller::client_required},
    state::{
        audit,
        store_shares::{Party, Share},
    },
    token::{AccessClaims, RefreshToken},
};

impl Flows {
    /// Ends the session of an access or a refresh token. Returns the session's client, or `None` for a token that is unknown
    /// or whose session was revoked before, which is no error.
    ///
    /// # Errors
    /// If client credentials came with it and are not the session's, or are demanded and missing.
    pub async fn revoke_token(&self, presented: &Presented, token: &str) -> Result<Option<ClientId>> {
        if token.is_empty() {
            return Err(Error::invalid("token", "is required"));
        }
        let caller = self.authenticate_if_client(presented).await?;
        let Some(genuine) = self.verify_token(token).await? else {
            return Ok(None);
        };
        let caller = caller.as_ref().map(|record| record.client.id);
        // Calls without credentials use a share of their own: the client's may be the only ones permitted to revoke.
        let share = Share::of(caller.map_or(Party::Sessions, Party::Client)).revoking(genuine.session_id());
        if let (Some(caller), Genuine::Access(claims)) = (caller, &genuine)
            && claims.client_id != caller
        {
            return Err(not_the_callers(token));
        }
        let Some(session) = self.session_of_token(&genuine, share).await? else {
            return Ok(None);
        };
        match caller {
            Some(caller) if caller != session.client_id => return Err(not_the_callers(token)),
            Some(_) => {}
            None => self.refuse_where_client_is_required(&session, share).await?,
        }
        // A session that is already revoked needs no write and no audit event.
        if session.state == SessionState::Revoked {
            return Ok(None);
        }
        let store = self.store_turn(share).await?;
        if let Some(revoked) = store.revoke_session(session.id, RevokeReason::TokenRevoked).await? {
            audit::session_revoked(&revoked, "token");
        }
        Ok(Some(session.client_id))
    }

    /// Verifies a token. A refresh token of any generation is accepted: its holder may end the session.
    async fn verify_token(&self, token: &str) -> Result<Option<Genuine>> {
        if RefreshToken::has_prefix(token) {
            return Ok(RefreshToken::verify(token, &self.roots).map(Genuine::Refresh));
        }
        match self.verify_access_token(token).await {
            Ok(claims) => Ok(Some(Genuine::Access(claims))),
            Err(Error::AccessTokenInvalid | Error::AccessTokenExpired) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn session_of_token(&self, token: &Genuine, share: Share) -> Result<Option<Session>> {
        match token {
            Genuine::Refresh(token) => Ok(self.store_turn(share).await?.session(token.session_id).await?),
            Genuine::Access(claims) => self.session_of(claims, share).await,
        }
    }

    async fn refuse_where_client_is_required(&self, session: &Session, share: Share) -> Result<()> {
        let record = self.clients.find(self.store_for(share), session.client_id).await?;
        match record {
            Some(record) if record.client.policy.refresh_requires_client => Err(client_required()),
            _ => Ok(()),
        }
    }
}

/// A token of this service, by its MAC or its signature.
enum Genuine {
    Refresh(RefreshToken),
    Access(Arc<AccessClaims>),
}

impl Genuine {
    fn session_id(&self) -> SessionId {
        match self {
            Self::Refresh(token) => token.session_id,
            Self::Access(claims) => claims.sid,
        }
    }
}

/// RFC 7009, section 2.1: a token of another client is refused.
fn not_the_callers(token: &str) -> Error {
    if RefreshToken::has_prefix(token) { Error::RefreshTokenInvalid } else { Error::AccessTokenInvalid }
}
