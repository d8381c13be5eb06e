//! TokenService.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{
    convert,
    credentials::{authenticated, claimed, note_client},
    revocations::{Stream, stream},
    status::status,
    v1,
};
use crate::flows::{Error, Flows};

/// The service, over the flows, and the stall timeout of a watcher.
pub struct TokenApi(pub Arc<Flows>, pub Duration);

#[tonic::async_trait]
impl v1::token_service_server::TokenService for TokenApi {
    async fn refresh_token(
        &self,
        request: Request<v1::RefreshTokenRequest>,
    ) -> Result<Response<v1::RefreshTokenResponse>, Status> {
        let credentials = claimed(&request);
        let tokens = self.0.refresh_token(&credentials, &request.get_ref().refresh_token).await;
        let tokens = tokens.map_err(|error| status(&error))?;
        note_client(request.extensions(), tokens.client_id);
        Ok(Response::new(v1::RefreshTokenResponse { tokens: Some(tokens.into()) }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let credentials = claimed(&request);
        let revoked = self.0.revoke_token(&credentials, &request.get_ref().token).await;
        if let Some(client_id) = revoked.map_err(|error| status(&error))? {
            note_client(request.extensions(), client_id);
        }
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn introspect_token(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        self.introspect(request).await.map(Response::new).map_err(|error| status(&error))
    }

    type WatchRevocationsStream = Stream;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Stream>, Status> {
        self.watch(request).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn get_jwks(
        &self,
        _: Request<v1::GetJwksRequest>,
    ) -> Result<Response<v1::GetJwksResponse>, Status> {
        let keys = self.0.public_keys().into_iter().map(Into::into).collect();
        Ok(Response::new(v1::GetJwksResponse { keys }))
    }
}

impl TokenApi {
    async fn introspect(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Result<v1::IntrospectTokenResponse, Error> {
        let caller = authenticated(&self.0, &request).await?;
        Ok(self.0.introspect_token(&caller, &request.get_ref().token).await?.into())
    }

    async fn watch(&self, request: Request<v1::WatchRevocationsRequest>) -> Result<Stream, Error> {
        let credentials = claimed(&request);
        let resume_from = request.get_ref().resume_from;
        let resume_from = resume_from.map(|from| convert::time("resume_from", from)).transpose()?;
        let watch = self.0.watch_revocations(credentials, resume_from).await?;
        note_client(request.extensions(), watch.client_id());
        Ok(stream(watch, self.1))
    }
}
