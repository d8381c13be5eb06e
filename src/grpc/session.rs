//! SessionService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{credentials::authenticated, status::status, v1};
use crate::flows::{
    Caller, Flows,
    session::{create::CreateSession, list::ListSessions},
};

/// The service, over the flows.
pub struct SessionApi(pub Arc<Flows>);

impl SessionApi {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        authenticated(&self.0, request).await.map_err(|error| status(&error))
    }
}

#[tonic::async_trait]
impl v1::session_service_server::SessionService for SessionApi {
    async fn create_session(
        &self,
        request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::CreateSessionResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        let asked = CreateSession {
            signing_address: request.signing_address,
            signing_network: request.signing_network,
            deposit_address: request.deposit_address,
            deposit_network: request.deposit_network,
        };
        let (session, token) =
            self.0.create_session(&caller, &asked).await.map_err(|error| status(&error))?;
        Ok(Response::new(v1::CreateSessionResponse {
            session: Some(session.into()),
            session_token: token.into_exposed(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let caller = self.caller(&request).await?;
        let session = self.0.get_session(&caller, &request.get_ref().session_id).await;
        let session = session.map_err(|error| status(&error))?;
        Ok(Response::new(v1::GetSessionResponse { session: Some(session.into()) }))
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        let asked = ListSessions {
            account_id: request.account_id,
            address: request.address,
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let page = self.0.list_sessions(&caller, &asked).await;
        let (sessions, next_page_token) = page.map_err(|error| status(&error))?;
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: sessions.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<v1::RevokeSessionRequest>,
    ) -> Result<Response<v1::RevokeSessionResponse>, Status> {
        let caller = self.caller(&request).await?;
        let session = self.0.revoke_session(&caller, &request.get_ref().session_id).await;
        let session = session.map_err(|error| status(&error))?;
        Ok(Response::new(v1::RevokeSessionResponse { session: Some(session.into()) }))
    }

    async fn revoke_account_sessions(
        &self,
        request: Request<v1::RevokeAccountSessionsRequest>,
    ) -> Result<Response<v1::RevokeAccountSessionsResponse>, Status> {
        let caller = self.caller(&request).await?;
        let revoked = self.0.revoke_account_sessions(&caller, &request.get_ref().account_id).await;
        let revoked_session_count = revoked.map_err(|error| status(&error))?;
        Ok(Response::new(v1::RevokeAccountSessionsResponse { revoked_session_count }))
    }
}
