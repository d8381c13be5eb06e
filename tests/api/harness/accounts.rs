//! One verb per RPC of AccountService.

use countersign::grpc::v1::{self, account_service_client::AccountServiceClient};
use tonic::{Status, transport::Channel};

use super::Caller;

impl Caller {
    fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub async fn get_account(&self, account_id: &str) -> Result<v1::Account, Status> {
        let request = v1::GetAccountRequest { account_id: account_id.to_owned() };
        Ok(self.accounts().get_account(self.request(request)).await?.into_inner().account.unwrap())
    }

    pub async fn link(&self, challenge_id: &str, signature: &str) -> Result<v1::Account, Status> {
        let request = v1::LinkWalletRequest {
            challenge_id: challenge_id.to_owned(),
            signature: signature.to_owned(),
            message: String::new(),
        };
        Ok(self.accounts().link_wallet(self.request(request)).await?.into_inner().account.unwrap())
    }

    pub async fn unlink(&self, address: &str, network: &str) -> Result<v1::UnlinkWalletResponse, Status> {
        let request = v1::UnlinkWalletRequest { address: address.to_owned(), network: network.to_owned() };
        Ok(self.accounts().unlink_wallet(self.request(request)).await?.into_inner())
    }
}
