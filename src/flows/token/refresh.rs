//! RefreshToken: rotates a refresh token.

use super::issue::TokenPair;
use crate::{
    flows::{Credentials, Error, Flows, Result, authenticate::client_required},
    state::{
        audit::audit,
        rate_limiter::{ClientLimits, SessionKey},
    },
    store::{RotateOutcome, Rotated, Rotation},
    token::RefreshToken,
};

impl Flows {
    /// The next refresh token and a new access token.
    ///
    /// # Errors
    /// If the token is not, or no longer, good, or a limit is reached. A spent one that comes back after the grace
    /// revokes its session, and that stays.
    pub async fn refresh_token(&self, credentials: &Credentials, token: &str) -> Result<TokenPair> {
        if token.is_empty() {
            return Err(Error::invalid("refresh_token", "is required"));
        }
        let token = RefreshToken::verify(token, &self.roots).ok_or(Error::RefreshTokenInvalid)?;
        let (call, answered) = self.count_session(SessionKey::Session(token.session_id), None)?;
        let client = self.authenticate_if_client(credentials).await?;
        let counted = client.as_ref().map(|record| ClientLimits::from(&record.client)).or(answered);
        if let Some(client) = counted {
            self.rate_limits.count_refresh(client)?;
        }
        let outcome = self
            .store_turn(self.session_share(SessionKey::Session(token.session_id)))
            .await?
            .rotate_refresh_token(Rotation {
                session_id: token.session_id,
                generation: token.generation,
                client_id: client.map(|record| record.client.id),
                root_key_id: self.roots.primary(),
            })
            .await?;
        let Rotated { session, client, generation, root_key_id, now } = rotated(outcome)?;
        if counted.is_none() {
            self.rate_limits.note_refresh(&client);
        }
        self.session_budgets.learn(call, &client);
        self.issue_tokens(&client, &session, generation, root_key_id, now)
    }
}

fn rotated(outcome: RotateOutcome) -> Result<Rotated> {
    match outcome {
        RotateOutcome::Rotated(rotated) | RotateOutcome::Replayed(rotated) => Ok(rotated),
        RotateOutcome::Reused(session_id, client_id) => {
            audit!("refresh_token.reused", %client_id, %session_id);
            Err(Error::RefreshTokenReused)
        }
        RotateOutcome::Revoked => Err(Error::SessionRevoked),
        RotateOutcome::Expired => Err(Error::RefreshTokenExpired),
        RotateOutcome::ClientDisabled => Err(Error::ClientDisabled),
        RotateOutcome::ClientRequired => Err(client_required()),
        RotateOutcome::Unknown => Err(Error::RefreshTokenInvalid),
    }
}
