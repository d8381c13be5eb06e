//! ChallengeService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{convert, credentials::authenticated, v1};
use crate::flows::{
    Flows,
    challenge::requests::{StartChallenge, VerifyChallenge},
};

/// The service, over the flows.
pub struct ChallengeApi(pub Arc<Flows>);

#[tonic::async_trait]
impl v1::challenge_service_server::ChallengeService for ChallengeApi {
    async fn start_challenge(
        &self,
        request: Request<v1::StartChallengeRequest>,
    ) -> Result<Response<v1::StartChallengeResponse>, Status> {
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
        let challenge = self.0.start_challenge(&caller, &asked).await?;
        Ok(Response::new(v1::StartChallengeResponse { challenge: Some(challenge.into()) }))
    }

    async fn verify_challenge(
        &self,
        request: Request<v1::VerifyChallengeRequest>,
    ) -> Result<Response<v1::VerifyChallengeResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let verified = self.0.verify_challenge(&caller, &request.into_inner().into()).await?;
        Ok(Response::new(v1::VerifyChallengeResponse {
            session: Some(verified.session.into()),
            account: Some(verified.account.into()),
            tokens: Some(verified.tokens.into()),
            verification: Some(verified.verification.into()),
        }))
    }

    async fn explain_signature(
        &self,
        request: Request<v1::ExplainSignatureRequest>,
    ) -> Result<Response<v1::ExplainSignatureResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let explanation = self.0.explain_signature(&caller, &request.into_inner().into()).await?;
        Ok(Response::new(explanation.into()))
    }
}

impl From<v1::VerifyChallengeRequest> for VerifyChallenge {
    fn from(request: v1::VerifyChallengeRequest) -> Self {
        let v1::VerifyChallengeRequest {
            challenge_id,
            nonce,
            address,
            network,
            signature,
            message,
            request_id,
        } = request;
        Self { challenge_id, nonce, address, network, signature, message, request_id }
    }
}

impl From<v1::ExplainSignatureRequest> for VerifyChallenge {
    fn from(request: v1::ExplainSignatureRequest) -> Self {
        let v1::ExplainSignatureRequest { challenge_id, nonce, address, network, signature, message } =
            request;
        let request_id = String::new();
        Self { challenge_id, nonce, address, network, signature, message, request_id }
    }
}
