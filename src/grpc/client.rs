//! ClientService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::timestamp,
    credentials::authenticated,
    policy,
    policy_mask::{changed, masked},
    v1,
};
use crate::{
    domain::{Client, LiveSecret},
    flows::{Error, Flows},
};

/// The service, over the flows.
pub struct ClientApi(pub Arc<Flows>);

#[tonic::async_trait]
impl v1::client_service_server::ClientService for ClientApi {
    async fn create_client(
        &self,
        request: Request<v1::CreateClientRequest>,
    ) -> Result<Response<v1::CreateClientResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let message = request.into_inner().policy.unwrap_or_default();
        let (policy, realm) = policy::policy(message).map_err(Error::Invalid)?;
        let (client, secret) = self.0.create_client(&caller, policy, &realm).await?;
        Ok(Response::new(v1::CreateClientResponse {
            client: Some(client.into()),
            client_secret: secret.expose().to_owned(),
        }))
    }

    async fn get_client(
        &self,
        request: Request<v1::GetClientRequest>,
    ) -> Result<Response<v1::GetClientResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let (client, secrets) = self.0.client(&caller, &request.get_ref().client_id).await?;
        Ok(Response::new(v1::GetClientResponse {
            client: Some(client.into()),
            secrets: secrets.into_iter().map(Into::into).collect(),
        }))
    }

    async fn list_clients(
        &self,
        request: Request<v1::ListClientsRequest>,
    ) -> Result<Response<v1::ListClientsResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let v1::ListClientsRequest { page_size, page_token } = request.get_ref();
        let (clients, next_page_token) = self.0.list_clients(&caller, *page_size, page_token).await?;
        Ok(Response::new(v1::ListClientsResponse {
            clients: clients.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }

    async fn update_client(
        &self,
        request: Request<v1::UpdateClientRequest>,
    ) -> Result<Response<v1::UpdateClientResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let request = request.into_inner();
        let (given, mask) = (request.policy.unwrap_or_default(), request.update_mask.unwrap_or_default());
        let change = |client: &Client| {
            if !request.etag.is_empty() && request.etag != etag(client) {
                return Err(Error::EtagMismatch);
            }
            changed(client, masked(&client.clone().into(), &given, &mask.paths)?)
        };
        let client = self.0.update_client(&caller, &request.client_id, change).await?;
        Ok(Response::new(v1::UpdateClientResponse { client: Some(client.into()) }))
    }

    async fn delete_client(
        &self,
        request: Request<v1::DeleteClientRequest>,
    ) -> Result<Response<v1::DeleteClientResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let revoked = self.0.delete_client(&caller, &request.get_ref().client_id).await?;
        Ok(Response::new(v1::DeleteClientResponse {
            revoked_session_count: u32::try_from(revoked).unwrap_or(u32::MAX),
        }))
    }

    async fn add_client_secret(
        &self,
        request: Request<v1::AddClientSecretRequest>,
    ) -> Result<Response<v1::AddClientSecretResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let (id, secret) = self.0.add_client_secret(&caller, &request.get_ref().client_id).await?;
        Ok(Response::new(v1::AddClientSecretResponse {
            secret_id: id.to_string(),
            client_secret: secret.expose().to_owned(),
        }))
    }

    async fn revoke_client_secret(
        &self,
        request: Request<v1::RevokeClientSecretRequest>,
    ) -> Result<Response<v1::RevokeClientSecretResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let v1::RevokeClientSecretRequest { client_id, secret_id } = request.get_ref();
        self.0.revoke_client_secret(&caller, client_id, secret_id).await?;
        Ok(Response::new(v1::RevokeClientSecretResponse {}))
    }
}

/// Each change of a client moves its time on, by a microsecond at least.
fn etag(client: &Client) -> String {
    (client.update_time.unix_timestamp_nanos() / 1_000).to_string()
}

impl From<Client> for v1::Client {
    fn from(client: Client) -> Self {
        Self {
            id: client.id.to_string(),
            create_time: Some(timestamp(client.create_time)),
            update_time: Some(timestamp(client.update_time)),
            etag: etag(&client),
            policy: Some(client.into()),
        }
    }
}

impl From<LiveSecret> for v1::ClientSecret {
    fn from(secret: LiveSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            create_time: Some(timestamp(secret.create_time)),
            last_used_time: secret.last_used_time.map(timestamp),
        }
    }
}
