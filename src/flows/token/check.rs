//! ext_authz Check: decides on an access token from memory, without a query.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::ClientId,
    flows::{AccessClaims, Credentials, Error, Flows, Result, authenticate::refused},
    state::error::Cause,
};

/// Whose tokens a route takes.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// One of the audiences of the tokens.
    audience: Option<&'a str>,
    /// The client of the tokens.
    client_id: Option<ClientId>,
}

impl<'a> Route<'a> {
    /// The route that the gateway's configuration describes.
    ///
    /// # Errors
    /// If it names nobody, or a client by what is not an id.
    pub fn new(audience: Option<&'a str>, client_id: Option<&str>) -> Result<Self> {
        let named = [audience, client_id];
        if named == [None, None] || named.contains(&Some("")) {
            let why = "must name the `audience` or the `client_id` that the route serves";
            return Err(Error::invalid("context_extensions", why));
        }
        let client_id =
            client_id.map(|id| ClientId::parse("context_extensions.client_id", id)).transpose()?;
        Ok(Self { audience, client_id })
    }

    /// Whether it is for tokens like this one, by everything that it names.
    fn serves(&self, claims: &AccessClaims) -> bool {
        self.audience.is_none_or(|audience| claims.aud.contains(audience))
            && self.client_id.is_none_or(|client_id| claims.client_id == client_id)
    }
}

const ACCESS_TOKEN: &str = "Bearer with an access token";

impl Flows {
    /// The claims of an access token that is good for a route, as far as can be known without the store: by
    /// signature, claims and time, and by a revocation feed no older than `max_age`.
    ///
    /// # Errors
    /// Why the request may not pass.
    pub fn check_token(
        &self,
        credentials: &Credentials,
        route: &Route<'_>,
        max_age: Duration,
    ) -> Result<Arc<AccessClaims>> {
        let token = match credentials {
            Credentials::Token(token) => token.expose(),
            Credentials::None | Credentials::Basic { .. } | Credentials::Unreadable => {
                return Err(Error::CredentialsMissing(ACCESS_TOKEN));
            }
        };
        let now = self.clock.now_within(max_age)?;
        if self.revocations.age() > max_age {
            return Err(Error::StoreUnavailable(Cause("what is revoked is not known any more".to_owned())));
        }
        let now = now.unix_timestamp();
        let claims =
            self.verified.verify(token, &self.verifying_keys(), &self.issuer, now).map_err(refused)?;
        if !route.serves(&claims) {
            return Err(Error::AccessTokenInvalid);
        }
        self.refuse_revoked(&claims)?;
        Ok(claims)
    }

    fn refuse_revoked(&self, claims: &AccessClaims) -> Result<()> {
        match () {
            () if self.revocations.is_client_inactive(claims.client_id) => Err(Error::AccessTokenInvalid),
            () if self.revocations.is_session_revoked(claims.sid) => Err(Error::SessionRevoked),
            () => Ok(()),
        }
    }
}
