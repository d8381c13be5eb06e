//! TokenService.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{
    call_record::note_authenticated,
    convert,
    credentials::{authenticated, presented},
    revocations::{Stream, stream},
    v1,
};
use crate::flows::Flows;

/// The service, over the flows, and the stall timeout of a watcher.
pub struct TokenApi(pub Arc<Flows>, pub Duration);

#[tonic::async_trait]
impl v1::token_service_server::TokenService for TokenApi {
    async fn refresh_token(
        &self,
        request: Request<v1::RefreshTokenRequest>,
    ) -> Result<Response<v1::RefreshTokenResponse>, Status> {
        let presented = presented(&request);
        let tokens = self.0.refresh_token(&presented, &request.get_ref().refresh_token).await?;
        note_authenticated(request.extensions(), tokens.client_id);
        Ok(Response::new(v1::RefreshTokenResponse { tokens: Some(tokens.into()) }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let presented = presented(&request);
        if let Some(client_id) = self.0.revoke_token(&presented, &request.get_ref().token).await? {
            note_authenticated(request.extensions(), client_id);
        }
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn introspect_token(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let introspection = self.0.introspect_token(&caller, &request.get_ref().token).await?;
        Ok(Response::new(introspection.into()))
    }

    type WatchRevocationsStream = Stream;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Stream>, Status> {
        let presented = presented(&request);
        let resume_from = request.get_ref().resume_from;
        let resume_from = resume_from.map(|from| convert::time("resume_from", from)).transpose()?;
        let watch = self.0.watch_revocations(presented, resume_from).await?;
        note_authenticated(request.extensions(), watch.client_id());
        Ok(Response::new(stream(watch, self.1)))
    }

    async fn get_jwks(
        &self,
        _: Request<v1::GetJwksRequest>,
    ) -> Result<Response<v1::GetJwksResponse>, Status> {
        let keys = self.0.public_keys().into_iter().map(Into::into).collect();
        Ok(Response::new(v1::GetJwksResponse { keys }))
    }
}
