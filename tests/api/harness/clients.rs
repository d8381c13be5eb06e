//! One verb per RPC of ClientService.

use countersign::grpc::v1::{self, client_service_client::ClientServiceClient};
use tonic::{Status, transport::Channel};

use super::Caller;

impl Caller {
    fn clients(&self) -> ClientServiceClient<Channel> {
        ClientServiceClient::new(self.channel.clone())
    }

    pub async fn create_client(&self, policy: v1::ClientPolicy) -> Result<v1::CreateClientResponse, Status> {
        let request = v1::CreateClientRequest { policy: Some(policy) };
        Ok(self.clients().create_client(self.request(request)).await?.into_inner())
    }

    pub async fn get_client(&self, client_id: &str) -> Result<v1::GetClientResponse, Status> {
        let request = v1::GetClientRequest { client_id: client_id.to_owned() };
        Ok(self.clients().get_client(self.request(request)).await?.into_inner())
    }

    pub async fn list_clients(
        &self,
        page_size: i32,
        page_token: &str,
    ) -> Result<v1::ListClientsResponse, Status> {
        let request = v1::ListClientsRequest { page_size, page_token: page_token.to_owned() };
        Ok(self.clients().list_clients(self.request(request)).await?.into_inner())
    }

    /// Changes what the mask names, separated by commas, whatever state the client is in.
    pub async fn update_client(
        &self,
        client_id: &str,
        policy: v1::ClientPolicy,
        mask: &str,
    ) -> Result<v1::Client, Status> {
        self.update_client_at("", client_id, policy, mask).await
    }

    /// The same, in the state of an etag.
    pub async fn update_client_at(
        &self,
        etag: &str,
        client_id: &str,
        policy: v1::ClientPolicy,
        mask: &str,
    ) -> Result<v1::Client, Status> {
        let paths = mask.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        let request = v1::UpdateClientRequest {
            client_id: client_id.to_owned(),
            policy: Some(policy),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: etag.to_owned(),
        };
        Ok(self.clients().update_client(self.request(request)).await?.into_inner().client.unwrap())
    }

    /// How many live sessions it ended.
    pub async fn delete_client(&self, client_id: &str) -> Result<u32, Status> {
        let request = v1::DeleteClientRequest { client_id: client_id.to_owned() };
        let answer = self.clients().delete_client(self.request(request)).await?.into_inner();
        Ok(answer.revoked_session_count)
    }

    pub async fn add_client_secret(&self, client_id: &str) -> Result<v1::AddClientSecretResponse, Status> {
        let request = v1::AddClientSecretRequest { client_id: client_id.to_owned() };
        Ok(self.clients().add_client_secret(self.request(request)).await?.into_inner())
    }

    pub async fn revoke_client_secret(&self, client_id: &str, secret_id: &str) -> Result<(), Status> {
        let request = v1::RevokeClientSecretRequest {
            client_id: client_id.to_owned(),
            secret_id: secret_id.to_owned(),
        };
        self.clients().revoke_client_secret(self.request(request)).await.map(drop)
    }
}
