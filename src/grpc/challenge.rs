//! ChallengeService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{convert, credentials::authenticated, status::status, v1};
use crate::flows::{Error, Flows, start_challenge::StartChallenge, verify_challenge::VerifyChallenge};

/// The service, over the flows.
pub struct ChallengeApi(pub Arc<Flows>);

#[tonic::async_trait]
impl v1::challenge_service_server::ChallengeService for ChallengeApi {
    async fn start_challenge(
        &self,
        request: Request<v1::StartChallengeRequest>,
    ) -> Result<Response<v1::StartChallengeResponse>, Status> {
        let challenge = self.start(request).await.map_err(|error| status(&error))?;
        Ok(Response::new(v1::StartChallengeResponse { challenge: Some(challenge) }))
    }

    async fn verify_challenge(
        &self,
        request: Request<v1::VerifyChallengeRequest>,
    ) -> Result<Response<v1::VerifyChallengeResponse>, Status> {
        self.verify(request).await.map(Response::new).map_err(|error| status(&error))
    }
}

impl ChallengeApi {
    async fn start(&self, request: Request<v1::StartChallengeRequest>) -> Result<v1::Challenge, Error> {
        let caller = authenticated(&self.0, &request).await?;
        let request = request.into_inner();
        let asked = StartChallenge {
            format: convert::format("format", request.format)?,
            address: request.address,
            network: request.network,
            domain: request.domain,
            uri: request.uri,
            statement: request.statement,
            resources: request.resources,
            request_id: request.request_id,
            not_before: request.not_before.map(|time| convert::time("not_before", time)).transpose()?,
        };
        Ok(self.0.start_challenge(&caller, &asked).await?.into())
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyChallengeRequest>,
    ) -> Result<v1::VerifyChallengeResponse, Error> {
        let caller = authenticated(&self.0, &request).await?;
        let request = request.into_inner();
        let asked = VerifyChallenge {
            challenge_id: request.challenge_id,
            nonce: request.nonce,
            address: request.address,
            network: request.network,
            signature: request.signature,
            message: request.message,
        };
        let verified = self.0.verify_challenge(&caller, &asked).await?;
        Ok(v1::VerifyChallengeResponse {
            session: Some(verified.session.into()),
            account: Some(verified.account.into()),
            tokens: Some(verified.tokens.into()),
            verification: Some(verified.wallet.into()),
        })
    }
}
