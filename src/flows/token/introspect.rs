//! IntrospectToken: the state of a token, decided on the store (RFC 7662).

use std::sync::Arc;

use crate::{
    domain::{Client, Role, Session, SessionState},
    flows::{Caller, Error, Flows, Result},
    state::store_shares::{Party, Share},
    token::{AccessClaims, RefreshToken},
};

/// What the caller may know of a token.
#[derive(Clone, Debug)]
pub enum Introspection {
    /// Not good, not known, or none of the caller's business: all the same.
    Inactive,
    /// A good access token.
    Access(Arc<AccessClaims>),
    /// The current refresh token of a session.
    Refresh {
        /// The session.
        session: Box<Session>,
        /// The scope of its tokens.
        scope: String,
        /// The issuer.
        issuer: String,
    },
}

impl Flows {
    /// Looks into a token, decided on the store.
    ///
    /// # Errors
    /// If the caller is no client, or the store does not answer.
    pub async fn introspect_token(&self, caller: &Caller, token: &str) -> Result<Introspection> {
        let client = caller.client()?;
        if token.is_empty() {
            return Err(Error::invalid("token", "is required"));
        }
        if RefreshToken::has_prefix(token) {
            self.introspect_refresh_token(client, token).await
        } else {
            self.introspect_access_token(client, token).await
        }
    }

    async fn introspect_access_token(&self, client: &Client, token: &str) -> Result<Introspection> {
        let claims = match self.verify_access_token(token).await {
            Ok(claims) if in_scope(client, &claims) => claims,
            Ok(_) | Err(Error::AccessTokenInvalid | Error::AccessTokenExpired) => {
                return Ok(Introspection::Inactive);
            }
            Err(error) => return Err(error),
        };
        let share = Share::of(Party::Client(client.id));
        match self.session_of(&claims, share).await? {
            Some(session) if self.is_served(&session, share).await? => Ok(Introspection::Access(claims)),
            _ => Ok(Introspection::Inactive),
        }
    }

    async fn introspect_refresh_token(&self, client: &Client, token: &str) -> Result<Introspection> {
        let Some(token) = RefreshToken::verify(token, &self.roots) else {
            return Ok(Introspection::Inactive);
        };
        let share = Share::of(Party::Client(client.id));
        let session = self.store_turn(share).await?.session(token.session_id).await?;
        let current = session.filter(|session| {
            session.client_id == client.id
                && session.sign_in.as_ref().is_some_and(|own| own.generation == token.generation)
        });
        match current {
            Some(session) if self.is_served(&session, share).await? => Ok(Introspection::Refresh {
                session: Box::new(session),
                scope: client.policy.scope.clone(),
                issuer: self.issuer.clone(),
            }),
            _ => Ok(Introspection::Inactive),
        }
    }

    /// Whether a session is ACTIVE, and its client is not switched off.
    async fn is_served(&self, session: &Session, share: Share) -> Result<bool> {
        if session.state != SessionState::Active {
            return Ok(false);
        }
        let record = self.clients.find(self.store_for(share), session.client_id).await?;
        Ok(record.is_some_and(|record| !record.client.policy.disabled))
    }
}

/// A client's own tokens; with the role, also those for the audiences it guards.
fn in_scope(client: &Client, claims: &AccessClaims) -> bool {
    let own = claims.client_id == client.id;
    let guarded =
        || claims.aud.to_vec().iter().any(|audience| client.policy.introspect_audiences.contains(audience));
    own || (client.policy.has(Role::Introspect) && guarded())
}
