//! Issues the token pair of a session.

use time::{Duration, OffsetDateTime};

use crate::{
    domain::{Client, ClientId, RootKeyId, Secret, Session, TokenId, session::SignIn},
    flows::{Error, Flows, Result},
    token::{AccessClaims, RefreshToken, access_token::TokenType},
};

/// An access token and the refresh token that is now current.
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// The client whose tokens they are.
    pub client_id: ClientId,
    /// The JWT.
    pub access_token: Secret<String>,
    /// When it expires.
    pub access_token_expire_time: OffsetDateTime,
    /// The refresh token.
    pub refresh_token: Secret<String>,
    /// When that expires, unused.
    pub refresh_token_expire_time: OffsetDateTime,
}

impl Flows {
    /// The pair for one generation of a session, as of `now`.
    pub(crate) fn issue_tokens(
        &self,
        client: &Client,
        session: &Session,
        generation: u32,
        root_key_id: RootKeyId,
        now: OffsetDateTime,
    ) -> Result<TokenPair> {
        let sign_in = session
            .sign_in
            .as_ref()
            .ok_or_else(|| Error::internal("tokens for a session that nobody signed in"))?;
        let claims = self.claims(client, session, sign_in, now);
        let ring = self.keys.signing_ring()?;
        let refresh_token = RefreshToken { session_id: session.id, generation, root_key_id }
            .derive(&self.roots)
            .ok_or_else(|| Error::internal(format!("the root key {root_key_id} is not listed here")))?;
        Ok(TokenPair {
            client_id: client.id,
            access_token_expire_time: OffsetDateTime::from_unix_timestamp(claims.exp)
                .map_err(Error::internal)?,
            access_token: claims.sign(ring.as_ref(), client.policy.signing_alg)?,
            refresh_token,
            refresh_token_expire_time: session.expire_time,
        })
    }

    fn claims(
        &self,
        client: &Client,
        session: &Session,
        sign_in: &SignIn,
        now: OffsetDateTime,
    ) -> AccessClaims {
        let ttl = Duration::try_from(client.policy.access_token_ttl).unwrap_or(Duration::DAY);
        AccessClaims {
            iss: self.issuer.clone(),
            aud: client.audience().into(),
            sub: sign_in.account_id,
            client_id: client.id,
            iat: now.unix_timestamp(),
            exp: (now + ttl).min(sign_in.hard_expire_time).unix_timestamp(),
            jti: TokenId::generate(),
            sid: session.id,
            auth_time: sign_in.authenticate_time.unix_timestamp(),
            token_type: TokenType::Access,
            address: sign_in.wallet.address.to_string(),
            network: sign_in.wallet.network.to_string(),
            wallet_kind: sign_in.wallet.kind.as_str().to_owned(),
            deposit_address: session.deposit.address.to_string(),
            deposit_network: session.deposit.network.to_string(),
            scope: client.policy.scope.clone(),
        }
    }
}
