//! RefreshToken: rotates a refresh token.

use super::issue::TokenPair;
use crate::{
    domain::ClientId,
    flows::{Error, Flows, Presented, Result, caller::client_required},
    state::{
        audit::audit,
        lanes::RotationKey,
        rate_limiter::{ClientLimits, SessionKey},
        store_shares::Share,
    },
    store::{RotateOutcome, Rotated, Rotation},
    token::{RefreshToken, sha256},
};

impl Flows {
    /// The next refresh token and a new access token.
    ///
    /// # Errors
    /// If the token is invalid or expired, or a limit is reached. Reuse of a spent token after the grace period revokes
    /// its session permanently.
    pub async fn refresh_token(&self, presented: &Presented, token: &str) -> Result<TokenPair> {
        if token.is_empty() {
            return Err(Error::invalid("refresh_token", "is required"));
        }
        let digest = sha256(token.as_bytes());
        let token = RefreshToken::verify(token, &self.roots).ok_or(Error::RefreshTokenInvalid)?;
        let (call, answered) = self.count_session(SessionKey::Session(token.session_id), None)?;
        let client = self.authenticate_if_client(presented).await?;
        let counted = client.as_ref().map(|record| ClientLimits::from(&record.client)).or(answered);
        if let Some(client) = counted {
            self.rate_limits.count_refresh(client)?;
        }
        let client_id = client.map(|record| record.client.id);
        let share = self.session_share(SessionKey::Session(token.session_id));
        let key = RotationKey { token: digest, client_id };
        let rotate = || self.rotate(share, &token, client_id);
        let outcome = self.rotations.answer(token.session_id, key, rotate).await?;
        let Rotated { session, client, generation, root_key_id, now } = rotated(outcome)?;
        if counted.is_none() {
            self.rate_limits.note_refresh(&client);
        }
        self.session_budgets.learn(call, &client);
        self.issue_tokens(&client, &session, generation, root_key_id, now)
    }

    async fn rotate(
        &self,
        share: Share,
        token: &RefreshToken,
        client_id: Option<ClientId>,
    ) -> Result<RotateOutcome> {
        let rotation = Rotation {
            session_id: token.session_id,
            generation: token.generation,
            client_id,
            root_key_id: self.roots.primary(),
        };
        let outcome = self.store_turn(share).await?.rotate_refresh_token(rotation).await?;
        if let RotateOutcome::Reused(session_id, client_id) = &outcome {
            audit!("refresh_token.reused", %client_id, %session_id);
        }
        Ok(outcome)
    }
}

fn rotated(outcome: RotateOutcome) -> Result<Rotated> {
    match outcome {
        RotateOutcome::Rotated(rotated) | RotateOutcome::Replayed(rotated) => Ok(rotated),
        RotateOutcome::Reused(..) => Err(Error::RefreshTokenReused),
        RotateOutcome::Revoked => Err(Error::SessionRevoked),
        RotateOutcome::Expired => Err(Error::RefreshTokenExpired),
        RotateOutcome::ClientDisabled => Err(Error::ClientDisabled),
        RotateOutcome::ClientRequired => Err(client_required()),
        RotateOutcome::Unknown => Err(Error::RefreshTokenInvalid),
    }
}
