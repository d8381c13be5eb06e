//! SessionService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    credentials::{authenticated, authenticated_to_revoke},
    v1,
};
use crate::flows::{
    Flows, Target,
    session::{create::CreateSession, list::ListSessions},
};

/// The service, over the flows.
pub struct SessionApi(pub Arc<Flows>);

#[tonic::async_trait]
impl v1::session_service_server::SessionService for SessionApi {
    async fn create_session(
        &self,
        request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::CreateSessionResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let request = request.into_inner();
        let asked = CreateSession {
            signing_address: request.signing_address,
            signing_network: request.signing_network,
            deposit_address: request.deposit_address,
            deposit_network: request.deposit_network,
        };
        let (session, token) = self.0.create_session(&caller, &asked).await?;
        Ok(Response::new(v1::CreateSessionResponse {
            session: Some(session.into()),
            session_token: token.into_exposed(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let session = self.0.get_session(&caller, &request.get_ref().session_id).await?;
        Ok(Response::new(v1::GetSessionResponse { session: Some(session.into()) }))
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let request = request.into_inner();
        let asked = ListSessions {
            account_id: request.account_id,
            address: request.address,
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let (sessions, next_page_token) = self.0.list_sessions(&caller, &asked).await?;
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: sessions.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<v1::RevokeSessionRequest>,
    ) -> Result<Response<v1::RevokeSessionResponse>, Status> {
        let session_id = &request.get_ref().session_id;
        let caller = authenticated_to_revoke(&self.0, &request, Target::Session(session_id)).await?;
        let session = self.0.revoke_session(&caller, session_id).await?;
        Ok(Response::new(v1::RevokeSessionResponse { session: Some(session.into()) }))
    }

    async fn revoke_account_sessions(
        &self,
        request: Request<v1::RevokeAccountSessionsRequest>,
    ) -> Result<Response<v1::RevokeAccountSessionsResponse>, Status> {
        let account_id = &request.get_ref().account_id;
        let caller = authenticated_to_revoke(&self.0, &request, Target::Account(account_id)).await?;
        let revoked_session_count = self.0.revoke_account_sessions(&caller, account_id).await?;
        Ok(Response::new(v1::RevokeAccountSessionsResponse { revoked_session_count }))
    }
}
