//! RevokeToken: ends the session of a token (RFC 7009).

use crate::{
    domain::{ClientId, RevokeReason, Session},
    flows::{Credentials, Error, Flows, Result, caller::client_required},
    state::{
        audit,
        rate_limiter::SessionKey,
        store_shares::{Party, Share},
    },
    token::RefreshToken,
};

impl Flows {
    /// Ends the session of an access or a refresh token, and tells whose it was; one that is not known is no error.
    ///
    /// # Errors
    /// If client credentials came with it and are not the session's, or are demanded and missing.
    pub async fn revoke_token(&self, credentials: &Credentials, token: &str) -> Result<Option<ClientId>> {
        if token.is_empty() {
            return Err(Error::invalid("token", "is required"));
        }
        let caller = self.authenticate_if_client(credentials).await?;
        let Some(session) = self.session_of_token(token).await? else {
            return Ok(None);
        };
        match caller {
            Some(record) if record.client.id != session.client_id => return Err(not_the_callers(token)),
            Some(_) => {}
            None => self.refuse_where_client_is_required(&session).await?,
        }
        let share = Share::of(Party::Client(session.client_id)).revoking(session.id);
        let store = self.store_turn(share).await?;
        if let Some(revoked) = store.revoke_session(session.id, RevokeReason::TokenRevoked).await? {
            audit::session_revoked(&revoked, "token");
        }
        Ok(Some(session.client_id))
    }

    /// The session of a token that is genuine. Of refresh tokens any generation will do: whoever wants
    /// the session ended has its authority.
    async fn session_of_token(&self, token: &str) -> Result<Option<Session>> {
        if RefreshToken::has_prefix(token) {
            return match RefreshToken::verify(token, &self.roots) {
                Some(token) => {
                    let share = self.session_share(SessionKey::Session(token.session_id));
                    let store = self.store_turn(share.revoking(token.session_id)).await?;
                    Ok(store.session(token.session_id).await?)
                }
                None => Ok(None),
            };
        }
        match self.verify_access_token(token).await {
            Ok(claims) => {
                let share = Share::of(Party::Client(claims.client_id)).revoking(claims.sid);
                self.session_of(&claims, share).await
            }
            Err(error @ Error::StoreUnavailable(_)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn refuse_where_client_is_required(&self, session: &Session) -> Result<()> {
        let share = Share::of(Party::Client(session.client_id)).revoking(session.id);
        let record = self.clients.find(self.store_for(share), session.client_id).await?;
        match record {
            Some(record) if record.client.policy.refresh_requires_client => Err(client_required()),
            _ => Ok(()),
        }
    }
}

/// RFC 7009, section 2.1: a token of another client is refused.
fn not_the_callers(token: &str) -> Error {
    if RefreshToken::has_prefix(token) { Error::RefreshTokenInvalid } else { Error::AccessTokenInvalid }
}
