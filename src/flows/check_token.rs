//! A gateway asks whether a request may pass on its access token: decided from memory, without a query.

use std::{sync::Arc, time::Duration};

use super::{AccessClaims, Credentials, Error, Flows, Result, authenticate::refused, error::Trouble};

/// Whose tokens a route takes, as its configuration in the gateway says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Route<'a> {
    /// One of the audiences of the tokens.
    pub audience: Option<&'a str>,
    /// The client of the tokens.
    pub client_id: Option<&'a str>,
}

const ACCESS_TOKEN: &str = "Bearer with an access token";

impl Flows {
    /// The claims of an access token that is good for a route, as far as can be known without the store: by
    /// signature, claims and time, and by the revocations that were heard at most `max_age` ago.
    ///
    /// # Errors
    /// Why the request may not pass.
    pub fn check_token(
        &self,
        credentials: &Credentials,
        route: &Route<'_>,
        max_age: Duration,
    ) -> Result<Arc<AccessClaims>> {
        let named = [route.audience, route.client_id];
        if named == [None, None] || named.contains(&Some("")) {
            let why = "must name the `audience` or the `client_id` that the route serves";
            return Err(Error::invalid("context_extensions", why));
        }
        let token = match credentials {
            Credentials::Token(token) => token.expose(),
            Credentials::None | Credentials::Basic { .. } | Credentials::Unreadable => {
                return Err(Error::CredentialsMissing(ACCESS_TOKEN));
            }
        };
        let now = self.clock.now_within(max_age)?;
        if self.revocations.age() > max_age {
            return Err(Error::StoreUnavailable(Trouble("what is revoked is not known any more".to_owned())));
        }
        let now = now.unix_timestamp();
        let claims =
            self.verified.verify(token, &self.verifying_keys(), &self.issuer, now).map_err(refused)?;
        if !serves(route, &claims) {
            return Err(Error::AccessTokenInvalid);
        }
        self.refuse_revoked(&claims)?;
        Ok(claims)
    }

    fn refuse_revoked(&self, claims: &AccessClaims) -> Result<()> {
        let ids = claims.sid.parse().ok().zip(claims.client_id.parse().ok());
        let (session, client) = ids.ok_or(Error::AccessTokenInvalid)?;
        if self.revocations.ends_client(client) {
            return Err(Error::AccessTokenInvalid);
        }
        if self.revocations.ends_session(session) { Err(Error::SessionRevoked) } else { Ok(()) }
    }
}

/// Whether the route is for tokens like this one, by everything that it names.
fn serves(route: &Route<'_>, claims: &AccessClaims) -> bool {
    route.audience.is_none_or(|audience| claims.aud.contains(audience))
        && route.client_id.is_none_or(|client_id| claims.client_id == client_id)
}
