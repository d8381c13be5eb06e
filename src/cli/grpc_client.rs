//! A caller over real gRPC, as a user's service would be one: for the demo and the load loop.

use std::{net::SocketAddr, str::FromStr as _};

use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::grpc::v1::{
    self, challenge_service_client::ChallengeServiceClient, session_service_client::SessionServiceClient,
    token_service_client::TokenServiceClient,
};

/// The three services over one connection. A clone shares it.
#[derive(Clone)]
pub(super) struct GrpcClient {
    pub(super) sessions: SessionServiceClient<Channel>,
    pub(super) challenges: ChallengeServiceClient<Channel>,
    pub(super) tokens: TokenServiceClient<Channel>,
}

impl GrpcClient {
    /// Connects to a server without TLS.
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
        Ok(Self {
            sessions: SessionServiceClient::new(channel.clone()),
            challenges: ChallengeServiceClient::new(channel.clone()),
            tokens: TokenServiceClient::new(channel),
        })
    }

    /// Starts a challenge in the client's default format.
    pub(super) async fn start(
        &mut self,
        authorization: &str,
        address: &str,
    ) -> Result<v1::Challenge, Status> {
        let request = v1::StartChallengeRequest { address: address.to_owned(), ..Default::default() };
        let answer = self.challenges.start_challenge(with(authorization, request)?).await?.into_inner();
        answer.challenge.ok_or_else(|| Status::internal("an answer without a challenge"))
    }

    /// Redeems a challenge by its id.
    pub(super) async fn verify(
        &mut self,
        authorization: &str,
        challenge_id: &str,
        signature: &str,
    ) -> Result<v1::VerifyChallengeResponse, Status> {
        let request = v1::VerifyChallengeRequest {
            challenge_id: challenge_id.to_owned(),
            signature: signature.to_owned(),
            ..Default::default()
        };
        Ok(self.challenges.verify_challenge(with(authorization, request)?).await?.into_inner())
    }

    /// Spends a refresh token.
    pub(super) async fn refresh(&mut self, refresh_token: &str) -> Result<v1::TokenPair, Status> {
        let request = v1::RefreshTokenRequest { refresh_token: refresh_token.to_owned() };
        tokens(self.tokens.refresh_token(request).await?.into_inner().tokens)
    }
}

/// The tokens that an answer must hold.
pub(super) fn tokens(tokens: Option<v1::TokenPair>) -> Result<v1::TokenPair, Status> {
    tokens.ok_or_else(|| Status::internal("an answer without tokens"))
}

/// A request that carries an `authorization`.
pub(super) fn with<T>(authorization: &str, message: T) -> Result<Request<T>, Status> {
    let value = MetadataValue::<Ascii>::from_str(authorization)
        .map_err(|_| Status::new(Code::InvalidArgument, "the authorization is not ASCII"))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// The machine-readable reason of a refusal.
pub(super) fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| "no reason given".to_owned(), |info| info.reason)
}
